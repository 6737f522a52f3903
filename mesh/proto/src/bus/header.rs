//! The second frame of a message on the bus: what is said about the message beside its topic.
//!
//! ```text
//! header = version *field
//! field  = tag length value
//! ```
//!
//! The version is one octet, 1. A tag is one octet, from 1. A length is one octet up to 127; longer ones are two,
//! of which the first has its top bit set, and the other 15 bits are the length, big-endian. Fields
//! come in the order of their tags, and only user headers are repeated. A tag that is not in the
//! table is skipped, so that later fields harm nobody; a change that must not be overlooked is a new
//! version. A field that is not there has its default. Numbers are big-endian, of at most 8 octets,
//! written without leading zeros.
//!
//! | tag | field | value | default |
//! |---|---|---|---|
//! | 1 | priority | 1 octet, 0 to 9 | 4 |
//! | 2 | expiry | a number: milliseconds left to live | lives on |
//! | 3 | origin | 32 octets: the node that published it | the peer it comes from |
//! | 4 | sequence | a number: which of its origin's it is, from 1 | 0, not numbered |
//! | 5 | content type | 1 to 255 octets of text, no control characters | none |
//! | 6 | retain | no octets | not retained |
//! | 7 | user header | the length of a name (1 octet, 1 to 255), the name in UTF-8, a value | none |
//!
//! Expiry is the time left, not a date: nodes need not agree on the time of day, which on small
//! devices nobody has set. Whoever holds a message, to retain, replay or relay it, takes off the
//! time that it held it ([`Header::aged`]). The time on the wire and in a socket's queue is not taken off,
//! since the header is encoded once for all subscribers.

use std::time::Duration;

use crate::message::Frame;
use crate::tagged::{field, number, read_number, read_value};
use crate::trust::NodeId;

/// The longest header in octets, fields that are skipped included.
pub const MAX_HEADER: usize = 16 * 1024;

/// The most user headers of one message.
pub const MAX_USER: usize = 32;

/// The most octets of a message's user headers together, names and values.
pub const MAX_USER_OCTETS: usize = 8 * 1024;

/// The longest content type and the longest name of a user header in octets.
pub const MAX_TEXT: usize = 255;

const VERSION: u8 = 1;

const PRIORITY: u8 = 1;
const EXPIRY: u8 = 2;
const ORIGIN: u8 = 3;
const SEQUENCE: u8 = 4;
const CONTENT_TYPE: u8 = 5;
const RETAIN: u8 = 6;
const USER: u8 = 7;

/// Which messages go first: 0 to 9, as JMS and AMQP have it. Default 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The last to go.
    pub const MIN: Self = Self(0);
    /// The first to go.
    pub const MAX: Self = Self(9);
    /// What nobody said otherwise of.
    const DEFAULT: Self = Self(4);

    /// A priority; `None` above 9.
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::MAX.0 {
            Some(Self(level))
        } else {
            None
        }
    }

    /// 0 to 9.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is said about a message beside its topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Which messages go first.
    pub priority: Priority,
    /// The time left to live, in whole milliseconds on the wire, rounded up. Default: it lives on.
    pub expiry: Option<Duration>,
    /// Who published it; `None` is the peer that it comes from.
    pub origin: Option<NodeId>,
    /// Which of its origin's messages it is, from 1; 0 when they are not numbered.
    pub sequence: u64,
    /// Whether it is its topic's last value, for late joiners; without a body it takes that back.
    pub retain: bool,
    content_type: Option<Box<str>>,
    user: Vec<(Box<str>, Box<[u8]>)>,
}

