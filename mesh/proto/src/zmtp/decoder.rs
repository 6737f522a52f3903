//! Octets of the link into messages and commands.
//!
//! The driver lends a buffer, the decoder takes one item at a time from its front. What does not
//! make a whole frame stays here until more arrives: a short tail is [stashed](Decoder::stash), a
//! long body gets [a buffer of its own](Decoder::body) that the link fills directly. Memory grows
//! with the octets that arrived, never with what a header promises.

use std::ops::Range;

use bytes::{BufMut, Bytes};

use super::command::{Command, CommandError};
use super::frame::{COMMAND, Header, HeaderError, MORE};
use super::record::OpenError;
use crate::mechanism::{Opener, curve};
use crate::message::{Frame, Message};
use crate::pool;

/// Frames that are longer than this and not yet whole are read into a buffer of their own.
const DIRECT: usize = 32 * 1024;

/// The first allocation for such a frame; it then grows fourfold as octets arrive.
const FIRST_BODY: usize = 64 * 1024;

/// What one peer may send at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of all frames of a message together. Default 64 MiB.
    pub max_message_size: usize,
    /// Frames of a message. Default 1,024.
    pub max_parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 64 * 1024 * 1024,
            max_parts: 1_024,
        }
    }
}

impl Limits {
    /// Holds a whole message against the limits, where nothing was decoded.
    #[inline]
    pub(crate) fn check(&self, message: &Message) -> Result<(), DecodeError> {
        if message.len() > self.max_parts {
            let limit = self.max_parts;
            return Err(DecodeError::TooManyParts { limit });
        }
        let size = message.size();
        if size > self.max_message_size {
            return Err(DecodeError::MessageTooLarge {
                size: size as u64,
                limit: self.max_message_size,
            });
        }
        Ok(())
    }
}

/// What the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Message),
    /// A command; boxed, so that it does not make each message larger.
    Command(Box<Command>),
}

/// What the [decoder](Decoder::decode) found.
#[derive(Debug)]
pub enum Decoded {
    /// A whole message, now in the place that was given for it.
    Message,
    /// A command.
    Command(Box<Command>),
}

impl Decoded {
    /// As an item, which takes the message out of its place.
    #[inline]
    pub fn into_item(self, message: &mut Message) -> Item {
        match self {
            Self::Message => Item::Message(std::mem::take(message)),
            Self::Command(command) => Item::Command(command),
        }
    }
}

/// Decodes what one peer sends after the handshake.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    opener: Opener,
    parts: Vec<Frame>,
    parts_size: usize,
    tail: Vec<u8>,
    body: Option<Body>,
}

/// A frame that is read into a buffer of its own.
#[derive(Debug)]
struct Body {
    flags: u8,
    size: usize,
    octets: Vec<u8>,
}

impl Body {
    fn missing(&self) -> usize {
        self.size - self.octets.len()
    }

    /// Makes room for at least so many of the missing octets, and for more where many are here already.
    fn make_room(&mut self, least: usize) {
        let here = self.octets.len();
        if self.octets.capacity() - here < least {
            let more = (here.max(FIRST_BODY) * 3).max(least).min(self.missing());
            pool::grow(&mut self.octets, more);
        }
    }
}

impl Decoder {
    /// A decoder for one connection.
    pub fn new(limits: Limits, opener: Opener) -> Self {
        Self {
            limits,
            opener,
            parts: Vec::new(),
            parts_size: 0,
            tail: Vec::new(),
            body: None,
        }
    }

