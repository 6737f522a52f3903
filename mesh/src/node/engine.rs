//! The task that runs a node's discovery: sources, gossip, and who is connected to whom.
//!
//! It is woken by what happens and by deadlines, and never waits for a peer: dials run beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use withy_discovery::{
    Action, Event, Hint, Kind, Origin, PeerTag, Record, Time, Try, hints, membership, table,
};
use withy_proto::mechanism::party::Expected;
use withy_proto::pattern::PipeKey;
use withy_proto::{Endpoint, Frame, Message};

use super::links;
use super::peer::{NodeEvent, Peer, Presence};
use super::shared::{Shared, State};
use super::sources::Sources;
use crate::driver::core::Core;
use crate::driver::dial::Dialed;
use crate::driver::direct::Direct;
use crate::event::{PeerInfo, Reason};
use crate::trust::{Permissions, Principal};

/// How many messages are taken in before anything else is done.
const TURN: usize = 64;

/// How long what is due waits at most for messages that are to be taken in first.
const JUDGED: Duration = Duration::from_millis(250);

/// How long a dial for gossip may take.
const DIAL: Duration = Duration::from_secs(5);

/// Further ahead than anything that gossip puts off.
const FAR: Duration = Duration::from_secs(3_600);

/// What comes over the links between nodes, as the first frame says.
pub(super) const GOSSIP: u8 = 1;

/// As [`GOSSIP`]: the sender gives the link up, and the receiver closes it.
const BYE: u8 = 2;

/// The engine's own part of a node.
#[derive(Debug)]
pub(super) struct Engine {
    shared: Arc<Shared>,
    sources: Sources,
    /// Tells of changes of the trust, since before anything was read of it.
    trust: watch::Receiver<()>,
    /// The permissions that are in force.
    permissions: Option<Arc<Permissions>>,
    /// What came of dials.
    dialled: UnboundedReceiver<Dialled>,
    /// The links are others than when they were last looked at.
    relinked: bool,
    /// When what was due was done last.
    judged: Duration,
}

/// What came of a dial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialled {
    /// Whom it was to reach.
    to: To,
    /// Whether he was there.
    met: bool,
}

/// Whom a dial is to reach, as the discovery knows him.
#[derive(Debug, Clone, Copy)]
enum To {
    /// A peer of the table.
    Peer(PeerTag),
    /// Whom a hint is about.
    Hinted(PeerTag),
    /// One that was lost.
    Lost,
}

impl Engine {
    pub(super) fn new(
        shared: Arc<Shared>,
        sources: Sources,
        trust: watch::Receiver<()>,
        dialled: UnboundedReceiver<Dialled>,
    ) -> Self {
        Self {
            trust,
            permissions: shared.trust.permissions(),
            shared,
            sources,
            dialled,
            relinked: true,
            judged: Duration::ZERO,
        }
    }

