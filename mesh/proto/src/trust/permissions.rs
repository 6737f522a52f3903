//! Who may do what, of those who are trusted: rules of identities or roles, verbs, and the names that
//! they are for.
//!
//! ```text
//!  # WHO  VERB[,VERB...]  FILTER
//!  gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs  publish,subscribe  home/#
//!  role:gateway  publish  devices/+/state
//!  *             call     adder
//! ```
//!
//! WHO is an identity, `role:` and the role of a member of a network, or `*` for anybody who is
//! trusted. Of those who come as ZMTP peers, who prove no identity, `curve:` and a public key in Z85 is
//! who proved this key, `plain:` and a name the user of this name, and `local` whoever came from this
//! host and proved nothing; `*` is all of them, too. The filter chooses topics, and names of services and queues as if they were topics. A rule
//! only allows; what none allows is denied. Where there are no permissions at all, everything is
//! allowed to who is trusted.
//!
//! Deliberately not here: who is trusted, which the [`Policy`](super::Policy) decides before.
//!
//! Invariant: there are at most [`Permissions::MAX`] rules.

use std::fmt;
use std::str::FromStr;

use super::credentials::Shown;
use super::id::{IdError, IdentityId};
use super::roles::{Roles, RolesError};
use crate::bus::{Filter, Topic, TopicError};
use crate::crypto::keys::PublicKey;
use crate::z85::Z85Error;

/// What a peer may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Publish on topics that this side subscribes to.
    Publish,
    /// Subscribe to topics that this side publishes.
    Subscribe,
    /// Answer requests of this side.
    Serve,
    /// Make requests that this side answers, and talk to its other sockets.
    Call,
    /// Put work into a queue of this side.
    Push,
    /// Take work from a queue of this side.
    Pull,
    /// Have connections led on by this side, which relays; the name is the identity of who is reached.
    Relay,
}

/// Every verb and its name.
const VERBS: [(Verb, &str); 7] = [
    (Verb::Publish, "publish"),
    (Verb::Subscribe, "subscribe"),
    (Verb::Serve, "serve"),
    (Verb::Call, "call"),
    (Verb::Push, "push"),
    (Verb::Pull, "pull"),
    (Verb::Relay, "relay"),
];

impl Verb {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = VERBS.iter().find(|(verb, _)| verb == self);
        f.pad(name.map_or("", |(_, name)| *name))
    }
}

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// Whoever is trusted.
    Anybody,
    /// An identity.
    Identity(IdentityId),
    /// Members of a network with these roles.
    Role(Roles),
    /// Who proved this key with CURVE.
    Curve(PublicKey),
    /// The user of this name with PLAIN.
    Plain(Box<str>),
    /// Who came from this host and proved nothing.
    Local,
}

/// Something that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    who: Who,
    verbs: u8,
    names: Filter,
}

/// Who asks, as he proved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// A node of the mesh.
    Node {
        /// Its identity.
        identity: IdentityId,
        /// What it is in the network in which it was met.
        roles: Roles,
    },
    /// A ZMTP peer that proved this key with CURVE.
    Curve(PublicKey),
    /// A ZMTP peer that is this user with PLAIN.
    Plain(Box<str>),
    /// A ZMTP peer of this host that proved nothing.
    Local,
}

impl Principal {
    /// Whether it is a node of this identity.
    pub fn is(&self, identity: &IdentityId) -> bool {
        matches!(self, Self::Node { identity: theirs, .. } if theirs == identity)
    }
}

impl From<&Shown> for Principal {
    fn from(shown: &Shown) -> Self {
        let standing = shown.standing.as_ref();
        Self::Node {
            identity: shown.identity,
            roles: standing.map_or(Roles::NONE, |standing| standing.grant.roles),
        }
    }
}

/// As rules name it.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { identity, .. } => identity.fmt(f),
            Self::Curve(key) => write!(f, "curve:{key}"),
            Self::Plain(user) => write!(f, "plain:{}", user.escape_debug()),
            Self::Local => f.write_str("local"),
        }
    }
}

impl Rule {
    fn is_for(&self, whom: &Principal) -> bool {
        match (&self.who, whom) {
            (Who::Anybody, _) => true,
            (Who::Identity(wanted), Principal::Node { identity, .. }) => wanted == identity,
            (Who::Role(wanted), Principal::Node { roles, .. }) => roles.contains(*wanted),
            (Who::Curve(wanted), Principal::Curve(key)) => wanted == key,
            (Who::Plain(wanted), Principal::Plain(user)) => wanted == user,
            (Who::Local, Principal::Local) => true,
            _ => false,
        }
    }

