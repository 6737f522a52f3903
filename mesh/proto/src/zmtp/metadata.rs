//! The properties of a READY command (RFC 37 §3.4): names and values, with limits.

use std::fmt;

/// The most properties that a peer may announce.
pub const MAX_PROPERTIES: usize = 64;

/// The most octets that a peer's metadata may have in all, on the wire.
pub const MAX_SIZE: usize = 16 * 1024;

/// The longest property name in octets (RFC 37 §3.4).
pub const MAX_NAME: usize = 255;

/// An ordered list of properties. Names are compared without regard to ASCII case.
///
/// Kept in the wire form, in one piece: each connection has some for as long as it lives, and few
/// ever look at them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Box<[u8]>);

/// Properties in the wire form, one after the other.
struct Properties<'a>(&'a [u8]);

impl<'a> Iterator for Properties<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, rest) = split_property(self.0)?;
        self.0 = rest;
        // Whoever put it there checked that it is ASCII.
        Some((str::from_utf8(name).unwrap_or_default(), value))
    }
}

impl Metadata {
    /// The value of a property.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The properties in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        Properties(&self.0)
    }

    /// Whether there is no property.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a property, replacing one of the same name.
    ///
    /// # Errors
    /// The name is empty, longer than [`MAX_NAME`] or has other octets than RFC 37 allows
    /// (letters, digits, `-`, `_`, `.`, `+`); or the value is longer than the wire can say.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        check_name(name.as_bytes())?;
        let value = value.as_ref();
        let Ok(size) = u32::try_from(value.len()) else {
            return Err(MetadataError::TooLarge);
        };
        let known = self.find(name);
        let (from, to) = known.map_or((self.0.len(), self.0.len()), |(from, _, to)| (from, to));
        let property = [
            &[name.len() as u8],
            name.as_bytes(),
            &size.to_be_bytes(),
            value,
        ];
        let before = std::iter::once(&self.0[..from]);
        let pieces: Vec<&[u8]> = before.chain(property).chain([&self.0[to..]]).collect();
        self.0 = pieces.concat().into();
        Ok(())
    }

    /// Takes a property out.
    pub fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        let (from, value_at, to) = self.find(name)?;
        let value = self.0[value_at..to].to_vec();
        self.0 = [&self.0[..from], &self.0[to..]].concat().into();
        Some(value)
    }

    /// The wire form: for each property a length octet, the name, a 32-bit length, the value.
    pub fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// Cut short, a bad or repeated name, or over [`MAX_PROPERTIES`] or [`MAX_SIZE`].
    pub fn decode(octets: &[u8]) -> Result<Self, MetadataError> {
        if octets.len() > MAX_SIZE {
            return Err(MetadataError::TooLarge);
        }
        let mut rest = octets;
        let mut count = 0;
        while !rest.is_empty() {
            let so_far = &octets[..octets.len() - rest.len()];
            let (&len, named) = rest.split_first().ok_or(MetadataError::CutShort)?;
            let name = named.get(..usize::from(len));
            check_name(name.ok_or(MetadataError::CutShort)?)?;
            let (name, _, others) = split_property(rest).ok_or(MetadataError::CutShort)?;
            let same = |(known, _): (&str, _)| known.as_bytes().eq_ignore_ascii_case(name);
            if Properties(so_far).any(same) {
                return Err(MetadataError::Repeated);
            }
            if count == MAX_PROPERTIES {
                return Err(MetadataError::TooMany);
            }
            count += 1;
            rest = others;
        }
        Ok(Self(octets.into()))
    }

    /// Where a property stands: its start, that of its value, and its end.
    fn find(&self, name: &str) -> Option<(usize, usize, usize)> {
        let mut from = 0;
        for (known, value) in self.iter() {
            let value_at = from + 1 + known.len() + 4;
            let to = value_at + value.len();
            if known.eq_ignore_ascii_case(name) {
                return Some((from, value_at, to));
            }
            from = to;
        }
        None
    }
}

/// The name and the value of the first property, and what follows; `None` when it is cut short.
fn split_property(octets: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&len, rest) = octets.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    let (value, rest) = rest.split_at_checked(size)?;
    Some((name, value, rest))
}

fn check_name(name: &[u8]) -> Result<(), MetadataError> {
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.+".contains(octet);
    if name.is_empty() {
        Err(MetadataError::EmptyName)
    } else if name.len() > MAX_NAME || !name.iter().all(allowed) {
        Err(MetadataError::BadName)
    } else {
        Ok(())
    }
}

impl fmt::Debug for Metadata {
    /// Shows names and the lengths of values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.len())))
            .finish()
    }
}

/// Why metadata is refused. The peer misbehaved; the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// A length points past the end.
    #[error("metadata is cut short")]
    CutShort,
    /// A property has no name.
    #[error("a property has an empty name")]
    EmptyName,
    /// A name has octets that RFC 37 does not allow.
    #[error("a property name has other octets than letters, digits and -_.+")]
    BadName,
    /// A name stands twice.
    #[error("a property is announced twice")]
    Repeated,
    /// More than [`MAX_PROPERTIES`].
    #[error("more than {MAX_PROPERTIES} properties")]
    TooMany,
    /// More than [`MAX_SIZE`] octets.
    #[error("more than {MAX_SIZE} octets of metadata")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_every_cut_is_refused_or_shorter() {
        let mut metadata = Metadata::default();
        metadata.set("Socket-Type", *b"REQ").unwrap();
        metadata.set("Identity", *b"").unwrap();
        metadata.set("X-note", vec![7; 300]).unwrap();
        let octets = metadata.encode();
        assert_eq!(Metadata::decode(&octets).unwrap(), metadata);
        assert_eq!(metadata.value("socket-TYPE"), Some(&b"REQ"[..]));
        let mut without = metadata.clone();
        assert_eq!(without.remove("SOCKET-type"), Some(b"REQ".to_vec()));
        assert_eq!(
            (without.remove("Socket-Type"), without.iter().count()),
            (None, 2)
        );
        let whole = (0..octets.len())
            .filter(|&cut| Metadata::decode(&octets[..cut]).is_ok())
            .count();
        assert_eq!(whole, 3, "only cuts between properties decode");
    }

    #[test]
    fn names_and_amounts_have_limits() {
        let property = |name: &[u8]| [&[name.len() as u8][..], name, &[0, 0, 0, 0]].concat();
        assert_eq!(
            Metadata::decode(&property(b"")),
            Err(MetadataError::EmptyName)
        );
        assert_eq!(
            Metadata::decode(&property(b"a b")),
            Err(MetadataError::BadName)
        );
        let twice = [property(b"name"), property(b"NAME")].concat();
        assert_eq!(Metadata::decode(&twice), Err(MetadataError::Repeated));
        let many: Vec<u8> = (0..10_000)
            .flat_map(|i: u32| property(format!("n{i}").as_bytes()))
            .collect();
        assert_eq!(Metadata::decode(&many), Err(MetadataError::TooLarge));
        let some: Vec<u8> = (0..100)
            .flat_map(|i: u32| property(format!("n{i}").as_bytes()))
            .collect();
        assert_eq!(Metadata::decode(&some), Err(MetadataError::TooMany));
    }
}