    /// Takes the next item from the front of `input`, and says how many octets it used. A message goes
    /// into `message`, whatever was there. Without an item, the rest of `input` is no whole frame:
    /// [stash](Decoder::stash) it.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit; the connection must close.
    #[inline]
    pub fn decode(
        &mut self,
        input: &mut [u8],
        message: &mut Message,
    ) -> Result<(usize, Option<Decoded>), DecodeError> {
        let mut used = 0;
        if self.body.is_some() {
            used = self.fill_body(input);
            match self.finish_body(message)? {
                Some(decoded) => return Ok((used, Some(decoded))),
                None if self.body.is_some() => return Ok((used, None)),
                None => {}
            }
        }
        loop {
            let Some(header) = Header::decode(&input[used..])? else {
                return Ok((used, None));
            };
            let size = self.check(header)?;
            let start = used + header.length;
            if input.len() - start < size {
                if size > DIRECT {
                    self.start_body(header.flags, size, &input[start..]);
                    used = input.len();
                }
                return Ok((used, None));
            }
            used = start + size;
            if header.flags == 0 && self.parts.is_empty() && !self.is_sealed() {
                message.become_front(&input[start..], size);
                return Ok((used, Some(Decoded::Message)));
            }
            if header.flags & COMMAND == 0 && !self.is_sealed() {
                let frame = Frame::copy_from_front(&input[start..], size);
                if let Some(decoded) = self.part(header.flags, frame, message)? {
                    return Ok((used, Some(decoded)));
                }
                continue;
            }
            if let Some(decoded) = self.frame(header.flags, &mut input[start..used], message)? {
                return Ok((used, Some(decoded)));
            }
        }
    }

    /// Where the frames of the next message stand, if it has just `N`, and all of them are at the front
    /// of `input`: for who takes it apart there. `None` leaves it, and what is wrong with it, to
    /// [`Decoder::decode`].
    #[inline]
    pub fn look<const N: usize>(&self, input: &[u8]) -> Option<[Range<usize>; N]> {
        let begins = self.body.is_none() && self.parts.is_empty() && !self.is_sealed();
        if !begins || N > self.limits.max_parts {
            return None;
        }
        let mut frames = [const { 0..0 }; N];
        let mut end = 0;
        let mut size = 0;
        for (number, frame) in frames.iter_mut().enumerate() {
            let header = Header::decode(&input[end..]).ok()??;
            let flags = if number + 1 < N { MORE } else { 0 };
            let start = end + header.length;
            if header.flags != flags || header.size > (input.len() - start) as u64 {
                return None;
            }
            end = start + header.size as usize;
            size += end - start;
            *frame = start..end;
        }
        (size <= self.limits.max_message_size).then_some(frames)
    }

