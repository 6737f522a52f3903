//! The thread that tells the daemon of `mdns-sd` what to say, and takes what it hears.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mdns_sd::{
    DaemonEvent, DaemonStatus, Receiver, RecvTimeoutError, ResolvedService, ServiceEvent,
    ServiceInfo, TryRecvError,
};
use withy_proto::crypto::Randomness;

use super::daemon::{Daemon, addresses, full_name, instance, service_info, txt};
use super::first;
use super::interfaces::{Local, locals};
use super::{Audience, Mdns, Shared, Speaker, State};
use crate::announcement::{Announcement, Content, Opened, Places, Private, SERVICE};

/// How long it waits for an event before it looks after the rest.
const TICK: Duration = Duration::from_millis(100);
/// How often it looks for interfaces.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How long it leaves a daemon alone that could not run.
const RETRY: Duration = Duration::from_secs(5);
/// How soon one that keeps too much is replaced again, at first and at most, if that happens more than
/// once within a minute: who floods the network shall not have all of a processor as well.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
const MINUTE: Duration = Duration::from_secs(60);
/// How long a daemon may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an announcement takes to come back at most.
const ECHO: Duration = Duration::from_secs(10);
/// How often all that is there is offered again.
const OFFER: Duration = Duration::from_secs(60);
/// How soon a record is announced that took another's place. Each announcement has everybody on the network
/// read five packets or more, of each family of addresses; and who is linked hears of it by gossip.
const RENEW: Duration = Duration::from_secs(10);
/// Of how many others it is enough to hear: they tell of all that they know by gossip. Until then the daemon
/// asks again and again, which everybody who is there reads, and afterwards it only listens: who comes
/// announces itself.
const ENOUGH: usize = 8;
/// How long it only listens until it asks again: what was announced may have been lost.
const LISTEN: Duration = Duration::from_secs(60);
/// How long one only listens that was just started, or has a new address, where [`first`] asks; if it hears
/// enough meanwhile, it goes on listening. Of many that come together all hear each
/// other announced, and what the daemon is answered lacks what was announced in the same second (RFC 6762 §6),
/// so that everybody asks for the rest.
const LISTEN_FIRST: Duration = Duration::from_millis(1_500);
pub(super) struct Worker {
    shared: Arc<Shared>,
    port: u16,
    randomness: Box<dyn Randomness>,
    daemon: Option<Daemon>,
    /// Tells when a daemon ended that takes its time: two would keep twice as much.
    ending: Option<Receiver<DaemonStatus>>,
    locals: Vec<Local>,
    spoken: Vec<Spoken>,
    speaker: Option<Speaker>,
    /// What is announced is not what should be.
    stale: bool,
    /// Nobody was asked who is there, since there is a daemon and these are the addresses.
    strange: bool,
    /// What is announced is of an older record, which may stay so until then.
    renewed: bool,
    next_renewal: Instant,
    /// Whether the daemon asks, and does not only listen.
    asks: bool,
    /// It asked nothing yet since it was started, or had a new address.
    is_first: bool,
    /// Who was heard since it began with that, up to [`ENOUGH`].
    heard: BTreeSet<String>,
    next_question: Instant,
    /// Members change names this many seconds after the hour, so that not all do so at once.
    shift: u64,
    epoch: u64,
    next_look: Instant,
    next_start: Instant,
    /// How long the last pause was, and when the last daemon was replaced.
    pause: Duration,
    replaced: Option<Instant>,
    next_offer: Instant,
}

