//! What arrives on several streams, put in order again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Carries, Header, LANES, MAX_LARGE, MAX_WAITING, MAX_WAITING_OCTETS};
use crate::message::Message;
use crate::zmtp::{Command, Item};

/// Puts what arrives on several streams in order, or gives it out as it comes.
#[derive(Debug, Default)]
pub struct Order {
    /// Whether the order is kept, once a stream has said it.
    ordered: Option<bool>,
    lanes: [Lane; LANES],
    /// What is not given out yet; at its front is a large message that did not arrive.
    queue: VecDeque<Slot>,
    octets: usize,
    /// The number of the next mark.
    marks: u64,
    /// Large messages that came before their marks.
    early: BTreeMap<u64, Message>,
    /// Large messages that were given out before their marks came.
    arrived: BTreeSet<u64>,
    /// Messages that were given out.
    messages: u64,
    /// Large messages that were read.
    larges: u64,
}

/// What is known of a lane.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    arrived: bool,
    announced: bool,
    ended: bool,
}

#[derive(Debug)]
enum Slot {
    There(Message),
    Awaited(u64),
}

/// A peer broke the rules of [several streams](super). It misbehaved; the link closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A mark is not the next one, or too many large messages are under way.
    #[error("peer sent the mark of large message {found} where {due} was due")]
    Mark {
        /// Its number.
        found: u64,
        /// What was due.
        due: u64,
    },
    /// A large message has a number that another had, or is further ahead than it may be.
    #[error("peer sent large message {number} out of turn")]
    Number {
        /// Its number.
        number: u64,
    },
    /// A lane was opened or announced twice, or cannot be: in order there is but one.
    #[error("peer named lane {number} out of turn")]
    Lane {
        /// Its number.
        number: u64,
    },
    /// One stream says that order is kept, and another that it is not.
    #[error("peer sent streams in order and out of order on one link")]
    Mixed,
    /// Something else than a message is on a stream for messages.
    #[error("peer sent a command on a stream for messages")]
    Command,
}

impl Order {
    /// Takes a stream in that the peer opened.
    ///
    /// # Errors
    /// The peer broke the rules.
    pub fn open(&mut self, header: Header) -> Result<(), OrderError> {
        if *self.ordered.get_or_insert(header.ordered) != header.ordered {
            return Err(OrderError::Mixed);
        }
        match header.carries {
            Carries::Lane(number) => {
                let lane = self.lanes.get_mut(number);
                let fresh = lane.is_some_and(|lane| !std::mem::replace(&mut lane.arrived, true));
                let number = number as u64;
                fresh.then_some(()).ok_or(OrderError::Lane { number })
            }
            Carries::Large(number) if self.may_be_under_way(number) && self.is_missing(number) => {
                Ok(())
            }
            Carries::Large(number) => Err(OrderError::Number { number }),
        }
    }

    /// Whether no large message of this number was read yet.
    fn is_missing(&self, number: u64) -> bool {
        if number >= self.marks {
            return !self.early.contains_key(&number) && !self.arrived.contains(&number);
        }
        self.awaited(number).is_some()
    }

    /// Where a large message belongs whose mark came.
    fn awaited(&self, number: u64) -> Option<usize> {
        let is = |slot: &Slot| matches!(slot, Slot::Awaited(awaited) if *awaited == number);
        self.queue.iter().position(is)
    }

    /// Whether the sender may have sent this many large messages beyond those that were read.
    fn may_be_under_way(&self, number: u64) -> bool {
        number < self.larges.saturating_add(MAX_LARGE as u64)
    }

    /// Takes what a lane brought, and gives out what it can.
    ///
    /// # Errors
    /// The peer broke the rules.
    #[inline]
    pub fn data(
        &mut self,
        lane: usize,
        item: Item,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        let message = match item {
            Item::Message(message) => message,
            Item::Command(command) => return self.announced(lane, &command, out),
        };
        if self.queue.is_empty() || !self.keeps() {
            self.give(message, out);
        } else {
            self.octets += message.footprint();
            self.queue.push_back(Slot::There(message));
        }
        Ok(())
    }