    /// Runs until the node is closed; then says goodbye.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut links = shared.control().peers.subscribe();
        let mut look = Instant::now();
        loop {
            self.relinked |= links.has_changed().unwrap_or(true);
            links.mark_unchanged();
            let due = self.settle();
            tokio::select! {
                () = shared.stop.cancelled() => break,
                () = tokio::time::sleep_until(look) => {
                    look = Instant::now() + self.sources.look(&shared);
                }
                news = self.sources.news() => match news {
                    Some(hint) => shared.hint(hint, Origin::Fixed),
                    None => look = Instant::now() + self.sources.look(&shared),
                },
                () = shared.work.notified() => {}
                Ok(()) = links.changed() => self.relinked = true,
                Ok(()) = self.trust.changed() => self.look_at_all(),
                Some(dialled) = self.dialled.recv() => self.take_dialled(dialled),
                Ok((message, key)) = shared.control.recv_from() => shared.heard(message, key.0),
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.leave().await;
    }

    /// Takes in what came over the links; whether that is all.
    fn take(&self) -> bool {
        for _ in 0..TURN {
            match self.shared.control.try_recv_from() {
                Ok((message, key)) => self.shared.heard(message, key.0),
                Err(_) => return true,
            }
        }
        false
    }

    fn take_dialled(&self, Dialled { to, met }: Dialled) {
        if !met {
            self.shared.dials_failed.fetch_add(1, Ordering::Relaxed);
        }
        let time = self.shared.now();
        let mut state = self.shared.state.lock();
        match to {
            To::Peer(tag) => {
                state.links.dialled.remove(&tag);
                if !met {
                    state.discovery.link_failed(tag, time);
                }
            }
            To::Hinted(tag) => state.discovery.try_ended(tag, met, time),
            To::Lost => {}
        }
    }

    /// Closes what the permissions do not allow any more.
    fn look_at_permissions(&mut self) {
        let shared = &self.shared;
        let now = shared.trust.permissions();
        let before = std::mem::replace(&mut self.permissions, now.clone());
        if before == now {
            return;
        }
        shared.resources.look_again();
        shared.relaying.look_at_permissions(shared);
        shared.state.lock().interests.look_at_permissions();
        // Who may subscribe to other topics than before connects anew, and says again to which.
        let Some(core) = shared.bus.get().map(|(bus, _)| bus.core()) else {
            return;
        };
        for (key, peer) in core.links() {
            let Some(proven) = &peer.proven else {
                continue;
            };
            let whom = Principal::from(&proven.shown);
            let same = match (&before, &now) {
                (Some(before), Some(now)) => before.are_same_for(&whom, now),
                _ => false,
            };
            if !same && !whom.is(&shared.identity.id()) {
                core.close_link(key, Reason::NotPermitted);
            }
        }
    }

    /// Judges all nodes anew: whom we trust changed.
    fn look_at_all(&mut self) {
        self.look_at_permissions();
        let mut state = self.shared.state.lock();
        let tags: Vec<_> = state.discovery.table().peers().map(|it| it.0).collect();
        tags.into_iter()
            .for_each(|tag| self.shared.look_again(&mut state, tag));
        // Others are trusted now, though the table is as it was.
        self.shared.count(&state);
        let strangers = std::mem::take(&mut state.strangers);
        drop(state);
        for record in strangers.into_values() {
            self.shared.learn(record.octets(), Origin::Host);
        }
        // Networks may be others now, and the record shows them.
        self.shared.state.lock().offers.changed = true;
    }

    /// Does everything that is to be done now, and says when there is more.
    fn settle(&mut self) -> Instant {
        let all = self.take();
        let relinked = all && std::mem::take(&mut self.relinked);
        let shared = Arc::clone(&self.shared);
        let time = shared.now();
        let mut state = shared.state.lock();
        if relinked || all && state.links.is_restless() {
            // What a link brought before it ended counts.
            shared.settle_links(&mut state, time);
        }
        if std::mem::take(&mut state.offers.changed) {
            self.publish(&mut state);
        }
        // Nobody is judged whose heartbeat waits to be taken in, unless so much waits all the time.
        if all || time.monotonic >= self.judged + JUDGED {
            self.judged = time.monotonic;
            state.discovery.handle_timeout(time);
        }
        let mut changed = false;
        while let Some(event) = state.discovery.poll_event() {
            shared.handle_event(&mut state, event);
            changed = true;
        }
        if changed {
            shared.count(&state);
        }
        while let Some(action) = state.discovery.poll_action() {
            match action {
                Action::Renew => self.publish(&mut state),
                Action::Seek => self.sources.seek(&shared),
                action => shared.act(&mut state, action, time),
            }
        }
        while let Some((to, octets)) = state.discovery.poll_transmit(time) {
            shared.gossip(&state, to, octets);
        }
        let due = state.discovery.poll_timeout(time);
        drop(state);
        let wait = due.saturating_sub(time.monotonic);
        Instant::now() + if all { wait } else { Duration::ZERO }
    }

    /// Signs this node's record anew, and says so to everybody.
    fn publish(&self, state: &mut State) {
        let shared = &self.shared;
        match state.offers.sign(&shared.identity, &shared.trust) {
            Ok(record) => {
                state.discovery.set_own(record.clone());
                self.sources.publish(shared, &record);
                shared.look_again(state, shared.own);
            }
            // Each offer was tried when it was made.
            Err(error) => tracing::error!(%error, "the record of this node cannot be signed"),
        }
    }

    async fn leave(self) {
        let shared = &self.shared;
        let time = shared.now();
        {
            let mut state = shared.state.lock();
            state.discovery.leave(time);
            // Nothing is put off any more.
            let time = Time {
                monotonic: time.monotonic + FAR,
                ..time
            };
            while let Some((to, octets)) = state.discovery.poll_transmit(time) {
                shared.gossip(&state, to, octets);
            }
        }
        // The others are to see no record of a node that closes its endpoints.
        drop(self.sources);
        let core = shared.control();
        core.start_closing();
        core.finish_closing(Duration::from_secs(1)).await;
    }
}

impl Shared {
    /// Takes a record in that a source found.
    pub(super) fn learn(&self, octets: &[u8], origin: Origin) {
        let Ok(record) = Record::decode(octets) else {
            tracing::debug!(?origin, "what a source found is no record");
            return;
        };
        if record.peer() == self.own {
            return;
        }
        let mut state = self.state.lock();
        if !self.may_trust(&record) {
            return self.note_stranger(&mut state, record);
        }
        state.strangers.remove(&record.peer());
        if let Err(refusal) = state.discovery.learn(octets, origin, self.now()) {
            tracing::debug!(?origin, %refusal, "a record is refused");
        }
        self.work.notify_one();
    }

