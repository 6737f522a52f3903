//! `push` and `pub`.

use std::time::Duration;

use tokio::time::Instant;
use withy::options::Overflow;
use withy::{AnySocket, Builder, Message, SocketType};

use crate::args::{Publish, Traffic, Work};
use crate::bus;
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::input::Input;
use crate::place::{self, Where};
use crate::queue;
use crate::session::{Interrupt, Limit, PATIENCE, Session};

/// What is published between two looks at the queues: well below their high-water marks, so that
/// who keeps up misses nothing.
const AHEAD_MESSAGES: usize = 250;
const AHEAD_OCTETS: usize = 4 << 20;
/// How often the queues are looked at while they drain.
const LOOK: Duration = Duration::from_millis(5);
/// A queue from which nothing is taken for this long is stuck.
const STILL: Duration = Duration::from_millis(500);
/// The longest wait for queues that do move, so that who is slow holds nobody up for long.
const SLOW: Duration = Duration::from_secs(1);

/// Sends to the peers in turn.
pub(crate) async fn push(options: &Work) -> Outcome {
    let traffic = &options.traffic;
    let (to, messages) = place::sort(traffic)?;
    if let Some(name) = to.acked(options.acked)? {
        return queue::push(traffic, name, messages).await;
    }
    let interrupt = Interrupt::listen()?;
    let builder = AnySocket::builder(SocketType::Push);
    let (session, mut input) = open(SocketType::Push, builder, traffic, &to, messages).await?;
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
    let (to, messages) = place::sort(traffic)?;
    if let Where::Named(topic) = &to {
        return bus::publish(options, topic, messages).await;
    }
    if options.priority.is_some() || options.expiry.is_some() {
        return Err(Failure::usage(
            "--priority and --expiry are for topics of the mesh: plain sockets have no headers",
        ));
    }
    let interrupt = Interrupt::listen()?;
    let total = Limit::total(traffic.timeout);
    let wait = traffic.timeout.unwrap_or(options.wait).min(options.wait);
    let overflow = match options.block {
        true => Overflow::Block,
        false => Overflow::DropNewest,
    };
    let builder = AnySocket::builder(SocketType::Pub).overflow(overflow);
    let (session, mut input) = open(SocketType::Pub, builder, traffic, &to, messages).await?;
    let subscribed = tokio::select! {
        subscribed = tokio::time::timeout(wait, session.any.wait_subscribed(1)) => subscribed,
        () = interrupt.wait() => return Ok(()),
    };
    if !matches!(subscribed, Ok(Ok(()))) {
        complain(session.explain(format!(
            "there was no subscriber within {}",
            duration::show(wait)
        )));
    }
    let limit = match traffic.timeout {
        None if options.block => Limit::of_sender(None, input.is_given()),
        _ => total,
    };
    let sending = async {
        match options.block {
            true => send_all(&session, &mut input, limit).await,
            false => send_paced(&session, &mut input, limit).await,
        }
    };
    let sent = tokio::select! {
        sent = sending => sent,
        () = interrupt.wait() => Ok(()),
    };
    if options.block {
        return finish(session, &input, traffic.count, sent).await;
    }
    let missed = session.any.stats().dropped;
    let dropped = missed + session.close().await;
    if dropped > 0 {
        complain(format_args!(
            "{dropped} messages were dropped, since subscribers had no room for them"
        ));
    }
    judge(input.unaccepted(), &input, traffic.count, sent)
}

async fn open(
    kind: SocketType,
    builder: Builder<AnySocket>,
    traffic: &Traffic,
    to: &Where,
    messages: Vec<Message>,
) -> Outcome<(Session<AnySocket>, Input)> {
    let builder = traffic.apply(builder);
    let session = Session::open_at(kind, builder, traffic, to).await?;
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

/// Publishes the input at the subscribers' [`Pace`].
async fn send_paced(session: &Session<AnySocket>, input: &mut Input, limit: Limit) -> Outcome {
    let early = || Failure::timed_out("the time was up before stdin ended");
    let late = || Failure::timed_out("the time was up before subscribers took everything");
    let mut pace = Pace::new();
    while let Some(message) = limit.run(input.next()).await.ok_or_else(early)?? {
        let due = pace.is_due(message.size());
        session.any.send(message).await.map_err(Failure::failed)?;
        input.accept();
        if due {
            let keeping = pace.keep(&session.any, SLOW, false);
            limit.run(keeping).await.ok_or_else(late)?;
        }
    }
    let keeping = pace.keep(&session.any, PATIENCE, true);
    limit.run(keeping).await.ok_or_else(late)
}

/// Keeps a publisher from running ahead of subscribers that take what they get, and from waiting
/// for those that do not.
///
/// Subscribers that stand still leave their queues as they are: that much is not waited for any
/// more, so that each of them costs a few times [`STILL`].
struct Pace {
    messages: usize,
    size: usize,
    /// What waits for subscribers that stood still.
    stuck: u64,
}

impl Pace {
    fn new() -> Self {
        Self {
            messages: 0,
            size: 0,
            stuck: 0,
        }
    }

    /// Counts a message; whether the queues are to be looked at after it.
    fn is_due(&mut self, size: usize) -> bool {
        self.messages += 1;
        self.size += size;
        let due = self.messages >= AHEAD_MESSAGES || self.size >= AHEAD_OCTETS;
        if due {
            (self.messages, self.size) = (0, 0);
        }
        due
    }

    /// Waits, for so long at most, until nothing moves in the queues any more but what is stuck;
    /// after the `last` message also for what stood still before.
    async fn keep(&mut self, socket: &AnySocket, most: Duration, last: bool) {
        let start = Instant::now();
        let (mut lowest, mut moved) = (u64::MAX, start);
        while start.elapsed() < most {
            let empty = tokio::time::timeout(LOOK, socket.flush()).await.is_ok();
            let queued = if empty { 0 } else { socket.stats().queued };
            self.stuck = self.stuck.min(queued);
            let moves = queued < lowest;
            if moves {
                (lowest, moved) = (queued, Instant::now());
            }
            // One look without a move, since what is stuck may have become less where others
            // still have more.
            let known = !last && queued <= self.stuck;
            if empty || !moves && (known || moved.elapsed() > STILL) {
                self.stuck = queued;
                return;
            }
        }
    }
}

/// Closes the socket, and says what was not sent.
pub(crate) async fn finish(
    session: Session<AnySocket>,
    input: &Input,
    count: Option<u64>,
    sent: Outcome,
) -> Outcome {
    let unsent = session.close().await + input.unaccepted();
    judge(unsent, input, count, sent)
}

/// Adds to how sending ended whether everything was sent.
fn judge(unsent: u64, input: &Input, count: Option<u64>, sent: Outcome) -> Outcome {
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