    /// Decodes everything in `octets` and stashes the rest: for simulation and tests.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_all(&mut self, octets: &[u8]) -> Result<Vec<Item>, DecodeError> {
        let mut input = self.unstash();
        let frames = input.len();
        input.extend_from_slice(self.unopened());
        input.extend_from_slice(octets);
        let opened = self.open(&mut input[frames..])?;
        input.truncate(frames + opened);
        let mut items = Vec::new();
        let mut message = Message::new();
        let mut at = 0;
        loop {
            let (used, decoded) = self.decode(&mut input[at..], &mut message)?;
            at += used;
            match decoded {
                Some(decoded) => items.push(decoded.into_item(&mut message)),
                None => break,
            }
        }
        self.stash(&input[at..]);
        Ok(items)
    }

    /// Keeps the tail of the input until more arrives.
    ///
    /// # Panics
    /// In debug builds, if the last tail was not taken by [`unstash`](Self::unstash).
    pub fn stash(&mut self, tail: &[u8]) {
        debug_assert!(
            self.tail.is_empty(),
            "the last tail is taken before the next is stashed"
        );
        self.tail.extend_from_slice(tail);
    }

    /// The stashed tail, which belongs in front of the next input.
    pub fn unstash(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// Keeps octets that came with the handshake and were not [opened](Decoder::open).
    pub(super) fn stash_unopened(&mut self, mut octets: Vec<u8>) -> Result<(), DecodeError> {
        let opened = self.open(&mut octets)?;
        self.stash(&octets[..opened]);
        Ok(())
    }

    /// The start of a record, which belongs in front of the link's next octets.
    #[inline]
    pub fn unopened(&self) -> &[u8] {
        match &self.opener {
            Opener::Records(opener) => opener.part(),
            Opener::Clear | Opener::Curve(_) => &[],
        }
    }

    /// Opens what the link brought, behind [`Decoder::unopened`], where frames travel in records.
    /// What can be [decoded](Decoder::decode) is then at the front of `octets`; returns how much
    /// that is.
    ///
    /// # Errors
    /// A record is not the peer's, or says nothing once more; the connection must close.
    #[inline]
    pub fn open(&mut self, octets: &mut [u8]) -> Result<usize, DecodeError> {
        match &mut self.opener {
            Opener::Records(opener) => opener.open(octets).map_err(|error| match error {
                OpenError::NotAuthentic => DecodeError::NotAuthentic,
                OpenError::Empty => DecodeError::EmptyRecord,
            }),
            Opener::Clear | Opener::Curve(_) => Ok(octets.len()),
        }
    }

    /// Whether a tail is stashed.
    pub fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Where the link shall put the next octets, while a long frame is under way that does not
    /// travel in records. Never offers more than that frame needs.
    pub fn body(&mut self) -> Option<impl BufMut> {
        if matches!(self.opener, Opener::Records(_)) {
            return None;
        }
        let body = self.body.as_mut()?;
        body.make_room(1);
        let missing = body.missing();
        Some((&mut body.octets).limit(missing))
    }

    /// Octets that this decoder holds: a message whose last frame is missing, a tail, a body.
    pub fn held(&self) -> usize {
        self.parts_size
            + self.tail.len()
            + self.unopened().len()
            + self.body.as_ref().map_or(0, |body| body.octets.capacity())
    }

    /// Holds a header against the limits.
    #[inline]
    fn check(&self, header: Header) -> Result<usize, DecodeError> {
        let overhead = match self.opener {
            Opener::Clear | Opener::Records(_) => 0,
            Opener::Curve(_) => curve::OVERHEAD,
        };
        let room = (self.limits.max_message_size - self.parts_size).saturating_add(overhead);
        match usize::try_from(header.size) {
            Ok(size) if size <= room => Ok(size),
            _ => Err(DecodeError::MessageTooLarge {
                size: header.size,
                limit: self.limits.max_message_size,
            }),
        }
    }

    /// Whether each frame is sealed.
    #[inline]
    fn is_sealed(&self) -> bool {
        matches!(self.opener, Opener::Curve(_))
    }

    fn start_body(&mut self, flags: u8, size: usize, start: &[u8]) {
        // Octets on hand vouch for some more: a body that is a quarter here gets its whole buffer.
        let capacity = size.min((start.len() * 4).max(FIRST_BODY));
        let mut octets = pool::take(capacity);
        octets.extend_from_slice(start);
        self.body = Some(Body {
            flags,
            size,
            octets,
        });
    }

    fn fill_body(&mut self, input: &[u8]) -> usize {
        let Some(body) = &mut self.body else {
            return 0;
        };
        let now = input.len().min(body.missing());
        body.make_room(now);
        body.octets.extend_from_slice(&input[..now]);
        now
    }

    fn finish_body(&mut self, message: &mut Message) -> Result<Option<Decoded>, DecodeError> {
        let Some(body) = self.body.take_if(|body| body.octets.len() == body.size) else {
            return Ok(None);
        };
        let mut octets = body.octets;
        match &mut self.opener {
            Opener::Clear | Opener::Records(_) => {
                self.part(body.flags, Frame::from(pool::body(octets)), message)
            }
            Opener::Curve(opener) => {
                let plain = opener
                    .open(&mut octets)
                    .map_err(|_| DecodeError::NotAuthentic)?;
                let flags = inner_flags(plain)?;
                let octets: Bytes = pool::body(octets).slice(curve::OVERHEAD..);
                self.part(flags, Frame::from(octets), message)
            }
        }
    }

    #[inline]
    fn frame(
        &mut self,
        flags: u8,
        body: &mut [u8],
        message: &mut Message,
    ) -> Result<Option<Decoded>, DecodeError> {
        match &mut self.opener {
            Opener::Clear | Opener::Records(_) if flags & COMMAND != 0 => Ok(Some(command(body)?)),
            Opener::Clear | Opener::Records(_) => {
                self.part(flags, Frame::copy_from_slice(body), message)
            }
            Opener::Curve(opener) => {
                let plain = opener.open(body).map_err(|_| DecodeError::NotAuthentic)?;
                let flags = inner_flags(plain)?;
                if flags & COMMAND != 0 {
                    return Ok(Some(command(&plain[1..])?));
                }
                let frame = Frame::copy_from_slice(&plain[1..]);
                self.part(flags, frame, message)
            }
        }
    }

    #[inline]
    fn part(
        &mut self,
        flags: u8,
        frame: Frame,
        message: &mut Message,
    ) -> Result<Option<Decoded>, DecodeError> {
        if flags & COMMAND != 0 {
            return Ok(Some(command(&frame)?));
        }
        if flags & MORE == 0 && self.parts.is_empty() {
            *message = Message::from(frame);
            return Ok(Some(Decoded::Message));
        }
        if self.parts.len() == self.limits.max_parts {
            return Err(DecodeError::TooManyParts {
                limit: self.limits.max_parts,
            });
        }
        self.parts_size += frame.len();
        self.parts.push(frame);
        if flags & MORE != 0 {
            return Ok(None);
        }
        self.parts_size = 0;
        *message = Message::from_frames(std::mem::take(&mut self.parts));
        Ok(Some(Decoded::Message))
    }
}

