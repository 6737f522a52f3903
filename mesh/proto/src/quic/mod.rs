//! How the messages of a link are spread over the streams of a QUIC connection, and put in order
//! again.
//!
//! | stream | carries |
//! |---|---|
//! | control: one in both directions, opened with the link | the handshake, then commands |
//! | lane: one in each direction, or up to [`LANES`] where the sender gives order up | messages, as frames (RFC 37 §3.2) |
//! | large: one for each message of [`LARGE`] octets or more | the frames of that message |
//!
//! Streams but the control stream begin with a [`Header`]. The sender decides whether order is kept, and
//! each header says so: it is the same for all streams of a link in one direction.
//!
//! Lane 0 announces every other stream: where a large message belongs among the others it has the
//! [mark] with the number of the message, counted from 0 in each direction, and before
//! another lane's first message [its number]. So whoever has read lane 0 to its end
//! knows what else there is.
//!
//! On the control stream commands wait for no message, nor one link for what another lost. In order,
//! messages of one link come as they were sent. Out of order, each comes when it is there: what one
//! lane lost holds nothing up on the others, and large messages pass small ones.
//!
//! A receiver says on the control stream by [`TAKEN`] how many messages it has given out, and how many
//! large ones it has read: with each large message, after [`RECEIPT`] others, and when it is asked with
//! a PING. What waits for another message is not given out until the link is lost. No more than
//! [`MAX_LARGE`] large messages are sent beyond those that were read, so that what is not read of one
//! link leaves room for the others of its connection.
//!
//! Invariant: what [`Order`] gives out in order is what was sent, in that order, each once.
//!
//! [mark]: crate::zmtp::Command::Large
//! [its number]: crate::zmtp::Command::Lane
//! [`TAKEN`]: crate::zmtp::Command::Taken

use crate::message::Message;

mod order;
mod spread;

pub use order::{Order, OrderError};
pub use spread::Spread;

/// Messages of at least this many octets have a stream of their own. A stream costs both sides a little,
/// and the sender waits until large messages are read; what is smaller takes 10 ms of 200 Mbit/s.
pub const LARGE: usize = 256 * 1024;

/// Lanes of one link and direction where order is given up.
pub const LANES: usize = 4;

/// Large messages of one link and direction that are under way at a time and not read whole, and that
/// may be read before their marks are; the next one waits.
pub const MAX_LARGE: usize = 4;

/// Messages that wait behind a large one, after which no more are read.
pub const MAX_WAITING: usize = 1_000;

/// Octets that wait behind a large message, after which no more are read.
pub const MAX_WAITING_OCTETS: usize = 4 * 1024 * 1024;

/// Small messages that are given out before their sender is told of it.
pub const RECEIPT: u64 = 64;

/// Whether a message has a stream of its own.
#[inline]
pub fn is_large(message: &Message) -> bool {
    message.size() >= LARGE
}

/// Which links are sent first of those that share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// How a stream begins: what it carries, and for which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the link's control stream on its connection.
    pub link: u64,
    /// Whether the link keeps the order of messages in this direction.
    pub ordered: bool,
    /// What the stream carries.
    pub carries: Carries,
}

/// What a stream for messages carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Messages, one after the other: the lane of this number, below [`LANES`].
    Lane(usize),
    /// The large message of this number.
    Large(u64),
}

/// In the first octet of a header: a large message.
const IS_LARGE: u8 = 1;
/// As well: order is given up.
const UNORDERED: u8 = 2;

impl Header {
    /// The octets of a header.
    pub const SIZE: usize = 17;

    /// `kind (1 octet)  link (8)  number (8, of the lane or the large message)`, big-endian. Of the
    /// kind, bit 0 is set for a large message, and bit 1 where order is given up.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let (kind, number) = match self.carries {
            Carries::Lane(number) => (0, number as u64),
            Carries::Large(number) => (IS_LARGE, number),
        };
        let mut octets = [0; Self::SIZE];
        octets[0] = if self.ordered { kind } else { kind | UNORDERED };
        octets[1..9].copy_from_slice(&self.link.to_be_bytes());
        octets[9..].copy_from_slice(&number.to_be_bytes());
        octets
    }

    /// Reads a header; `None` when there is no such stream.
    pub fn decode(octets: &[u8; Self::SIZE]) -> Option<Self> {
        let (&kind, numbers) = octets.split_first()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [link, number] = [numbers[0], numbers[1]].map(u64::from_be_bytes);
        let ordered = kind & UNORDERED == 0;
        let lanes = if ordered { 1 } else { LANES };
        let carries = match kind & !UNORDERED {
            0 => Carries::Lane(usize::try_from(number).ok().filter(|&lane| lane < lanes)?),
            IS_LARGE => Carries::Large(number),
            _ => return None,
        };
        Some(Self {
            link,
            ordered,
            carries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_other_kinds_are_none() {
        let header = |link, ordered, carries| Header {
            link,
            ordered,
            carries,
        };
        for header in [
            header(7, true, Carries::Lane(0)),
            header(7, false, Carries::Lane(LANES - 1)),
            header(u64::MAX, true, Carries::Large(0)),
            header(0, false, Carries::Large(u64::MAX)),
        ] {
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
        for kind in 4..=255 {
            assert_eq!(Header::decode(&[kind; Header::SIZE]), None);
        }
        for (ordered, lane) in [(true, 1), (false, LANES), (false, usize::MAX)] {
            let wrong = header(0, ordered, Carries::Lane(lane)).encode();
            assert_eq!(Header::decode(&wrong), None, "lane {lane}");
        }
    }
}
