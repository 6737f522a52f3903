//! PAIR: talks to exactly one peer (RFC 31).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Talks to exactly one peer (RFC 31). A second one is refused, and comes back until the first is
/// gone.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let here = withy::Pair::bind("inproc://control").await?;
/// let there = withy::Pair::connect("inproc://control")?;
/// here.send("start").await?;
/// assert_eq!(there.recv().await?.first(), "start");
/// there.send("started").await?;
/// assert_eq!(here.recv().await?.first(), "started");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pair {
    owner: Owner,
}

socket!(Pair, SocketType::Pair);
sends!(Pair);
receives!(Pair);

impl Pair {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}