    fn has(&self, verb: Verb) -> bool {
        self.verbs & verb.bit() != 0
    }
}

/// Rules, of which each allows something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions(Vec<Rule>);

impl Permissions {
    /// The most rules.
    pub const MAX: usize = 4_096;

    /// Whether somebody may do something with a topic, or with a service or queue of this name.
    pub fn allow(&self, whom: &Principal, verb: Verb, name: &str) -> bool {
        let topic = name.parse::<Topic>().ok();
        self.of(whom, verb).any(|rule| match &topic {
            Some(topic) => rule.names.matches(topic),
            // A name that is no topic: only who may use all names may use it.
            None => rule.names.as_str() == "#",
        })
    }

    /// Whether somebody may do something with every topic that a filter chooses, by one rule.
    pub fn allow_all(&self, whom: &Principal, verb: Verb, filter: &Filter) -> bool {
        self.of(whom, verb).any(|rule| rule.names.covers(filter))
    }

    /// Whether somebody may do something with some topic that a filter chooses.
    pub fn allow_some(&self, whom: &Principal, verb: Verb, filter: &Filter) -> bool {
        self.of(whom, verb).any(|rule| rule.names.overlaps(filter))
    }

    /// Whether somebody may do the same by these rules as by others, in the same words.
    pub fn are_same_for(&self, whom: &Principal, others: &Self) -> bool {
        let ours = self.0.iter().filter(|rule| rule.is_for(whom));
        let theirs = others.0.iter().filter(|rule| rule.is_for(whom));
        ours.eq(theirs)
    }

    fn of(&self, whom: &Principal, verb: Verb) -> impl Iterator<Item = &Rule> {
        let rules = self.0.iter();
        rules.filter(move |rule| rule.has(verb) && rule.is_for(whom))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Permissions {
    type Err = PermissionsError;

    fn from_str(text: &str) -> Result<Self, PermissionsError> {
        let mut rules = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let wrong = |reason| PermissionsError {
                line: number,
                reason,
            };
            match rule(line).map_err(wrong)? {
                None => {}
                Some(_) if rules.len() >= Self::MAX => return Err(wrong(RuleError::Many)),
                Some(rule) => rules.push(rule),
            }
        }
        Ok(Self(rules))
    }
}

/// The rule of a line; `None` for comments and empty ones. A `#` is a comment at the beginning only,
/// since it stands for something in filters.
fn rule(line: &str) -> Result<Option<Rule>, RuleError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (who, rest) = line
        .split_once(char::is_whitespace)
        .ok_or(RuleError::Words)?;
    let rest = rest.trim_start();
    let (verbs, names) = rest
        .split_once(char::is_whitespace)
        .ok_or(RuleError::Words)?;
    let who = match (who, who.split_once(':')) {
        ("*", _) => Who::Anybody,
        ("local", _) => Who::Local,
        (_, Some(("role", role))) => Who::Role(role.parse()?),
        (_, Some(("curve", key))) => Who::Curve(key.parse()?),
        (_, Some(("plain", user))) => Who::Plain(user.into()),
        _ => Who::Identity(who.parse()?),
    };
    let mut bits = 0;
    for word in verbs.split(',') {
        let known = VERBS.iter().find(|(_, name)| *name == word);
        let (verb, _) = known.ok_or_else(|| RuleError::Verb(word.chars().take(32).collect()))?;
        bits |= verb.bit();
    }
    Ok(Some(Rule {
        who,
        verbs: bits,
        names: names.trim_start().parse()?,
    }))
}

