//! How the messages of a link are spread over the streams of a QUIC connection, and put in order
//! again.
//!
//! | stream | carries |
//! |---|---|
//! | control: one in both directions, opened with the link | the handshake, then commands |
//! | data: one in each direction | messages, as frames (RFC 37 §3.2) |
//! | large: one for each message of [`LARGE`] octets or more | the frames of that message |
//!
//! Where a large message belongs among the others, the data stream has a mark: a command whose name is
//! `LARGE.` and the number of the message, counted from 0 in each direction. On the wire commands
//! do not wait for messages, nor one link for what another lost; messages of one link come in the order
//! in which they were sent, unless nobody promised that. Before that, a command waits its turn behind
//! what its link was given to send.
//!
//! Streams but the control stream begin with a [`Header`].
//!
//! Who has read a large message whole says so on the control stream, by a command whose name is
//! `TAKEN.` and how many there were. No more than [`MAX_LARGE`] are sent beyond those, so that what is
//! not read of one link leaves room for the others of its connection.
//!
//! Invariant: what [`Order`] gives out in order is what was sent, in that order, each once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::message::Message;
use crate::zmtp::{Command, Item};

/// Messages of at least this many octets have a stream of their own.
pub const LARGE: usize = 64 * 1024;

/// Large messages of one link and direction that are under way at a time and not read whole, and that
/// may be read before their marks are; the next one waits.
pub const MAX_LARGE: usize = 4;

/// Messages that wait behind a large one, after which no more are read.
pub const MAX_WAITING: usize = 1_000;

/// Octets that wait behind a large message, after which no more are read.
pub const MAX_WAITING_OCTETS: usize = 4 * 1024 * 1024;

/// What the name of a mark starts with.
const MARK: &str = "LARGE.";

/// What the name of a receipt starts with.
const RECEIPT: &str = "TAKEN.";

/// How a stream begins: what it carries, and for which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the link's control stream on its connection.
    pub link: u64,
    /// The number of the large message; `None` on a data stream.
    pub large: Option<u64>,
}

impl Header {
    /// The octets of a header.
    pub const SIZE: usize = 17;

    /// `kind (1 octet: 0 data, 1 large)  link (8)  number (8, of a large message)`, big-endian.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        octets[0] = u8::from(self.large.is_some());
        octets[1..9].copy_from_slice(&self.link.to_be_bytes());
        octets[9..].copy_from_slice(&self.large.unwrap_or(0).to_be_bytes());
        octets
    }

    /// Reads a header; `None` when there is no such kind of stream.
    pub fn decode(octets: &[u8; Self::SIZE]) -> Option<Self> {
        let (kind, numbers) = octets.split_first()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [link, number] = [numbers[0], numbers[1]].map(u64::from_be_bytes);
        let large = match (kind, number) {
            (0, 0) => None,
            (1, number) => Some(number),
            _ => return None,
        };
        Some(Self { link, large })
    }
}

/// The stream on which something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The control stream.
    Control,
    /// The data stream.
    Data,
    /// A stream of its own, with this number; its [`mark`] goes onto the data stream.
    Large(u64),
}

/// Chooses the streams of what is sent.
#[derive(Debug, Default)]
pub struct Spread {
    larges: u64,
}

impl Spread {
    /// Large messages that were given streams.
    pub fn larges(&self) -> u64 {
        self.larges
    }

    /// The stream of the next item.
    pub fn lane(&mut self, item: &Item) -> Lane {
        match item {
            Item::Command(_) => Lane::Control,
            Item::Message(message) if message.size() >= LARGE => {
                let number = self.larges;
                self.larges += 1;
                Lane::Large(number)
            }
            Item::Message(_) => Lane::Data,
        }
    }
}

/// What stands on the data stream for a large message.
pub fn mark(number: u64) -> Command {
    Command::Unknown {
        name: format!("{MARK}{number}"),
    }
}

/// What stands on the control stream for large messages that were read whole.
pub fn receipt(count: u64) -> Command {
    Command::Unknown {
        name: format!("{RECEIPT}{count}"),
    }
}

/// How many large messages the peer has read whole, where that is what an item says.
pub fn receipted(item: &Item) -> Option<u64> {
    match item {
        Item::Command(command) => numbered(command, RECEIPT),
        Item::Message(_) => None,
    }
}

fn numbered(command: &Command, what: &str) -> Option<u64> {
    match command {
        Command::Unknown { name } => name.strip_prefix(what)?.parse().ok(),
        _ => None,
    }
}

