//! Listening: peers are judged, shaken hands with side by side, and their links accepted.
//!
//! The loop that takes first packets never waits for a handshake, so that peers which stall do not
//! keep others out; when there are too many of them, the oldest are given up. So are connections
//! without an admitted link.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connecting, Endpoint, Incoming};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use withy_proto::crypto::sign::SigningKey;

use super::back::{Accepted, Listening, Own};
use super::endpoint::{self, Grant, Serving};
use super::guests::{Admissions, Guests};
use super::left;
use super::refusals::Refusals;
use super::socket::Guard;
use super::tag::Verdict;
use super::tls;
use super::wire::{Guest, Stays, Wire};
use crate::options::{QuicOptions, Secret};
use crate::{AcceptError, Connected, Peer, QuicError, tcp};

type Taken = Result<Connected, AcceptError>;

/// A listening QUIC socket. Dropping it refuses new links; those that were accepted stay.
#[derive(Debug)]
pub(crate) struct Accepting {
    links: mpsc::Receiver<Taken>,
    guard: Arc<Guard>,
    endpoint: Endpoint,
    taking: AbortHandle,
    /// Over connections that this node made, too.
    _back: Arc<Listening>,
}

impl Accepting {
    pub(super) fn begin(
        address: SocketAddr,
        key: &SigningKey,
        options: &QuicOptions,
        dual_stack: bool,
        backlog: u32,
    ) -> std::io::Result<Self> {
        let tls = tls::server(key, options.allow_classical).map_err(std::io::Error::other)?;
        let serving = Serving::new(tls, options);
        let (endpoint, guard) = endpoint::listening(address, &serving, options, dual_stack)?;
        let (sender, links) = mpsc::channel(usize::try_from(backlog.max(1)).unwrap_or(1));
        let (own, bound) = (Own::here(key.public()), endpoint.local_addr()?);
        let back = Listening::enter(own, bound, &sender);
        let door = Door {
            own,
            endpoint: endpoint.clone(),
            guard: Arc::clone(&guard),
            serving,
            bound,
            links: sender,
            shaking: Arc::default(),
            guests: Arc::default(),
            options: options.clone(),
        };
        let taking = tokio::spawn(door.open()).abort_handle();
        Ok(Self {
            links,
            guard,
            endpoint,
            taking,
            _back: back,
        })
    }

    pub(super) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub(crate) fn set_networks(&self, networks: &[Secret]) {
        if let Some(gate) = self.guard.gate() {
            gate.set_networks(networks);
        }
    }

    pub(crate) async fn accept(&mut self) -> Taken {
        let gone = || AcceptError::Failed(std::io::Error::other("the QUIC endpoint has ended"));
        self.links.recv().await.unwrap_or_else(|| Err(gone()))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if let Ok(address) = self.local_addr() {
            left::note(address);
        }
        self.guard.close();
        self.taking.abort();
        self.endpoint.set_server_config(None);
    }
}

/// What the loop that takes first packets needs.
struct Door {
    own: Own,
    endpoint: Endpoint,
    guard: Arc<Guard>,
    serving: Serving,
    bound: SocketAddr,
    links: mpsc::Sender<Taken>,
    shaking: Arc<Shaking>,
    guests: Arc<Guests>,
    options: QuicOptions,
}

impl Door {
    async fn open(self) {
        let refused = tell(&self.guard, &self.links);
        let taking = async {
            while let Some(incoming) = self.endpoint.accept().await {
                self.take(incoming);
            }
        };
        tokio::select! {
            () = taking => {}
            () = refused => {}
        }
    }

    fn take(&self, incoming: Incoming) {
        let from = incoming.remote_address();
        let Some(gate) = self.guard.gate() else {
            return incoming.ignore();
        };
        let validated = incoming.remote_address_validated();
        // Without a budget, somebody else's address would get more.
        let crowded = self.shaking.count() >= self.options.retry_mark || !self.guard.limits(from);
        let id = incoming.orig_dst_cid();
        match gate.judge(&id, from, validated, crowded) {
            Verdict::Ignore => incoming.ignore(),
            // It cannot fail before the address is validated.
            Verdict::Retry => drop(incoming.retry()),
            Verdict::Begin(_) if !self.has_room() => {
                gate.put_back(&id, validated);
                self.guard.refusals().refuse();
                incoming.ignore();
            }
            Verdict::Begin(network) => match incoming.accept_with(self.serving.of(from)) {
                Ok(connecting) => self.shake(connecting, from, network),
                Err(error) => report(&self.links, self.guard.refusals(), from, error.into()),
            },
        }
    }

    /// Whether there is room for one more, if need be by giving somebody up.
    fn has_room(&self) -> bool {
        let most = self.options.max_handshakes;
        let shaking = self.shaking.count();
        if shaking + self.shaking.remembered() >= 2 * most {
            return false;
        }
        let gave_up = if shaking >= most {
            self.shaking.give_up()
        } else if shaking + self.guests.count() >= self.options.max_connections {
            self.guests.give_up(PATIENCE) || self.shaking.give_up()
        } else {
            return true;
        };
        if gave_up {
            self.guard.refusals().give_up();
        }
        gave_up
    }

