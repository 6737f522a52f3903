//! `pull` and `sub`.

use withy::{AnySocket, Message, SocketType};

use crate::args::{Subscribe, Traffic, Work};
use crate::bus;
use crate::exit::{Failure, Outcome};
use crate::format::Printer;
use crate::place::{self, Where};
use crate::queue;
use crate::session::{Interrupt, Limit, Session};

/// Messages that are taken from the socket at a time.
const BATCH: usize = 256;

/// Receives of all peers in turn.
pub(crate) async fn pull(options: &Work) -> Outcome {
    let traffic = &options.traffic;
    let (to, messages) = place::sort(traffic)?;
    none(&messages)?;
    if let Some(name) = to.acked(options.acked)? {
        return queue::pull(traffic, name).await;
    }
    receive(SocketType::Pull, &to, traffic, &[]).await
}

/// Receives what starts with a prefix.
pub(crate) async fn subscribe(options: &Subscribe) -> Outcome {
    let (to, messages) = place::sort(&options.traffic)?;
    none(&messages)?;
    if let Where::Named(filter) = &to {
        if !options.subscribe.is_empty() {
            return Err(Failure::usage(
                "--subscribe is for endpoints: on the mesh, the name is what is subscribed to",
            ));
        }
        return bus::subscribe(&options.traffic, filter).await;
    }
    let prefixes = options.subscribe.iter();
    let mut prefixes = prefixes
        .map(|prefix| place::octets(prefix, "--subscribe"))
        .collect::<Outcome<Vec<_>>>()?;
    if prefixes.is_empty() {
        prefixes.push(Vec::new());
    }
    receive(SocketType::Sub, &to, &options.traffic, &prefixes).await
}

/// Refuses messages.
fn none(messages: &[Message]) -> Outcome {
    match messages.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(
            "this verb only receives: it takes no messages",
        )),
    }
}

async fn receive(kind: SocketType, to: &Where, traffic: &Traffic, topics: &[Vec<u8>]) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let limit = Limit::total(traffic.timeout);
    let session = Session::open_at(kind, AnySocket::builder(kind), traffic, to).await?;
    for topic in topics {
        session.any.subscribe(topic, true);
    }
    let mut printer = Printer::new(traffic.format());
    let mut received = 0;
    let ended = {
        let printing = print_all(&session, &mut printer, traffic.count, &mut received);
        tokio::select! {
            ended = limit.run(printing) => ended
                .unwrap_or_else(|| Err(Failure::timed_out(session.explain("the time was up")))),
            () = interrupt.wait() => Ok(()),
        }
    };
    session.close().await;
    judge(ended, traffic.count, received)
}

/// Prints what comes, up to the count.
pub(crate) async fn print_all(
    session: &Session<AnySocket>,
    printer: &mut Printer,
    count: Option<u64>,
    received: &mut u64,
) -> Outcome {
    let mut batch: Vec<Message> = Vec::new();
    while let max @ 1.. = count.map_or(u64::MAX, |count| count - *received) {
        let max = usize::try_from(max).map_or(BATCH, |max| max.min(BATCH));
        let taken = session.any.recv_many(&mut batch, max).await;
        taken.map_err(Failure::failed)?;
        for message in batch.drain(..) {
            printer.print(&message)?;
            *received += 1;
        }
        printer.flush()?;
    }
    Ok(())
}

/// Adds to how receiving ended whether enough came.
pub(crate) fn judge(ended: Outcome, count: Option<u64>, received: u64) -> Outcome {
    let of = match count {
        Some(count) => format!("{received} of {count} messages came"),
        None => format!("{received} messages came"),
    };
    match (ended, count) {
        (Err(Failure::TimedOut(text)), _) => Err(Failure::TimedOut(format!("{text}; {of}"))),
        (Ok(()), Some(count)) if received < count => Err(Failure::TimedOut(of)),
        (ended, _) => ended,
    }
}
