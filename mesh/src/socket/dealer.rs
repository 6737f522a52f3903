//! DEALER: asks many at once (RFC 28).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Sends to its peers in turn and takes what they send, without envelopes of its own (RFC 28).
/// Towards a REP, start a request with an empty frame, and expect one in front of the reply.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Dealer, Message, Rep};
///
/// let rep = Rep::bind("tcp://127.0.0.1:*").await?;
/// let dealer = Dealer::connect(&rep.endpoints()[0])?;
/// dealer.send(Message::from_iter(["", "first"])).await?;
/// dealer.send(Message::from_iter(["", "second"])).await?;
/// for expected in ["first", "second"] {
///     let request = rep.recv().await?;
///     assert_eq!(request.message().first(), expected);
///     request.reply("done").await?;
/// }
/// assert_eq!(dealer.recv().await?, Message::from_iter(["", "done"]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Dealer {
    owner: Owner,
}

socket!(Dealer, SocketType::Dealer);
sends!(Dealer);
receives!(Dealer);

impl Dealer {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}
