//! Names that people give to networks and peers.

use std::fmt;
use std::str::FromStr;

/// A name of 1 to 63 printable ASCII characters, without a space at either end and without `#`,
/// which begins a comment in lists.
///
/// Other scripts are left out on purpose: two names that look the same should be the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The longest name, in characters.
    pub const MAX: usize = 63;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if !(1..=Self::MAX).contains(&length) {
            return Err(NameError::Length { length });
        }
        let allowed = |at: usize, c: char| match c {
            ' ' => at != 0 && at != length - 1,
            '#' => false,
            c => c.is_ascii_graphic(),
        };
        match text.chars().enumerate().find(|(at, c)| !allowed(*at, *c)) {
            Some((at, _)) => Err(NameError::Character { at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is not a name. Local misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty or too long.
    #[error("a name has 1 to {} characters, not {length}", Name::MAX)]
    Length {
        /// The length in characters.
        length: usize,
    },
    /// A character is not allowed where it is.
    #[error("character {} of the name is not printable ASCII, a #, or a space at an end", at + 1)]
    Character {
        /// Its place, from 0.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for text in ["a", "my net", "~!", &"x".repeat(63)] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
        for length in [0, 64] {
            let parsed = "x".repeat(length).parse::<Name>();
            assert_eq!(parsed, Err(NameError::Length { length }));
        }
        for (text, at) in [
            (" a", 0),
            ("a ", 1),
            ("a#", 1),
            ("a\nb", 1),
            ("ab\u{e9}", 2),
        ] {
            let parsed = text.parse::<Name>();
            assert_eq!(parsed, Err(NameError::Character { at }), "{text:?}");
        }
    }
}