    #[inline]
    fn give(&mut self, message: Message, out: &mut VecDeque<Item>) {
        self.messages += 1;
        out.push_back(Item::Message(message));
    }

    /// Whether order is kept. Nothing comes before the first stream is open.
    #[inline]
    fn keeps(&self) -> bool {
        self.ordered != Some(false)
    }

    fn announced(
        &mut self,
        lane: usize,
        command: &Command,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        match *command {
            Command::Large(number) if lane == 0 => self.mark(number, out),
            Command::Lane(number) if lane == 0 => {
                let lane = usize::try_from(number).ok();
                let lane = lane.filter(|&lane| lane > 0 && !self.keeps());
                let lane = lane.and_then(|lane| self.lanes.get_mut(lane));
                let fresh = lane.is_some_and(|lane| !std::mem::replace(&mut lane.announced, true));
                fresh.then_some(()).ok_or(OrderError::Lane { number })
            }
            _ => Err(OrderError::Command),
        }
    }

    fn mark(&mut self, number: u64, out: &mut VecDeque<Item>) -> Result<(), OrderError> {
        if number != self.marks || !self.may_be_under_way(number) {
            let due = self.marks;
            return Err(OrderError::Mark { found: number, due });
        }
        self.marks += 1;
        if self.arrived.remove(&number) {
            return Ok(());
        }
        match self.early.remove(&number) {
            Some(message) if self.queue.is_empty() => self.give(message, out),
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
        if !self.admits(number) || !self.is_missing(number) {
            return Err(OrderError::Number { number });
        }
        self.larges += 1;
        let at = self.awaited(number);
        if !self.keeps() {
            if at.and_then(|at| self.queue.remove(at)).is_none() {
                self.arrived.insert(number);
            }
            self.give(message, out);
        } else if let Some(at) = at {
            self.octets += message.footprint();
            self.queue[at] = Slot::There(message);
            self.give_out(out);
        } else {
            // Its mark is on its way behind it.
            self.early.insert(number, message);
        }
        Ok(())
    }

    fn give_out(&mut self, out: &mut VecDeque<Item>) {
        while let Some(Slot::There(_)) = self.queue.front() {
            if let Some(Slot::There(message)) = self.queue.pop_front() {
                self.octets -= message.footprint();
                self.give(message, out);
            }
        }
    }

    /// Gives out all that waits, in order, without the large messages that it waits for: the link is
    /// lost, and they will not come.
    pub fn give_up(&mut self, out: &mut VecDeque<Item>) {
        let waiting = std::mem::take(&mut self.queue).into_iter();
        let there = waiting.filter_map(|slot| match slot {
            Slot::There(message) => Some(message),
            Slot::Awaited(_) => None,
        });
        let early = std::mem::take(&mut self.early).into_values();
        self.octets = 0;
        for message in there.chain(early) {
            self.give(message, out);
        }
    }

    /// Notes the end of a lane.
    pub fn end(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.ended = true;
        }
    }

    /// Whether a large message may be read already: few run ahead of their marks.
    pub fn admits(&self, number: u64) -> bool {
        number < self.marks.saturating_add(MAX_LARGE as u64)
    }

