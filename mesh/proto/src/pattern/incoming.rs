//! The receiving half of a socket: what the octets of each pipe mean to the socket's type.
//!
//! The driver lends the octets; this half decodes them one item at a time, so that a message goes
//! from the read buffer to the application without a queue in between. A pipe that is read while
//! the application is away keeps its messages in a queue up to the high-water mark.

use std::collections::VecDeque;

use super::SocketType;
use super::pipe::{HighWaterMark, PipeKey};
use super::publish::Matching;
use crate::bus::{Filter, FilterTree, Publication, Topic};
use crate::message::{Frame, Message};
use crate::routing::filters::Filters;
use crate::routing::trie::{Change, Limits as TreeLimits, Repeats};
use crate::zmtp::{Command, DecodeError, Decoded, Decoder, Item, Limits};

/// What the driver is to do about what a pipe sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message for the application, in the place that was given for it.
    Message,
    /// For the connection, or for the publishing half.
    Control(Box<Control>),
}

/// What a pipe sent that is not for the application.
#[derive(Debug, PartialEq, Eq)]
pub enum Control {
    /// For the publishing half: a peer wants a topic, or no longer wants it.
    Subscription {
        /// The topic.
        topic: Frame,
        /// SUBSCRIBE or CANCEL.
        add: bool,
    },
    /// Answer with a PONG of the same context, and expect traffic within `ttl` if it is not zero.
    Ping {
        /// How long the peer lives without traffic.
        ttl: std::time::Duration,
        /// To be sent back.
        context: Frame,
    },
    /// A PONG.
    Pong {
        /// Our context.
        context: Frame,
    },
    /// A message over a limit came inside the process, where nothing is decoded: the connection
    /// must close.
    OverLimit(DecodeError),
    /// The peer closes, and says why.
    Error {
        /// Its reason.
        reason: String,
    },
}

/// Counters of the receiving half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveCounts {
    /// Messages for the application.
    pub received: u64,
    /// Messages that the socket's type does not take, that no filter wants, or that CONFLATE
    /// replaced.
    pub discarded: u64,
    /// Commands that are unknown.
    pub unknown_commands: u64,
}

#[derive(Debug)]
struct InPipe {
    generation: u32,
    source: Source,
    queue: VecDeque<Message>,
    /// The memory of these.
    queue_size: usize,
    /// A ROUTER's. Boxed, since no other socket needs its place.
    identity: Option<Box<Frame>>,
}

#[derive(Debug)]
enum Source {
    /// Octets to be decoded.
    Wire(Box<Decoder>),
    /// Items of a link inside the process.
    Items(VecDeque<Item>),
}

/// What passes to the application of a SUB.
#[derive(Debug)]
enum Passing {
    Prefixes(Filters),
    /// With one subscriber.
    Filters(Box<FilterTree>),
}

/// Only peers are limited in what they subscribe to.
const NO_LIMITS: TreeLimits = TreeLimits {
    subscriptions: usize::MAX,
    prefix: usize::MAX,
    octets: usize::MAX,
    octets_in_all: usize::MAX,
};

impl Passing {
    fn new(matching: Matching) -> Self {
        match matching {
            Matching::Prefixes => Self::Prefixes(Filters::new()),
            Matching::Filters => {
                Self::Filters(Box::new(FilterTree::new(NO_LIMITS, Repeats::Counted)))
            }
        }
    }

    fn change(&mut self, topic: &[u8], add: bool) -> bool {
        match (self, add) {
            (Self::Prefixes(filters), true) => filters.add(topic),
            (Self::Prefixes(filters), false) => filters.remove(topic),
            (Self::Filters(tree), add) => {
                let Ok(filter) = Filter::try_from(topic) else {
                    return false;
                };
                let change = match add {
                    true => tree.subscribe(&filter, 0).ok(),
                    false => tree.cancel(&filter, 0),
                };
                change == Some(Change::Prefix)
            }
        }
    }