/// Puts what arrives on several streams in order.
#[derive(Debug)]
pub struct Order {
    /// Whether the order is kept.
    keeps: bool,
    /// What is not given out yet; at its front is a large message that did not arrive.
    queue: VecDeque<Slot>,
    octets: usize,
    /// The number of the next mark.
    marks: u64,
    /// Large messages that came before their marks.
    early: BTreeMap<u64, Message>,
    /// Large messages that were given out before their marks came.
    arrived: BTreeSet<u64>,
}

#[derive(Debug)]
enum Slot {
    There(Message),
    Awaited(u64),
}

/// A peer broke the rules of this module. It misbehaved; the link closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A mark is not the next one.
    #[error("peer sent the mark of large message {found} where {due} was due")]
    Mark {
        /// Its number.
        found: u64,
        /// What was due.
        due: u64,
    },
    /// A large message has a number that another had, or was not [admitted](Order::admits).
    #[error("peer sent large message {number} out of turn")]
    Number {
        /// Its number.
        number: u64,
    },
    /// Something else than a message is on a stream for messages.
    #[error("peer sent a command on a stream for messages")]
    Command,
}

impl Order {
    /// Keeps the order of messages, or gives each out when it is there.
    pub fn new(keeps: bool) -> Self {
        Self {
            keeps,
            queue: VecDeque::new(),
            octets: 0,
            marks: 0,
            early: BTreeMap::new(),
            arrived: BTreeSet::new(),
        }
    }

    /// Takes what the data stream brought, and gives out what it can.
    ///
    /// # Errors
    /// The peer broke the rules.
    pub fn data(&mut self, item: Item, out: &mut VecDeque<Item>) -> Result<(), OrderError> {
        let message = match item {
            Item::Message(message) => message,
            Item::Command(command) => {
                let number = numbered(&command, MARK).ok_or(OrderError::Command)?;
                return self.mark(number, out);
            }
        };
        if self.queue.is_empty() || !self.keeps {
            out.push_back(Item::Message(message));
        } else {
            self.octets += message.footprint();
            self.queue.push_back(Slot::There(message));
        }
        Ok(())
    }

    fn mark(&mut self, number: u64, out: &mut VecDeque<Item>) -> Result<(), OrderError> {
        if number != self.marks {
            let due = self.marks;
            return Err(OrderError::Mark { found: number, due });
        }
        self.marks += 1;
        if self.arrived.remove(&number) {
            return Ok(());
        }
        match self.early.remove(&number) {
            Some(message) if self.queue.is_empty() => out.push_back(Item::Message(message)),
            Some(message) => {
                self.octets += message.footprint();
                self.queue.push_back(Slot::There(message));
            }
            None => self.queue.push_back(Slot::Awaited(number)),
        }
        Ok(())
    }

    /// Takes a large message, and gives out what it can.
    ///
    /// # Errors
    /// The peer broke the rules.
    pub fn large(
        &mut self,
        number: u64,
        message: Message,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        let refused = OrderError::Number { number };
        if number >= self.marks {
            // Its mark is on its way behind it.
            let known = self.early.contains_key(&number) || self.arrived.contains(&number);
            if known || !self.admits(number) {
                return Err(refused);
            }
            if self.keeps {
                self.early.insert(number, message);
            } else {
                self.arrived.insert(number);
                out.push_back(Item::Message(message));
            }
            return Ok(());
        }
        let awaited = |slot: &Slot| matches!(slot, Slot::Awaited(awaited) if *awaited == number);
        let at = self.queue.iter().position(awaited).ok_or(refused)?;
        if !self.keeps {
            self.queue.remove(at);
            out.push_back(Item::Message(message));
            return Ok(());
        }
        self.octets += message.footprint();
        self.queue[at] = Slot::There(message);
        while let Some(Slot::There(_)) = self.queue.front() {
            if let Some(Slot::There(message)) = self.queue.pop_front() {
                self.octets -= message.footprint();
                out.push_back(Item::Message(message));
            }
        }
        Ok(())
    }

    /// Whether a large message may be read already: few run ahead of their marks.
    pub fn admits(&self, number: u64) -> bool {
        number < self.marks.saturating_add(MAX_LARGE as u64)
    }