/// An announcement that the daemon makes.
struct Spoken {
    instance: String,
    since: Instant,
    heard: bool,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, port: u16, mut randomness: Box<dyn Randomness>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            port,
            shift: randomness.next_u64() % (Private::EPOCH / 4),
            randomness,
            daemon: None,
            ending: None,
            locals: Vec::new(),
            spoken: Vec::new(),
            speaker: None,
            stale: false,
            strange: false,
            renewed: false,
            next_renewal: now,
            asks: false,
            is_first: true,
            heard: BTreeSet::new(),
            next_question: now,
            epoch: 0,
            next_look: now,
            next_start: now,
            pause: Duration::ZERO,
            replaced: None,
            next_offer: now + OFFER,
        }
    }

    pub(super) fn run(mut self) {
        while !self.is_stopped() {
            let now = Instant::now();
            self.look(now);
            self.start(now);
            self.ask_at_once();
            self.measure(now);
            self.watch(now);
            self.speak(now);
            self.ask(now);
            self.tell(now);
            self.listen();
        }
        self.end();
    }

    /// Takes what the handle said, and whether it said that this is the end.
    fn is_stopped(&mut self) -> bool {
        let mut board = self.shared.board();
        if std::mem::take(&mut board.renewed) {
            let before = std::mem::replace(&mut self.speaker, board.speaker.clone());
            match (&before, &self.speaker) {
                (Some(before), Some(now)) if before.differs_by_record(now) => self.renewed = true,
                _ => self.stale = true,
            }
        }
        board.stop
    }

    /// Looks which addresses this host has.
    fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        // What cannot be listed now may be so the next time.
        let found = locals().unwrap_or_default();
        if found != self.locals {
            self.locals = found;
            (self.stale, self.strange) = (true, true);
            // The daemon does not tell of those that only the first question found.
            let near = |ip| self.locals.iter().any(|local| local.is_beside(ip));
            self.shared.board().instances.keep_near(near);
        }
    }

    /// Starts a daemon if there is none.
    fn start(&mut self, now: Instant) {
        let ends =
            |status: &Receiver<DaemonStatus>| matches!(status.try_recv(), Err(TryRecvError::Empty));
        self.ending = self.ending.take().filter(ends);
        if self.daemon.is_some() || self.ending.is_some() || now < self.next_start {
            return;
        }
        self.next_start = now + RETRY;
        match Daemon::start(self.port, now) {
            Ok(daemon) => {
                self.daemon = Some(daemon);
                self.spoken.clear();
                (self.stale, self.strange) = (true, true);
                self.listen_first(now);
            }
            Err(error) => self.shared.board().state = State::Failed(error.to_string()),
        }
    }

    /// Asks who is there, where that was not done.
    fn ask_at_once(&mut self) {
        if self.daemon.is_some() && std::mem::take(&mut self.strange) {
            let id = self.randomness.next_u64() as u16;
            first::ask(&self.shared, &self.locals, self.port, id);
        }
    }

    /// Replaces a daemon that keeps too much.
    fn measure(&mut self, now: Instant) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        if daemon.keeps_too_much(now) {
            self.replace(now);
        }
    }

    fn replace(&mut self, now: Instant) {
        self.end();
        let [first, longest] = PAUSES;
        let again = self
            .replaced
            .is_some_and(|before| now < before + self.pause + MINUTE);
        self.pause = match again {
            true => (self.pause * 2).clamp(first, longest),
            false => Duration::ZERO,
        };
        self.replaced = Some(now);
        self.next_start = now + self.pause;
        let mut board = self.shared.board();
        board.counters.replaced += 1;
        board.state = State::Flooded;
    }

    /// Lets the daemon say goodbye and end.
    fn end(&mut self) {
        if let Some(daemon) = self.daemon.take()
            && let Ok(status) = daemon.handle.shutdown()
        {
            let ended = status.recv_timeout(GOODBYE);
            // One that is busy ends when it gets to it.
            self.ending = matches!(ended, Err(RecvTimeoutError::Timeout)).then_some(status);
        }
        self.spoken.clear();
    }

    /// Takes what the daemon reports about itself.
    fn watch(&mut self, now: Instant) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let events: Vec<_> = daemon.monitor.try_iter().collect();
        for event in events {
            let is_new = matches!(event, DaemonEvent::IpAdd(_));
            // The daemon announces on a new interface only what it is told anew.
            if is_new || matches!(event, DaemonEvent::IpDel(_)) {
                self.next_look = now;
                self.stale = true;
            }
            // What was announced there before, it did not hear.
            if is_new && !self.asks {
                self.listen_first(now);
            }
        }
    }

    /// Announces what there is to say, if it is not what is announced.
    fn speak(&mut self, now: Instant) {
        let unix = unix_now();
        let epoch = unix.saturating_sub(self.shift) / Private::EPOCH;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.stale |= self.is_private();
        }
        self.stale |= self.renewed && now >= self.next_renewal;
        if !self.stale || self.daemon.is_none() {
            return;
        }
        (self.stale, self.renewed) = (false, false);
        self.next_renewal = now + RENEW;
        let services = self.services(unix);
        let Some(daemon) = &self.daemon else {
            return;
        };
        // Before anybody is answered with them.
        let before = self.spoken.iter().map(|spoken| &spoken.instance);
        let own = before.chain(services.iter().map(|(instance, _)| instance));
        self.shared.board().own = own.cloned().collect();
        let mut spoken = Vec::new();
        for (instance, service) in services {
            if daemon.handle.register(service).is_err() {
                // Its queue is full, or it ended.
                self.stale = true;
                continue;
            }
            self.shared.board().counters.announced += 1;
            spoken.push(Spoken {
                instance,
                since: now,
                heard: false,
            });
        }
        for old in std::mem::take(&mut self.spoken) {
            if !spoken.iter().any(|it| it.instance == old.instance) {
                let _ = daemon.handle.unregister(&full_name(&old.instance));
            }
        }
        self.spoken = spoken;
    }

    /// Asks no more once enough were heard, and again after a while.
    fn ask(&mut self, now: Instant) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let enough = self.heard.len() >= ENOUGH;
        let events = match self.asks {
            true if enough => daemon.handle.browse_cache(SERVICE),
            false if now < self.next_question => return,
            false if enough && self.is_first => return self.turn(false, now + LISTEN),
            false => daemon.handle.browse(SERVICE),
            true => return,
        };
        // Its queue may be full: then it goes on as before, until the next time.
        if let Ok(events) = events {
            daemon.events = events;
            self.turn(!self.asks, now + LISTEN);
        }
    }

    /// Listens before it asks anything.
    fn listen_first(&mut self, now: Instant) {
        let asked = |local: &Local| local.ip.is_ipv4() && !local.ip.is_loopback();
        let wait = match self.locals.iter().any(asked) {
            true => LISTEN_FIRST,
            false => Duration::ZERO,
        };
        self.turn(false, now + wait);
        self.is_first = true;
    }

    /// Begins to ask, or to listen only until then.
    fn turn(&mut self, asks: bool, until: Instant) {
        (self.asks, self.is_first) = (asks, false);
        self.next_question = until;
        self.heard.clear();
    }

    fn is_private(&self) -> bool {
        let speaker = self.speaker.as_ref();
        speaker.is_some_and(|it| matches!(it.audience, Audience::Members(_)))
    }

    /// What the daemon should announce, by the names of instances. Nothing if there is no address.
    fn services(&mut self, unix: u64) -> Vec<(String, ServiceInfo)> {
        let Some(speaker) = self.speaker.clone() else {
            return Vec::new();
        };
        let locals = self.locals.iter().map(|local| local.ip);
        let Ok(places) = Places::choose(locals.filter(|ip| speaker.is_at(*ip))) else {
            return Vec::new();
        };
        let announcements: Vec<_> = match &speaker.audience {
            Audience::Everybody => {
                let content = Content::of(&speaker.record, speaker.port, places.clone());
                let name = content.node.to_string();
                let signed = content.sign(&speaker.key);
                let public = signed.map(|public| (name, Announcement::Public(public)));
                public.into_iter().collect()
            }
            Audience::Members(secrets) => {
                let opened = Opened {
                    peer: speaker.record.peer(),
                    sequence: speaker.record.content().sequence,
                    expires: speaker.record.content().validity.not_after,
                };
                let random = &mut *self.randomness;
                let seal = |secret| {
                    let places = places.clone();
                    let sealed = Private::seal(secret, &opened, speaker.port, places, unix, random);
                    sealed.ok()
                };
                let secrets = secrets.iter().take(Mdns::MAX_NETWORKS);
                let sealed = secrets.filter_map(seal);
                sealed
                    .map(|(name, private)| (name, Announcement::Private(private)))
                    .collect()
            }
        };
        let service = |(name, announcement): (String, Announcement)| {
            let info = service_info(&name, &announcement, speaker.port, &places);
            info.map(|info| (name, info))
        };
        announcements.into_iter().filter_map(service).collect()
    }

    /// Says how it goes.
    fn tell(&mut self, now: Instant) {
        let mut board = self.shared.board();
        if now >= self.next_offer {
            self.next_offer = now + OFFER;
            board.instances.offer_again();
        }
        if self.daemon.is_none() {
            return;
        }
        let late = |it: &Spoken| !it.heard && now >= it.since + ECHO;
        let state = if self.locals.is_empty() {
            State::NoInterface
        } else if self.spoken.iter().any(|it| it.heard) {
            State::Working
        } else if self.spoken.iter().any(late) {
            State::Unheard
        } else {
            State::Listening
        };
        let changed = std::mem::replace(&mut board.state, state.clone()) != state;
        let tells = changed | board.instances.has_news();
        drop(board);
        if tells {
            self.shared.call();
        }
    }

    /// Takes events as they come, for a moment.
    fn listen(&mut self) {
        let until = Instant::now() + TICK;
        loop {
            let Some(daemon) = &mut self.daemon else {
                return std::thread::sleep(TICK);
            };
            let left = until.saturating_duration_since(Instant::now());
            match daemon.events.recv_timeout(left) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return self.subscribe_again(),
            }
            if self.shared.board().instances.has_news() {
                self.shared.call();
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// The daemon closed its channel: too much came at once, or it died.
    fn subscribe_again(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        std::thread::sleep(TICK);
        match daemon.handle.browse(SERVICE) {
            Ok(events) => {
                daemon.events = events;
                self.turn(true, Instant::now());
                self.shared.board().counters.resubscribed += 1;
            }
            Err(mdns_sd::Error::Again) => {}
            Err(error) => {
                self.end();
                self.next_start = Instant::now() + RETRY;
                let mut board = self.shared.board();
                board.counters.replaced += 1;
                board.state = State::Failed(error.to_string());
            }
        }
    }

    fn take(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.resolved(&service),
            ServiceEvent::ServiceRemoved(_, name) => {
                if let Some(instance) = instance(&name) {
                    self.shared.board().instances.remove(instance);
                }
            }
            _ => {}
        }
    }

    fn resolved(&mut self, service: &ResolvedService) {
        let Some(instance) = instance(&service.fullname) else {
            return;
        };
        let mut spoken = self.spoken.iter_mut();
        if let Some(own) = spoken.find(|it| it.instance == instance) {
            own.heard = true;
        }
        if self.shared.board().is_own(instance) {
            return;
        }
        if self.heard.len() < ENOUGH {
            self.heard.insert(instance.to_owned());
        }
        let txt = txt(service);
        let (addresses, elsewhere) = addresses(service, &self.locals);
        let mut board = self.shared.board();
        board.hear(instance, txt, service.port, addresses, elsewhere);
    }
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
