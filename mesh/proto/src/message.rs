//! The message value: one or more frames, small ones without an allocation.
//!
//! A [`Frame`] of at most [`Frame::INLINE`] octets lives inside the value; a longer one is a
//! reference-counted [`Bytes`], so that a fan-out or an in-process link shares one body.
//! This module knows nothing of flags, mechanisms or the wire.

use std::fmt;

use bytes::Bytes;

use crate::pool;

/// One frame of a message: an opaque run of octets.
///
/// Cloning never copies more than [`Frame::INLINE`] octets.
#[derive(Clone)]
pub struct Frame(Repr);

#[derive(Clone)]
enum Repr {
    Inline(Inline),
    Shared(Bytes),
}

/// A short body. A message is moved through many hands, so a move has to be cheap: whole words, and
/// always the same ones, so that no load straddles the stores of the move before.
#[derive(Clone, Copy)]
#[repr(C)]
struct Inline {
    octets: [u8; Frame::INLINE],
    length: Length,
}

/// Makes the type of a short body's length. What is no length is the compiler's to tell everything
/// else apart that stands in the place of a short body, without a tag in front that would shift it.
macro_rules! lengths {
    ($($name:ident)*) => {
        #[derive(Clone, Copy)]
        #[repr(u64)]
        enum Length { $($name),* }

        impl Length {
            const ALL: [Self; Frame::INLINE + 1] = [$(Self::$name),*];
        }
    };
}

lengths! {
    L0 L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 L12
    L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 L24 L25
    L26 L27 L28 L29 L30 L31 L32 L33 L34 L35 L36 L37 L38
    L39 L40 L41 L42 L43 L44 L45 L46 L47 L48 L49 L50 L51
    L52 L53 L54 L55 L56 L57 L58 L59 L60 L61 L62 L63 L64
}

impl Inline {
    const EMPTY: Self = Self {
        octets: [0; Frame::INLINE],
        length: Length::L0,
    };

    #[inline]
    fn len(&self) -> usize {
        self.length as usize
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len()]
    }
}

impl Frame {
    /// The longest body, in octets, that a frame holds without an allocation.
    pub const INLINE: usize = 64;

    /// An empty frame.
    pub const fn new() -> Self {
        Self(Repr::Inline(Inline::EMPTY))
    }

    /// Copies `octets` into a frame.
    #[inline]
    pub fn copy_from_slice(octets: &[u8]) -> Self {
        if octets.len() <= Self::INLINE {
            let mut inline = Inline::EMPTY;
            inline.octets[..octets.len()].copy_from_slice(octets);
            inline.length = Length::ALL[octets.len()];
            Self(Repr::Inline(inline))
        } else {
            Self(Repr::Shared(pool::copy(octets)))
        }
    }

