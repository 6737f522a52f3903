//! Messages and commands on their way out, already in the form of the wire.
//!
//! Small frames are copied into one arena, so that a thousand of them leave in one write; large
//! bodies are kept by reference and leave in a vectored write. Encoding is separate from
//! [sealing](Batch::seal): the caller appends under a short lock, and whoever holds the taken
//! [`Batch`] encrypts it in place, once, outside that lock. A batch that was never written can be
//! turned [back into messages](Batch::recover), so a lost connection loses only what it carried.

use std::borrow::Cow;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;

use super::command::Command;
use super::common::CHUNK;
use super::frame::{self, COMMAND, Header, MORE};
use crate::mechanism::{Sealer, curve};
use crate::message::{Frame, Message};

/// Bodies of at least this many octets are sent by reference where the mechanism leaves them as
/// they are. Below it, copying is cheaper than one more slice in the write.
pub const BY_REFERENCE: usize = 32 * 1024;

/// A batch that waits for its link holds on to memory that others have, too, if it is not smaller than
/// this.
const COPIED: usize = CHUNK / 4;

/// How frames look on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A header and the body (NULL, PLAIN).
    #[default]
    Clear,
    /// A MESSAGE command around flags and body (CURVE).
    Curve,
}

/// Encoded output that nobody has taken yet.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    framing: Framing,
    content: Content,
}

/// An arena and the bodies that go in between.
#[derive(Debug, Clone, Default)]
struct Content {
    arena: Vec<u8>,
    /// What stands before this was dropped.
    head: usize,
    /// Each body goes out after `arena[..at]`; `at` never falls.
    bodies: Vec<(usize, Bytes)>,
    bodies_size: usize,
    messages: usize,
}

impl Content {
    #[inline]
    fn size(&self) -> usize {
        self.arena.len() - self.head + self.bodies_size
    }
}

impl Outbox {
    /// An empty outbox.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            content: Content::default(),
        }
    }

    /// Octets that wait.
    #[inline]
    pub fn size(&self) -> usize {
        self.content.size()
    }

    /// Messages that wait, commands not counted.
    #[inline]
    pub fn messages(&self) -> usize {
        self.content.messages
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.content.arena.len() == self.content.head
    }

    /// Appends a message.
    #[inline]
    pub fn push(&mut self, message: &Message) {
        self.push_frames(message.frames());
    }

    /// Appends a message of these frames; nothing without any.
    #[inline]
    pub fn push_frames(&mut self, frames: &[Frame]) {
        let Some((last, firsts)) = frames.split_last() else {
            return;
        };
        for frame in firsts {
            self.push_frame(frame, MORE);
        }
        self.push_frame(last, 0);
        self.content.messages += 1;
    }

    /// Appends a command.
    pub fn push_command(&mut self, command: &Command) {
        self.push_frame(&Frame::from(command.encode()), COMMAND);
    }

    /// Appends the octets of so many messages as they are in [`Framing::Clear`].
    #[inline]
    pub fn push_encoded(&mut self, encoded: &[u8], messages: usize) {
        self.content.arena.extend_from_slice(encoded);
        self.content.messages += messages;
    }

    /// The octets of a message when all of them are in the arena, `None` when bodies go by
    /// reference.
    pub fn encoded(&self) -> Option<&[u8]> {
        self.content
            .bodies
            .is_empty()
            .then_some(&self.content.arena[..])
    }

    /// Drops the oldest message that waits; `false` when there is none. Commands stay.
    pub fn drop_oldest(&mut self) -> bool {
        let Content {
            arena,
            head,
            bodies,
            bodies_size,
            messages,
        } = &mut self.content;
        if *messages == 0 {
            return false;
        }
        let mut at = *head;
        let mut start = at;
        // Bodies of the commands before the message.
        let mut before = 0;
        while let Ok(Some(header)) = Header::decode(&arena[at..]) {
            let body_at = at + header.length;
            let (command, more) = match self.framing {
                Framing::Clear => (header.flags & COMMAND != 0, header.flags & MORE != 0),
                Framing::Curve => {
                    let flags = arena[body_at + curve::PLAINTEXT_AT];
                    (flags & 2 != 0, flags & MORE != 0)
                }
            };
            let by_reference = bodies.get(before).is_some_and(|(at, _)| *at == body_at);
            at = if by_reference {
                body_at
            } else {
                body_at + header.size as usize
            };
            if command {
                before += usize::from(by_reference);
                start = at;
                continue;
            }
            if by_reference {
                *bodies_size -= bodies.remove(before).1.len();
            }
            if !more {
                let dropped = at - start;
                arena.copy_within(*head..start, *head + dropped);
                bodies[..before]
                    .iter_mut()
                    .for_each(|(at, _)| *at += dropped);
                *head += dropped;
                *messages -= 1;
                self.compact();
                return true;
            }
        }
        false
    }

    /// Moves what waits to the front of the arena once most of it was dropped.
    fn compact(&mut self) {
        let Content {
            arena,
            head,
            bodies,
            ..
        } = &mut self.content;
        if *head > arena.len() / 2 {
            arena.drain(..*head);
            bodies.iter_mut().for_each(|(at, _)| *at -= *head);
            *head = 0;
        }
    }

    /// How frames look here.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Takes everything, to be sealed and written. `spare` becomes the next arena.
    pub fn take(&mut self, mut spare: Vec<u8>) -> Batch {
        spare.clear();
        let content = std::mem::replace(
            &mut self.content,
            Content {
                arena: spare,
                ..Content::default()
            },
        );
        let arena_at = content.head;
        Batch {
            framing: self.framing,
            size: content.size(),
            tail_at: content.bodies.len(),
            content,
            sealed: false,
            arena_at,
            body: 0,
            body_at: 0,
        }
    }

    #[inline]
    fn push_frame(&mut self, body: &Frame, flags: u8) {
        let Content {
            arena,
            bodies,
            bodies_size,
            ..
        } = &mut self.content;
        match self.framing {
            Framing::Clear => {
                frame::encode(flags, body.len(), arena);
                match body.as_shared() {
                    Some(shared) if shared.len() >= BY_REFERENCE => {
                        *bodies_size += shared.len();
                        bodies.push((arena.len(), shared.clone()));
                    }
                    _ => arena.extend_from_slice(body),
                }
            }
            Framing::Curve => {
                frame::encode(0, curve::OVERHEAD + body.len(), arena);
                arena.extend_from_slice(&[0; curve::PLAINTEXT_AT]);
                // MORE is bit 0 and COMMAND bit 1 inside the box (RFC 26, and libzmq).
                arena.push(if flags & COMMAND != 0 {
                    2
                } else {
                    flags & MORE
                });
                arena.extend_from_slice(body);
            }
        }
    }
}

