//! One direction of one connection, as the patterns see it: what waits, and how much may.

use std::collections::VecDeque;
use std::ops::Range;

use super::wire::Wire;
use crate::message::{Frame, Message};
use crate::zmtp::{Batch, Command, Common, Item, Outbox, Peer, Tail};

/// Names a pipe of a socket. A key of a pipe that is gone is never reused: it has no pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipeKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl PipeKey {
    /// The pipe's place, reused after it is gone.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Goes up with each pipe of a socket.
    pub fn generation(self) -> u32 {
        self.generation
    }

    /// Both as one number.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// How much may wait on one pipe, beside the one batch that is being written. Both limits hold; the
/// message that passes one is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HighWaterMark {
    /// Messages. Default 1,000, as in libzmq.
    pub messages: usize,
    /// Octets: what waits for the wire as it goes out, headers included; messages that are kept as
    /// such by the memory that they take, some 72 octets for each frame and its body. Default
    /// 16 MiB.
    pub octets: usize,
}

impl Default for HighWaterMark {
    fn default() -> Self {
        Self {
            messages: 1_000,
            octets: 16 * 1024 * 1024,
        }
    }
}

/// Small messages are written when this many octets wait.
const FLUSH: usize = 64 * 1024;
/// Larger messages are written in larger batches.
const FLUSH_LARGE: usize = 256 * 1024;
/// See [`Flush::Later`].
const LOOK_EVERY: usize = 16;
/// Messages of a link inside the process that are handed over at once.
const HAND_OVER: usize = 512;
/// PONGs that wait while the peer does not read: libzmq keeps one.
const PONGS: usize = 1_024;

/// An item queue that grew past this is not kept once it is empty.
const KEEP_ITEMS: usize = 2 * HAND_OVER;
/// What makes a message larger, in octets on average.
const LARGE: usize = 4 * 1024;

/// What the driver does after something was appended to a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Nothing: the pipe's flush is on its way already. Of more than 16 messages that wait, the driver hears
    /// of each 16th: it may look how late the flush is, and a look at a clock costs more than a message.
    Later,
    /// The pipe was empty: have it flushed soon.
    Soon,
    /// Enough waits for a write of its own: flush it here and now.
    Now,
}

/// Output in the form that the link takes.
#[derive(Debug)]
enum Out {
    /// Octets.
    Wire(Wire),
    /// Messages by value, for links that carry items.
    Items {
        queue: VecDeque<Item>,
        /// Commands that go out before what is queued; `None` where they keep their place in it.
        ahead: Option<VecDeque<Item>>,
        /// The next queue's memory.
        spare: VecDeque<Item>,
        size: usize,
        messages: usize,
    },
}

/// What a flush takes off a pipe.
#[derive(Debug)]
pub enum Load {
    /// Octets for the link.
    Batch(Batch),
    /// Messages for a link that carries items.
    Items {
        /// What to hand over.
        items: VecDeque<Item>,
        /// Messages that have not left, handed over or not.
        messages: usize,
        /// The memory that they take, in octets. Never 0 while the load is out: who waits for a pipe to
        /// be idle waits for commands, too.
        size: usize,
    },
}

impl Load {
    /// Messages in the load.
    pub fn messages(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.messages(),
            Self::Items { messages, .. } => *messages,
        }
    }

    /// Octets in the load.
    pub fn size(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.size(),
            Self::Items { size, .. } => *size,
        }
    }

    /// The messages that no peer can have received; `None` when that cannot be told.
    pub fn recover(self) -> Option<Vec<Message>> {
        match self {
            Self::Batch(batch) => batch.recover(),
            Self::Items { items, .. } => Some(items.into_iter().filter_map(message_of).collect()),
        }
    }
}

/// Moves commands that go ahead to the front.
fn put_ahead(ahead: &mut Option<VecDeque<Item>>, items: &mut VecDeque<Item>) {
    let ahead = ahead.iter_mut().flat_map(|ahead| ahead.drain(..).rev());
    ahead.for_each(|command| items.push_front(command));
}

