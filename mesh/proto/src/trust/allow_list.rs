//! The text form of a list of identities: one a line, and optionally a name after it.
//!
//! ```text
//!  # my machines
//!  gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs  laptop
//! ```
//!
//! A `#` at the beginning of a line or after white space begins a comment. Reading the file, and
//! reading it again when it changes, is for its owner.
//!
//! Invariant: printing a list and parsing the text gives the same list.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::id::{IdError, IdentityId};
use super::name::{Name, NameError};

/// Identities that are accepted, and what they are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(BTreeMap<IdentityId, Option<Name>>);

impl AllowList {
    /// The most identities in a list.
    pub const MAX: usize = 65_536;

    /// Adds an identity, or gives it another name.
    ///
    /// # Errors
    /// The list is full.
    pub fn insert(&mut self, id: IdentityId, name: Option<Name>) -> Result<(), Full> {
        if self.0.len() >= Self::MAX && !self.0.contains_key(&id) {
            return Err(Full { most: Self::MAX });
        }
        self.0.insert(id, name);
        Ok(())
    }

    /// Takes an identity off the list; whether it was on it.
    pub fn remove(&mut self, id: &IdentityId) -> bool {
        self.0.remove(id).is_some()
    }

    /// Whether an identity is on the list.
    pub fn contains(&self, id: &IdentityId) -> bool {
        self.0.contains_key(id)
    }

    /// What an identity on the list is called.
    pub fn name(&self, id: &IdentityId) -> Option<&Name> {
        self.0.get(id)?.as_ref()
    }

    /// All identities, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (IdentityId, Option<&Name>)> + '_ {
        self.0.iter().map(|(id, name)| (*id, name.as_ref()))
    }
}

impl FromStr for AllowList {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Self, AllowListError> {
        let mut list = Self::default();
        for (line, number) in text.lines().zip(1..) {
            let add = |list: &mut Self| -> Result<(), LineError> {
                if let Some((id, name)) = parse(line)? {
                    list.insert(id, name)?;
                }
                Ok(())
            };
            add(&mut list).map_err(|reason| AllowListError {
                line: number,
                reason,
            })?;
        }
        Ok(list)
    }
}

fn parse(line: &str) -> Result<Option<(IdentityId, Option<Name>)>, LineError> {
    let comment = |(at, _): &(usize, &str)| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    let end = line.match_indices('#').find(comment);
    let line = line[..end.map_or(line.len(), |(at, _)| at)].trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (id, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = match name.trim() {
        "" => None,
        name => Some(name.parse()?),
    };
    Ok(Some((id.parse()?, name)))
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, name) in self.iter() {
            match name {
                Some(name) => writeln!(f, "{id} {name}")?,
                None => writeln!(f, "{id}")?,
            }
        }
        Ok(())
    }
}

/// A table has no more room. Local misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {most} entries, and no more are kept")]
pub struct Full {
    /// How many it has.
    pub most: usize,
}

/// A line of a list is malformed. Local misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}; a line is ID [NAME] [# COMMENT]")]
pub struct AllowListError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: LineError,
}

/// What is wrong with a line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It does not begin with an identity.
    #[error(transparent)]
    Id(#[from] IdError),
    /// What follows is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It is one identity too many.
    #[error(transparent)]
    Full(#[from] Full),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::NodeId;

    const A: IdentityId = IdentityId::from_octets([1; 32]);
    const B: IdentityId = IdentityId::from_octets([2; 32]);

    fn parse(text: &str) -> Result<AllowList, AllowListError> {
        text.parse()
    }

    #[test]
    fn a_list_has_ids_names_and_comments() {
        let text = format!("# mine\r\n\r\n  {A}\tmy laptop  # not a name\n{B}\n   # end #\n");
        let list = parse(&text).unwrap();
        assert!(list.contains(&A) && list.contains(&B));
        assert_eq!(list.name(&A).unwrap().as_str(), "my laptop");
        assert_eq!(list.name(&B), None);
        assert_eq!(list.iter().count(), 2);
        assert_eq!(parse(&list.to_string()), Ok(list));
        assert_eq!(parse(""), Ok(AllowList::default()));
        let renamed = parse(&format!("{A} a\n{A} b")).unwrap();
        assert_eq!(renamed.name(&A).unwrap().as_str(), "b");
    }

    #[test]
    fn a_bad_line_is_named() {
        let node = NodeId::from_octets([1; 32]);
        for (wrong, reason) in [
            ("short".to_owned(), "an id has 56 characters, not 5"),
            (node.to_string(), "this is a node id, not an identity"),
            (format!("{B} a#b"), "character 2 of the name is not"),
            (format!("{B}#"), "an id has 56 characters, not 57"),
        ] {
            let error = parse(&format!("{A}\n\n{wrong}\n{B}")).unwrap_err();
            assert_eq!(error.line, 3);
            let text = error.to_string();
            assert!(text.starts_with(&format!("line 3: {reason}")), "{text}");
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let mut list = AllowList::default();
        for number in 0..AllowList::MAX as u64 {
            let mut octets = [0; 32];
            octets[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(list.insert(IdentityId::from_octets(octets), None), Ok(()));
        }
        let full = Full { most: 65_536 };
        assert_eq!(list.insert(A, None), Err(full));
        assert!(list.remove(&IdentityId::from_octets([0; 32])));
        assert!(!list.remove(&A));
        assert_eq!(list.insert(A, None), Ok(()));
        assert_eq!(list.insert(A, None), Ok(()));
    }
}