/// Encoded output on its way to the link, with a note of how far it got.
#[derive(Debug)]
pub struct Batch {
    framing: Framing,
    size: usize,
    content: Content,
    /// The bodies from here on are no bodies, but whole frames that others have, too.
    tail_at: usize,
    /// The content is no frames any more.
    sealed: bool,
    arena_at: usize,
    body: usize,
    body_at: usize,
}

/// Octets of a batch that stand together.
#[derive(Debug)]
pub enum Run<'a> {
    /// Frames, or parts of them.
    Frames(&'a [u8]),
    /// The rest of a body that is kept by reference.
    Body(Bytes),
}

/// A connection sealed 2^64 - 1 frames or records, and must be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection's nonces are used up")]
pub struct NoncesUsedUp;

impl Batch {
    /// Messages in the batch.
    pub fn messages(&self) -> usize {
        self.content.messages
    }

    /// Octets of the batch's frames, written or not.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends whole frames of [`Framing::Clear`] with so many messages, which others have, too.
    pub fn append(&mut self, frames: Bytes, messages: usize) {
        self.size += frames.len();
        self.content.messages += messages;
        self.content.bodies_size += frames.len();
        self.content.bodies.push((self.content.arena.len(), frames));
    }

    /// Copies what others have, too, if that is little beside the memory in which it stands: a batch that
    /// waits long is not to hold that back.
    pub fn part_with_others(&mut self) {
        let Content {
            arena,
            bodies,
            bodies_size,
            ..
        } = &mut self.content;
        if self.sealed || self.tail_at >= bodies.len() || self.size >= COPIED {
            return;
        }
        if let Some(written) = self.body.checked_sub(self.tail_at) {
            let pieces = bodies[self.tail_at..].iter().take(written);
            self.arena_at += pieces.map(|(_, piece)| piece.len()).sum::<usize>();
            self.arena_at += std::mem::take(&mut self.body_at);
            self.body = self.tail_at;
        }
        for (_, piece) in bodies.drain(self.tail_at..) {
            *bodies_size -= piece.len();
            arena.extend_from_slice(&piece);
        }
    }

