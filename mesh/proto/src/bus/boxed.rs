//! A header behind a pointer, since most messages say nothing in theirs: a message that is moved through
//! many hands has to be small.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::header::{Header, HeaderError};
use crate::message::Frame;

/// What a default header is looked at as.
static DEFAULT: Header = Header::DEFAULT;

/// A [`Header`], which it can be used as. It takes no memory of its own until something is said in it.
#[derive(Clone, Default)]
pub struct BoxedHeader(Option<Box<Header>>);

impl BoxedHeader {
    /// The frame.
    #[inline]
    pub fn encode(&self) -> Frame {
        match &self.0 {
            None => Header::default_frame(),
            Some(header) => header.encode(),
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// The octets are no header.
    #[inline]
    pub fn decode(octets: &[u8]) -> Result<Self, HeaderError> {
        match Header::is_default_frame(octets) {
            true => Ok(Self(None)),
            false => Ok(Self(Some(Box::new(Header::decode(octets)?)))),
        }
    }

    /// As [`Header::aged`].
    pub(super) fn aged(mut self, held: Duration) -> Option<Self> {
        if let Some(header) = &mut self.0 {
            **header = std::mem::take(&mut **header).aged(held)?;
        }
        Some(self)
    }

    /// The octets that the header takes beside the value.
    pub(super) fn on_heap(&self) -> usize {
        let header = self.0.as_ref();
        header.map_or(0, |header| size_of::<Header>() + header.on_heap())
    }
}

impl Deref for BoxedHeader {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        self.0.as_deref().unwrap_or(&DEFAULT)
    }
}

impl DerefMut for BoxedHeader {
    fn deref_mut(&mut self) -> &mut Header {
        self.0.get_or_insert_default()
    }
}

impl From<Header> for BoxedHeader {
    fn from(header: Header) -> Self {
        Self((header != DEFAULT).then(|| Box::new(header)))
    }
}

impl PartialEq for BoxedHeader {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for BoxedHeader {}

impl std::fmt::Debug for BoxedHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Priority;

    #[test]
    fn only_what_says_something_takes_memory() {
        let mut header = BoxedHeader::from(Header::default());
        assert_eq!(header.on_heap(), 0);
        assert_eq!(*header, Header::default());
        assert_eq!(BoxedHeader::decode(&header.encode()).unwrap().on_heap(), 0);
        header.priority = Priority::MAX;
        assert!(header.on_heap() >= size_of::<Header>());
        assert_eq!(BoxedHeader::decode(&header.encode()), Ok(header.clone()));
        header.priority = Priority::default();
        assert_eq!(header, BoxedHeader::default());
        assert_eq!(header.encode(), BoxedHeader::default().encode());
    }

    #[test]
    fn one_that_expired_is_gone() {
        let second = Duration::from_secs(1);
        let mut header = BoxedHeader::default();
        assert_eq!(header.clone().aged(second), Some(header.clone()));
        header.expiry = Some(2 * second);
        assert_eq!(header.clone().aged(second).unwrap().expiry, Some(second));
        assert_eq!(header.aged(2 * second), None);
    }
}
