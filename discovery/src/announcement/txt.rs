//! The strings of a TXT record (RFC 6763 §6): `key=value`, each after an octet with its length.
//!
//! They are read in one order. RFC 6763 §6.4 lets clients skip keys that they do not know; here a new
//! key is a new version, so that what is signed is all that is there.

use data_encoding::BASE64URL_NOPAD;
use withy_proto::fields::{Fields, put_short};

use super::Announcement;
use super::error::AnnouncementError;

/// What was not read yet of a TXT record.
#[derive(Debug)]
pub(super) struct Strings<'a>(Fields<'a>);

impl<'a> Strings<'a> {
    /// All strings of a record.
    pub(super) fn new(octets: &'a [u8]) -> Result<Self, AnnouncementError> {
        let length = octets.len();
        if length > Announcement::MAX {
            return Err(AnnouncementError::Length { length });
        }
        let mut fields = Fields::new(octets);
        while !fields.is_empty() {
            if fields.short().is_none_or(<[u8]>::is_empty) {
                return Err(AnnouncementError::Malformed);
            }
        }
        Ok(Self(Fields::new(octets)))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next string has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        let next = Fields::new(self.0.rest()).short();
        next.is_some_and(|next| value(next, key).is_some())
    }

    /// The value of the next string, which has this key.
    fn next(&mut self, key: &'static str) -> Result<&'a [u8], AnnouncementError> {
        let found = self.0.short().and_then(|next| value(next, key));
        found.ok_or(AnnouncementError::Missing { key })
    }

    /// A number without signs and leading zeros.
    pub(super) fn number(&mut self, key: &'static str) -> Result<u64, AnnouncementError> {
        let text = self.next(key)?;
        let number = str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let number = number.filter(|it| it.to_string().as_bytes() == text);
        number.ok_or(AnnouncementError::Value { key })
    }

    /// So many octets.
    pub(super) fn octets<const N: usize>(
        &mut self,
        key: &'static str,
    ) -> Result<[u8; N], AnnouncementError> {
        let octets = self.any_octets(key)?;
        let octets = <[u8; N]>::try_from(octets);
        octets.map_err(|_| AnnouncementError::Value { key })
    }

    /// As many octets as there are.
    pub(super) fn any_octets(&mut self, key: &'static str) -> Result<Vec<u8>, AnnouncementError> {
        let text = self.next(key)?;
        let octets = BASE64URL_NOPAD.decode(text);
        octets.map_err(|_| AnnouncementError::Value { key })
    }
}

fn value<'a>(string: &'a [u8], key: &str) -> Option<&'a [u8]> {
    string.strip_prefix(key.as_bytes())?.strip_prefix(b"=")
}

pub(super) fn base64(octets: &[u8]) -> String {
    BASE64URL_NOPAD.encode(octets)
}

/// Writes a string.
pub(super) fn put(out: &mut Vec<u8>, key: &str, value: &str) {
    put_short(out, format!("{key}={value}").as_bytes());
}