/// Why octets are not a header, or a value may not stand in one: a peer that misbehaved, or local
/// misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is over [`MAX_HEADER`].
    #[error("a header has at most {MAX_HEADER} octets, not {octets}")]
    TooLarge {
        /// Its length.
        octets: usize,
    },
    /// It is of a version that is not known here.
    #[error("header version {found} is not supported, only {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// It ends in the middle of a field.
    #[error("the header is cut off")]
    Truncated,
    /// A field comes twice, or after one with a higher tag.
    #[error("field {tag} of the header is out of order")]
    Order {
        /// Its tag.
        tag: u8,
    },
    /// A field does not have the length or the value that it may.
    #[error("field {tag} of the header is malformed")]
    Field {
        /// Its tag.
        tag: u8,
    },
    /// A content type is empty, over [`MAX_TEXT`], or has control characters.
    #[error("a content type has 1 to {MAX_TEXT} octets and no control characters")]
    ContentType,
    /// The name of a user header is empty or over [`MAX_TEXT`].
    #[error("the name of a user header has 1 to {MAX_TEXT} octets")]
    Name,
    /// There are more user headers than [`MAX_USER`], or they are over [`MAX_USER_OCTETS`].
    #[error("a message has at most {MAX_USER} user headers of {MAX_USER_OCTETS} octets together")]
    User,
}

impl Header {
    /// One that says nothing.
    pub(super) const DEFAULT: Self = Self {
        priority: Priority::DEFAULT,
        expiry: None,
        origin: None,
        sequence: 0,
        retain: false,
        content_type: None,
        user: Vec::new(),
    };

    /// The frame of a default header.
    #[inline]
    pub(crate) fn default_frame() -> Frame {
        Frame::from([VERSION])
    }

    /// Whether a frame is the one of a default header.
    #[inline]
    pub(super) fn is_default_frame(octets: &[u8]) -> bool {
        octets == [VERSION]
    }

    /// What the body is, such as `application/json`.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Says what the body is.
    ///
    /// # Errors
    /// [`HeaderError::ContentType`]; nothing changed.
    pub fn set_content_type(&mut self, content_type: &str) -> Result<(), HeaderError> {
        let length = (1..=MAX_TEXT).contains(&content_type.len());
        if !length || content_type.contains(char::is_control) {
            return Err(HeaderError::ContentType);
        }
        self.content_type = Some(content_type.into());
        Ok(())
    }