    #[inline]
    fn matches(&mut self, topic: &[u8]) -> bool {
        match self {
            Self::Prefixes(filters) => filters.matches(topic),
            Self::Filters(tree) => {
                let mut found = false;
                if Topic::check(topic).is_ok() {
                    tree.matches_octets(topic, &mut |_| found = true);
                }
                found
            }
        }
    }
}

impl InPipe {
    fn has_room(&self, mark: HighWaterMark) -> bool {
        self.queue.len() < mark.messages && self.queue_size < mark.octets
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Incoming {
    kind: SocketType,
    high_water_mark: HighWaterMark,
    invert_matching: bool,
    conflate: bool,
    limits: Limits,
    pipes: Vec<Option<InPipe>>,
    passing: Passing,
    counts: ReceiveCounts,
}

impl Incoming {
    /// The half of a new socket.
    pub fn new(kind: SocketType, high_water_mark: HighWaterMark, invert_matching: bool) -> Self {
        Self {
            kind,
            high_water_mark,
            invert_matching,
            conflate: false,
            limits: Limits::default(),
            pipes: Vec::new(),
            passing: Passing::new(Matching::default()),
            counts: ReceiveCounts::default(),
        }
    }

    /// Keeps only the newest of a pipe's messages while the application is away (libzmq:
    /// CONFLATE), so that the peer is never held up and what it sends last is never too late.
    #[must_use]
    pub fn conflating(mut self, conflate: bool) -> Self {
        self.conflate = conflate;
        self
    }

    /// What the filters of a SUB are. With [`Matching::Filters`], none wants a message whose first
    /// frame is no [`Topic`].
    #[must_use]
    pub fn matching(mut self, matching: Matching) -> Self {
        self.passing = Passing::new(matching);
        self
    }

    /// Holds messages of links inside the process to `limits`, as decoders do it with theirs.
    #[must_use]
    pub fn limiting(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes in the pipe that [`Outgoing::attach`](super::Outgoing::attach) named. Without a
    /// decoder, items come by [`Incoming::supply`]. A ROUTER puts `identity` in front of what the
    /// pipe sends.
    pub fn attach(&mut self, key: PipeKey, decoder: Option<Decoder>, identity: Frame) {
        if self.pipes.capacity() == 0 {
            // Many sockets have one peer: the memory of more comes with the next.
            self.pipes.reserve_exact(key.index() + 1);
        }
        if self.pipes.len() <= key.index() {
            self.pipes.resize_with(key.index() + 1, || None);
        }
        let source = match decoder {
            Some(decoder) => Source::Wire(Box::new(decoder)),
            None => Source::Items(VecDeque::new()),
        };
        self.pipes[key.index()] = Some(InPipe {
            generation: key.generation,
            source,
            queue: VecDeque::new(),
            queue_size: 0,
            identity: (self.kind == SocketType::Router).then(|| Box::new(identity)),
        });
    }

    /// Lets a pipe go, with what it queued.
    pub fn detach(&mut self, key: PipeKey) {
        if self.pipe(key).is_some() {
            self.pipes[key.index()] = None;
        }
    }

    /// Adds or takes back a filter of a SUB, counted. Returns whether that changed what passes. With
    /// [`Matching::Filters`], what is no [`Filter`] changes nothing.
    pub fn filter(&mut self, topic: &[u8], add: bool) -> bool {
        self.passing.change(topic, add)
    }

    /// Takes the next event from the front of `input` and says how many octets it used. A message goes
    /// into `message`, whatever was there. Without an event, the rest was stashed: all of `input` is
    /// used.
    ///
    /// # Errors
    /// The connection must close.
    #[inline]
    pub fn decode(
        &mut self,
        key: PipeKey,
        input: &mut [u8],
        message: &mut Message,
    ) -> Result<(usize, Option<Event>), DecodeError> {
        let mut at = 0;
        loop {
            let Some(Source::Wire(decoder)) = self.pipe(key).map(|pipe| &mut pipe.source) else {
                return Ok((input.len(), None));
            };
            let (used, decoded) = decoder.decode(&mut input[at..], message)?;
            at += used;
            let event = match decoded {
                Some(Decoded::Message) => self.accept_message(key, message),
                Some(Decoded::Command(command)) => self.accept_command(*command),
                None => {
                    decoder.stash(&input[at..]);
                    return Ok((input.len(), None));
                }
            };
            if event.is_some() {
                return Ok((at, event));
            }
        }
    }

    /// Takes the next message from the front of `input` apart where it stands, into `place`, and says how
    /// many octets it used. `None`, and no change, unless that is a whole [`Publication`] for the
    /// application of a SUB with [`Matching::Filters`]: everything else is for [`Incoming::decode`].
    #[inline]
    pub fn decode_publication(
        &mut self,
        key: PipeKey,
        input: &[u8],
        place: &mut Option<Publication>,
    ) -> Option<usize> {
        let Source::Wire(decoder) = &self.pipe(key)?.source else {
            return None;
        };
        let frames = decoder.look(input)?;
        let Passing::Filters(_) = &self.passing else {
            return None;
        };
        // What matches is a topic.
        if self.invert_matching || !self.passing.matches(&input[frames[0].clone()]) {
            return None;
        }
        let used = frames[2].end;
        Publication::copy(input, frames, place)?;
        self.counts.received += 1;
        Some(used)
    }

    /// The decoder of a pipe, where the driver finds the stashed tail and the body that the link
    /// fills.
    pub fn decoder(&mut self, key: PipeKey) -> Option<&mut Decoder> {
        match &mut self.pipe(key)?.source {
            Source::Wire(decoder) => Some(decoder),
            Source::Items(_) => None,
        }
    }

    /// Where the driver puts the items of a link inside the process.
    #[inline]
    pub fn supply(&mut self, key: PipeKey) -> Option<&mut VecDeque<Item>> {
        match &mut self.pipe(key)?.source {
            Source::Wire(_) => None,
            Source::Items(items) => Some(items),
        }
    }

    /// Takes the next event from the supplied items. A message goes into `message`, whatever was
    /// there. After [`Control::OverLimit`] there is none.
    #[inline]
    pub fn next_supplied(&mut self, key: PipeKey, message: &mut Message) -> Option<Event> {
        let limits = self.limits;
        loop {
            let items = self.supply(key)?;
            let event = match items.pop_front()? {
                Item::Message(supplied) => {
                    *message = supplied;
                    if let Err(error) = limits.check(message) {
                        items.clear();
                        return Some(Event::Control(Box::new(Control::OverLimit(error))));
                    }
                    self.accept_message(key, message)
                }
                Item::Command(command) => self.accept_command(*command),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Queues a message that was read while the application was away. Returns whether there is
    /// room for another.
    pub fn enqueue(&mut self, key: PipeKey, message: Message) -> bool {
        let (mark, conflate) = (self.high_water_mark, self.conflate);
        let Some(pipe) = self.pipe(key) else {
            return false;
        };
        let mut replaced = 0;
        if conflate {
            replaced = pipe.queue.len() as u64;
            pipe.queue.clear();
            pipe.queue_size = 0;
        }
        pipe.queue_size += message.footprint();
        pipe.queue.push_back(message);
        let room = pipe.has_room(mark) || conflate;
        self.counts.discarded += replaced;
        room
    }

    /// Whether a pipe's queue has room.
    pub fn has_room(&mut self, key: PipeKey) -> bool {
        let (mark, conflate) = (self.high_water_mark, self.conflate);
        self.pipe(key)
            .is_some_and(|pipe| pipe.has_room(mark) || conflate)
    }

    /// Notes messages that a receiver left out for newer ones.
    pub fn overtaken(&mut self, messages: u64) {
        self.counts.discarded += messages;
    }

    /// Whether a pipe's queue has a message.
    pub fn has_queued(&mut self, key: PipeKey) -> bool {
        self.pipe(key).is_some_and(|pipe| !pipe.queue.is_empty())
    }

    /// Takes a message that was queued.
    #[inline]
    pub fn dequeue(&mut self, key: PipeKey) -> Option<Message> {
        let pipe = self.pipe(key)?;
        let message = pipe.queue.pop_front()?;
        pipe.queue_size -= message.footprint();
        Some(message)
    }

    /// Messages that are queued.
    pub fn queued(&self) -> usize {
        self.pipes
            .iter()
            .flatten()
            .map(|pipe| pipe.queue.len())
            .sum()
    }

    /// The counters.
    pub fn counts(&self) -> ReceiveCounts {
        self.counts
    }

    #[inline]
    fn pipe(&mut self, key: PipeKey) -> Option<&mut InPipe> {
        self.pipes
            .get_mut(key.index())?
            .as_mut()
            .filter(|pipe| pipe.generation == key.generation)
    }

    /// What a command means that came ahead of what a pipe has; `None` when it is ignored.
    pub fn command(&mut self, command: Command) -> Option<Event> {
        self.accept_command(command)
    }

    /// What a message means to this type of socket; `None` when it is ignored.
    #[inline]
    fn accept_message(&mut self, key: PipeKey, message: &mut Message) -> Option<Event> {
        match self.kind {
            SocketType::Pull | SocketType::Dealer | SocketType::Pair | SocketType::XSub => {}
            SocketType::Req | SocketType::Rep => {}
            SocketType::Sub => {
                if self.passing.matches(message.first()) == self.invert_matching {
                    self.counts.discarded += 1;
                    return None;
                }
            }
            SocketType::Router => {
                let identity = self.pipe(key)?.identity.as_deref()?.clone();
                message.push_front(identity);
            }
            SocketType::Pub | SocketType::XPub => {
                // Peers of ZMTP 3.0 subscribe by message (RFC 23).
                if let ([_], Some((&head @ (0 | 1), topic))) =
                    (message.frames(), message.first().split_first())
                {
                    return Some(Event::Control(Box::new(Control::Subscription {
                        topic: Frame::copy_from_slice(topic),
                        add: head == 1,
                    })));
                }
                if self.kind == SocketType::Pub {
                    self.counts.discarded += 1;
                    return None;
                }
            }
            SocketType::Push => {
                self.counts.discarded += 1;
                return None;
            }
        }
        self.counts.received += 1;
        Some(Event::Message)
    }

    fn accept_command(&mut self, command: Command) -> Option<Event> {
        let publishes = matches!(self.kind, SocketType::Pub | SocketType::XPub);
        let control = match command {
            Command::Ping { ttl, context } => Control::Ping { ttl, context },
            Command::Pong { context } => Control::Pong { context },
            Command::Subscribe(topic) if publishes => Control::Subscription { topic, add: true },
            Command::Cancel(topic) if publishes => Control::Subscription { topic, add: false },
            Command::Error { reason } => Control::Error { reason },
            Command::Subscribe(_)
            | Command::Cancel(_)
            | Command::Ready(_)
            | Command::Large(_)
            | Command::Lane(_)
            | Command::Taken { .. }
            | Command::Unknown { .. } => {
                self.counts.unknown_commands += 1;
                return None;
            }
        };
        Some(Event::Control(Box::new(control)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Opener;
    use crate::zmtp::{Framing, Outbox};

    fn received(inc: &mut Incoming, topics: &[&str]) -> Vec<String> {
        let key = PipeKey {
            index: 0,
            generation: 1,
        };
        inc.attach(key, None, Frame::new());
        let items = topics.iter().map(|&topic| Item::Message(topic.into()));
        inc.supply(key).unwrap().extend(items);
        let mut got = Vec::new();
        let mut message = Message::new();
        while let Some(Event::Message) = inc.next_supplied(key, &mut message) {
            got.push(message.first().as_str().unwrap().to_owned());
        }
        got
    }

    #[test]
    fn a_subscriber_by_filters_gets_exactly_what_they_choose() {
        let mark = HighWaterMark::default();
        let mut inc = Incoming::new(SocketType::Sub, mark, false).matching(Matching::Filters);
        assert!(!inc.filter(b"a#", true), "no filter");
        assert!(inc.filter(b"home/+", true));
        assert!(!inc.filter(b"home/+", true));
        assert!(inc.filter(b"yard/#", true));
        let topics = ["home/a", "home/a/b", "yard", "yards", "home/", "home/+", ""];
        assert_eq!(received(&mut inc, &topics), ["home/a", "yard", "home/"]);
        assert_eq!(inc.counts().discarded, 4);
        assert!(!inc.filter(b"home/+", false));
        assert_eq!(received(&mut inc, &["home/a"]), ["home/a"]);
        assert!(inc.filter(b"home/+", false));
        assert_eq!(received(&mut inc, &["home/a"]), [""; 0]);
    }

    #[test]
    fn a_publication_is_taken_apart_as_its_message_would_be() {
        let key = PipeKey {
            index: 0,
            generation: 1,
        };
        let mark = HighWaterMark::default();
        let attached = |matching, invert| {
            let mut inc = Incoming::new(SocketType::Sub, mark, invert).matching(matching);
            let decoder = Decoder::new(Limits::default(), Opener::Clear);
            inc.attach(key, Some(decoder), Frame::new());
            assert!(inc.filter(b"home/+", true));
            inc
        };
        let mut inc = attached(Matching::Filters, false);
        let mut place = None;
        let mut full = Publication::new("home/a".parse().unwrap(), vec![7; 300]);
        full.header.sequence = 7;
        let short = Publication::new("home/b".parse().unwrap(), "");
        for publication in [full, short] {
            let mut outbox = Outbox::new(Framing::Clear);
            outbox.push_frames(&publication.clone().into_frames());
            let octets = outbox.encoded().unwrap();
            let used = inc.decode_publication(key, octets, &mut place);
            assert_eq!(
                (used, place.take()),
                (Some(octets.len()), Some(publication))
            );
            for (matching, invert) in [(Matching::Prefixes, false), (Matching::Filters, true)] {
                let mut other = attached(matching, invert);
                assert_eq!(other.decode_publication(key, octets, &mut place), None);
            }
        }
        assert_eq!((inc.counts().received, &place), (2, &None));
        for frames in [
            ["yard", "\x01", ""],
            ["home/+", "\x01", ""],
            ["home/a", "\x02", ""],
        ] {
            let mut outbox = Outbox::new(Framing::Clear);
            outbox.push(&frames.into_iter().collect());
            let octets = outbox.encoded().unwrap();
            for inc in [&mut inc, &mut attached(Matching::Filters, true)] {
                assert_eq!(inc.decode_publication(key, octets, &mut place), None);
            }
        }
        assert_eq!(
            inc.counts(),
            ReceiveCounts {
                received: 2,
                ..ReceiveCounts::default()
            }
        );
    }

    /// On a link of one stream they mean nothing.
    #[test]
    fn commands_of_several_streams_are_ignored_and_counted() {
        let commands = [
            Command::Large(0),
            Command::Lane(1),
            Command::Taken {
                messages: u64::MAX,
                larges: u64::MAX,
            },
        ];
        for kind in [SocketType::Pull, SocketType::Push, SocketType::XPub] {
            let mut inc = Incoming::new(kind, HighWaterMark::default(), false);
            for command in commands.clone() {
                assert_eq!(inc.command(command), None);
            }
            assert_eq!(inc.counts().unknown_commands, 3);
        }
    }

    #[test]
    fn a_queue_counts_the_memory_of_empty_frames_and_gives_it_back() {
        let mark = HighWaterMark {
            messages: 1_000,
            octets: 1 << 20,
        };
        let key = PipeKey {
            index: 0,
            generation: 1,
        };
        let mut inc = Incoming::new(SocketType::Pull, mark, false);
        inc.attach(key, None, Frame::new());
        let message = Message::from_frames(vec![Frame::new(); 1_024]);
        let mut queued = 1;
        while inc.enqueue(key, message.clone()) {
            queued += 1;
        }
        let each = 1_024 * size_of::<Frame>();
        assert_eq!(queued, mark.octets / each + 1);
        while inc.dequeue(key).is_some() {}
        assert_eq!(inc.pipe(key).unwrap().queue_size, 0);
        assert!(inc.has_room(key));
    }
}
