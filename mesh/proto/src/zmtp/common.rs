//! Encoded messages that several pipes have in common: a message to many is encoded once, and each of
//! its pipes only notes how far it goes.
//!
//! ```text
//!  positions       open_at      end
//!  [ piece ][ piece ][ open . . . ]
//!        ^--- a tail ------------^
//! ```
//!
//! What a pipe has here is its [`Tail`], a range of positions that grows with each message as long as the
//! pipe misses none of them: so it holds nothing that is not its own, and what it holds back is what its
//! own high-water mark allows. Pieces are shared with whoever writes them, what is open is not.
//!
//! Invariant: what a tail names is kept. Who forgets something has looked at all tails.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, MAX_HEADER, MORE};
use super::outbox::BY_REFERENCE;
use crate::message::Frame;

/// Memory is taken in chunks of this many octets. Messages that are larger are encoded for each pipe.
pub const CHUNK: usize = 128 * 1024;

/// What is kept at most, in octets at about. Pipes that are further behind get copies.
const KEPT: u64 = 4 * 1024 * 1024;

/// Pieces that are not smaller than this on average, in octets, are shared: a copy costs more.
const PIECE: u64 = 2 * 1024;

/// What a pipe has in common with others.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    range: Range<u64>,
    messages: usize,
}

impl Tail {
    /// Octets.
    #[inline]
    pub fn size(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// Messages.
    #[inline]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes one more message in; `false` if the pipe missed what stands before it.
    #[inline]
    pub fn extend(&mut self, message: &Range<u64>, common: &mut Common) -> bool {
        if self.messages == 0 {
            self.range = message.clone();
            common.tails += 1;
        } else if self.range.end == message.start {
            self.range.end = message.end;
        } else {
            return false;
        }
        self.messages += 1;
        true
    }

    /// Whether what comes next can go on with it.
    #[inline]
    pub fn is_at_end(&self, common: &Common) -> bool {
        self.messages > 0 && self.range.end == common.end()
    }

    /// Takes all messages in, so many, that came since it was [at the end](Tail::is_at_end).
    #[inline]
    pub fn go_on(&mut self, messages: usize, common: &Common) {
        self.range.end = common.end();
        self.messages += messages;
    }
}

/// What stands in common, as long as somebody's tail names it.
#[derive(Debug, Default)]
pub struct Common {
    pieces: VecDeque<Piece>,
    open: BytesMut,
    open_at: u64,
    /// Tails that are not empty.
    tails: usize,
    /// Where it was [due](Common::is_due) last.
    tidied_at: u64,
}

#[derive(Debug)]
struct Piece {
    at: u64,
    octets: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.octets.len() as u64
    }
}

impl Common {
    /// Encodes a message of these frames, and says where it stands. `None` if it has none, a body that
    /// goes by reference, or too many octets.
    #[inline]
    pub fn push(&mut self, frames: &[Frame]) -> Option<Range<u64>> {
        let (last, firsts) = frames.split_last()?;
        let mut room = 0;
        for frame in frames {
            if frame.len() >= BY_REFERENCE {
                return None;
            }
            room += MAX_HEADER + frame.len();
        }
        if room > CHUNK {
            return None;
        }
        self.forget_unneeded();
        if self.open.capacity() - self.open.len() < room {
            self.close();
            self.open.reserve(CHUNK);
        }
        let start = self.end();
        for frame in firsts {
            append(frame, MORE, &mut self.open);
        }
        append(last, 0, &mut self.open);
        Some(start..self.end())
    }

    /// Whether what a tail names is so little, or in so many pieces, that a copy costs less than to share
    /// it.
    pub fn is_better_copied(&self, tail: &Tail) -> bool {
        let pieces = self.place(&tail.range).len() as u64 + 1;
        (tail.size() as u64) < PIECE * pieces
    }