    /// The user headers in their order; names may repeat.
    pub fn user(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.user.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Appends a user header.
    ///
    /// # Errors
    /// [`HeaderError::Name`] or [`HeaderError::User`]; nothing changed.
    pub fn push_user(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderError> {
        if !(1..=MAX_TEXT).contains(&name.len()) {
            return Err(HeaderError::Name);
        }
        let more = name.len().saturating_add(value.len());
        if self.user.len() == MAX_USER || more > MAX_USER_OCTETS - self.user_octets() {
            return Err(HeaderError::User);
        }
        self.user.push((name.into(), value.into()));
        Ok(())
    }

    /// The header after the message was held for so long; `None` when it has expired.
    pub fn aged(mut self, held: Duration) -> Option<Self> {
        if let Some(left) = &mut self.expiry {
            *left = left.checked_sub(held).filter(|left| !left.is_zero())?;
        }
        Some(self)
    }

    /// The frame.
    pub fn encode(&self) -> Frame {
        if *self == Self::DEFAULT {
            return Self::default_frame();
        }
        let mut octets = vec![VERSION];
        if self.priority != Priority::default() {
            field(&mut octets, PRIORITY, &[&[self.priority.0]]);
        }
        if let Some(left) = self.expiry {
            let millis = left.as_nanos().div_ceil(1_000_000);
            number(
                &mut octets,
                EXPIRY,
                u64::try_from(millis).unwrap_or(u64::MAX),
            );
        }
        if let Some(origin) = &self.origin {
            field(&mut octets, ORIGIN, &[origin.as_octets()]);
        }
        if self.sequence != 0 {
            number(&mut octets, SEQUENCE, self.sequence);
        }
        if let Some(content_type) = &self.content_type {
            field(&mut octets, CONTENT_TYPE, &[content_type.as_bytes()]);
        }
        if self.retain {
            field(&mut octets, RETAIN, &[]);
        }
        for (name, value) in &self.user {
            let length = [name.len() as u8];
            field(&mut octets, USER, &[&length, name.as_bytes(), value]);
        }
        Frame::from(octets)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// The octets are no header.
    #[inline]
    pub fn decode(octets: &[u8]) -> Result<Self, HeaderError> {
        match Self::is_default_frame(octets) {
            true => Ok(Self::DEFAULT),
            false => Self::decode_fields(octets),
        }
    }

    fn decode_fields(octets: &[u8]) -> Result<Self, HeaderError> {
        if octets.len() > MAX_HEADER {
            let octets = octets.len();
            return Err(HeaderError::TooLarge { octets });
        }
        let (&version, mut rest) = octets.split_first().ok_or(HeaderError::Truncated)?;
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        let mut header = Self::default();
        let mut last = 0;
        while let Some((&tag, after)) = rest.split_first() {
            if tag < last || (tag == last && tag != USER) {
                return Err(HeaderError::Order { tag });
            }
            last = tag;
            let (value, after) = read_value(after).ok_or(HeaderError::Truncated)?;
            rest = after;
            header.read(tag, value)?;
        }
        Ok(header)
    }

    fn read(&mut self, tag: u8, value: &[u8]) -> Result<(), HeaderError> {
        let malformed = HeaderError::Field { tag };
        match tag {
            PRIORITY => {
                let &[level] = value else {
                    return Err(malformed);
                };
                self.priority = Priority::new(level).ok_or(malformed)?;
            }
            EXPIRY => {
                let millis = read_number(value).ok_or(malformed)?;
                self.expiry = Some(Duration::from_millis(millis));
            }
            ORIGIN => {
                let id = <[u8; 32]>::try_from(value).map_err(|_| malformed)?;
                self.origin = Some(NodeId::from_octets(id));
            }
            SEQUENCE => self.sequence = read_number(value).ok_or(malformed)?,
            CONTENT_TYPE => {
                let text = std::str::from_utf8(value).map_err(|_| malformed)?;
                self.set_content_type(text)?;
            }
            RETAIN if value.is_empty() => self.retain = true,
            RETAIN => return Err(malformed),
            USER => {
                let (&length, rest) = value.split_first().ok_or(malformed)?;
                let named = rest.split_at_checked(usize::from(length));
                let (name, value) = named.ok_or(malformed)?;
                let name = std::str::from_utf8(name).map_err(|_| malformed)?;
                self.push_user(name, value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn user_octets(&self) -> usize {
        let lengths = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len());
        lengths.sum()
    }

    /// The octets that the header takes beside the value.
    pub(super) fn on_heap(&self) -> usize {
        let entries = self.user.capacity() * size_of::<(Box<str>, Box<[u8]>)>();
        let content_type = self.content_type.as_ref().map_or(0, |text| text.len());
        entries + content_type + self.user_octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Header {
        let mut header = Header {
            priority: Priority::MAX,
            expiry: Some(Duration::from_millis(1_500)),
            origin: Some(NodeId::from_octets([7; 32])),
            sequence: 0x1_0000,
            retain: true,
            ..Header::default()
        };
        header.set_content_type("text/plain").unwrap();
        header.push_user("trace", b"\0\xff").unwrap();
        header.push_user("trace", &[9; 200]).unwrap();
        header
    }

    #[test]
    fn headers_round_trip_and_cost_little() {
        assert_eq!(Header::default().encode(), [VERSION]);
        assert_eq!(Header::decode(&[VERSION]), Ok(Header::default()));
        let numbered = Header {
            sequence: u64::MAX,
            origin: full().origin,
            ..Header::default()
        };
        assert_eq!(numbered.encode().len(), 1 + 34 + 10);
        for header in [full(), numbered] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn the_largest_header_is_within_the_limit() {
        let mut header = full();
        header.user.clear();
        header.set_content_type(&"x".repeat(MAX_TEXT)).unwrap();
        let each = MAX_USER_OCTETS / MAX_USER;
        for _ in 0..MAX_USER {
            header.push_user("n", &vec![0; each - 1]).unwrap();
        }
        assert_eq!(header.push_user("n", b""), Err(HeaderError::User));
        let encoded = header.encode();
        assert!(encoded.len() <= MAX_HEADER);
        assert_eq!(Header::decode(&encoded), Ok(header));
        let mut header = Header::default();
        header
            .push_user("n", &vec![0; MAX_USER_OCTETS - 1])
            .unwrap();
        assert_eq!(header.push_user("m", b""), Err(HeaderError::User));
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut octets = full().encode().to_vec();
        octets.extend([200, 3, 1, 2, 3]);
        octets.extend([201, 0x81, 0x00]);
        octets.extend([0; 256]);
        assert_eq!(Header::decode(&octets), Ok(full()));
        octets.extend([201, 0]);
        let error = Err(HeaderError::Order { tag: 201 });
        assert_eq!(Header::decode(&octets), error);
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_an_error_or_has_fewer_fields() {
        let whole = full().encode();
        for length in 0..whole.len() {
            match Header::decode(&whole[..length]) {
                Ok(header) => assert_ne!(header, full()),
                Err(error) => assert_eq!(error, HeaderError::Truncated),
            }
        }
    }

    #[test]
    fn malformed_fields_are_errors() {
        let field = |tag| HeaderError::Field { tag };
        for (octets, error) in [
            (&[2][..], HeaderError::Version { found: 2 }),
            (&[1, 0, 0], HeaderError::Order { tag: 0 }),
            (&[1, PRIORITY, 1, 10], field(PRIORITY)),
            (&[1, PRIORITY, 0], field(PRIORITY)),
            (&[1, EXPIRY, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], field(EXPIRY)),
            (&[1, ORIGIN, 1, 0], field(ORIGIN)),
            (&[1, CONTENT_TYPE, 1, 0xff], field(CONTENT_TYPE)),
            (&[1, CONTENT_TYPE, 1, b'\n'], HeaderError::ContentType),
            (&[1, RETAIN, 1, 0], field(RETAIN)),
            (&[1, USER, 0], field(USER)),
            (&[1, USER, 1, 0], HeaderError::Name),
            (&[1, USER, 2, 2, b'a'], field(USER)),
            (
                &[1, RETAIN, 0, RETAIN, 0],
                HeaderError::Order { tag: RETAIN },
            ),
            (
                &[1, RETAIN, 0, PRIORITY, 1, 1],
                HeaderError::Order { tag: PRIORITY },
            ),
            (
                &[0; MAX_HEADER + 1],
                HeaderError::TooLarge {
                    octets: MAX_HEADER + 1,
                },
            ),
        ] {
            assert_eq!(Header::decode(octets), Err(error));
        }
        let many = [&[1][..], &[USER, 2, 1, b'a'].repeat(MAX_USER + 1)].concat();
        assert_eq!(Header::decode(&many), Err(HeaderError::User));
    }

    #[test]
    fn what_is_held_ages_and_expires() {
        let header = full();
        let aged = header.clone().aged(Duration::from_millis(600)).unwrap();
        assert_eq!(aged.expiry, Some(Duration::from_millis(900)));
        assert_eq!(header.aged(Duration::from_millis(1_500)), None);
        let lasting = Header::default();
        assert_eq!(lasting.clone().aged(Duration::MAX), Some(lasting));
        let short = Header {
            expiry: Some(Duration::from_micros(1)),
            ..Header::default()
        };
        let decoded = Header::decode(&short.encode()).unwrap();
        assert_eq!(decoded.expiry, Some(Duration::from_millis(1)));
    }
}
