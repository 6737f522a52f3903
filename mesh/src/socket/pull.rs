//! PULL: takes work (RFC 30).

use withy_proto::SocketType;

use super::{Owner, receives, socket};

/// Takes messages of its peers in turn (RFC 30).
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pull = withy::Pull::bind("tcp://127.0.0.1:*").await?;
/// # let push = withy::Push::connect(&pull.endpoints()[0])?;
/// # for n in 0..3 { push.send(n.to_string()).await?; }
/// let mut batch = Vec::new();
/// while batch.len() < 3 {
///     // Waits for the first, then takes what else is there.
///     pull.recv_many(&mut batch, 64).await?;
/// }
/// assert_eq!(batch[2].first(), "2");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pull {
    owner: Owner,
}

socket!(Pull, SocketType::Pull);
receives!(Pull);

impl Pull {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}
