//! What members tell each other about a member.
//!
//! ```text
//!  octet   0    peer tag
//!         16    incarnation: u32
//!         20    state: 0 alive, 1 suspected, 2 dead, 3 left
//!         21
//! ```
//!
//! Updates are not signed: a member that lies about another is refuted by it, at the cost of a few
//! messages.

use crate::peer::PeerTag;
use withy_proto::fields::Fields;

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is.
    Alive,
    /// It was not heard lately.
    Suspected,
    /// It was not heard for three heartbeats, and nobody else heard it either.
    Dead,
    /// It said that it leaves.
    Left,
}

impl State {
    /// Whether it is taken for gone.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Dead | Self::Left)
    }
}

/// News about a member. Of two, the one of the higher incarnation holds, then the worse one; only
/// the member itself raises its incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// About whom.
    pub peer: PeerTag,
    /// How often it refuted that it is gone.
    pub incarnation: u32,
    /// What is said of it.
    pub state: State,
}

impl Update {
    /// The octets of its binary form.
    pub const SIZE: usize = PeerTag::SIZE + 4 + 1;

    /// Appends the binary form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.peer.as_octets());
        out.extend_from_slice(&self.incarnation.to_be_bytes());
        out.push(self.state as u8);
    }

    pub(crate) fn decode(reader: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            peer: PeerTag::from_octets(reader.array()?),
            incarnation: reader.u32()?,
            state: match reader.octet()? {
                0 => State::Alive,
                1 => State::Suspected,
                2 => State::Dead,
                3 => State::Left,
                _ => return None,
            },
        })
    }

    /// By which of two the newer one holds.
    pub(super) const fn rank(&self) -> (u32, u8) {
        (self.incarnation, self.state as u8)
    }
}