    /// Encrypts the batch, once. Does nothing for mechanisms that leave frames as they
    /// are. `now` is asked where keys are changed by time: the time since a moment that stays the
    /// same.
    ///
    /// # Errors
    /// The connection's nonces are used up.
    pub fn seal(
        &mut self,
        sealer: &mut Sealer,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), NoncesUsedUp> {
        if self.sealed {
            return Ok(());
        }
        match sealer {
            Sealer::Clear => Ok(()),
            Sealer::Records(sealer) => {
                self.sealed = true;
                let records = sealer
                    .seal(self.runs().map(IoSlice::new), self.size, now())
                    .map_err(|_| NoncesUsedUp)?;
                sealer.keep(std::mem::replace(&mut self.content.arena, records));
                self.content.head = 0;
                self.content.bodies.clear();
                self.content.bodies_size = 0;
                self.tail_at = 0;
                self.arena_at = 0;
                Ok(())
            }
            Sealer::Curve(sealer) => {
                self.sealed = true;
                let mut rest = &mut self.content.arena[self.content.head..];
                while let Ok(Some(header)) = Header::decode(rest) {
                    let (frame, tail) = rest.split_at_mut(header.length + header.size as usize);
                    sealer
                        .seal(&mut frame[header.length..])
                        .map_err(|_| NoncesUsedUp)?;
                    rest = tail;
                }
                Ok(())
            }
        }
    }