    /// Copies the first `len` of `octets`: quicker where more of them stand behind, since a copy
    /// of fixed length needs no call.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub(crate) fn copy_from_front(octets: &[u8], len: usize) -> Self {
        match octets.first_chunk() {
            Some(&octets) if len <= Self::INLINE => Self(Repr::Inline(Inline {
                octets,
                length: Length::ALL[len],
            })),
            _ => Self::copy_from_slice(&octets[..len]),
        }
    }

    /// The length of the body in octets.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Inline(inline) => inline.len(),
            Repr::Shared(bytes) => bytes.len(),
        }
    }

    /// Whether the body has no octets.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(inline) => inline.as_slice(),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The body as [`Bytes`]: without a copy when it is longer than [`Frame::INLINE`].
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline(inline) => Bytes::copy_from_slice(inline.as_slice()),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The shared body, when the frame is not held inline.
    #[inline]
    pub fn as_shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Inline(_) => None,
            Repr::Shared(bytes) => Some(bytes),
        }
    }

    /// The octets that the body takes beside the value.
    #[inline]
    fn on_heap(&self) -> usize {
        self.as_shared().map_or(0, Bytes::len)
    }

    /// The body as text, when it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self).ok()
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Frame {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A frame equals whatever has the same octets.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Frame {
    #[inline]
    fn eq(&self, other: &T) -> bool {
        self.as_slice() == other.as_ref()
    }
}

impl Eq for Frame {}

impl PartialOrd for Frame {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Frame {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for Frame {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Frame {
    /// Shows the length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} octets)", self.len())
    }
}

impl From<&[u8]> for Frame {
    #[inline]
    fn from(octets: &[u8]) -> Self {
        Self::copy_from_slice(octets)
    }
}

impl<const N: usize> From<&[u8; N]> for Frame {
    #[inline]
    fn from(octets: &[u8; N]) -> Self {
        Self::copy_from_slice(octets)
    }
}

impl<const N: usize> From<[u8; N]> for Frame {
    #[inline]
    fn from(octets: [u8; N]) -> Self {
        Self::copy_from_slice(&octets)
    }
}

impl From<&str> for Frame {
    #[inline]
    fn from(text: &str) -> Self {
        Self::copy_from_slice(text.as_bytes())
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Vec<u8>> for Frame {
    #[inline]
    fn from(octets: Vec<u8>) -> Self {
        if octets.len() <= Self::INLINE {
            Self::copy_from_slice(&octets)
        } else {
            Self(Repr::Shared(octets.into()))
        }
    }
}

impl From<Bytes> for Frame {
    #[inline]
    fn from(octets: Bytes) -> Self {
        if octets.len() <= Self::INLINE {
            Self::copy_from_slice(&octets)
        } else {
            Self(Repr::Shared(octets))
        }
    }
}

/// A message: one or more [`Frame`]s that arrive together or not at all (RFC 23, "multipart").
///
/// A message made by [`Message::new`] or `default` has one empty frame; there is no message
/// without frames.
///
/// ```
/// use withy_proto::Message;
///
/// let hello = Message::from("hello");
/// assert_eq!(hello.part(0).unwrap(), "hello");
///
/// let parts: Message = ["topic", "body"].into_iter().collect();
/// assert_eq!(parts.len(), 2);
/// ```
#[derive(Clone)]
pub struct Message(Frames);

#[derive(Clone)]
enum Frames {
    One(Frame),
    /// Never empty.
    Many(Vec<Frame>),
}

impl Message {
    /// A message of one empty frame.
    pub const fn new() -> Self {
        Self(Frames::One(Frame::new()))
    }

    /// A message of the given frames; of one empty frame when there are none.
    #[inline]
    pub fn from_frames(mut frames: Vec<Frame>) -> Self {
        match frames.len() {
            0 => Self::new(),
            1 => Self(Frames::One(frames.swap_remove(0))),
            _ => Self(Frames::Many(frames)),
        }
    }

    /// Becomes one frame with the first `len` of `octets`, in place: a message that is made where it is
    /// wanted need not be moved there.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub(crate) fn become_front(&mut self, octets: &[u8], len: usize) {
        self.0 = Frames::One(Frame::copy_from_front(octets, len));
    }

    /// The frames, in order; at least one.
    #[inline]
    pub fn frames(&self) -> &[Frame] {
        match &self.0 {
            Frames::One(frame) => std::slice::from_ref(frame),
            Frames::Many(frames) => frames,
        }
    }

    /// The number of frames; at least one.
    #[inline]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a message is never without frames"
    )]
    pub fn len(&self) -> usize {
        self.frames().len()
    }

    /// The frame at `index`.
    #[inline]
    pub fn part(&self, index: usize) -> Option<&Frame> {
        self.frames().get(index)
    }

    /// The first frame.
    #[inline]
    pub fn first(&self) -> &Frame {
        &self.frames()[0]
    }

    /// The sum of the frames' bodies in octets.
    #[inline]
    pub fn size(&self) -> usize {
        match &self.0 {
            Frames::One(frame) => frame.len(),
            Frames::Many(frames) => frames.iter().map(Frame::len).sum(),
        }
    }

    /// The memory that the message takes, in octets: itself, its frames, and their bodies that are
    /// longer than [`Frame::INLINE`]. A body that others share counts in full.
    #[inline]
    pub fn footprint(&self) -> usize {
        size_of::<Self>()
            + match &self.0 {
                Frames::One(frame) => frame.on_heap(),
                Frames::Many(frames) => {
                    let bodies: usize = frames.iter().map(Frame::on_heap).sum();
                    frames.capacity() * size_of::<Frame>() + bodies
                }
            }
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: impl Into<Frame>) {
        let frame = frame.into();
        match &mut self.0 {
            Frames::One(first) => self.0 = Frames::Many(vec![std::mem::take(first), frame]),
            Frames::Many(frames) => frames.push(frame),
        }
    }

    /// Puts a frame in front of the others, as a ROUTER does with the routing id.
    pub fn push_front(&mut self, frame: impl Into<Frame>) {
        let frame = frame.into();
        match &mut self.0 {
            Frames::One(first) => self.0 = Frames::Many(vec![frame, std::mem::take(first)]),
            Frames::Many(frames) => frames.insert(0, frame),
        }
    }

    /// Takes the first frame off; `None`, and no change, when it is the only one.
    pub fn pop_front(&mut self) -> Option<Frame> {
        match &mut self.0 {
            Frames::One(_) => None,
            Frames::Many(frames) => {
                let first = frames.remove(0);
                if frames.len() == 1
                    && let Some(last) = frames.pop()
                {
                    self.0 = Frames::One(last);
                }
                Some(first)
            }
        }
    }

    /// Moves the frames behind others.
    #[inline]
    pub(crate) fn append_to(self, frames: &mut Vec<Frame>) {
        match self.0 {
            Frames::One(frame) => frames.push(frame),
            Frames::Many(more) => frames.extend(more),
        }
    }

    /// Takes frames off the front, but for the last: that is always left.
    #[inline]
    pub(crate) fn drop_front(&mut self, count: usize) {
        if let Frames::Many(frames) = &mut self.0 {
            if count + 1 < frames.len() {
                frames.drain(..count);
            } else if let Some(last) = frames.pop() {
                self.0 = Frames::One(last);
            }
        }
    }

    /// The frames by value.
    #[inline]
    pub fn into_frames(self) -> Vec<Frame> {
        match self.0 {
            Frames::One(frame) => vec![frame],
            Frames::Many(frames) => frames,
        }
    }

    /// All bodies in one buffer; without a copy when there is one frame longer than
    /// [`Frame::INLINE`].
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Frames::One(frame) => frame.into_bytes(),
            Frames::Many(frames) => frames
                .iter()
                .flat_map(|frame| frame.iter().copied())
                .collect(),
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.frames() == other.frames()
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.frames()).finish()
    }
}

