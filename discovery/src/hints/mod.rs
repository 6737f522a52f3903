//! What makes a node dial whom it does not know: announcements that were heard, and configured
//! addresses.
//!
//! ```text
//!  heard, seed --read--> not an announcement, of another network, no near address --> HintRefusal
//!              known, ours, gone (the engine asks) ---------------------------------> no dial
//!              --verify--> forged, too many at once --------------------------------> HintRefusal
//!              --keep--> waiting --start--> under way --end--> gone, or waiting again
//! ```
//!
//! A hint proves nothing but that the holder of a key, or a member of a network, once wrote it. Whom it
//! is about, the handshake proves; a node that is in the table needs none.
//!
//! Deliberately not here: sockets, the limits of [`Dials`](crate::dials::Dials), and whether the node of
//! a hint is trusted, which the caller may ask before it dials.
//!
//! Invariant: a hint that waits has an address, and there are no more than the limit. What came by multicast names
//! near addresses only.

mod hint;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use withy_proto::crypto::{Provider, hash};
use withy_proto::rate::{Bucket, RateLimit};
use withy_proto::trust::{CLOCK_SKEW, Secret, domain};

pub use hint::{Expected, Heard, Hint, Try};
pub use refusal::{HintCounters, HintRefusal, Hinted};

use crate::announcement::{Announcement, AnnouncementError, Public};
use crate::peer::PeerTag;
use crate::record::{Address, Reach, reach_of};
use crate::table::Origin;

/// The hints that wait for a dial, and those whose dial is under way.
#[derive(Debug)]
pub(crate) struct Hints {
    max: usize,
    secrets: Vec<Secret>,
    waiting: BTreeMap<PeerTag, Waiting>,
    under_way: BTreeMap<PeerTag, Origin>,
    verified: Bucket,
    next_warning: Option<Duration>,
    counters: HintCounters,
}

/// What was read in a hint.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) tag: PeerTag,
    /// The sequence of the record that it is about, if it is about one.
    pub(crate) sequence: Option<u64>,
    /// What still has to be verified.
    public: Option<Public>,
    expires: Option<u64>,
    expects: Expected,
    addresses: Vec<Address>,
    instance: Option<Box<str>>,
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    sequence: Option<u64>,
    expires: Option<u64>,
    expects: Expected,
    addresses: Vec<Address>,
    instance: Option<Box<str>>,
    failures: u32,
    not_before: Duration,
}

impl Waiting {
    /// Whether anybody can have made it.
    const fn is_of_stranger(&self) -> bool {
        matches!(self.expects, Expected::Both(..))
    }
}

impl Hints {
    /// The most that wait by default, half of them announced by nodes of which nothing is known. Of more,
    /// one that failed makes room.
    pub(crate) const MAX: usize = 256;
    /// The most that wait of one sender of multicast.
    pub(crate) const MAX_PER_SENDER: usize = 32;
    /// The most addresses of one.
    pub(crate) const MAX_ADDRESSES: usize = 16;
    /// The signatures that are verified in a second, and at once after a quiet second.
    pub(crate) const MAX_VERIFIED: u32 = 256;
    /// How long nobody is warned of forgeries after somebody was.
    pub(crate) const WARNED_FOR: Duration = Duration::from_secs(60);

    pub(crate) fn new(secrets: Vec<Secret>, max: usize) -> Self {
        Self {
            max,
            secrets,
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            verified: Bucket::new(RateLimit {
                messages: Some(Self::MAX_VERIFIED),
                octets: None,
            }),
            next_warning: None,
            counters: HintCounters::default(),
        }
    }

    /// Reads a hint; a signature is not verified yet.
    pub(crate) fn read(&self, hint: Hint, unix: u64) -> Result<Reading, HintRefusal> {
        match hint {
            Hint::Heard(heard) => self.read_heard(heard, unix),
            Hint::Seed { addresses, expects } => read_seed(addresses, expects),
        }
    }

