//! Nodes of the local network, by multicast DNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! ```text
//!  Mdns --announce--> worker --> mdns-sd's daemon <--port 5353--> other nodes, Avahi, Bonjour
//!       <---poll------ instances <--events--|
//! ```
//!
//! The crate `mdns-sd` speaks the protocol in a thread of its own: announcements, known answers,
//! goodbyes. A second thread, the worker, tells it what to say and takes its events at once, since a
//! channel of its that nobody reads is closed. The worker also does what the daemon does not:
//!
//! - Only interfaces of this host and its site take part, and of what was heard only addresses of the
//!   network of the interface that it was heard on.
//! - The daemon keeps all that anybody sends for as long as its sender says. What grows beyond
//!   [`Mdns::MAX_CACHED`] is thrown away together with the daemon, and a new one begins.
//! - A node that comes asks who is there and is answered at once, which the daemon is not: `first`.
//! - An announcement is made anew when the record or an address changes, and one for members every
//!   hour, under another name.
//! - That multicast does not work shows in that a node does not hear itself: [`State::Unheard`].
//!
//! The daemon reads as long as anything waits for it. While more comes than it can read, it takes no
//! orders, so that it is not replaced either: whoever can saturate the link makes it grow meanwhile.
//!
//! Deliberately not here: whether an announcement holds and is dialled, which
//! [`Discovery::hint`](crate::Discovery::hint) decides.
//!
//! Invariant: at most [`Mdns::MAX_INSTANCES`] instances are kept, however many are heard.

mod answer;
mod daemon;
mod first;
mod instances;
mod interfaces;
#[cfg(test)]
mod tests;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::{fmt, io};

use withy_proto::crypto::Randomness;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::Secret;

use crate::hints::{Heard, Hint};
use crate::record::{Address, Record};
use crate::table::Origin;
use instances::Instances;
use worker::Worker;

/// The source of hints from the local network. Dropping it says goodbye, which takes a second or two at
/// most.
///
/// # Examples
///
/// ```no_run
/// use withy_discovery::mdns::{Audience, Found, Mdns, Speaker};
/// # fn example(
/// #     randomness: Box<dyn withy_proto::crypto::Randomness>,
/// #     key: withy_proto::crypto::sign::SigningKey,
/// #     record: withy_discovery::Record,
/// #     mut discovery: withy_discovery::Discovery,
/// #     time: withy_discovery::Time,
/// # ) -> Result<(), withy_discovery::mdns::MdnsError> {
/// let mdns = Mdns::new(randomness)?;
/// mdns.announce(Speaker {
///     key,
///     record,
///     port: 7100,
///     audience: Audience::Everybody,
/// });
/// // Now and then:
/// for found in mdns.poll() {
///     match found {
///         // What is refused is counted there.
///         Found::Hint(hint, origin) => drop(discovery.hint(hint, origin, time)),
///         Found::Gone(instance) => discovery.retract(&instance),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Mdns {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// What a node says about itself.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The node's key.
    pub key: SigningKey,
    /// The node's record; a later one announces it anew, 10 s after the last time at the earliest.
    pub record: Record,
    /// The UDP port at which the node listens: on all near addresses, or on those that its record names
    /// with this port, if it names any of QUIC.
    pub port: u16,
    /// Who may read it.
    pub audience: Audience,
}

impl Speaker {
    /// Whether the node listens at an address of this host: whoever is told another one tries that first,
    /// perhaps, and waits for an answer.
    fn is_at(&self, ip: IpAddr) -> bool {
        let quic = |address: &Address| match address {
            Address::Quic(at) => Some(*at),
            _ => None,
        };
        let mut named = self.record.content().addresses.iter().filter_map(quic);
        let all = named.clone().next().is_none();
        all || named.any(|at| at == SocketAddr::new(ip, self.port))
    }

    /// Whether another says the same to the same, but for the record.
    fn differs_by_record(&self, other: &Self) -> bool {
        self.port == other.port
            && self.audience == other.audience
            && self.record.peer() == other.record.peer()
    }
}

/// Who may read an announcement. Its addresses everybody sees, those of the other interfaces included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody on the local network, who learns the ids of the node and its identity.
    Everybody,
    /// The members of the networks with these secrets, [`Mdns::MAX_NETWORKS`] at most. Others learn
    /// that a Withy node has an address.
    Members(Vec<Secret>),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// For [`Discovery::hint`](crate::Discovery::hint).
    Hint(Hint, Origin),
    /// An instance is gone, for [`Discovery::retract`](crate::Discovery::retract).
    Gone(Box<str>),
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum State {
    /// Nothing was done yet.
    #[default]
    Starting,
    /// No interface of this host or its site is up. One that comes is used within seconds.
    NoInterface,
    /// The daemon cannot run, or ended. It is tried again.
    Failed(String),
    /// Somebody sends so much that it starts anew, after a pause if it was not the first time.
    Flooded,
    /// It listens, and says nothing, or did not have the time to hear itself.
    Listening,
    /// It announces, and hears itself: multicast works.
    Working,
    /// It announces, but does not hear itself: something here swallows multicast.
    Unheard,
}