fn command(body: &[u8]) -> Result<Decoded, DecodeError> {
    Ok(Decoded::Command(Box::new(Command::decode(body)?)))
}

/// The flags octet inside a CURVE box, in the terms of the frame header.
fn inner_flags(plain: &[u8]) -> Result<u8, DecodeError> {
    match plain.first() {
        Some(&flags @ (0 | 1)) => Ok(flags),
        Some(2) => Ok(COMMAND),
        _ => Err(DecodeError::Header(HeaderError::ReservedBits)),
    }
}

/// Why a connection closes. The peer misbehaved, or went over a limit that is ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame header broke the protocol.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A command broke the protocol.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A message is larger than `max_message_size`.
    #[error("a message of at least {size} octets is over max_message_size ({limit})")]
    MessageTooLarge {
        /// What the frame announced.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// A message has more frames than `max_parts`.
    #[error("a message has more frames than max_parts ({limit})")]
    TooManyParts {
        /// The limit.
        limit: usize,
    },
    /// A CURVE frame or a record does not open, or was replayed.
    #[error("a frame does not authenticate, or was sent before")]
    NotAuthentic,
    /// Two records in a row carry nothing.
    #[error("two records in a row carry nothing")]
    EmptyRecord,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::aead::{Key, TAG};
    use crate::zmtp::frame;
    use crate::zmtp::outbox::{Framing, Outbox};
    use crate::zmtp::record;

    fn stream() -> (Vec<u8>, Vec<Item>) {
        let mut outbox = Outbox::new(Framing::Clear);
        let messages = [
            Message::from("one"),
            ["a", "", "c"].into_iter().collect(),
            Message::from(vec![3; 70_000]),
            Message::new(),
        ];
        let command = Command::Pong {
            context: Frame::from("x"),
        };
        outbox.push_command(&command);
        messages.iter().for_each(|message| outbox.push(message));
        let mut batch = outbox.take(Vec::new());
        let mut octets = Vec::new();
        while !batch.is_done() {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let filled = batch.slices(&mut slices, usize::MAX);
            let now: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            octets.extend_from_slice(&now);
            batch.advance(now.len());
        }
        let items = [Item::Command(Box::new(command))]
            .into_iter()
            .chain(messages.into_iter().map(Item::Message))
            .collect();
        (octets, items)
    }

    #[test]
    fn a_look_finds_what_decoding_would_give_and_nothing_else() {
        let mut outbox = Outbox::new(Framing::Clear);
        let message: Message = [&b"a"[..], b"", &[7; 300]].into_iter().collect();
        outbox.push(&message);
        let mut octets = outbox.encoded().unwrap().to_vec();
        let whole = octets.len();
        octets.extend([0, 1, 9]);
        let limits = Limits {
            max_message_size: message.size(),
            max_parts: 3,
        };
        let mut decoder = Decoder::new(limits, Opener::Clear);
        let found = decoder.look::<3>(&octets).unwrap();
        assert_eq!(found[2].end, whole);
        let frames = found.map(|frame| Frame::from(&octets[frame]));
        assert_eq!(message, Message::from_frames(frames.into()));
        assert!((0..whole).all(|end| decoder.look::<3>(&octets[..end]).is_none()));
        assert_eq!(decoder.look::<2>(&octets), None);
        assert_eq!(decoder.look::<4>(&octets), None);
        for (at, flags) in [(0, COMMAND), (0, 8), (0, 0), (3, MORE | COMMAND)] {
            let mut other = octets.clone();
            other[at] = flags;
            assert_eq!(decoder.look::<3>(&other), None, "{flags} at {at}");
        }
        let smaller = Limits {
            max_message_size: message.size() - 1,
            ..limits
        };
        let fewer = Limits {
            max_parts: 2,
            ..limits
        };
        for limits in [smaller, fewer] {
            assert_eq!(Decoder::new(limits, Opener::Clear).look::<3>(&octets), None);
        }
        // A frame of a message before it has come already.
        let (_, decoded) = decoder.decode(&mut [MORE, 0], &mut Message::new()).unwrap();
        assert!(decoded.is_none());
        assert_eq!(decoder.look::<3>(&octets), None);
    }

    #[test]
    fn records_that_carry_nothing_are_named() {
        let opener = || Opener::Records(Box::new(record::Opener::new(Key::none(), 0)));
        let empty = [&[0, TAG as u8][..], &[0; TAG]].concat();
        let mut decoder = Decoder::new(Limits::default(), opener());
        assert_eq!(decoder.decode_all(&empty), Ok(Vec::new()));
        assert_eq!(decoder.decode_all(&empty), Err(DecodeError::EmptyRecord));
        let mut decoder = Decoder::new(Limits::default(), opener());
        let wrong = [&[0, TAG as u8][..], &[1; TAG]].concat();
        assert_eq!(decoder.decode_all(&wrong), Err(DecodeError::NotAuthentic));
    }

    #[test]
    fn the_stream_decodes_the_same_in_pieces_of_any_size() {
        let (octets, expected) = stream();
        for step in [1, 2, 7, 100, 4_099, 40_000, octets.len()] {
            let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
            let mut items = Vec::new();
            for piece in octets.chunks(step) {
                items.extend(decoder.decode_all(piece).unwrap());
            }
            assert_eq!(items, expected, "in pieces of {step}");
            assert_eq!(decoder.held(), 0);
        }
    }

    #[test]
    fn a_promise_allocates_nothing() {
        for size in [1_usize << 25, 1 << 31, i64::MAX as usize] {
            let mut octets = Vec::new();
            frame::encode(0, size, &mut octets);
            octets.extend_from_slice(&[0; 10]);
            let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
            match decoder.decode_all(&octets) {
                Ok(items) => assert!(items.is_empty() && size <= 1 << 26),
                Err(error) => assert!(
                    matches!(error, DecodeError::MessageTooLarge { .. }),
                    "{error}"
                ),
            }
            assert!(decoder.held() <= FIRST_BODY);
        }
    }

    #[test]
    fn frames_and_octets_of_a_message_are_limited_together() {
        let limits = Limits {
            max_message_size: 100,
            max_parts: 3,
        };
        let frames = |count: usize, size: usize| {
            let mut octets = Vec::new();
            for _ in 0..count {
                frame::encode(MORE, size, &mut octets);
                octets.extend(std::iter::repeat_n(0, size));
            }
            octets
        };
        let result = |octets: Vec<u8>| Decoder::new(limits, Opener::Clear).decode_all(&octets);
        assert!(result(frames(3, 30)).is_ok());
        assert!(matches!(
            result(frames(4, 1)),
            Err(DecodeError::TooManyParts { limit: 3 })
        ));
        assert!(matches!(
            result(frames(2, 60)),
            Err(DecodeError::MessageTooLarge { .. })
        ));
    }
}