    fn read_heard(&self, heard: Heard, unix: u64) -> Result<Reading, HintRefusal> {
        let announcement = Announcement::decode(&heard.txt, heard.port)?;
        let addresses = near(&heard, &announcement);
        if addresses.is_empty() {
            return Err(HintRefusal::Elsewhere);
        }
        let instance = Some(heard.instance);
        match announcement {
            Announcement::Public(public) => {
                public.check(unix)?;
                let content = public.content();
                Ok(Reading {
                    tag: public.peer(),
                    sequence: Some(content.sequence),
                    expires: Some(content.expires),
                    expects: Expected::Both(content.identity, content.node),
                    addresses,
                    instance,
                    public: Some(public),
                })
            }
            Announcement::Private(private) => {
                let name = instance.as_deref().unwrap_or_default();
                let mut secrets = self.secrets.iter();
                let opened = secrets.find_map(|secret| private.open(name, secret, unix));
                let opened = opened.ok_or(HintRefusal::Foreign)??;
                opened.check(unix)?;
                Ok(Reading {
                    tag: opened.peer,
                    sequence: Some(opened.sequence),
                    expires: Some(opened.expires),
                    expects: Expected::Peer(opened.peer),
                    addresses,
                    instance,
                    public: None,
                })
            }
        }
    }

    /// Whether a hint says nothing beyond one that waits.
    pub(crate) fn has(&self, reading: &Reading) -> bool {
        let waiting = self.waiting.get(&reading.tag);
        waiting.is_some_and(|waiting| {
            let same = waiting.expires >= reading.expires && waiting.addresses == reading.addresses;
            waiting.sequence > reading.sequence || waiting.sequence == reading.sequence && same
        })
    }

    /// Verifies what is signed.
    pub(crate) fn verify(
        &mut self,
        reading: &Reading,
        provider: Provider,
        now: Duration,
    ) -> Result<(), HintRefusal> {
        let Some(public) = &reading.public else {
            return Ok(());
        };
        let rest = self.verified.rest(now);
        if rest.is_some_and(|rest| rest >= Duration::from_secs(1)) {
            return Err(HintRefusal::Busy);
        }
        self.verified.charge(1, 0, now);
        Ok(public.verify(provider)?)
    }

    /// Lets a hint wait for its dial.
    pub(crate) fn keep(&mut self, reading: Reading, origin: Origin) -> Result<Hinted, HintRefusal> {
        let known = self.waiting.contains_key(&reading.tag);
        if !known {
            self.make_room(origin, reading.public.is_some())?;
        }
        let waiting = Waiting {
            origin,
            sequence: reading.sequence,
            expires: reading.expires,
            expects: reading.expects,
            addresses: reading.addresses,
            instance: reading.instance,
            failures: 0,
            not_before: Duration::ZERO,
        };
        self.waiting.insert(reading.tag, waiting);
        Ok(match known {
            true => Hinted::Newer,
            false => Hinted::New,
        })
    }

    fn make_room(&mut self, origin: Origin, stranger: bool) -> Result<(), HintRefusal> {
        let multicast = matches!(origin, Origin::Mdns(_));
        let of_sender = |waiting: &Waiting| multicast && waiting.origin == origin;
        let of_strangers = |waiting: &Waiting| stranger && waiting.is_of_stranger();
        let count = |which: &dyn Fn(&Waiting) -> bool| {
            let all = self.waiting.values();
            all.filter(|waiting| which(waiting)).count()
        };
        let senders = count(&of_sender);
        // Whose place it may take.
        let (among, refusal): (&dyn Fn(&Waiting) -> bool, _) = match () {
            () if senders >= Self::MAX_PER_SENDER => {
                (&of_sender, HintRefusal::Sender { count: senders })
            }
            () if count(&of_strangers) >= self.max / 2 => (&of_strangers, HintRefusal::Full),
            () if self.waiting.len() >= self.max => (&|_| true, HintRefusal::Full),
            () => return Ok(()),
        };
        let failed = self.waiting.iter().filter(|(tag, waiting)| {
            waiting.failures > 0 && among(waiting) && !self.under_way.contains_key(tag)
        });
        let worst = failed.max_by_key(|(_, waiting)| waiting.failures);
        let worst = worst.map(|(tag, _)| *tag).ok_or(refusal)?;
        self.waiting.remove(&worst);
        self.counters.evicted += 1;
        Ok(())
    }

    /// Which hints may be dialled: those that failed least first, and of these members of a network
    /// and what was configured.
    pub(crate) fn due(&mut self, time: crate::Time) -> Vec<(PeerTag, Origin)> {
        let before = self.waiting.len();
        let counts = |expires: u64| expires.saturating_add(CLOCK_SKEW);
        self.waiting
            .retain(|_, waiting| waiting.expires.is_none_or(|it| counts(it) >= time.unix));
        self.counters.expired += (before - self.waiting.len()) as u64;
        let due = self.waiting.iter().filter(|(tag, waiting)| {
            waiting.not_before <= time.monotonic && !self.under_way.contains_key(tag)
        });
        let mut due: Vec<_> = due
            .map(|(tag, waiting)| {
                let rank = (waiting.failures, waiting.is_of_stranger());
                (rank, *tag, waiting.origin)
            })
            .collect();
        due.sort_unstable();
        due.into_iter()
            .map(|(_, tag, origin)| (tag, origin))
            .collect()
    }