    /// Whether so much waits for a large message that the data stream has to wait, too.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_WAITING || self.octets >= MAX_WAITING_OCTETS
    }

    /// Whether nothing is missing of what was announced.
    pub fn is_complete(&self) -> bool {
        self.queue.is_empty() && self.early.is_empty()
    }

    /// Octets that wait.
    pub fn held(&self) -> usize {
        let early = self.early.values().map(Message::footprint);
        self.octets + early.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    fn message(number: usize, large: bool) -> Message {
        let mut octets = number.to_be_bytes().to_vec();
        if large {
            octets.resize(LARGE, 0);
        }
        Message::from(octets)
    }

    fn number(item: &Item) -> usize {
        match item {
            Item::Message(message) => {
                let octets = message.first().as_slice();
                usize::from_be_bytes(octets[..8].try_into().unwrap())
            }
            Item::Command(command) => panic!("{command:?}"),
        }
    }

    #[test]
    fn headers_round_trip_and_other_kinds_are_none() {
        for header in [
            Header {
                link: 7,
                large: None,
            },
            Header {
                link: u64::MAX,
                large: Some(0),
            },
            Header {
                link: 0,
                large: Some(9),
            },
        ] {
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
        for kind in 2..=255 {
            assert_eq!(Header::decode(&[kind; Header::SIZE]), None);
        }
        assert_eq!(
            Header::decode(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            None
        );
    }

    /// Data streams and large messages arrive in any order among each other.
    #[test]
    fn what_was_sent_comes_in_order_or_at_once() {
        for (seed, keeps) in (0..200).flat_map(|seed| [(seed, true), (seed, false)]) {
            let mut random = Seeded::new(seed);
            let mut spread = Spread::default();
            let (mut data, mut large) = (VecDeque::new(), VecDeque::new());
            let mut order = Order::new(keeps);
            let mut out = VecDeque::new();
            let (mut sent, total) = (0, 100);
            while out.len() < total {
                if sent < total && large.len() < MAX_LARGE && random.next_u64().is_multiple_of(2) {
                    let item = Item::Message(message(sent, random.next_u64().is_multiple_of(4)));
                    sent += 1;
                    match spread.lane(&item) {
                        Lane::Data => data.push_back(item),
                        Lane::Large(number) => {
                            data.push_back(Item::Command(Box::new(mark(number))));
                            large.push_back((number, item));
                        }
                        Lane::Control => panic!("it is a message"),
                    }
                }
                if random.next_u64().is_multiple_of(2)
                    && !order.is_full()
                    && let Some(item) = data.pop_front()
                {
                    order.data(item, &mut out).unwrap();
                }
                if random.next_u64().is_multiple_of(3) && !large.is_empty() {
                    let at = random.next_u64() as usize % large.len();
                    if !order.admits(large[at].0) {
                        continue;
                    }
                    let (number, item) = large.remove(at).unwrap();
                    let Item::Message(message) = item else {
                        panic!("it is a message");
                    };
                    order.large(number, message, &mut out).unwrap();
                }
            }
            let mut numbers: Vec<usize> = out.iter().map(number).collect();
            if !keeps {
                numbers.sort_unstable();
            }
            assert!(numbers.iter().copied().eq(0..total), "seed {seed}");
            while let Some(item) = data.pop_front() {
                order.data(item, &mut out).unwrap();
            }
            assert!(order.is_complete() && order.held() == 0);
        }
    }

    #[test]
    fn who_breaks_the_rules_is_told_which() {
        let mut out = VecDeque::new();
        for keeps in [true, false] {
            let mut order = Order::new(keeps);
            let mark = |number| Item::Command(Box::new(mark(number)));
            let wrong = OrderError::Mark { found: 1, due: 0 };
            assert_eq!(order.data(mark(1), &mut out), Err(wrong));
            let ping = Item::Command(Box::new(Command::Unknown {
                name: "HICCUP".to_owned(),
            }));
            assert_eq!(order.data(ping, &mut out), Err(OrderError::Command));
            order.large(0, message(0, true), &mut out).unwrap();
            order.data(mark(0), &mut out).unwrap();
            for number in [0, MAX_LARGE as u64 + 1] {
                let refused = Err(OrderError::Number { number });
                assert_eq!(order.large(number, message(0, true), &mut out), refused);
            }
        }
    }

    #[test]
    fn few_messages_wait_behind_a_large_one() {
        let mut order = Order::new(true);
        let mut out = VecDeque::new();
        order
            .data(Item::Command(Box::new(mark(0))), &mut out)
            .unwrap();
        let mut waiting = 0;
        while !order.is_full() {
            let item = Item::Message(message(waiting, false));
            order.data(item, &mut out).unwrap();
            waiting += 1;
        }
        assert_eq!((waiting, out.len()), (MAX_WAITING - 1, 0));
        order.large(0, message(0, true), &mut out).unwrap();
        assert_eq!(out.len(), MAX_WAITING);
        assert!(!order.is_full() && order.is_complete());
    }
}