fn message_of(item: Item) -> Option<Message> {
    match item {
        Item::Message(message) => Some(message),
        Item::Command(_) => None,
    }
}

/// Where a pipe's output is kept.
#[derive(Debug)]
pub enum Carrier {
    /// Encoded, for a link of octets.
    Octets(Outbox),
    /// As it is, for a link inside the process.
    Items,
    /// As it is, for a link of several streams, on which commands do not wait for messages.
    Streams,
}

/// What a pipe has to know of its peer: all of it stays with whoever made the connection.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) takes_subscribe_commands: bool,
    pub(crate) correlates: bool,
    /// The key that it proved, where it did.
    pub(crate) key: Option<Box<[u8; 32]>>,
}

impl From<&Peer> for Known {
    fn from(peer: &Peer) -> Self {
        Self {
            takes_subscribe_commands: peer.takes_subscribe_commands(),
            correlates: peer.extensions.correlate,
            key: peer.key.map(Box::new),
        }
    }
}

/// The sending direction of one connection.
#[derive(Debug)]
pub struct OutPipe {
    pub(crate) generation: u32,
    out: Out,
    /// What is in a load that was taken and not yet written.
    flying_messages: usize,
    flying_size: usize,
    /// A flush is on its way.
    scheduled: bool,
    /// In the rotation of those with room.
    pub(crate) active: bool,
    /// A request without a request id waits for its reply: no other goes out.
    pub(crate) busy: bool,
    /// The routing id by which a ROUTER knows the peer. Boxed, since no other socket needs its place.
    pub(crate) identity: Option<Box<Frame>>,
    pub(crate) peer: Known,
    pub(crate) dropped: u64,
    /// Messages are dropped since the pipe was idle last.
    dropping: bool,
    /// PONGs that nobody has taken yet.
    pongs: usize,
}

impl OutPipe {
    pub(crate) fn new(
        generation: u32,
        carrier: Carrier,
        peer: &Peer,
        identity: Option<Frame>,
    ) -> Self {
        let out = match carrier {
            Carrier::Octets(outbox) => Out::Wire(Wire::new(outbox)),
            Carrier::Items | Carrier::Streams => Out::Items {
                queue: VecDeque::new(),
                ahead: matches!(carrier, Carrier::Streams).then(VecDeque::new),
                spare: VecDeque::new(),
                size: 0,
                messages: 0,
            },
        };
        Self {
            generation,
            out,
            flying_messages: 0,
            flying_size: 0,
            scheduled: false,
            active: false,
            busy: false,
            identity: identity.map(Box::new),
            peer: peer.into(),
            dropped: 0,
            dropping: false,
            pongs: 0,
        }
    }

    /// Messages on the pipe, in flight to the link included.
    #[inline]
    pub fn messages(&self) -> usize {
        self.flying_messages + self.waiting()
    }

