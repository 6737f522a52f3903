//! `pub` and `sub` with a topic: what the mesh publishes, without an address.

use std::time::Duration;

use withy::node::{
    BoxedHeader, BusPublisher, BusSubscriber, Filter, Header, Priority, Publication, Topic,
};
use withy::{Frame, Message};

use crate::args::{Publish, Traffic};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::format::Printer;
use crate::input::Input;
use crate::node;
use crate::receive::judge;
use crate::session::{Interrupt, Limit};

/// What is published between two looks at the queues: well below their high-water marks.
const AHEAD: u64 = 250;

/// The longest wait for subscribers to take what was published.
const SLOW: Duration = Duration::from_secs(1);

/// Publishes messages on a topic.
pub(crate) async fn publish(options: &Publish, topic: &str, messages: Vec<Message>) -> Outcome {
    if options.block {
        return Err(Failure::usage(
            "--block is for --bind and --connect: on the mesh, who has no room misses messages",
        ));
    }
    let traffic = &options.traffic;
    let topic: Topic = topic.parse().map_err(Failure::usage)?;
    let interrupt = Interrupt::listen()?;
    let wait = traffic.timeout.unwrap_or(options.wait).min(options.wait);
    let total = Limit::total(traffic.timeout);
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    let publisher = node.publisher(topic.as_str()).map_err(node::unnamed)?;
    let subscribed = tokio::select! {
        subscribed = tokio::time::timeout(wait, publisher.wait_subscribed(1)) => subscribed,
        () = interrupt.wait() => return Ok(()),
    };
    if !matches!(subscribed, Ok(Ok(()))) {
        complain(format_args!(
            "there was no subscriber to {topic} within {}",
            duration::show(wait)
        ));
    }
    let mut input = Input::new(messages, traffic.format(), traffic.count);
    let mut header = Header::default();
    header.priority = options.priority.and_then(Priority::new).unwrap_or_default();
    header.expiry = options.expiry;
    let header = BoxedHeader::from(header);
    let sent = tokio::select! {
        sent = publish_all(&publisher, &topic, &header, &mut input, total) => sent,
        () = interrupt.wait() => Ok(()),
    };
    let dropped = publisher.stats().dropped;
    drop(publisher);
    node.close(node::LEAVE).await;
    if dropped > 0 {
        complain(format_args!(
            "{dropped} messages were dropped, since subscribers had no room for them"
        ));
    }
    match (sent, traffic.count) {
        (Ok(()), Some(count)) if input.taken() < count => Err(Failure::TimedOut(format!(
            "{} messages were published, fewer than {count}",
            input.taken()
        ))),
        (sent, _) => sent,
    }
}

async fn publish_all(
    publisher: &BusPublisher,
    topic: &Topic,
    header: &BoxedHeader,
    input: &mut Input,
    limit: Limit,
) -> Outcome {
    let early = || Failure::timed_out("the time was up before stdin ended");
    while let Some(message) = limit.run(input.next()).await.ok_or_else(early)?? {
        let publication = Publication {
            topic: topic.clone(),
            header: header.clone(),
            body: body(message)?,
        };
        let sent = publisher.send(publication).await;
        sent.map_err(Failure::failed)?;
        input.accept();
        if input.taken().is_multiple_of(AHEAD) {
            let _ = tokio::time::timeout(SLOW, publisher.flush()).await;
        }
    }
    let _ = tokio::time::timeout(SLOW, publisher.flush()).await;
    Ok(())
}

/// A message on the bus has one body.
fn body(message: Message) -> Outcome<Frame> {
    match message.frames() {
        [body] => Ok(body.clone()),
        _ => Err(Failure::usage(
            "a message on a topic has one frame: write \\t for a TAB in it",
        )),
    }
}

/// Prints what is published on the topics that a filter chooses: topic, TAB, payload.
pub(crate) async fn subscribe(traffic: &Traffic, filter: &str) -> Outcome {
    let filter: Filter = filter.parse().map_err(Failure::usage)?;
    let interrupt = Interrupt::listen()?;
    let limit = Limit::total(traffic.timeout);
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    let subscriber = node.subscriber(filter.as_str()).map_err(node::unnamed)?;
    let mut printer = Printer::new(traffic.format());
    let mut received = 0;
    let ended = {
        let printing = print_all(&subscriber, &mut printer, traffic.count, &mut received);
        tokio::select! {
            ended = limit.run(printing) => {
                ended.unwrap_or_else(|| Err(Failure::timed_out("the time was up")))
            }
            () = interrupt.wait() => Ok(()),
        }
    };
    drop(subscriber);
    node.close(node::LEAVE).await;
    judge(ended, traffic.count, received)
}

async fn print_all(
    subscriber: &BusSubscriber,
    printer: &mut Printer,
    count: Option<u64>,
    received: &mut u64,
) -> Outcome {
    while count.is_none_or(|count| *received < count) {
        let publication = match subscriber.try_recv() {
            Ok(publication) => publication,
            Err(_) => {
                printer.flush()?;
                subscriber.recv().await.map_err(Failure::failed)?
            }
        };
        let topic = publication.topic.into_frame();
        printer.print(&Message::from_frames(vec![topic, publication.body]))?;
        *received += 1;
    }
    printer.flush()
}
