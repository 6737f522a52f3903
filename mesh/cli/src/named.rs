//! `req` and `rep` with a name: services of the mesh, without an address.

use tokio::time::Instant;
use withy::Message;
use withy::node::ServiceError;
use withy::node::service::Request;

use crate::args::{Ask, Reply};
use crate::exit::{Failure, Outcome, complain};
use crate::format::Printer;
use crate::input::Input;
use crate::node;
use crate::receive::judge;
use crate::request::{LONG, Replies};
use crate::session::{Interrupt, Limit};

/// Asks whoever serves a name, and prints the replies.
pub(crate) async fn ask(
    options: &Ask,
    name: &str,
    messages: Vec<Message>,
    interrupt: &Interrupt,
) -> Outcome {
    let traffic = &options.routed.traffic;
    if options.routed.routing_id.is_some() {
        return Err(Failure::usage(
            "--routing-id is for endpoints: on the mesh, each node proves who it is",
        ));
    }
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    let client = node.client(name).map_err(node::unnamed)?;
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
            let mut request = Request::new(message).within(left);
            if options.idempotent {
                request = request.idempotent();
            }
            let reply = client.request(request).await.map_err(no_reply)?;
            printer.print(&reply)?;
            printer.flush()?;
            replies += 1;
        }
    };
    let ended = tokio::select! {
        ended = asking => ended,
        () = interrupt.wait() => Ok(()),
    };
    drop(client);
    node.close(node::LEAVE).await;
    match (ended, traffic.count) {
        // Why there was no reply is all there is to say.
        (ended @ Err(_), None) => ended,
        (ended, count) => judge(ended, count, replies),
    }
}

fn no_reply(error: ServiceError) -> Failure {
    match error {
        ServiceError::NoInstance { .. } | ServiceError::NotReached | ServiceError::TooLate => {
            Failure::timed_out(error)
        }
        error => Failure::failed(error),
    }
}

/// Serves a name: prints requests, and replies to them.
pub(crate) async fn answer(
    options: &Reply,
    name: &str,
    mut replies: Replies,
    interrupt: &Interrupt,
) -> Outcome {
    let traffic = &options.traffic;
    let limit = Limit::total(traffic.timeout);
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    let service = node.service(name).map_err(node::unnamed)?;
    let mut printer = Printer::new(traffic.format());
    let mut answered = 0;
    let answering = async {
        while traffic.count.is_none_or(|count| answered < count) {
            let request = service.recv().await.map_err(Failure::failed)?;
            printer.print(request.message())?;
            // Whoever writes the reply has to see the request first.
            printer.flush()?;
            let Some(reply) = replies.next(request.message(), answered).await? else {
                return Err(Failure::failed("a request has no reply: stdin ended"));
            };
            match request.reply(reply).await {
                Ok(()) => answered += 1,
                // It did not wait; the next one may.
                Err(_) => complain("who asked is gone before the reply"),
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = limit.run(answering) => ended
            .unwrap_or_else(|| Err(Failure::timed_out("the time was up"))),
        () = interrupt.wait() => Ok(()),
    };
    drop(service);
    node.close(node::LEAVE).await;
    judge(ended, traffic.count, answered)
}
