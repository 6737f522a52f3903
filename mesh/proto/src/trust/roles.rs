//! What a member of a network may be to the others.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

/// A set of roles. `Display` and `FromStr` are their names with commas between them, or `none`.
///
/// Bits that this version does not know are kept, so that a signature over them still holds, and
/// grant nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Roles(u32);

/// Every role and its name.
const NAMES: [(Roles, &str); 5] = [
    (Roles::MEMBER, "member"),
    (Roles::SERVICE, "service"),
    (Roles::RELAY, "relay"),
    (Roles::GATEWAY, "gateway"),
    (Roles::BRIDGE, "bridge"),
];

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);
    /// Exchanges messages of its own.
    pub const MEMBER: Self = Self(1);
    /// Answers requests.
    pub const SERVICE: Self = Self(1 << 1);
    /// Carries messages between others.
    pub const RELAY: Self = Self(1 << 2);
    /// Speaks for clients of other protocols.
    pub const GATEWAY: Self = Self(1 << 3);
    /// Connects the network with outside brokers.
    pub const BRIDGE: Self = Self(1 << 4);

    /// The set of these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All bits, unknown ones too.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every role of `roles` is among these.
    pub const fn contains(self, roles: Self) -> bool {
        self.0 & roles.0 == roles.0
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Unknown bits show as `unknown`, which does not parse.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().filter(|(role, _)| self.contains(*role));
        let mut names: Vec<_> = named.map(|(_, name)| *name).collect();
        let known = NAMES.iter().fold(0, |bits, (role, _)| bits | role.0);
        if self.0 & !known != 0 {
            names.push("unknown");
        }
        match names.is_empty() {
            true => f.pad("none"),
            false => f.pad(&names.join(",")),
        }
    }
}

impl FromStr for Roles {
    type Err = RolesError;

    fn from_str(text: &str) -> Result<Self, RolesError> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        text.split(',').try_fold(Self::NONE, |roles, word| {
            let word = word.trim();
            match NAMES.iter().find(|(_, name)| *name == word) {
                Some((role, _)) => Ok(roles | *role),
                None => Err(RolesError(word.chars().take(32).collect())),
            }
        })
    }
}

/// A word is not the name of a role. Local misuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of member, service, relay, gateway and bridge")]
pub struct RolesError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_prints_as_names_that_parse_to_it() {
        for bits in 0..32 {
            let roles = Roles::from_bits(bits);
            assert_eq!(roles.to_string().parse(), Ok(roles));
        }
        let roles = Roles::MEMBER | Roles::RELAY;
        assert_eq!(roles.to_string(), "member,relay");
        assert_eq!("relay, member".parse(), Ok(roles));
        assert_eq!(Roles::NONE.to_string(), "none");
    }

    #[test]
    fn unknown_bits_are_kept_and_grant_nothing() {
        let roles = Roles::from_bits(0x8000_0001);
        assert_eq!(roles.bits(), 0x8000_0001);
        assert_eq!(roles.to_string(), "member,unknown");
        assert!(roles.contains(Roles::MEMBER));
        for (role, _) in &NAMES[1..] {
            assert!(!roles.contains(*role));
            assert!(!Roles::from_bits(!31).contains(*role));
        }
    }

    #[test]
    fn a_word_that_is_no_role_is_named() {
        for text in ["", "admin", "member,", "Member", "member,none", "unknown"] {
            assert!(text.parse::<Roles>().is_err(), "{text}");
        }
        let error = "member,root".parse::<Roles>().unwrap_err();
        assert!(error.to_string().starts_with("\"root\" is none of"));
    }
}