    /// How many dials are under way because of multicast.
    pub(crate) fn by_multicast(&self) -> usize {
        let multicast = |origin: &&Origin| matches!(origin, Origin::Mdns(_));
        self.under_way.values().filter(multicast).count()
    }

    /// The dial of a hint begins.
    pub(crate) fn start(&mut self, tag: PeerTag) -> Option<Try> {
        let waiting = self.waiting.get(&tag)?;
        self.under_way.insert(tag, waiting.origin);
        self.counters.tried += 1;
        Some(Try {
            tag,
            expects: waiting.expects,
            addresses: waiting.addresses.clone(),
        })
    }

    /// The dial of a hint has to wait.
    pub(crate) fn put_off(&mut self, tag: PeerTag, until: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&tag) {
            waiting.not_before = until;
        }
    }

    /// The dial of a hint came to an end.
    pub(crate) fn end(&mut self, tag: PeerTag, met: bool) {
        if self.under_way.remove(&tag).is_none() {
            return;
        }
        match met {
            true => self.counters.met += 1,
            false => self.counters.failed += 1,
        }
        let Some(waiting) = self.waiting.get_mut(&tag) else {
            return;
        };
        waiting.failures = waiting.failures.saturating_add(1);
        // What was configured is asked for again when it is needed.
        if met || waiting.expires.is_none() {
            self.waiting.remove(&tag);
        }
    }

    /// A hint is of no more use: its node is known.
    pub(crate) fn forget(&mut self, tag: PeerTag) {
        self.waiting.remove(&tag);
    }

    /// Forgets what an instance announced.
    pub(crate) fn retract(&mut self, instance: &str) {
        self.waiting
            .retain(|_, waiting| waiting.instance.as_deref() != Some(instance));
    }

    /// The sequence that a hint which waits is about.
    pub(crate) fn sequence(&self, tag: PeerTag) -> Option<u64> {
        self.waiting.get(&tag)?.sequence
    }

    pub(crate) fn is_under_way(&self, tag: PeerTag) -> bool {
        self.under_way.contains_key(&tag)
    }

    /// Counts what became of a hint. Whether somebody should be warned of it.
    pub(crate) fn count(&mut self, outcome: &Result<Hinted, HintRefusal>, now: Duration) -> bool {
        self.counters.count(outcome);
        let forged = HintRefusal::Announcement(AnnouncementError::Forged);
        let quiet = self.next_warning.is_some_and(|until| now < until);
        if quiet || *outcome != Err(forged) {
            return false;
        }
        self.next_warning = Some(now + Self::WARNED_FOR);
        true
    }

    pub(crate) const fn counters(&self) -> &HintCounters {
        &self.counters
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// The addresses that were heard and are announced: within reach of this host or its site, and none
/// that only the sender's records name.
fn near(heard: &Heard, announcement: &Announcement) -> Vec<Address> {
    let places = announcement.places();
    let good = |address: &&SocketAddr| {
        let ip = address.ip();
        matches!(reach_of(ip), Some(Reach::Host | Reach::Site)) && places.contains(ip)
    };
    let addresses = heard.addresses.iter().filter(good);
    let addresses: BTreeSet<_> = addresses
        .map(|address| {
            let mut address = *address;
            address.set_port(heard.port);
            Address::Quic(address)
        })
        .collect();
    addresses.into_iter().take(Hints::MAX_ADDRESSES).collect()
}

fn read_seed(addresses: Vec<Address>, expects: Expected) -> Result<Reading, HintRefusal> {
    let addresses: BTreeSet<_> = addresses.into_iter().collect();
    let addresses: Vec<_> = addresses.into_iter().take(Hints::MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(HintRefusal::Elsewhere);
    }
    let texts: String = addresses.iter().map(|it| format!("{it}\n")).collect();
    let hash = hash::sha256(&[domain::SEED_TAG, texts.as_bytes()]);
    let mut tag = [0; PeerTag::SIZE];
    tag.copy_from_slice(&hash[..PeerTag::SIZE]);
    Ok(Reading {
        tag: PeerTag::from_octets(tag),
        sequence: None,
        public: None,
        expires: None,
        expects,
        addresses,
        instance: None,
    })
}