    fn shake(&self, connecting: Connecting, from: SocketAddr, network: Option<Secret>) {
        let links = self.links.clone();
        let (limit, linger) = (self.options.handshake_timeout, self.options.linger);
        let (bound, grant) = (self.bound, Grant::new(&self.options, true));
        let (guests, own) = (Arc::clone(&self.guests), self.own);
        let guest = Guest {
            admissions: Admissions::new(),
            patience: self.options.admission_timeout,
            refusals: Arc::clone(self.guard.refusals()),
        };
        self.shaking.begin(|begun| {
            tokio::spawn(async move {
                match shaken(connecting, limit).await {
                    Ok((connection, proven)) => {
                        let stay = guests.enter(connection.clone(), guest.admissions.clone());
                        // After it, so that nobody else takes the place.
                        begun.succeeded();
                        let (proven, stays) =
                            (tls::Proven { network, ..proven }, Stays::Guest(guest));
                        let (wire, lease) =
                            Wire::new(connection, proven, bound, grant, linger, stays, stay);
                        let _back = Accepted::enter(own, wire.clone(), &lease);
                        wire.serve(lease, links, limit).await;
                    }
                    Err(error) => report(&links, &guest.refusals, from, error),
                }
            })
            .abort_handle()
        });
    }
}

/// Tells of what was refused, now and then.
async fn tell(guard: &Guard, links: &mpsc::Sender<Taken>) {
    let refusals: &Refusals = guard.refusals();
    loop {
        let refused = AcceptError::Refused(refusals.taken().await);
        if links.send(Err(refused)).await.is_err() {
            return;
        }
        sleep(AcceptError::QUIET).await;
    }
}

/// How long a handshake is under way, or a connection without an admitted link, before it may be given
/// up for another.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long quinn remembers a handshake that came to nothing: three times the time after which it sends
/// again. It costs as much as before until then.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The handshakes under way, the oldest first, and those that came to nothing a moment ago.
#[derive(Default)]
struct Shaking {
    known: Mutex<Known>,
    next: AtomicU64,
}

#[derive(Default)]
struct Known {
    under_way: BTreeMap<u64, (Instant, AbortHandle)>,
    /// When they ended: no more than there may be of both together.
    remembered: VecDeque<Instant>,
}

impl Shaking {
    fn count(&self) -> usize {
        self.known.lock().under_way.len()
    }

    fn remembered(&self) -> usize {
        let remembered = &mut self.known.lock().remembered;
        while remembered
            .front()
            .is_some_and(|ended| ended.elapsed() >= REMEMBERED)
        {
            remembered.pop_front();
        }
        remembered.len()
    }

    /// Gives the oldest up, if it is old enough: a good peer is done within a few round trips, so that
    /// it is the likeliest to stall.
    fn give_up(&self) -> bool {
        let mut known = self.known.lock();
        let oldest = known.under_way.first_entry();
        let Some(oldest) = oldest.filter(|oldest| oldest.get().0.elapsed() >= PATIENCE) else {
            return false;
        };
        let (_, oldest) = oldest.remove();
        known.remembered.push_back(Instant::now());
        drop(known);
        oldest.abort();
        true
    }

    fn begin(self: &Arc<Self>, start: impl FnOnce(Begun) -> AbortHandle) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.lock();
        // The task cannot remove itself before it is entered, since the lock is held.
        let task = start(Begun {
            shaking: Arc::clone(self),
            number,
        });
        known.under_way.insert(number, (Instant::now(), task));
    }
}

/// A handshake under way.
struct Begun {
    shaking: Arc<Shaking>,
    number: u64,
}

impl Begun {
    /// The handshake has become a connection.
    fn succeeded(self) {
        self.shaking.known.lock().under_way.remove(&self.number);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut known = self.shaking.known.lock();
        // Else it succeeded, or was given up.
        if known.under_way.remove(&self.number).is_some() {
            known.remembered.push_back(Instant::now());
        }
    }
}

async fn shaken(
    connecting: Connecting,
    limit: Duration,
) -> Result<(quinn::Connection, tls::Proven), QuicError> {
    let connection = timeout(limit, connecting)
        .await
        .map_err(|_| QuicError::Timeout)??;
    let proven = tls::proven(&connection).ok_or(QuicError::NoCommonProtocol)?;
    Ok((connection, proven))
}

/// Tells of a failed handshake, or counts it if too many links and failures wait to be heard of already.
fn report(links: &mpsc::Sender<Taken>, refusals: &Refusals, from: SocketAddr, source: QuicError) {
    let address = tcp::canonical(from);
    let peer = Peer {
        address,
        ..Peer::default()
    };
    let told = links.try_send(Err(AcceptError::Handshake { peer, source }));
    if told.is_err() {
        refusals.leave_untold();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_finds_no_place_in_the_queue_is_counted() {
        let (links, mut told) = mpsc::channel(1);
        let refusals = Refusals::default();
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        for _ in 0..3 {
            report(&links, &refusals, from, QuicError::Timeout);
        }
        let first = told.try_recv().unwrap().unwrap_err();
        assert!(matches!(first, AcceptError::Handshake { .. }), "{first}");
        assert!(told.try_recv().is_err());
        let refused = refusals.take().unwrap();
        assert_eq!((refused.untold, refused.peers()), (2, 2));
        assert_eq!(refusals.take(), None);
    }

    /// However quickly peers begin and give up, what they cost is bounded.
    #[tokio::test(start_paused = true)]
    async fn handshakes_that_came_to_nothing_count_for_a_moment() {
        let shaking = Arc::new(Shaking::default());
        let mut begun = Vec::new();
        for _ in 0..3 {
            shaking.begin(|new| {
                begun.push(new);
                tokio::spawn(std::future::pending::<()>()).abort_handle()
            });
        }
        let counts = || (shaking.count(), shaking.remembered());
        assert_eq!(counts(), (3, 0));
        begun.pop().unwrap().succeeded();
        assert_eq!(counts(), (2, 0));
        drop(begun.pop());
        assert_eq!(counts(), (1, 1));
        assert!(!shaking.give_up(), "it has only begun");
        sleep(PATIENCE).await;
        assert!(shaking.give_up());
        // It was counted when it was given up.
        drop(begun);
        assert_eq!(counts(), (0, 2));
        sleep(REMEMBERED).await;
        assert_eq!(counts(), (0, 0));
    }
}