    /// Whether so much waits for a large message that the lanes have to wait, too.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_WAITING || self.octets >= MAX_WAITING_OCTETS
    }

    /// Whether lane 0 was read to its end, and nothing is missing of what it announced.
    pub fn is_complete(&self) -> bool {
        let due = |lane: &Lane| (lane.arrived || lane.announced) && !lane.ended;
        let lanes = self.lanes[0].ended && !self.lanes.iter().any(due);
        lanes && self.queue.is_empty() && self.early.is_empty()
    }

    /// Messages that were given out, of all sizes.
    #[inline]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Large messages that were read.
    #[inline]
    pub fn larges(&self) -> u64 {
        self.larges
    }

    /// Octets that wait.
    pub fn held(&self) -> usize {
        let early = self.early.values().map(Message::footprint);
        self.octets + early.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LARGE, Spread, is_large};
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

    fn command(command: Command) -> Item {
        Item::Command(Box::new(command))
    }

    fn header(ordered: bool, carries: Carries) -> Header {
        Header {
            link: 0,
            ordered,
            carries,
        }
    }

    fn opened(ordered: bool) -> Order {
        let mut order = Order::default();
        order.open(header(ordered, Carries::Lane(0))).unwrap();
        order
    }

    /// Lanes and large messages arrive in any order among each other.
    #[test]
    fn what_was_sent_comes_in_order_or_at_once() {
        for (seed, ordered) in (0..200).flat_map(|seed| [(seed, true), (seed, false)]) {
            let mut random = Seeded::new(seed);
            let mut spread = Spread::new(ordered);
            let mut lanes = vec![VecDeque::new()];
            let mut large = VecDeque::new();
            let mut order = opened(ordered);
            let mut out = VecDeque::new();
            let (mut sent, total) = (0, 100);
            while out.len() < total {
                let few = spread.larges() < order.larges() + MAX_LARGE as u64;
                if sent < total && few && random.next_u64().is_multiple_of(2) {
                    let message = message(sent, random.next_u64().is_multiple_of(4));
                    sent += 1;
                    if is_large(&message) {
                        let number = spread.number_large();
                        lanes[0].push_back(command(Command::Large(number)));
                        large.push_back((number, message));
                    } else {
                        let lane = spread.lane(lanes.len(), |lane| lanes[lane].len());
                        spread.took(lane);
                        lanes[lane].push_back(Item::Message(message));
                    }
                }
                if lanes.len() < spread.max_lanes() && random.next_u64().is_multiple_of(8) {
                    let lane = lanes.len();
                    lanes[0].push_back(command(Command::Lane(lane as u64)));
                    lanes.push(VecDeque::new());
                    order.open(header(ordered, Carries::Lane(lane))).unwrap();
                }
                let lane = random.next_u64() as usize % lanes.len();
                // As often as something is sent: marks come late, too.
                if random.next_u64().is_multiple_of(2)
                    && !order.is_full()
                    && let Some(item) = lanes[lane].pop_front()
                {
                    order.data(lane, item, &mut out).unwrap();
                }
                if random.next_u64().is_multiple_of(3) && !large.is_empty() {
                    let at = random.next_u64() as usize % large.len();
                    if !order.admits(large[at].0) {
                        continue;
                    }
                    let (number, message) = large.remove(at).unwrap();
                    order.large(number, message, &mut out).unwrap();
                }
            }
            let mut numbers: Vec<usize> = out.iter().map(number).collect();
            if !ordered {
                numbers.sort_unstable();
            }
            assert!(numbers.iter().copied().eq(0..total), "seed {seed}");
            for (lane, items) in lanes.into_iter().enumerate().rev() {
                assert!(!order.is_complete());
                for item in items {
                    order.data(lane, item, &mut out).unwrap();
                }
                order.end(lane);
            }
            assert!(order.is_complete() && order.held() == 0);
            assert_eq!(
                (order.messages(), order.larges()),
                (total as u64, spread.larges())
            );
        }
    }

    #[test]
    fn who_breaks_the_rules_is_told_which() {
        let mut out = VecDeque::new();
        for ordered in [true, false] {
            let mut order = opened(ordered);
            let wrong = OrderError::Mark { found: 1, due: 0 };
            let mark = |number| command(Command::Large(number));
            assert_eq!(order.data(0, mark(1), &mut out), Err(wrong));
            let hiccup = command(Command::Unknown {
                name: "HICCUP".to_owned(),
            });
            assert_eq!(order.data(0, hiccup, &mut out), Err(OrderError::Command));
            assert_eq!(order.data(1, mark(0), &mut out), Err(OrderError::Command));
            order.large(0, message(0, true), &mut out).unwrap();
            order.data(0, mark(0), &mut out).unwrap();
            for number in [0, MAX_LARGE as u64 + 1] {
                let refused = Err(OrderError::Number { number });
                assert_eq!(order.large(number, message(0, true), &mut out), refused);
            }
            let far = MAX_LARGE as u64 + 1;
            // The first was read before.
            for number in [0, far] {
                assert_eq!(
                    order.open(header(ordered, Carries::Large(number))),
                    Err(OrderError::Number { number })
                );
            }
            assert_eq!(
                order.open(header(!ordered, Carries::Large(1))),
                Err(OrderError::Mixed)
            );
            assert_eq!(
                order.open(header(ordered, Carries::Lane(0))),
                Err(OrderError::Lane { number: 0 })
            );
            let announced = order.data(0, command(Command::Lane(1)), &mut out);
            assert_eq!(announced.is_ok(), !ordered);
            for number in [0, 1, LANES as u64, u64::MAX] {
                let refused = Err(OrderError::Lane { number });
                let named = command(Command::Lane(number));
                assert_eq!(order.data(0, named, &mut out), refused);
            }
            for number in 1..far {
                order.data(0, mark(number), &mut out).unwrap();
            }
            let wrong = OrderError::Mark {
                found: far,
                due: far,
            };
            assert_eq!(order.data(0, mark(far), &mut out), Err(wrong));
        }
    }

    #[test]
    fn a_lane_that_was_announced_is_waited_for() {
        let mut out = VecDeque::new();
        let mut order = opened(false);
        order.data(0, command(Command::Lane(1)), &mut out).unwrap();
        order.end(0);
        assert!(!order.is_complete());
        order.open(header(false, Carries::Lane(1))).unwrap();
        order.end(1);
        assert!(order.is_complete());
    }

    /// Numbers that were read are refused whether their marks came or not, or large messages could be
    /// under way without a limit.
    #[test]
    fn a_large_message_is_opened_once() {
        for (ordered, marked) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut order = opened(ordered);
            let mut out = VecDeque::new();
            let first = header(ordered, Carries::Large(0));
            assert_eq!(order.open(first), Ok(()));
            if marked {
                order.data(0, command(Command::Large(0)), &mut out).unwrap();
                assert_eq!(order.open(first), Ok(()), "it is still missing");
            }
            order.large(0, message(0, true), &mut out).unwrap();
            assert_eq!(order.open(first), Err(OrderError::Number { number: 0 }));
        }
    }

    #[test]
    fn what_waits_is_read_once_it_is_given_out_and_all_of_it_when_the_rest_is_lost() {
        let mut order = opened(true);
        let mut out = VecDeque::new();
        let mark = |number| command(Command::Large(number));
        let small = |number| Item::Message(message(number, false));
        for item in [small(0), mark(0), small(2), mark(1), small(4)] {
            order.data(0, item, &mut out).unwrap();
        }
        order.large(1, message(3, true), &mut out).unwrap();
        order.large(2, message(5, true), &mut out).unwrap();
        assert_eq!((order.messages(), order.larges(), out.len()), (1, 2, 1));
        order.give_up(&mut out);
        assert!(out.iter().map(number).eq([0, 2, 3, 4, 5]));
        assert_eq!((order.messages(), order.held()), (5, 0));
    }

    #[test]
    fn few_messages_wait_behind_a_large_one() {
        let mut order = opened(true);
        let mut out = VecDeque::new();
        order.data(0, command(Command::Large(0)), &mut out).unwrap();
        let mut waiting = 0;
        while !order.is_full() {
            let item = Item::Message(message(waiting, false));
            order.data(0, item, &mut out).unwrap();
            waiting += 1;
        }
        assert_eq!((waiting, out.len()), (MAX_WAITING - 1, 0));
        order.large(0, message(0, true), &mut out).unwrap();
        order.end(0);
        assert_eq!(out.len(), MAX_WAITING);
        assert!(!order.is_full() && order.is_complete());
    }
}
