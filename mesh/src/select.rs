//! Receiving from several sockets at once, in turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use withy_proto::Message;

use crate::driver::receive::Nothing;
use crate::error::ReceiveError;
use crate::socket::{Owner, ReceivesAny};

/// Receives from several sockets, none of which can starve another.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (orders, alarms) = (withy::Pull::new(), withy::Subscriber::new());
/// let orders_at = orders.bind_to("tcp://127.0.0.1:0").await?;
/// # withy::Push::connect(orders_at)?.send("one").await?;
/// let mut select = withy::Select::new().with(&orders).with(&alarms);
/// let (index, message) = select.recv().await?;
/// assert_eq!(index, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Select {
    owners: Vec<Owner>,
    next: usize,
}

impl Select {
    /// Selects from nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket; its index is the number of those before it.
    #[must_use]
    pub fn with(mut self, socket: &impl ReceivesAny) -> Self {
        self.owners.push(socket.owner().clone());
        self
    }

    /// Receives the next message of any socket, with the socket's index.
    ///
    /// # Errors
    /// A socket is closed, or there is none.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub async fn recv(&mut self) -> Result<(usize, Message), ReceiveError> {
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        loop {
            match self.try_next() {
                Ok(received) => return Ok(received),
                Err(Nothing::Yield) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(Nothing::Closed) => return Err(ReceiveError::Closed),
                // Looks again once it waits: what came in between may have been told to nobody.
                Err(Nothing::Empty) if waits.is_empty() => {
                    for owner in &self.owners {
                        waits.push(Box::pin(owner.core().ready.waiting()));
                    }
                    continue;
                }
                Err(Nothing::Empty) => {}
            }
            poll_fn(|cx| {
                let woken = waits
                    .iter_mut()
                    .any(|wait| wait.as_mut().poll(cx).is_ready());
                if woken {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            waits.clear();
        }
    }

    fn try_next(&mut self) -> Result<(usize, Message), Nothing> {
        let count = self.owners.len();
        if count == 0 {
            return Err(Nothing::Closed);
        }
        let mut nothing = Nothing::Empty;
        for at in 0..count {
            let index = (self.next + at) % count;
            let mut message = Message::new();
            match self.owners[index].core().try_receive(&mut message) {
                Ok(_) => {
                    self.next = index + 1;
                    return Ok((index, message));
                }
                Err(Nothing::Closed) => return Err(Nothing::Closed),
                Err(Nothing::Empty) => {}
                // It may have more; the others have their turn first.
                Err(Nothing::Yield) => nothing = Nothing::Yield,
            }
        }
        Err(nothing)
    }
}