    fn note_stranger(&self, state: &mut State, record: Record) {
        let provider = withy_proto::crypto::Provider::Real;
        if record.verify(provider, self.now().unix).is_err() {
            return;
        }
        let peer = Peer::new(&record, Presence::Untrusted);
        let new = state.strangers.insert(peer.tag, record).is_none();
        while state.strangers.len() > self.max_strangers {
            let issued = |record: &Record| record.content().validity.not_before;
            let oldest = state.strangers.iter().min_by_key(|(_, it)| issued(it));
            if let Some(tag) = oldest.map(|(tag, _)| *tag) {
                state.strangers.remove(&tag);
            }
        }
        if new {
            tracing::info!(identity = %peer.identity, "saw a node that is not trusted");
            self.tell(NodeEvent::Stranger(Box::new(peer)));
        }
    }

    /// Brings the discovery up to date with the links that there are.
    fn settle_links(&self, state: &mut State, time: Time) {
        let now = self.control().links();
        let changes = state.links.settle(self.own, now, time.monotonic);
        for key in changes.spare {
            self.control().close_link(key, Reason::Closed);
        }
        for (tag, meant) in changes.down {
            self.tell(NodeEvent::Unlinked(tag));
            state.discovery.link_down(tag, !meant, time);
        }
        let ttl = self.control().options.heartbeat.ttl();
        for key in changes.chosen {
            self.control().ping(key, ttl);
            let tag = state.links.tag(key);
            if let Some((tag, link)) = tag.and_then(|tag| Some((tag, state.links.of(tag)?))) {
                self.tell(NodeEvent::Linked(tag, Box::new(link)));
            }
        }
        for tag in changes.up {
            state.discovery.link_up(tag, time);
        }
    }

    fn handle_event(&self, state: &mut State, event: Event) {
        match event {
            Event::Table(event) => self.handle_table(state, event),
            Event::Member(tag, found) => {
                tracing::info!(peer = %tag, state = ?found, "a member is in another state");
                if found == membership::State::Dead {
                    self.doubt(state, tag);
                }
                if found.is_gone() {
                    self.relaying.cut(tag);
                }
                self.tell(NodeEvent::of_state(tag, found));
            }
            Event::Revoked(revocation) => self.revoked(&revocation),
            Event::Forged { peer, origin } => {
                tracing::warn!(?peer, ?origin, "a forged announcement names a node");
            }
            Event::Lagged => self.look_at_table(state),
            _ => {}
        }
    }

    fn handle_table(&self, state: &mut State, event: table::Event) {
        use table::Event as Table;
        let tag = match &event {
            Table::Known(tag) | Table::Forgotten(tag) => *tag,
            Table::Appeared(it) | Table::Changed(it) | Table::Vanished(it) => it.peer,
            Table::Conflict(conflict) => return tracing::warn!(%conflict, "a name is refused"),
            _ => return self.look_at_table(state),
        };
        self.look_again(state, tag);
        if matches!(event, Table::Forgotten(_)) {
            self.verdicts.lock().forget(tag);
        }
        if tag == self.own {
            return;
        }
        if is_relay(&event) {
            self.relays_changed(state);
        }
        let peer = self.peer(state, tag).map(Box::new);
        match (event, peer) {
            (Table::Known(_), Some(peer)) => {
                tracing::info!(peer = %tag, identity = %peer.identity, "a node joined");
                self.tell(NodeEvent::Joined(peer));
            }
            (_, Some(peer)) => self.tell(NodeEvent::Changed(peer)),
            (_, None) => {}
        }
    }

    fn look_at_table(&self, state: &mut State) {
        let tags: Vec<_> = state.discovery.table().peers().map(|it| it.0).collect();
        tags.into_iter().for_each(|tag| self.look_again(state, tag));
    }

