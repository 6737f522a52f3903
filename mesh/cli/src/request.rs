//! `req` and `rep`.

use std::time::Duration;

use tokio::time::Instant;
use withy::{AnySocket, Message, Rep, Req, Request, RequestError, SendError};

use crate::args::{Ask, Reply};
use crate::exit::{Failure, Outcome, complain};
use crate::format::Printer;
use crate::input::Input;
use crate::named;
use crate::place::{self, Where};
use crate::receive::judge;
use crate::session::{Interrupt, Limit, PATIENCE, Session};

/// A wait without a limit: what a caller may ask for at most.
pub(crate) const LONG: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Asks, and prints the replies.
pub(crate) async fn ask(options: &Ask) -> Outcome {
    let traffic = &options.routed.traffic;
    let interrupt = Interrupt::listen()?;
    let (to, messages) = place::sort(traffic)?;
    let endpoints = match to {
        Where::Named(name) => return named::ask(options, &name, messages, &interrupt).await,
        Where::At(endpoints) => endpoints,
    };
    if options.idempotent {
        return Err(Failure::usage(
            "--idempotent is for a NAME, which many may serve: at an endpoint there is one",
        ));
    }
    let mut builder = Req::builder();
    if let Some(id) = &options.routed.routing_id {
        builder = builder.routing_id(place::octets(id, "--routing-id")?);
    }
    let builder = traffic.apply(builder);
    let session = Session::open(builder, &traffic.keys, &endpoints, traffic.talk).await?;
    let mut input = Input::new(messages, traffic.format(), traffic.count);
    let limit = Limit::of_sender(traffic.timeout, input.is_given());
    let mut printer = Printer::new(traffic.format());
    let mut replies = 0;
    let asking = async {
        loop {
            let next = limit.overall().run(input.next()).await;
            let next =
                next.ok_or_else(|| Failure::timed_out("the time was up before stdin ended"))?;
            let Some(message) = next? else { return Ok(()) };
            let left = limit
                .deadline()
                .map_or(LONG, |deadline| deadline - Instant::now());
            let reply = session.socket.request_timeout(message, left).await;
            let reply = reply.map_err(|error| no_reply(&session, &error))?;
            printer.print(&reply)?;
            printer.flush()?;
            replies += 1;
        }
    };
    let ended = tokio::select! {
        ended = asking => ended,
        () = interrupt.wait() => Ok(()),
    };
    session.close().await;
    judge(ended, traffic.count, replies)
}

fn no_reply(session: &Session<Req>, error: &RequestError) -> Failure {
    match error {
        RequestError::NotSent(_) | RequestError::Timeout => {
            Failure::TimedOut(session.explain(error.to_string()))
        }
        _ => Failure::failed(error),
    }
}

/// Where the replies come from.
pub(crate) enum Replies {
    Echo,
    Given(Vec<Message>),
    Stdin(Input),
}

/// Prints requests, and replies to them.
pub(crate) async fn answer(options: &Reply) -> Outcome {
    let traffic = &options.traffic;
    let interrupt = Interrupt::listen()?;
    let (to, messages) = place::sort(traffic)?;
    let mut replies = Replies::new(options, messages)?;
    let endpoints = match to {
        Where::Named(name) => return named::answer(options, &name, replies, &interrupt).await,
        Where::At(endpoints) => endpoints,
    };
    let limit = Limit::total(traffic.timeout);
    let builder = traffic.apply(Rep::builder());
    let session = Session::open(builder, &traffic.keys, &endpoints, traffic.talk).await?;
    let mut printer = Printer::new(traffic.format());
    let mut answered = 0;
    let ended = {
        let answering = async {
            while traffic.count.is_none_or(|count| answered < count) {
                let request = next_request(&session.socket, &mut printer).await?;
                let Some(reply) = replies.next(request.message(), answered).await? else {
                    return Err(Failure::failed("a request has no reply: stdin ended"));
                };
                match request.reply(reply).await {
                    Ok(()) => answered += 1,
                    // It did not wait; the next one may.
                    Err(SendError::PeerGone(_)) => complain("who asked is gone before the reply"),
                    Err(error) => return Err(Failure::failed(error)),
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = limit.run(answering) => ended
                .unwrap_or_else(|| Err(Failure::timed_out("the time was up"))),
            () = interrupt.wait() => Ok(()),
        }
    };
    let taken = Limit::total(Some(PATIENCE)).run(session.any.flush()).await;
    close(session.any).await;
    match judge(ended, traffic.count, answered) {
        Ok(()) if taken.is_none() => Err(Failure::timed_out("a reply was not taken in time")),
        ended => ended,
    }
}

/// Prints the next request.
async fn next_request(socket: &Rep, printer: &mut Printer) -> Outcome<Request> {
    let request = match socket.try_recv() {
        Ok(request) => request,
        Err(_) => {
            printer.flush()?;
            socket.recv().await.map_err(Failure::failed)?
        }
    };
    printer.print(request.message())?;
    // Whoever writes the reply has to see the request first.
    printer.flush()?;
    Ok(request)
}

impl Replies {
    fn new(options: &Reply, messages: Vec<Message>) -> Outcome<Self> {
        match (options.echo, messages.is_empty()) {
            (true, true) => Ok(Self::Echo),
            (true, false) => Err(Failure::usage(
                "--echo replies with the request: it takes no messages",
            )),
            (false, false) => Ok(Self::Given(messages)),
            (false, true) => {
                let input = Input::new(messages, options.traffic.format(), None);
                Ok(Self::Stdin(input))
            }
        }
    }

    /// The reply to a request; `None` when there are no more.
    pub(crate) async fn next(
        &mut self,
        request: &Message,
        answered: u64,
    ) -> Outcome<Option<Message>> {
        match self {
            Self::Echo => Ok(Some(request.clone())),
            Self::Given(messages) => {
                let at = answered % messages.len() as u64;
                Ok(messages.get(at as usize).cloned())
            }
            Self::Stdin(input) => input.next().await,
        }
    }
}

async fn close(socket: AnySocket) {
    socket.close().await;
}