    /// Whether everything was written.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.arena_at == self.content.arena.len() && self.body == self.content.bodies.len()
    }

    /// What is left, when it is one run of octets: the usual case.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.content
            .bodies
            .is_empty()
            .then(|| &self.content.arena[self.arena_at..])
    }

    /// Fills `slices` with what is left, in order and up to `most` octets, and returns how many were
    /// filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], mut most: usize) -> usize {
        let mut filled = 0;
        for (slot, run) in slices.iter_mut().zip(self.runs()) {
            if most == 0 {
                break;
            }
            let run = &run[..run.len().min(most)];
            most -= run.len();
            *slot = IoSlice::new(run);
            filled += 1;
        }
        filled
    }

    /// What is next of what is left.
    #[inline]
    pub fn run(&self) -> Option<Run<'_>> {
        let arena = &self.content.arena;
        let body = self.content.bodies.get(self.body);
        match body {
            Some((at, body)) if *at == self.arena_at => Some(Run::Body(body.slice(self.body_at..))),
            _ => {
                let end = body.map_or(arena.len(), |(at, _)| *at);
                let frames = &arena[self.arena_at..end];
                (!frames.is_empty()).then_some(Run::Frames(frames))
            }
        }
    }

    /// What is left, in order.
    fn runs(&self) -> impl Iterator<Item = &[u8]> {
        let arena = &self.content.arena[..];
        let ends = self.content.bodies[self.body..]
            .iter()
            .map(|(at, body)| (*at, &body[..]));
        let mut arena_at = self.arena_at;
        let mut body_at = self.body_at;
        ends.chain([(arena.len(), &[][..])])
            .flat_map(move |(at, body)| {
                let from = std::mem::replace(&mut arena_at, at);
                let skip = std::mem::take(&mut body_at).min(body.len());
                [&arena[from..at], &body[skip..]]
            })
            .filter(|run| !run.is_empty())
    }

    /// Notes that `written` more octets left.
    #[inline]
    pub fn advance(&mut self, mut written: usize) {
        loop {
            let end = self
                .content
                .bodies
                .get(self.body)
                .map_or(self.content.arena.len(), |(at, _)| *at);
            let run = written.min(end - self.arena_at);
            self.arena_at += run;
            written -= run;
            let Some((_, body)) = self.content.bodies.get(self.body) else {
                return;
            };
            if self.arena_at < end {
                return;
            }
            let run = written.min(body.len() - self.body_at);
            self.body_at += run;
            written -= run;
            if self.body_at < body.len() {
                return;
            }
            self.body += 1;
            self.body_at = 0;
        }
    }

    /// The arena, to be the next one.
    pub fn into_spare(self) -> Vec<u8> {
        self.content.arena
    }

    /// Turns what no peer can have received whole back into messages; `None` for a batch
    /// that was encrypted, whose fate is unknown.
    ///
    /// A message that was written in part is among them: its peer cannot have got it.
    pub fn recover(&self) -> Option<Vec<Message>> {
        if self.sealed {
            return None;
        }
        let mut written = self.arena_at - self.content.head + self.body_at;
        written += self.content.bodies[..self.body]
            .iter()
            .map(|(_, body)| body.len())
            .sum::<usize>();
        let mut messages = Vec::new();
        let mut parts = Vec::new();
        let (bodies, tail) = self.content.bodies.split_at(self.tail_at);
        let mut bodies = bodies.iter().peekable();
        let mut arena = Cow::Borrowed(&self.content.arena);
        tail.iter()
            .for_each(|(_, frames)| arena.to_mut().extend_from_slice(frames));
        let mut at = self.content.head;
        let mut position = 0;
        while let Ok(Some(header)) = Header::decode(&arena[at..]) {
            at += header.length;
            let size = header.size as usize;
            position += header.length + size;
            let body = match bodies.next_if(|(body_at, _)| *body_at == at) {
                Some((_, body)) => Frame::from(body.clone()),
                None => {
                    let body = &arena[at..at + size];
                    at += size;
                    Frame::copy_from_slice(body)
                }
            };
            let (flags, body) = match self.framing {
                Framing::Clear => (header.flags, body),
                Framing::Curve => {
                    let inner = body[curve::PLAINTEXT_AT];
                    let flags = if inner & 2 != 0 {
                        COMMAND
                    } else {
                        inner & MORE
                    };
                    (flags, Frame::copy_from_slice(&body[curve::OVERHEAD..]))
                }
            };
            if flags & COMMAND != 0 {
                continue;
            }
            parts.push(body);
            if flags & MORE == 0 {
                let message = Message::from_frames(std::mem::take(&mut parts));
                if position > written {
                    messages.push(message);
                }
            }
        }
        Some(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zmtp::decoder::{Decoder, Item, Limits};

    fn messages() -> Vec<Message> {
        let large = Bytes::from(vec![5; BY_REFERENCE + 3]);
        vec![
            Message::from("small"),
            Message::from(large.clone()),
            Message::from_frames(vec![Frame::from("id"), Frame::new(), Frame::from(large)]),
            Message::from(vec![1; 1_000]),
        ]
    }

    fn written(batch: &mut Batch, step: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = batch.slices(&mut slices, step);
            let filled = slices[..filled].iter();
            let all: Vec<u8> = filled.flat_map(|slice| slice.iter().copied()).collect();
            assert!(!all.is_empty() && all.len() <= step);
            octets.extend_from_slice(&all);
            batch.advance(all.len());
        }
        octets
    }

    #[test]
    fn a_batch_leaves_in_pieces_of_any_size() {
        let mut whole = None;
        for step in [1_013, 4_096, 1 << 20] {
            let mut outbox = Outbox::new(Framing::Clear);
            messages().iter().for_each(|message| outbox.push(message));
            assert_eq!(outbox.messages(), 4);
            let size = outbox.size();
            let mut batch = outbox.take(Vec::new());
            let octets = written(&mut batch, step);
            assert_eq!(octets.len(), size);
            assert_eq!(*whole.get_or_insert_with(|| octets.clone()), octets);
            let mut decoder = Decoder::new(Limits::default(), crate::mechanism::Opener::Clear);
            let items: Vec<Item> = decoder.decode_all(&octets).unwrap();
            assert_eq!(
                items,
                messages()
                    .into_iter()
                    .map(Item::Message)
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn the_oldest_message_can_be_dropped() {
        for framing in [Framing::Clear, Framing::Curve] {
            let commands = |outbox: &mut Outbox| {
                outbox.push_command(&Command::Pong {
                    context: Frame::new(),
                });
                outbox.push_command(&Command::Subscribe(vec![7; BY_REFERENCE].into()));
            };
            let mut outbox = Outbox::new(framing);
            commands(&mut outbox);
            messages().iter().for_each(|message| outbox.push(message));
            for left in [3, 2] {
                assert!(outbox.drop_oldest());
                assert_eq!(outbox.messages(), 3);
                outbox.push(&Message::from("last"));
                let mut copy = Outbox::new(framing);
                commands(&mut copy);
                messages()[4 - left..]
                    .iter()
                    .for_each(|message| copy.push(message));
                (0..4 - left).for_each(|_| copy.push(&Message::from("last")));
                assert_eq!(outbox.size(), copy.size());
                let octets =
                    |outbox: &mut Outbox| written(&mut outbox.clone().take(Vec::new()), 999);
                assert!(octets(&mut outbox) == octets(&mut copy));
            }
            let expected = [
                &messages()[2..],
                &[Message::from("last"), Message::from("last")],
            ]
            .concat();
            assert_eq!(outbox.take(Vec::new()).recover().unwrap(), expected);
            assert!(!outbox.drop_oldest());
        }
    }

    #[test]
    fn commands_stay_where_no_message_can_be_dropped() {
        let mut outbox = Outbox::new(Framing::Clear);
        outbox.push_command(&Command::Pong {
            context: Frame::from("x"),
        });
        let size = outbox.size();
        assert!(!outbox.drop_oldest());
        assert_eq!(outbox.size(), size);
    }

    #[test]
    fn what_was_not_written_whole_comes_back() {
        let all = messages();
        let ends: Vec<usize> = all
            .iter()
            .scan(0, |end, message| {
                let mut outbox = Outbox::new(Framing::Clear);
                outbox.push(message);
                *end += outbox.size();
                Some(*end)
            })
            .collect();
        for cut in (0..ends[3]).step_by(997) {
            let mut outbox = Outbox::new(Framing::Clear);
            all.iter().for_each(|message| outbox.push(message));
            let mut batch = outbox.take(Vec::new());
            batch.advance(cut);
            let gone = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(batch.recover().unwrap(), all[gone..], "after {cut} octets");
        }
    }
}