impl<T: Into<Frame>> From<T> for Message {
    #[inline]
    fn from(frame: T) -> Self {
        Self(Frames::One(frame.into()))
    }
}

impl<T: Into<Frame>> FromIterator<T> for Message {
    fn from_iter<I: IntoIterator<Item = T>>(frames: I) -> Self {
        Self::from_frames(frames.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<Frame>> for Message {
    fn from(frames: Vec<Frame>) -> Self {
        Self::from_frames(frames)
    }
}

impl IntoIterator for Message {
    type Item = Frame;
    type IntoIter = std::vec::IntoIter<Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_frames().into_iter()
    }
}

impl<'a> IntoIterator for &'a Message {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.frames().iter()
    }
}

// Wrapped or not, a message has one shape.
const _: () = assert!(size_of::<Option<Result<Message, u64>>>() == size_of::<Inline>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_inline_up_to_the_limit_and_shared_above() {
        for len in [
            0,
            1,
            Frame::INLINE - 1,
            Frame::INLINE,
            Frame::INLINE + 1,
            1_000,
        ] {
            let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let more = [&body[..], &[0xff; 100]].concat();
            for frame in [
                Frame::copy_from_slice(&body),
                Frame::copy_from_front(&body, len),
                Frame::copy_from_front(&more, len),
                Frame::from(body.clone()),
                Frame::from(Bytes::from(body.clone())),
            ] {
                assert_eq!(frame, body);
                assert_eq!(frame.as_shared().is_some(), len > Frame::INLINE);
                assert_eq!(frame.into_bytes(), body);
            }
        }
    }

    #[test]
    fn a_message_always_has_a_frame() {
        assert_eq!(Message::from_frames(vec![]).len(), 1);
        let mut message = Message::from("only");
        assert!(message.pop_front().is_none());
        message.push_front("id");
        message.push("last");
        assert_eq!(message.size(), 10);
        assert_eq!(message.pop_front().unwrap(), "id");
        assert_eq!(message.pop_front().unwrap(), "only");
        assert!(message.pop_front().is_none());
        assert_eq!(message, Message::from("last"));
    }

    #[test]
    fn a_footprint_counts_what_a_size_does_not() {
        let value = size_of::<Message>();
        assert_eq!(Message::new().footprint(), value);
        assert_eq!(Message::from([7; Frame::INLINE]).footprint(), value);
        assert_eq!(Message::from(vec![7; 1_000]).footprint(), value + 1_000);
        let empty = Message::from_frames(vec![Frame::new(); 1_024]);
        assert_eq!(empty.size(), 0);
        assert!(empty.footprint() >= 1_024 * size_of::<Frame>());
    }

    #[test]
    fn a_message_value_stays_small_enough_to_move() {
        assert!(size_of::<Message>() <= 80);
    }
}