/// Why there is no source at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MdnsError {
    /// The system does not start a thread.
    #[error("no thread for multicast DNS: {0}")]
    Thread(#[source] io::Error),
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MdnsCounters {
    /// Answers that were heard, those of this node left out.
    pub heard: u64,
    /// Answers without a TXT record that could be an announcement.
    pub invalid: u64,
    /// Addresses that were not of the network that they were heard on.
    pub elsewhere: u64,
    /// Instances that found no place.
    pub skipped: u64,
    /// Announcements that were handed to the daemon.
    pub announced: u64,
    /// Daemons that had kept too much, or died, and were replaced.
    pub replaced: u64,
    /// Channels of events that the daemon had closed.
    pub resubscribed: u64,
}

/// What the handle and the worker share.
#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    call: OnceLock<Call>,
}

/// Says that there is something to poll.
struct Call(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

#[derive(Debug, Default)]
struct Board {
    speaker: Option<Speaker>,
    /// The speaker is another than it was.
    renewed: bool,
    stop: bool,
    /// What this node announces, and did before.
    own: Vec<String>,
    instances: Instances,
    state: State,
    counters: MdnsCounters,
}

impl Board {
    /// Whether this node announces an instance, or did.
    fn is_own(&self, instance: &str) -> bool {
        self.own.iter().any(|own| own == instance)
    }

    /// Takes in what was heard of an instance; `elsewhere` more addresses are not near.
    fn hear(
        &mut self,
        instance: &str,
        txt: Option<Vec<u8>>,
        port: u16,
        addresses: Vec<SocketAddr>,
        elsewhere: u64,
    ) {
        if self.is_own(instance) {
            return;
        }
        self.counters.heard += 1;
        self.counters.elsewhere += elsewhere;
        let Some(txt) = txt else {
            self.counters.invalid += 1;
            return;
        };
        let Some(first) = addresses.first() else {
            return;
        };
        let origin = Origin::Mdns(first.ip());
        let heard = Heard {
            instance: instance.into(),
            txt,
            port,
            addresses,
        };
        if !self.instances.insert(heard, origin) {
            self.counters.skipped += 1;
        }
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) {
        if let Some(Call(call)) = self.call.get() {
            call();
        }
    }
}

impl Mdns {
    /// The port of multicast DNS.
    pub const PORT: u16 = mdns_sd::MDNS_PORT;
    /// The most instances that are kept. Of more, the one that was heard longest ago goes.
    pub const MAX_INSTANCES: usize = 512;
    /// The most records that a daemon keeps before another takes its place; a node has about ten. It
    /// looks through all of them with each packet.
    pub const MAX_CACHED: i64 = 8_192;
    /// The most networks whose members are told of a node.
    pub const MAX_NETWORKS: usize = Record::MAX_NETWORKS;

    /// Begins to listen. Names and nonces are drawn from `randomness`, which should be the system's.
    ///
    /// # Errors
    /// There is no thread for it. That multicast does not work is no error but a [`State`]: it may
    /// work later.
    pub fn new(randomness: Box<dyn Randomness>) -> Result<Self, MdnsError> {
        Self::new_with_port(Self::PORT, randomness)
    }

    /// The same on another port, where tests are among themselves.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn new_with_port(port: u16, randomness: Box<dyn Randomness>) -> Result<Self, MdnsError> {
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(Arc::clone(&shared), port, randomness);
        let thread = std::thread::Builder::new().name("withy-mdns".to_owned());
        let worker = thread.spawn(|| worker.run()).map_err(MdnsError::Thread)?;
        Ok(Self {
            shared,
            worker: Some(worker),
        })
    }

    /// Calls something whenever there may be something to [`poll`](Self::poll), or another
    /// [`state`](Self::state): on the thread that listens, which it must not keep. Only the first counts.
    pub fn call(&self, what: impl Fn() + Send + Sync + 'static) {
        // A second one is not called.
        let _ = self.shared.call.set(Call(Box::new(what)));
    }

    /// Announces a node, instead of what was announced before.
    pub fn announce(&self, speaker: Speaker) {
        let mut board = self.shared.board();
        board.speaker = Some(speaker);
        board.renewed = true;
    }

    /// Announces nothing any more, and says goodbye.
    pub fn fall_silent(&self) {
        let mut board = self.shared.board();
        board.speaker = None;
        board.renewed = true;
    }

    /// What was found since the last time. All that is there is found again every minute, since who
    /// takes it may have had no room for it.
    pub fn poll(&self) -> Vec<Found> {
        self.shared.board().instances.take()
    }

    /// How it goes.
    pub fn state(&self) -> State {
        self.shared.board().state.clone()
    }

    /// How often what happened.
    pub fn counters(&self) -> MdnsCounters {
        self.shared.board().counters
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        self.shared.board().stop = true;
        if let Some(worker) = self.worker.take() {
            // One that panicked has nothing to say.
            let _ = worker.join();
        }
    }
}
