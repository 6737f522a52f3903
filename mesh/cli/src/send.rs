//! `push` and `pub`.

use withy::options::Overflow;
use withy::{AnySocket, Builder, SocketType};

use crate::args::{Publish, Traffic};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::input::Input;
use crate::place;
use crate::session::{Interrupt, Limit, Session};

/// Sends to the peers in turn.
pub(crate) async fn push(traffic: &Traffic) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let (session, mut input) = open(AnySocket::builder(SocketType::Push), traffic).await?;
    let limit = Limit::of_sender(traffic.timeout, input.is_given());
    let sending = async {
        let ready = limit.run(session.any.ready()).await.and_then(Result::ok);
        ready.ok_or_else(|| Failure::timed_out(session.explain("no peer was there in time")))?;
        send_all(&session, &mut input, limit).await
    };
    let sent = tokio::select! {
        sent = sending => sent,
        () = interrupt.wait() => Ok(()),
    };
    finish(session, &input, traffic.count, sent).await
}

/// Sends to those that subscribed.
pub(crate) async fn publish(options: &Publish) -> Outcome {
    let traffic = &options.traffic;
    let interrupt = Interrupt::listen()?;
    let overflow = match options.drop {
        true => Overflow::DropNewest,
        false => Overflow::Block,
    };
    let builder = AnySocket::builder(SocketType::Pub).overflow(overflow);
    let (session, mut input) = open(builder, traffic).await?;
    let subscribed = tokio::select! {
        subscribed = tokio::time::timeout(options.wait, session.any.wait_subscribed(1)) => subscribed,
        () = interrupt.wait() => return Ok(()),
    };
    if !matches!(subscribed, Ok(Ok(()))) {
        complain(session.explain(format!(
            "there was no subscriber within {}",
            duration::show(options.wait)
        )));
    }
    let limit = Limit::of_sender(traffic.timeout, input.is_given());
    let sent = tokio::select! {
        sent = send_all(&session, &mut input, limit) => sent,
        () = interrupt.wait() => Ok(()),
    };
    let dropped = session.any.stats().dropped;
    if dropped > 0 {
        complain(format_args!(
            "{dropped} messages were dropped, since subscribers had no room for them"
        ));
    }
    finish(session, &input, traffic.count, sent).await
}

async fn open(
    builder: Builder<AnySocket>,
    traffic: &Traffic,
) -> Outcome<(Session<AnySocket>, Input)> {
    let (endpoints, messages) = place::sort(traffic)?;
    let session = Session::open(builder, &traffic.keys, &endpoints, traffic.talk).await?;
    let input = Input::new(messages, traffic.format(), traffic.count);
    Ok((session, input))
}

/// Sends the input and waits until it was taken.
pub(crate) async fn send_all(
    session: &Session<AnySocket>,
    input: &mut Input,
    limit: Limit,
) -> Outcome {
    let late = || Failure::timed_out(session.explain("no peer had room in time"));
    loop {
        let next = limit.overall().run(input.next()).await;
        let next = next.ok_or_else(|| Failure::timed_out("the time was up before stdin ended"))?;
        let Some(message) = next? else { break };
        let sent = limit
            .run(session.any.send(message))
            .await
            .ok_or_else(late)?;
        sent.map_err(Failure::failed)?;
        input.accept();
    }
    limit.run(session.any.flush()).await.ok_or_else(late)
}

/// Closes the socket, and says what was not sent.
pub(crate) async fn finish(
    session: Session<AnySocket>,
    input: &Input,
    count: Option<u64>,
    sent: Outcome,
) -> Outcome {
    let unsent = session.any.close().await as u64 + input.unaccepted();
    let taken = input.taken();
    match (sent, count) {
        (Err(Failure::TimedOut(text)), _) => {
            let of = match unsent {
                0 => format!("{taken} messages were sent"),
                unsent => format!("{unsent} of {taken} messages were not sent"),
            };
            Err(Failure::TimedOut(format!("{text}; {of}")))
        }
        (Ok(()), _) if unsent > 0 => Err(Failure::Failed(format!(
            "{unsent} of {taken} messages were not sent"
        ))),
        (Ok(()), Some(count)) if taken < count => Err(Failure::TimedOut(format!(
            "{taken} messages were sent, fewer than {count}"
        ))),
        (sent, _) => sent,
    }
}
