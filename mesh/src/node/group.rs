//! Groups: nodes that talk among themselves, to all or to one (RFC 36's shout and whisper).
//!
//! Whoever is in a group has a link to each other node in it, which of the two the one with the lower
//! tag makes.
//!
//! Invariant: who sent something is what the handshake proved.

use std::collections::BTreeSet;
use std::sync::Arc;

use withy_discovery::{Kind, PeerTag};
use withy_proto::{Message, SocketType};

use super::error::NameError;
use super::interest::Wants;
use super::{Node, links};
use crate::driver::core::Phase;
use crate::error::{Closed, ReceiveError, SendError};
use crate::socket::Owner;
use crate::stats::Stats;

/// A group that this node is in, until all handles of it are dropped.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = withy::Home::at(folder.path().join("home"));
/// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
/// # let (one, two) = (open().build().await?, open().build().await?);
/// let (ada, bob) = (one.join("chat")?, two.join("chat")?);
/// ada.wait_members(1).await?;
/// assert_eq!(ada.shout("hello, all"), 1);
/// let heard = bob.recv().await?;
/// assert_eq!(heard.message.first(), "hello, all");
/// bob.whisper(heard.from, "hello, ada")?;
/// assert_eq!(ada.recv().await?.message.first(), "hello, ada");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Group(Arc<Joined>);

#[derive(Debug)]
struct Joined {
    name: Box<str>,
    socket: Owner,
}

/// Something that was said in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// Who said it.
    pub from: PeerTag,
    /// What.
    pub message: Message,
}

impl Group {
    pub(super) fn new(node: &Node, name: &str) -> Result<Self, NameError> {
        let shared = node.shared();
        let mut options = shared.options();
        options.remember_departed = true;
        let socket = shared.socket(SocketType::Dealer, options);
        node.put(&socket, Kind::Group, name)?;
        node.seek_by(&socket, Wants::Group(name.into()));
        let name = name.into();
        Ok(Self(Arc::new(Joined { name, socket })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The other nodes in the group that there is a link to.
    pub fn members(&self) -> Vec<PeerTag> {
        let links = self.0.socket.core().links();
        let tags = links.iter().filter_map(|(_, info)| links::tag_of(info));
        tags.collect()
    }

    /// Waits until there are links to at least so many others.
    ///
    /// Waits for ever if there never are; put a timeout around it.
    ///
    /// # Errors
    /// The node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_members(&self, members: usize) -> Result<(), Closed> {
        self.0.socket.wait_peers(members).await
    }

    /// Waits until there are links to others than these, and returns to whom. Whoever came and left in
    /// between is not told.
    ///
    /// # Errors
    /// The node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_changed(
        &self,
        known: &BTreeSet<PeerTag>,
    ) -> Result<BTreeSet<PeerTag>, Closed> {
        let core = self.0.socket.core();
        let (mut links, mut phase) = (core.peers.subscribe(), core.phase.subscribe());
        loop {
            let members: BTreeSet<PeerTag> = self.members().into_iter().collect();
            if members != *known {
                return Ok(members);
            }
            tokio::select! {
                changed = links.changed() => changed.map_err(|_| Closed)?,
                _ = phase.wait_for(|phase| *phase != Phase::Open) => return Err(Closed),
            }
        }
    }

    /// Says something to all others in the group, and returns to how many. Who has no room misses it,
    /// and that is counted.
    pub fn shout(&self, message: impl Into<Message>) -> usize {
        let message = message.into();
        let core = self.0.socket.core();
        let links = core.links();
        let said = |key| core.try_send_to(key, &mut message.clone()).is_ok();
        let reached = links.iter().filter(|(key, _)| said(*key)).count();
        core.count_dropped(links.len() - reached);
        reached
    }

    /// Says something to one other in the group.
    ///
    /// # Errors
    /// There is no link to it, or it has no room. The message comes back.
    pub fn whisper(&self, to: PeerTag, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = message.into();
        let core = self.0.socket.core();
        let links = core.links();
        let link = links
            .iter()
            .find(|(_, info)| links::tag_of(info) == Some(to));
        let Some((key, _)) = link else {
            return Err(SendError::Unroutable(message));
        };
        let sent = core.try_send_to(*key, &mut message);
        sent.map_err(|rejected| rejected.with(message))
    }

    /// Receives what was said next, of the others in turn.
    ///
    /// # Errors
    /// The node is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub async fn recv(&self) -> Result<Heard, ReceiveError> {
        loop {
            let (message, key) = self.0.socket.recv_from().await?;
            // Of whom has long left nobody knows who it was.
            let sender = self.0.socket.core().sender(key.0);
            match sender.and_then(|info| links::tag_of(&info)) {
                Some(from) => return Ok(Heard { from, message }),
                None => self.0.socket.core().count_dropped(1),
            }
        }
    }

    /// The counters of its links together.
    pub fn stats(&self) -> Stats {
        self.0.socket.stats()
    }
}