    /// Gives what a tail names away in pieces, the first with the number of all messages, and leaves it
    /// empty.
    pub fn share(&mut self, tail: &mut Tail, mut each: impl FnMut(Bytes, usize)) {
        if tail.range.end > self.open_at {
            self.close();
        }
        let mut messages = tail.messages;
        for piece in self.pieces.range(self.place(&tail.range)) {
            let octets = piece.octets.slice(within(piece, &tail.range));
            each(octets, std::mem::take(&mut messages));
        }
        self.let_go(tail);
    }

    /// As [`Common::share`], to be copied.
    pub fn copy(&mut self, tail: &mut Tail, mut each: impl FnMut(&[u8], usize)) {
        let mut messages = tail.messages;
        for piece in self.pieces.range(self.place(&tail.range)) {
            let octets = &piece.octets[within(piece, &tail.range)];
            each(octets, std::mem::take(&mut messages));
        }
        if tail.range.end > self.open_at {
            let from = tail.range.start.saturating_sub(self.open_at) as usize;
            let to = (tail.range.end - self.open_at) as usize;
            each(&self.open[from..to], messages);
        }
        self.let_go(tail);
    }

    /// Whether so much came since the last time that it is time to look what nobody needs.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.end() - self.tidied_at > CHUNK as u64
    }

    /// Forgets what none of `tails` needs. Those that are too far behind are to be
    /// [copied](Common::copy) before: [`Common::is_behind`] tells which.
    pub fn tidy<'a>(&mut self, tails: impl Iterator<Item = &'a Tail>) {
        self.tidied_at = self.end();
        let starts = tails.filter(|tail| !tail.is_empty());
        let needed = starts.map(|tail| tail.range.start).min();
        let needed = needed.unwrap_or(self.open_at);
        while self
            .pieces
            .pop_front_if(|piece| piece.end() <= needed)
            .is_some()
        {}
    }

    /// Whether a tail holds back more than is kept.
    pub fn is_behind(&self, tail: &Tail) -> bool {
        !tail.is_empty() && tail.range.start + KEPT < self.end()
    }

    /// Octets that are kept.
    pub fn kept(&self) -> usize {
        let start = self.pieces.front().map_or(self.open_at, |piece| piece.at);
        (self.end() - start) as usize
    }

    #[inline]
    fn end(&self) -> u64 {
        self.open_at + self.open.len() as u64
    }

    /// The pieces that have a part of `range`.
    fn place(&self, range: &Range<u64>) -> Range<usize> {
        let first = self
            .pieces
            .partition_point(|piece| piece.end() <= range.start);
        let end = self.pieces.partition_point(|piece| piece.at < range.end);
        first..end.max(first)
    }

    /// What is open becomes a piece.
    fn close(&mut self) {
        if !self.open.is_empty() {
            let octets = self.open.split().freeze();
            let at = self.open_at;
            self.open_at += octets.len() as u64;
            self.pieces.push_back(Piece { at, octets });
        }
    }

    fn let_go(&mut self, tail: &mut Tail) {
        if std::mem::take(tail).messages > 0 {
            self.tails -= 1;
        }
    }

    /// Forgets everything if no tail is left. Not while a message is given to its pipes: the first of
    /// them may let go of the last tail, and name that message next.
    pub fn forget_unneeded(&mut self) {
        if self.tails == 0 {
            self.forget_all();
        }
    }

    fn forget_all(&mut self) {
        self.pieces.clear();
        self.open_at = self.end();
        self.open.clear();
    }
}

/// The part of a piece that is in `range`.
fn within(piece: &Piece, range: &Range<u64>) -> Range<usize> {
    let from = range.start.max(piece.at) - piece.at;
    let to = range.end.min(piece.end()) - piece.at;
    from as usize..to as usize
}

#[inline]
fn append(body: &Frame, flags: u8, octets: &mut BytesMut) {
    frame::encode(flags, body.len(), octets);
    octets.put_slice(body);
}
