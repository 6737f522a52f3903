//! `pair`, `dealer` and `router`: send and receive at the same time.

use withy::{AnySocket, Builder, SocketType};

use crate::args::{Routed, Traffic};
use crate::exit::{Failure, Outcome};
use crate::format::Printer;
use crate::input::Input;
use crate::place;
use crate::receive::{judge, print_all};
use crate::send::{finish, send_all};
use crate::session::{Interrupt, Limit, Session};

/// Talks to one peer.
pub(crate) async fn pair(traffic: &Traffic) -> Outcome {
    talk(
        SocketType::Pair,
        AnySocket::builder(SocketType::Pair),
        traffic,
    )
    .await
}

/// Talks to peers in turn, or to each by its routing id.
pub(crate) async fn routed(kind: SocketType, options: &Routed) -> Outcome {
    let mut builder = AnySocket::builder(kind);
    if let Some(id) = &options.routing_id {
        builder = builder.routing_id(place::octets(id, "--routing-id")?);
    }
    talk(kind, builder, &options.traffic).await
}

async fn talk(kind: SocketType, builder: Builder<AnySocket>, traffic: &Traffic) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let (to, messages) = place::sort(traffic)?;
    let builder = traffic.apply(builder);
    let session = Session::open_at(kind, builder, traffic, &to).await?;
    // The count is of what is received.
    let mut input = Input::new(messages, traffic.format(), None);
    let limit = Limit::of_sender(traffic.timeout, input.is_given());
    let overall = Limit::total(traffic.timeout);
    let mut printer = Printer::new(traffic.format());
    let mut received = 0;
    let ended = {
        let is_given = input.is_given();
        let sending = async {
            if is_given {
                let ready = limit.run(session.any.ready()).await.and_then(Result::ok);
                ready.ok_or_else(|| {
                    Failure::timed_out(session.explain("no peer was there in time"))
                })?;
            }
            send_all(&session, &mut input, limit).await?;
            Ok(input.taken() > 0)
        };
        let printing = print_all(&session, &mut printer, traffic.count, &mut received);
        let both = exchange(sending, printing, is_given, traffic.count.is_some());
        tokio::select! {
            ended = overall.run(both) => ended
                .unwrap_or_else(|| Err(Failure::timed_out(session.explain("the time was up")))),
            () = interrupt.wait() => Ok(()),
        }
    };
    let ended = judge(ended, traffic.count, received);
    finish(session, &input, None, ended).await
}

/// Runs both directions until neither has anything left to do.
async fn exchange(
    sending: impl Future<Output = Outcome<bool>>,
    printing: impl Future<Output = Outcome>,
    is_given: bool,
    counts: bool,
) -> Outcome {
    let mut sending = std::pin::pin!(sending);
    let mut printing = std::pin::pin!(printing);
    tokio::select! {
        sent = &mut sending => match sent? {
            // All was sent, and nothing is waited for.
            true if !counts => Ok(()),
            _ => printing.await,
        },
        // What came suffices; of stdin no more is read.
        printed = &mut printing => match printed {
            Ok(()) if is_given => sending.await.map(|_| ()),
            printed => printed,
        },
    }
}