    /// Counts those that are there, for those who wait.
    fn count(&self, state: &State) {
        let gone = |tag| {
            let member = state.discovery.membership().state(tag);
            member.is_some_and(membership::State::is_gone)
        };
        let peers = state.discovery.table().peers();
        let trusted =
            peers.filter(|(tag, record)| *tag != self.own && !gone(*tag) && self.may_trust(record));
        let count = trusted.count();
        self.known
            .send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    fn revoked(&self, revocation: &withy_discovery::Revocation) {
        let network = revocation.network();
        let done = match revocation.target() {
            withy_discovery::Target::Identity(identity) => self.trust.revoke(identity),
            withy_discovery::Target::Serial(serial) => self.trust.revoke_serial(network, serial),
        };
        if let Some((home, name)) = self.trust.home_of_network() {
            let revocation = *revocation;
            self.runtime.spawn_blocking(move || {
                if let Err(error) = home.keep_revocation(&name, &revocation) {
                    tracing::warn!(%error, "a revocation is known until this node ends");
                }
            });
        }
        match done {
            Ok(()) => {
                tracing::warn!(%network, target = ?revocation.target(), "revoked by its network")
            }
            Err(error) => tracing::error!(%network, %error, "a revocation is not kept"),
        }
    }

    pub(super) fn act(&self, state: &mut State, action: Action, time: Time) {
        match action {
            Action::Open(tag) => {
                let table = state.discovery.table();
                let record = table.record(tag);
                let Some(record) = record.filter(|record| self.may_trust(record)) else {
                    return state.discovery.link_refused(tag, time);
                };
                let expected = Expected::Node(record.identity(), record.node());
                let ways = self.ways(state, tag);
                if ways.is_empty() {
                    return state.discovery.link_failed(tag, time);
                }
                if state.links.is_given_up(tag) {
                    return state.discovery.link_refused(tag, time);
                }
                if state.links.key(tag).is_none() && state.links.dialled.insert(tag) {
                    self.dial(To::Peer(tag), Some(expected), ways, |_| true);
                }
            }
            Action::Close(tag) => {
                if let Some(key) = state.links.give_up(tag, time.monotonic) {
                    // Else the other side would take it for lost.
                    let mut bye = Message::from(Frame::from([BYE]));
                    let _ = self.control().try_send_to(key, &mut bye);
                }
            }
            Action::Call(record) => {
                let addresses = record.content().addresses.iter();
                let on_host = record.content().host == self.host;
                let reaches = |address: &&withy_discovery::Address| {
                    use withy_discovery::record::Reach;
                    match address.reach() {
                        Some(Reach::Host) => on_host,
                        Some(Reach::Site | Reach::Public) => true,
                        _ => false,
                    }
                };
                let mut ways: Vec<_> = addresses.filter(reaches).filter_map(endpoint).collect();
                let (discovery, links) = (&state.discovery, &state.links);
                ways.extend(self.ways_through(discovery, links, record.peer()));
                let expected = Expected::Node(record.identity(), record.node());
                self.dial(To::Lost, Some(expected), ways, |_| true);
            }
            Action::Try(hinted) => {
                let Try {
                    tag,
                    expects,
                    addresses,
                } = *hinted;
                let ways: Vec<_> = addresses.iter().filter_map(endpoint).collect();
                if ways.is_empty() || !self.may_trust_hint(&expects) {
                    return state.discovery.try_ended(tag, false, time);
                }
                let fits = move |info: &PeerInfo| {
                    let shown = info.proven.as_ref().map(|proven| &proven.shown);
                    shown.is_some_and(|shown| expects.fits(shown.identity, shown.node))
                };
                self.dial(To::Hinted(tag), expected_of(&expects), ways, fits);
            }
            _ => {}
        }
    }

    /// The ways to a peer for gossip, the best first. Within a process nothing is proven.
    fn ways(&self, state: &State, tag: PeerTag) -> Vec<Endpoint> {
        let table = state.discovery.table();
        let candidates = table.candidates(tag, self.host, self.process);
        let outside = |way: &Endpoint| !matches!(way, Endpoint::Inproc(_));
        let ways = candidates.into_iter().filter_map(endpoint);
        let through = self.ways_through(&state.discovery, &state.links, tag);
        ways.filter(outside).chain(through).collect()
    }

    /// Takes in a hint that a source has.
    pub(super) fn hint(&self, hint: Hint, origin: Origin) {
        let hinted = self.state.lock().discovery.hint(hint, origin, self.now());
        if let Err(refusal) = hinted {
            tracing::debug!(?origin, %refusal, "a hint is refused");
        }
        self.work.notify_one();
    }

    /// Makes a link for gossip, beside what the engine does; `fits` says whether who answered is who was
    /// meant.
    fn dial(
        &self,
        to: To,
        expected: Option<Expected>,
        ways: Vec<Endpoint>,
        fits: impl Fn(&PeerInfo) -> bool + Send + 'static,
    ) {
        if ways.is_empty() {
            return;
        }
        let dialled = Arc::new(Dialed {
            ways: Mutex::new(ways),
            resource: Some("".into()),
            host: None,
            guard: None,
            routing_id: None,
            expected,
            wish: Default::default(),
        });
        let core = Arc::clone(self.control());
        let say = self.dialled.clone();
        self.dials.fetch_add(1, Ordering::Relaxed);
        self.spawn(async move {
            let connected = core.connect_once(&dialled, DIAL).await;
            let met = connected
                .as_ref()
                .is_ok_and(|connected| fits(connected.peer()));
            // The engine is gone only when the node is.
            let _ = say.send(Dialled { to, met });
            if let Ok(connected) = connected {
                let _direct = met.then(|| direct_beside(&core, &dialled, connected.peer()));
                connected.run(&core, met).await;
            }
        });
    }

    /// Takes in what a peer sent over its link.
    fn heard(&self, message: Message, key: PipeKey) {
        let mut state = self.state.lock();
        let time = self.now();
        if state.links.tag(key).is_none() {
            self.settle_links(&mut state, time);
        }
        let Some(tag) = state.links.tag(key) else {
            // A link that came and went since: what it brought counts.
            let sender = self.control().sender(key);
            if let Some(tag) = sender.and_then(|info| links::tag_of(&info)) {
                state.discovery.link_up(tag, time);
                self.hear(&mut state, tag, key, message, time);
                state.discovery.link_down(tag, true, time);
            }
            return;
        };
        self.hear(&mut state, tag, key, message, time);
    }

    fn hear(
        &self,
        state: &mut State,
        tag: PeerTag,
        key: PipeKey,
        mut message: Message,
        time: Time,
    ) {
        let channel = message.pop_front();
        match channel.as_deref() {
            None if message.first() == &[BYE][..] => {
                state.links.give_up(tag, time.monotonic);
                self.control().close_link(key, Reason::Closed);
            }
            Some([GOSSIP]) => {
                let octets = message.first();
                if let Err(error) = state.discovery.handle_input(tag, octets, time) {
                    tracing::warn!(peer = %tag, %error, "a peer's gossip is none");
                    let reason = Reason::Application(error.to_string());
                    self.control().close_link(key, reason);
                }
            }
            // A later version may say more.
            _ => tracing::debug!(peer = %tag, "a message of an unknown kind"),
        }
    }

    /// Sends gossip; what finds no room is repaired by the next round.
    fn gossip(&self, state: &State, to: PeerTag, octets: bytes::Bytes) {
        let Some(key) = state.links.key(to) else {
            return;
        };
        let mut message = Message::from_frames(vec![Frame::from([GOSSIP]), Frame::from(octets)]);
        if self.control().try_send_to(key, &mut message).is_err() {
            tracing::debug!(peer = %to, "no room for gossip");
        }
    }
}

/// Makes a link beside one that leads through a relay, as soon as there is a direct way: of two that this
/// node made, the last stays.
fn direct_beside(core: &Arc<Core>, to: &Arc<Dialed>, peer: &PeerInfo) -> Option<Direct> {
    let way: Endpoint = format!("relay://{}", peer.address.strip_prefix("relay:")?)
        .parse()
        .ok()?;
    let direct = Direct::watch(core, to, &way, &CancellationToken::new())?;
    let found = direct.found().clone();
    let (linking, to) = (Arc::clone(core), Arc::clone(to));
    core.spawn(async move {
        found.cancelled().await;
        *to.ways.lock() = crate::driver::direct::direct(&to);
        if let Ok(connected) = linking.connect_once(&to, DIAL).await {
            connected.run(&linking, true).await;
        }
    });
    Some(direct)
}

/// Whether something changed about a relay.
fn is_relay(event: &table::Event) -> bool {
    use table::Event as Table;
    match event {
        Table::Appeared(it) | Table::Changed(it) | Table::Vanished(it) => it.kind == Kind::Relay,
        _ => false,
    }
}

/// Who a handshake has to show, as far as it can be said before.
const fn expected_of(expects: &hints::Expected) -> Option<Expected> {
    Some(match expects {
        hints::Expected::Identity(identity) => Expected::Key(*identity.as_octets()),
        hints::Expected::Node(node) => Expected::Key(*node.as_octets()),
        hints::Expected::Both(identity, node) => Expected::Node(*identity, *node),
        hints::Expected::Anyone | hints::Expected::Peer(_) => return None,
    })
}

/// An address as what a socket connects to.
fn endpoint(address: &withy_discovery::Address) -> Option<Endpoint> {
    address.to_string().parse().ok()
}
