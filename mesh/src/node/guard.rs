//! What those who are trusted may do on this node, by its permissions.
//!
//! The side that is affected decides: a publisher who may subscribe, a subscriber who may publish, a
//! service who may call, a client who may serve. Both sides of a connection ask, whoever made it.
//!
//! Invariant: what changes in the permissions holds for connections that are open, too; and nobody
//! sees the marks of others' snapshots, whatever the permissions are.

use std::sync::LazyLock;

use withy_discovery::Kind;
use withy_proto::SocketType;
use withy_proto::bus::{Filter, snapshot};
use withy_proto::trust::IdentityId;

use super::interest::Wants;
use crate::driver::resources::Guard;
use crate::trust::{Permissions, Principal, Shown, Trust, Verb};

/// The topics that say when a snapshot holds, each for the one joiner that drew its number.
static MARKS: LazyLock<Filter> =
    LazyLock::new(|| "$withy/joined/+".parse().expect("it obeys the rules"));

/// Asks whether a peer may do something under a name.
#[derive(Debug)]
pub(super) struct Permitted {
    us: IdentityId,
    trust: Trust,
    what: What,
}

/// What a peer is to do on a connection.
#[derive(Debug)]
enum What {
    /// Any of these, under this name.
    Named(&'static [Verb], Box<str>),
    /// Publish some topic that a filter chooses.
    Publishes(Filter),
    /// Subscribe to something; what, it says later.
    Subscribes,
}

impl Permitted {
    /// For those who come to what this node offers.
    pub(super) fn to_use(us: IdentityId, trust: &Trust, kind: Kind, name: &str) -> Self {
        let what = match kind {
            Kind::Publisher => What::Subscribes,
            kind => What::Named(uses(kind), name.into()),
        };
        Self::new(us, trust, what)
    }

    /// For those whom this node goes to for what they offer.
    pub(super) fn to_offer(us: IdentityId, trust: &Trust, wants: &Wants) -> Self {
        let what = match wants {
            Wants::Topics(filter) | Wants::Histories(filter) => What::Publishes(filter.clone()),
            // Each message is looked at as well.
            Wants::Several(_) => What::Publishes(Filter::all()),
            Wants::Named(kind, name) => What::Named(offers(*kind), name.clone()),
            Wants::Pair(name) | Wants::Group(name) => What::Named(&[Verb::Call], name.clone()),
            Wants::Sockets(ours, name) => What::Named(socket(*ours), name.clone()),
        };
        Self::new(us, trust, what)
    }

    fn new(us: IdentityId, trust: &Trust, what: What) -> Self {
        Self {
            us,
            trust: trust.clone(),
            what,
        }
    }

    /// Whether a peer may publish on a topic.
    pub(super) fn may_publish(&self, shown: Option<&Shown>, topic: &str) -> bool {
        self.allows(shown, |rules, whom| rules.allow(whom, Verb::Publish, topic))
    }

    /// Whether a peer may do one of these under a name.
    pub(super) fn may(&self, shown: Option<&Shown>, verbs: &[Verb], name: &str) -> bool {
        self.allows(shown, |rules, whom| {
            verbs.iter().any(|verb| rules.allow(whom, *verb, name))
        })
    }

    /// Whether there are permissions at all.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.trust.has_permissions()
    }

    fn allows(
        &self,
        shown: Option<&Shown>,
        rules: impl FnOnce(&Permissions, &Principal) -> bool,
    ) -> bool {
        // Who proves nothing is of this process.
        let Some(whom) = shown.map(Principal::from) else {
            return true;
        };
        match self.trust.permissions() {
            Some(permissions) if !whom.is(&self.us) => rules(&permissions, &whom),
            _ => true,
        }
    }
}

impl Guard for Permitted {
    fn admits(&self, shown: Option<&Shown>) -> bool {
        match &self.what {
            What::Named(verbs, name) => self.may(shown, verbs, name),
            What::Publishes(filter) => self.allows(shown, |rules, whom| {
                rules.allow_some(whom, Verb::Publish, filter)
            }),
            What::Subscribes => true,
        }
    }

    fn may_subscribe(&self, shown: Option<&Shown>, filter: &[u8]) -> bool {
        let Ok(filter) = Filter::try_from(filter) else {
            // Whoever sent it is let go for that.
            return true;
        };
        if filter.overlaps(&MARKS) {
            // Who knows the number is the one who drew it; a wildcard would show those of others.
            return snapshot::is_mark(&filter);
        }
        self.allows(shown, |rules, whom| {
            rules.allow_all(whom, Verb::Subscribe, &filter)
        })
    }
}

/// What those do who use something of a kind.
const fn uses(kind: Kind) -> &'static [Verb] {
    match kind {
        Kind::Publisher => &[Verb::Subscribe],
        Kind::Pull => &[Verb::Push],
        // Which of them a peer does, and whether it may, its keeper sees. Who kept it before hands it on.
        Kind::Queue => &[Verb::Push, Verb::Pull, Verb::Serve],
        Kind::Socket(theirs) => match theirs {
            SocketType::Pull => &[Verb::Push],
            SocketType::Push => &[Verb::Pull],
            SocketType::Pub | SocketType::XPub => &[Verb::Subscribe],
            SocketType::Sub | SocketType::XSub => &[Verb::Publish],
            _ => &[Verb::Call],
        },
        _ => &[Verb::Call],
    }
}

/// What those do who offer something of a kind.
const fn offers(kind: Kind) -> &'static [Verb] {
    match kind {
        Kind::Pull => &[Verb::Pull],
        _ => &[Verb::Serve],
    }
}

/// What those do who are at the other end of a socket of ours that connects.
const fn socket(ours: SocketType) -> &'static [Verb] {
    match ours {
        SocketType::Push => &[Verb::Pull],
        SocketType::Pull => &[Verb::Push],
        SocketType::Sub | SocketType::XSub => &[Verb::Publish],
        SocketType::Pub | SocketType::XPub => &[Verb::Subscribe],
        _ => &[Verb::Serve],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_by_who_knows_its_number_and_by_no_wildcard() {
        let guard = Permitted::to_use(
            crate::Identity::ephemeral().id(),
            &Trust::new(),
            Kind::Publisher,
            "bus",
        );
        let mark = snapshot::mark_topic(7);
        assert!(guard.may_subscribe(None, mark.as_octets()));
        for filter in [
            "$withy/#",
            "$withy/+/#",
            "$withy/+/+",
            "$withy/joined/#",
            "$withy/joined/+",
            "$withy/+/0000000000000007",
            "$withy/joined/7",
            "$withy/joined/000000000000000A",
            "$withy/joined/0000000000000007/#",
        ] {
            assert!(!guard.may_subscribe(None, filter.as_bytes()), "{filter}");
        }
        for filter in ["#", "+/+/+", "$withy/other", "$withy/joined/+/+", "home/#"] {
            assert!(guard.may_subscribe(None, filter.as_bytes()), "{filter}");
        }
    }
}