    /// Messages that nobody has taken yet.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        match &self.out {
            Out::Wire(wire) => wire.messages(),
            Out::Items { messages, .. } => *messages,
        }
    }

    /// Octets on the pipe, in flight to the link included.
    #[inline]
    pub fn size(&self) -> usize {
        self.flying_size + self.waiting_size()
    }

    #[inline]
    pub(crate) fn waiting_size(&self) -> usize {
        match &self.out {
            Out::Wire(wire) => wire.size(),
            Out::Items { size, .. } => *size,
        }
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.flying_size == 0 && self.flying_messages == 0 && self.nothing_waits()
    }

    pub(crate) fn nothing_waits(&self) -> bool {
        match &self.out {
            Out::Wire(wire) => wire.is_empty(),
            Out::Items { queue, ahead, .. } => {
                queue.is_empty() && ahead.as_ref().is_none_or(VecDeque::is_empty)
            }
        }
    }

    #[inline]
    pub(crate) fn has_room(&self, mark: HighWaterMark) -> bool {
        self.waiting() < mark.messages && self.waiting_size() < mark.octets
    }

    #[inline]
    pub(crate) fn push(&mut self, message: &mut Message) {
        match &mut self.out {
            Out::Wire(wire) => wire.push(message),
            Out::Items {
                queue,
                size,
                messages,
                ..
            } => {
                *size += message.footprint();
                *messages += 1;
                queue.push_back(Item::Message(std::mem::take(message)));
            }
        }
    }

    /// Appends to a pipe what others get too: the message of these frames, which stands at `place` in
    /// common for clear links.
    #[inline]
    pub(crate) fn push_shared(
        &mut self,
        frames: &[Frame],
        place: Option<&Range<u64>>,
        common: &mut Common,
    ) {
        match &mut self.out {
            Out::Wire(wire) => wire.push_shared(frames, place, common),
            Out::Items { .. } => self.push(&mut frames.iter().cloned().collect()),
        }
    }

    /// What the pipe has in common with others.
    pub(crate) fn tail(&self) -> Option<&Tail> {
        match &self.out {
            Out::Wire(wire) => Some(wire.tail()),
            Out::Items { .. } => None,
        }
    }

    /// How many messages more in common with others, and octets, come to nothing that has to be looked
    /// at: no mark, no write. The message that passes the octets is the last.
    #[inline]
    pub(crate) fn unheeded(&self, mark: HighWaterMark, common: &Common) -> (usize, usize) {
        let Out::Wire(wire) = &self.out else {
            return (0, 0);
        };
        if !wire.tail().is_at_end(common) {
            return (0, 0);
        }
        let size = wire.size();
        let to_flush = [FLUSH, FLUSH_LARGE].into_iter().find(|&at| size < at);
        let octets = to_flush.map_or(mark.octets, |at| at.min(mark.octets));
        let messages = mark.messages.saturating_sub(wire.messages() + 1);
        (messages, octets.saturating_sub(size))
    }

    /// Notes that so many messages more stand in common, [unheeded](OutPipe::unheeded).
    #[inline]
    pub(crate) fn go_on(&mut self, messages: usize, common: &Common) {
        if let Out::Wire(wire) = &mut self.out {
            wire.go_on(messages, common);
        }
    }

    /// Copies what the pipe has in common with others, so that it can go on alone.
    #[inline]
    pub(crate) fn part(&mut self, common: &mut Common) {
        if let Out::Wire(wire) = &mut self.out {
            wire.part(common);
        }
    }

    /// Answers a PING, unless the peer leaves too many answers unread; returns whether.
    pub(crate) fn push_pong(&mut self, context: Frame) -> bool {
        let room = self.pongs < PONGS;
        if room {
            self.pongs += 1;
            self.push_command(Command::Pong { context });
        }
        room
    }

    pub(crate) fn push_command(&mut self, command: Command) {
        match &mut self.out {
            Out::Wire(wire) => wire.push_command(&command),
            Out::Items { queue, ahead, .. } => {
                let commands = ahead.as_mut().unwrap_or(queue);
                commands.push_back(Item::Command(Box::new(command)));
            }
        }
    }

    /// Forgets the messages that wait, for CONFLATE; returns how many. Commands stay.
    pub(crate) fn forget_waiting(&mut self, common: &mut Common) -> usize {
        match &mut self.out {
            Out::Wire(wire) => std::iter::repeat_with(|| wire.drop_oldest(common))
                .take_while(|&dropped| dropped)
                .count(),
            Out::Items {
                queue,
                size,
                messages,
                ..
            } => {
                queue.retain(|item| matches!(item, Item::Command(_)));
                *size = 0;
                std::mem::take(messages)
            }
        }
    }

    /// Counts messages that found no room; returns whether they are the first since the pipe was
    /// idle.
    pub(crate) fn count_drops(&mut self, messages: u64) -> bool {
        self.dropped += messages;
        !std::mem::replace(&mut self.dropping, true)
    }

    /// Drops the oldest message that waits; `false` when there is none.
    pub(crate) fn drop_oldest(&mut self, common: &mut Common) -> bool {
        match &mut self.out {
            Out::Wire(wire) => wire.drop_oldest(common),
            Out::Items {
                queue,
                size,
                messages,
                ..
            } => {
                let Some(at) = queue
                    .iter()
                    .position(|item| matches!(item, Item::Message(_)))
                else {
                    return false;
                };
                let dropped = queue.remove(at).and_then(message_of);
                *size -= dropped.map_or(0, |message| message.footprint());
                *messages -= 1;
                true
            }
        }
    }

    /// What the driver is to do now that something was appended, if it is to hear of it.
    #[inline]
    pub(crate) fn flush(&mut self, mark: HighWaterMark) -> Option<Flush> {
        if let Out::Items {
            ahead: Some(ahead), ..
        } = &self.out
            && !ahead.is_empty()
        {
            // They do not wait for what is on its way, which the task knows of.
            self.scheduled = true;
            return Some(Flush::Soon);
        }
        let (messages, size) = (self.waiting(), self.waiting_size());
        let enough = match &self.out {
            // Nothing is copied any more: only the hand-over counts.
            Out::Items { .. } => messages >= HAND_OVER || size >= FLUSH_LARGE,
            Out::Wire(_) => size >= FLUSH && (size >= FLUSH_LARGE || size < messages * LARGE),
        };
        if enough || messages >= mark.messages {
            return Some(Flush::Now);
        }
        if !std::mem::replace(&mut self.scheduled, true) {
            return Some(Flush::Soon);
        }
        let looks = messages <= LOOK_EVERY || messages.is_multiple_of(LOOK_EVERY);
        looks.then_some(Flush::Later)
    }

    /// Takes what waits; `None` when that is nothing. Ends the schedule.
    pub(crate) fn take(&mut self, spare: Vec<u8>, common: &mut Common) -> Option<Load> {
        self.scheduled = false;
        if self.nothing_waits() {
            return None;
        }
        let load = match &mut self.out {
            Out::Wire(wire) => Load::Batch(wire.take(spare, common)),
            Out::Items {
                queue,
                ahead,
                spare,
                size,
                messages,
            } => {
                let mut items = std::mem::replace(queue, std::mem::take(spare));
                put_ahead(ahead, &mut items);
                Load::Items {
                    items,
                    messages: std::mem::take(messages),
                    size: std::mem::take(size).max(1),
                }
            }
        };
        self.pongs = 0;
        self.flying_messages += load.messages();
        self.flying_size += load.size();
        Some(load)
    }

    /// Adds to a load of items that is under way: `all` that waits, once all of it was handed over, and
    /// commands that go ahead, unless others wait already. Returns whether there is room again.
    pub(crate) fn take_more(&mut self, load: &mut Load, all: bool, common: &mut Common) -> bool {
        let Load::Items {
            items,
            messages,
            size,
        } = load
        else {
            return false;
        };
        if items.is_empty() && all {
            let Some(Load::Items {
                items: more,
                messages: more_messages,
                size: more_size,
            }) = self.take(Vec::new(), common)
            else {
                return false;
            };
            let spare = std::mem::replace(items, more);
            self.keep(spare);
            *messages += more_messages;
            *size += more_size;
            return true;
        }
        if let Out::Items { ahead, .. } = &mut self.out
            && !matches!(items.front(), Some(Item::Command(_)))
        {
            put_ahead(ahead, items);
            self.pongs = 0;
        }
        false
    }

    /// Takes the memory of a load of items back, for the next.
    pub(crate) fn keep(&mut self, items: VecDeque<Item>) {
        if let Out::Items { spare, .. } = &mut self.out
            && items.is_empty()
            && items.capacity() <= KEEP_ITEMS
        {
            *spare = items;
        }
    }

    /// Notes that a load, or a part of it, was written.
    pub(crate) fn written(&mut self, messages: usize, size: usize) {
        self.flying_messages -= messages.min(self.flying_messages);
        self.flying_size -= size.min(self.flying_size);
        if self.is_idle() {
            self.dropping = false;
        }
    }

    /// The messages that were never taken, for another pipe.
    pub(crate) fn into_waiting(self, common: &mut Common) -> Vec<Message> {
        match self.out {
            Out::Wire(wire) => wire.into_messages(common),
            Out::Items { queue, .. } => queue.into_iter().filter_map(message_of).collect(),
        }
    }
}
