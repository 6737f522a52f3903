//! A message on the bus: three frames, its topic, its header and its body.

use std::ops::Range;
use std::time::Duration;

use super::boxed::BoxedHeader;
use super::header::{Header, HeaderError};
use super::topic::{self, Topic, TopicError};
use crate::message::{Frame, Message};

/// A message on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What it is about.
    pub topic: Topic,
    /// What is said about it beside.
    pub header: BoxedHeader,
    /// What it says.
    pub body: Frame,
}

/// Why a message is no [`Publication`]. The peer misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// It has not three frames.
    #[error("a message on the bus has three frames, not {frames}")]
    Frames {
        /// How many it has.
        frames: usize,
    },
    /// The first frame is no topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The second frame is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Publication {
    /// A message with a default header.
    pub fn new(topic: Topic, body: impl Into<Frame>) -> Self {
        Self {
            topic,
            header: BoxedHeader::default(),
            body: body.into(),
        }
    }

    /// The message after it was held for so long; `None` when it has expired.
    pub fn aged(self, held: Duration) -> Option<Self> {
        let header = self.header.aged(held)?;
        Some(Self { header, ..self })
    }

    /// The frames of a message with a default header.
    #[inline]
    pub fn frames_of(topic: &Topic, body: Frame) -> [Frame; 3] {
        [topic.clone().into_frame(), Header::default_frame(), body]
    }

    /// The memory that it takes, in octets, as [`Message::footprint`] has it.
    pub fn footprint(&self) -> usize {
        let frames = [self.topic.as_octets(), &self.body];
        let long = frames.iter().map(|frame| frame.len());
        let bodies: usize = long.filter(|&length| length > Frame::INLINE).sum();
        size_of::<Self>() + bodies + self.header.on_heap()
    }

    /// One whose topic was checked, from where its frames stand in `octets`, made in its place; `None`, and
    /// no change, if the second is no header.
    #[inline]
    pub(crate) fn copy(
        octets: &[u8],
        frames: [Range<usize>; 3],
        place: &mut Option<Self>,
    ) -> Option<()> {
        let [topic, header, body] = frames;
        let copied = |it: Range<usize>| Frame::copy_from_front(&octets[it.start..], it.len());
        let header = BoxedHeader::decode(&octets[header]).ok()?;
        *place = Some(Self {
            topic: Topic::of_checked(copied(topic)),
            header,
            body: copied(body),
        });
        Some(())
    }

    /// The frames.
    #[inline]
    pub fn into_frames(self) -> [Frame; 3] {
        [self.topic.into_frame(), self.header.encode(), self.body]
    }

    pub(super) fn from_frames(frames: [Frame; 3]) -> Result<Self, PublicationError> {
        let [topic, header, body] = frames;
        Ok(Self {
            topic: Topic::try_from(topic)?,
            header: BoxedHeader::decode(&header)?,
            body,
        })
    }
}

/// A message that is a [`Publication`], before it is taken apart: a look costs less than a move.
#[derive(Debug)]
pub struct Opened<'a> {
    /// Of three frames: a topic, the header, and a body.
    message: &'a mut Message,
    header: BoxedHeader,
}

impl<'a> Opened<'a> {
    /// Looks at a message, which stays as it is.
    ///
    /// # Errors
    /// It is no publication.
    #[inline]
    pub fn new(message: &'a mut Message) -> Result<Self, PublicationError> {
        let [topic, header, _] = message.frames() else {
            let frames = message.len();
            return Err(PublicationError::Frames { frames });
        };
        Topic::check(topic)?;
        let header = BoxedHeader::decode(header)?;
        Ok(Self { message, header })
    }

    /// What it is about.
    pub fn topic(&self) -> &str {
        topic::text(self.message.first())
    }

    /// What is said about it beside.
    #[inline]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The publication; the message is empty then.
    #[inline(always)]
    pub fn into_publication(self) -> Publication {
        // One by one, from the end: none is moved more than once.
        let mut frames = std::mem::take(self.message).into_frames().into_iter();
        let body = frames.next_back();
        let topic = frames.next();
        Publication {
            topic: Topic::of_checked(topic.expect("it has three frames")),
            header: self.header,
            body: body.expect("it has three frames"),
        }
    }
}

impl From<Publication> for Message {
    fn from(publication: Publication) -> Self {
        Self::from_frames(publication.into_frames().into())
    }
}

impl TryFrom<Message> for Publication {
    type Error = PublicationError;

    #[inline]
    fn try_from(mut message: Message) -> Result<Self, PublicationError> {
        Opened::new(&mut message).map(Opened::into_publication)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_messages_of_three_frames() {
        let publication = Publication::new("home/a".parse().unwrap(), "body");
        let message = Message::from(publication.clone());
        assert_eq!(message.len(), 3);
        assert_eq!(message.first(), "home/a");
        assert_eq!(Publication::try_from(message), Ok(publication));
        for (frames, error) in [
            (&["a", "\x01"][..], PublicationError::Frames { frames: 2 }),
            (
                &["a", "\x01", "", ""],
                PublicationError::Frames { frames: 4 },
            ),
            (&["a/+", "\x01", ""], TopicError::Wildcard { at: 2 }.into()),
            (&["a", "", ""], HeaderError::Truncated.into()),
        ] {
            let message: Message = frames.iter().copied().collect();
            assert_eq!(Publication::try_from(message), Err(error));
        }
    }
}