/// A line is no rule. Local misuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}; a line is WHO VERB[,VERB...] FILTER")]
pub struct PermissionsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: RuleError,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It has fewer than three words.
    #[error("it has fewer than three words")]
    Words,
    /// It begins with no identity and nothing else that names somebody.
    #[error("{0}; WHO is an id, role:ROLE, curve:KEY, plain:USER, local or *")]
    Id(#[from] IdError),
    /// What follows `role:` is none.
    #[error(transparent)]
    Role(#[from] RolesError),
    /// What follows `curve:` is no key.
    #[error("{0}; curve: is followed by a public key in Z85")]
    Key(#[from] Z85Error),
    /// A word is no verb.
    #[error("{0:?} is none of publish, subscribe, serve, call, push, pull and relay")]
    Verb(String),
    /// It ends with no filter.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// There are too many.
    #[error("there are more than {} rules", Permissions::MAX)]
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IdentityId = IdentityId::from_octets([1; 32]);
    const B: IdentityId = IdentityId::from_octets([2; 32]);

    fn who(identity: IdentityId, roles: Roles) -> Principal {
        Principal::Node { identity, roles }
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        let text = format!(
            "# home\n{A} publish,subscribe home/#\n\nrole:gateway publish devices/+\n  * call adder\n{B} push #\n"
        );
        let rules: Permissions = text.parse().unwrap();
        let (a, b) = (who(A, Roles::NONE), who(B, Roles::MEMBER));
        let gateway = who(B, Roles::MEMBER | Roles::GATEWAY);
        for (whom, verb, name, allowed) in [
            (&a, Verb::Publish, "home/hall", true),
            (&a, Verb::Publish, "home", true),
            (&a, Verb::Publish, "garden", false),
            (&a, Verb::Serve, "home/hall", false),
            (&b, Verb::Publish, "home/hall", false),
            (&b, Verb::Publish, "devices/1", false),
            (&gateway, Verb::Publish, "devices/1", true),
            (&gateway, Verb::Publish, "devices/1/x", false),
            (&a, Verb::Call, "adder", true),
            (&b, Verb::Call, "adder", true),
            (&b, Verb::Call, "adder2", false),
            (&b, Verb::Push, "jo+bs", true),
            (&a, Verb::Push, "jobs", false),
        ] {
            assert_eq!(
                rules.allow(whom, verb, name),
                allowed,
                "{whom:?} {verb} {name}"
            );
        }
        let filter = |text: &str| text.parse().unwrap();
        assert!(rules.allow_all(&a, Verb::Subscribe, &filter("home/+/x")));
        assert!(!rules.allow_all(&a, Verb::Subscribe, &filter("#")));
        assert!(rules.allow_some(&a, Verb::Subscribe, &filter("#")));
        assert!(!rules.allow_some(&b, Verb::Subscribe, &filter("#")));
        let none = Permissions::default();
        assert!(none.is_empty() && !none.allow(&a, Verb::Call, "adder"));
        assert!(rules.are_same_for(&b, &format!("* call adder\n{B} push #").parse().unwrap()));
        assert!(!rules.are_same_for(&a, &none));
    }

    #[test]
    fn peers_without_an_identity_are_named_by_what_they_prove() {
        let [a, b] = [1, 2].map(|octet| Principal::Curve(PublicKey::from_octets([octet; 32])));
        let ada = Principal::Plain("ada".into());
        let node = who(A, Roles::NONE);
        let text =
            format!("{a} call adder\nplain:ada publish home/#\nlocal push jobs\n* pull jobs");
        let rules: Permissions = text.parse().unwrap();
        for (whom, verb, name) in [
            (&a, Verb::Call, "adder"),
            (&ada, Verb::Publish, "home/hall"),
            (&Principal::Local, Verb::Push, "jobs"),
        ] {
            assert!(rules.allow(whom, verb, name), "{whom}");
            for other in [&a, &b, &ada, &Principal::Local, &node] {
                let allowed = rules.allow(other, verb, name);
                assert_eq!(allowed, other == whom, "{other} {verb} {name}");
            }
            assert!(rules.allow(whom, Verb::Pull, "jobs"));
        }
        assert!(node.is(&A) && !node.is(&B) && !ada.is(&A));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, reason) in [
            ("*", "it has fewer than three words"),
            ("* call", "it has fewer than three words"),
            ("ada call x", "an id has 56 characters"),
            ("role:king call x", "\"king\" is none of"),
            (
                "curve:short call x",
                "curve: is followed by a public key in Z85",
            ),
            ("* call,fly x", "\"fly\" is none of publish"),
            ("* call a/#/b", "#"),
        ] {
            let error = format!("\n{line}").parse::<Permissions>().unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("line 2: "), "{text}");
            assert!(text.contains(reason), "{text}");
        }
        let many = "* call x\n".repeat(Permissions::MAX + 1);
        let error = many.parse::<Permissions>().unwrap_err();
        assert_eq!((error.line, error.reason), (4_097, RuleError::Many));
    }
}
