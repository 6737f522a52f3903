//! The peers: one file each, and one row in [`PEERS`].
//!
//! A peer plays a part until its process is ended, with its own default options except where a
//! part says that nothing may be lost, and sends a fresh message each time. It counts on the
//! probe and measures nothing itself. Blocking peers use the thread they are called on,
//! asynchronous ones the two workers of [`runtime`]. What a peer does not cover is a cell with its
//! reason; what it covers and fails at is a cell with the error.

use std::{convert::Infallible, error::Error, time::Duration};

use crate::{
    job::{Caller, Job},
    probe::Probe,
};

mod keys;
mod libzmq;
#[cfg(feature = "monocoque")]
mod monocoque;
mod omq;
mod raw;
mod runtime;
mod rzmq;
mod withy;
mod zenoh;
mod zmqrs;

/// Every peer, in the order of the table's columns.
const PEERS: &[&dyn Peer] = &[
    &libzmq::Libzmq,
    &omq::Omq,
    &rzmq::Rzmq,
    &zmqrs::ZmqRs,
    #[cfg(feature = "monocoque")]
    &monocoque::Monocoque,
    &zenoh::Zenoh(zenoh::Sealing::AsAsked),
    &zenoh::Zenoh(zenoh::Sealing::Never),
    &withy::Withy(withy::Variant::AsAsked),
    &withy::Withy(withy::Variant::NullInRecords),
    &withy::Withy(withy::Variant::ByEndpoint),
    &raw::Raw(raw::Variant::Bare),
    &raw::Raw(raw::Variant::Stream),
    &raw::Raw(raw::Variant::Loopback),
];

/// Messages that a thread takes from one of its sockets before it looks at the next one.
const DRAIN: usize = 256;
/// Messages that a thread offers to one of its sockets before it looks at the next one.
const BURST: usize = 16;
/// How long such a thread rests when hardly any of its sockets takes a message.
const REST: Duration = Duration::from_micros(500);

/// Why a part ended.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A part that is played until it fails.
pub(crate) type Endless = Result<Infallible, Failure>;

/// What a peer's results count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The reference that every ratio is given to.
    Reference,
    /// The reference of rows that the first one does not have.
    StandIn,
    /// A peer.
    Peer,
    /// A peer whose socket takes a single one: no rival of sockets that take many, but beside them.
    OneToOne,
    /// What is being judged: compared with the best of the others, and never the best itself.
    Subject,
    /// The machine's limit, without a messaging library.
    Limit,
    /// For comparison only: a variant of the subject, or of the limit.
    Aside,
}

impl Standing {
    /// Returns whether it is a peer to win against.
    pub(crate) fn is_rival(self) -> bool {
        matches!(self, Self::Reference | Self::Peer)
    }

    /// Returns whether the subject is compared with it wherever it has a value.
    pub(crate) fn is_yardstick(self) -> bool {
        matches!(self, Self::StandIn | Self::OneToOne | Self::Limit)
    }
}

/// A messaging library under measurement.
pub(crate) trait Peer: Sync {
    /// Returns the name of its column.
    fn name(&self) -> &'static str;

    /// Returns the version that was linked, and how it is used.
    fn version(&self) -> String;

    /// Returns what its results count as.
    fn standing(&self) -> Standing {
        Standing::Peer
    }

    /// Returns how it can be called; what knows no tasks is called the same way in rows with two workers.
    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers]
    }

    /// Says whether it plays the part.
    ///
    /// # Errors
    ///
    /// Gives what the cell shows instead: `-` if the library lacks the feature.
    fn covers(&self, job: &Job) -> Result<(), &'static str>;

    /// Plays [`Role::Pull`](crate::job::Role::Pull).
    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless;

    /// Plays [`Role::Push`](crate::job::Role::Push).
    fn push(&self, job: &'static Job, probe: &'static Probe) -> Endless;

    /// Plays [`Role::Rep`](crate::job::Role::Rep).
    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless;

    /// Plays [`Role::Req`](crate::job::Role::Req).
    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless;

    /// Plays [`Role::Publish`](crate::job::Role::Publish), or
    /// [`Role::PublishDropping`](crate::job::Role::PublishDropping) if the job says so.
    ///
    /// It reports where it is bound, and publishes from
    /// [`Stage::Flood`](crate::probe::Stage::Flood) on. Its messages are numbered.
    fn publish(&self, _: &'static Job, _: &'static Probe) -> Endless {
        Err("no PUB".into())
    }

    /// Plays [`Role::Subscribe`](crate::job::Role::Subscribe).
    ///
    /// It reports ready when every subscriber has been told to connect.
    fn subscribe(&self, _: &'static Job, _: &'static Probe) -> Endless {
        Err("no SUB".into())
    }

    /// Plays [`Role::ManyPush`](crate::job::Role::ManyPush).
    ///
    /// It reports ready before the first connection, connects at
    /// [`Stage::Connect`](crate::probe::Stage::Connect) and sends one message on each, then
    /// floods at [`Stage::Flood`](crate::probe::Stage::Flood). Its messages carry the number of
    /// their socket.
    fn many_push(&self, _: &'static Job, _: &'static Probe) -> Endless {
        Err("no set of PUSH sockets".into())
    }

    /// Plays [`Role::ConnectLoop`](crate::job::Role::ConnectLoop).
    fn connect_loop(&self, _: &'static Job, _: &'static Probe) -> Endless {
        Err("no connect loop".into())
    }

    /// Says whether it plays a part in which the processes find each other by themselves, as
    /// [`covers`](Self::covers) does of the others.
    ///
    /// # Errors
    ///
    /// Gives what the cell shows instead.
    fn covers_named(&self, _: &Job) -> Result<(), &'static str> {
        Err("-")
    }

    /// Plays such a part, which one the job says.
    fn named(&self, _: &'static Job, _: &'static Probe) -> Endless {
        Err("no names".into())
    }
}

/// Chooses how the library of this process is called.
pub(crate) fn call_by(caller: Caller) {
    runtime::choose(caller);
}

/// Returns every peer, in the order of the table's columns.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Peer> {
    PEERS.iter().copied()
}

/// Returns the peer with that name.
pub(crate) fn named(name: &str) -> Option<&'static dyn Peer> {
    all().find(|peer| peer.name() == name)
}
