//! The shared state of one socket.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use withy_proto::crypto::Randomness;
use withy_proto::mechanism::Sealer;
use withy_proto::pattern::outgoing::AttachError;
use withy_proto::pattern::pipe::{Carrier, Load};
use withy_proto::pattern::request::Requests;
use withy_proto::pattern::{Incoming, Outgoing, PipeKey};
use withy_proto::rate::Bucket;
use withy_proto::zmtp::{Established, Peer};
use withy_proto::{Endpoint, Message, SocketType};

use super::SLOWER;
use super::away::notice_size;
use super::buffer;
use super::deadline::Spare;
use super::dialling::Dialling;
use super::handshake::OsRandomness;
use super::link::{Link, Reader, Writer};
use super::ready::Ready;
use super::tail::Tails;
use super::watch::Watcher;
use super::watched::Watched;
use crate::event::{Event, EventKind, Events, PeerInfo, Reason};
use crate::options::Options;
use crate::socket::req::{Answers, Asker};

/// Where a socket is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// In use.
    Open,
    /// Closed by its owner; what waits is still sent.
    Lingering,
    /// Everything ends.
    Closed,
}

/// How long a caller keeps its thread before it lets the runtime's other tasks run. A yield costs
/// some microseconds, since it wakes an idle worker to look for work that is not there.
const TURN: Duration = Duration::from_micros(200).saturating_mul(SLOWER);

/// A caller's turn on its thread.
#[derive(Debug)]
pub(crate) struct Turn(Instant);

impl Turn {
    /// Whether the turn is over; the next then begins.
    #[inline]
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let over = now.saturating_duration_since(self.0) > TURN;
        if over {
            self.0 = now;
        }
        over
    }
}

/// The sending half and its links.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) out: Outgoing,
    /// Pipes that the caller is to write, kept for its memory.
    pub(crate) full: Vec<PipeKey>,
    /// The owner closed the socket: nothing more is accepted.
    pub(crate) closed: bool,
    pub(crate) links: Vec<Option<SendLink>>,
    /// Who left last, where it matters who sent what is still to be read.
    pub(crate) departed: Option<Box<Departed>>,
    pub(crate) turn: Turn,
    /// What was sent since the last look at the clock.
    pub(crate) budget: u32,
    /// Pipes that were left to their tasks, each once.
    pub(super) left: Vec<PipeKey>,
}

/// Peers that left, in the order in which they did.
type Departed = VecDeque<(PipeKey, Arc<PeerInfo>)>;

/// How many of those who left are remembered.
const MAX_DEPARTED: usize = 64;

/// What the sending half knows of a link.
#[derive(Debug)]
pub(crate) struct SendLink {
    pub(crate) link: Arc<Link>,
    pub(crate) peer: Arc<PeerInfo>,
    /// The right to write, with what belongs to it; away while somebody writes.
    pub(crate) token: Option<Box<Token>>,
    /// When the last write ended, unless [all are made at once](Core::writes_at_once).
    pub(crate) wrote: Instant,
    /// When the task was asked to flush.
    pub(crate) asked: Instant,
    /// The octets that waited at the last look, if it was left to its task.
    pub(super) left: Option<usize>,
}

impl SendLink {
    /// Whether a caller may write: nobody else does, and the link is not known to be full.
    #[inline]
    pub(super) fn may_write(&self) -> bool {
        self.token
            .as_ref()
            .is_some_and(|token| token.load.is_none())
    }
}

/// The right to write on a link.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) sealer: Sealer,
    /// A load that was not written whole.
    pub(crate) load: Option<Load>,
    pub(crate) spare: Vec<u8>,
}

/// The receiving half and its links.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) inc: Incoming,
    pub(crate) links: Vec<Option<ReceiveLink>>,
    /// Pipes that may have something, in turn.
    pub(crate) rotation: VecDeque<PipeKey>,
    /// The undecoded part of the buffer.
    pub(crate) current: Option<Current>,
    /// Octets that the pipe at the front of the rotation gave from its queue in this turn.
    pub(crate) dequeued: usize,
    /// The pipe inside the process whose items are being taken.
    pub(crate) supplied: Option<PipeKey>,
    pub(crate) buffer: Vec<u8>,
    /// Messages that come before what the pipes have: subscriptions for an XPUB, and what
    /// connections that are gone had left.
    pub(crate) notices: VecDeque<(PipeKey, Message)>,
    pub(crate) notices_size: usize,
    /// What was done since the last look at the clock.
    pub(crate) budget: u32,
    pub(crate) turn: Turn,
    /// How often somebody came to take a message.
    pub(crate) taken: u64,
    /// A REQ's requests.
    pub(crate) requests: Requests<Asker>,
    /// Of the requests, what their tasks are still to hear of.
    pub(crate) answers: Answers,
}

impl Drop for Receiving {
    /// The next socket reads into what this one was lent.
    fn drop(&mut self) {
        buffer::give_back(&mut self.buffer);
    }
}

impl Receiving {
    /// Takes a message that no pipe holds.
    #[inline]
    pub(crate) fn take_notice(&mut self) -> Option<(PipeKey, Message)> {
        let notice = self.notices.pop_front()?;
        self.notices_size -= notice_size(&notice.1);
        Some(notice)
    }

    /// Whether what a pipe brought is being taken.
    pub(crate) fn is_on_a_pipe(&self) -> bool {
        self.current.is_some() || self.supplied.is_some()
    }
}

/// What the receiving half knows of a link.
#[derive(Debug)]
pub(crate) struct ReceiveLink {
    pub(crate) link: Arc<Link>,
    pub(crate) reader: Reader,
    pub(crate) waker: Waker,
    /// In the rotation.
    pub(crate) listed: bool,
    /// Was read since the [watch](super::watch) last looked.
    pub(crate) had_turn: bool,
    /// The peer ended; nothing more comes.
    pub(crate) ended: bool,
    /// The link broke, and what is left is read.
    pub(crate) broken: bool,
    /// What the peer used of its rate limit; `None` without one.
    pub(crate) bucket: Option<Box<Bucket>>,
    /// What the decoder stashed may have whole frames.
    pub(crate) undecoded: bool,
}

/// Octets in the buffer that are not decoded yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    pub(crate) key: PipeKey,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Counters that no half owns.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) withheld: AtomicU64,
    pub(crate) protocol_errors: AtomicU64,
    pub(crate) late_replies: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) notices_dropped: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) unanswered_pings: AtomicU64,
    pub(crate) heartbeats: AtomicU64,
    /// Nanoseconds.
    pub(crate) round_trip: AtomicU64,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) kind: SocketType,
    /// Itself.
    pub(super) me: Weak<Self>,
    pub(crate) options: Options,
    /// Where the socket's tasks run: the runtime of the first bind or connect.
    pub(crate) runtime: OnceLock<Handle>,
    pub(crate) sending: Mutex<Sending>,
    pub(crate) receiving: Mutex<Receiving>,
    pub(crate) ready: Arc<Ready>,
    /// A sender may try again.
    pub(crate) room: Notify,
    /// Something drained while somebody waits for that.
    pub(crate) drained: Notify,
    /// Somebody waits until everything is drained.
    pub(crate) flushing: AtomicBool,
    /// The next send yields first, since an inline flush used up its turn.
    pub(crate) debt: AtomicBool,
    pub(crate) phase: Watched<Phase>,
    /// Peers that are connected.
    pub(crate) peers: Watched<usize>,
    /// Subscriptions of all peers.
    pub(crate) subscriptions: Watched<usize>,
    pub(crate) events: Events,
    pub(crate) counters: Counters,
    pub(super) watcher: Watcher,
    pub(super) tails: Tails,
    /// The moment that rate limits count from.
    pub(crate) started: tokio::time::Instant,
    /// The timer of its requests.
    pub(crate) spare: Spare,
    /// Everything that runs for this socket.
    pub(crate) tasks: TaskTracker,
    pub(crate) endpoints: Mutex<crate::driver::dial::Endpoints>,
    /// The dials of a node whose listener this is, from the first on.
    dialling: OnceLock<Box<Dialling>>,
    pub(crate) half_open: Mutex<crate::driver::listen::HalfOpens>,
    /// Connections that were accepted, each counted by its [`Place`](super::listen::Place).
    pub(crate) accepted: AtomicUsize,
}

impl Core {
    pub(crate) fn new(kind: SocketType, mut options: Options) -> Arc<Self> {
        // As libzmq: elsewhere CONFLATE would cut envelopes and subscriptions out.
        let conflates = matches!(
            kind,
            SocketType::Push
                | SocketType::Pull
                | SocketType::Pub
                | SocketType::Sub
                | SocketType::Dealer
        );
        options.send.conflate &= conflates;
        options.conflate_received &= conflates;
        let xpub = &options.xpub;
        let manual = kind == SocketType::XPub && xpub.manual;
        let mut out = Outgoing::new(kind, options.send).reporting(xpub.verbose, manual);
        if kind == SocketType::Router {
            out = out.numbering_from(OsRandomness.next_u64() as u32);
        }
        let inc = Incoming::new(
            kind,
            options.receive_high_water_mark,
            options.send.invert_matching,
        )
        .matching(options.send.matching)
        .conflating(options.conflate_received)
        .limiting(options.limits);
        Arc::new_cyclic(|me| Self {
            kind,
            me: Weak::clone(me),
            options,
            runtime: OnceLock::new(),
            sending: Mutex::new(Sending {
                out,
                full: Vec::new(),
                closed: false,
                links: Vec::new(),
                departed: None,
                turn: Turn(Instant::now()),
                budget: 0,
                left: Vec::new(),
            }),
            receiving: Mutex::new(Receiving {
                inc,
                links: Vec::new(),
                rotation: VecDeque::new(),
                current: None,
                dequeued: 0,
                supplied: None,
                buffer: Vec::new(),
                notices: VecDeque::new(),
                notices_size: 0,
                budget: 0,
                turn: Turn(Instant::now()),
                taken: 0,
                requests: Requests::default(),
                answers: Answers::new(),
            }),
            ready: Arc::new(Ready::default()),
            room: Notify::new(),
            drained: Notify::new(),
            flushing: AtomicBool::new(false),
            debt: AtomicBool::new(false),
            phase: Watched::new(Phase::Open),
            peers: Watched::new(0),
            subscriptions: Watched::new(0),
            events: Events::default(),
            counters: Counters::default(),
            watcher: Watcher::default(),
            tails: Tails::default(),
            started: tokio::time::Instant::now(),
            spare: Spare::default(),
            tasks: TaskTracker::new(),
            endpoints: Mutex::default(),
            dialling: OnceLock::new(),
            half_open: Mutex::default(),
            accepted: AtomicUsize::new(0),
        })
    }

    /// Runs a task for as long as it takes; without a runtime there is nothing to run it for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            self.tasks.spawn_on(task, runtime);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether the connection's task reads, since the application never or not always does.
    pub(crate) fn task_reads(&self) -> bool {
        matches!(
            self.kind,
            SocketType::Pub | SocketType::XPub | SocketType::Push
        )
    }

    /// The dials of a node whose listener this is.
    pub(crate) fn dialling(&self) -> &Dialling {
        self.dialling.get_or_init(Box::default)
    }

    pub(crate) fn emit(&self, endpoint: &Endpoint, kind: EventKind) {
        self.events.emit(Event {
            endpoint: endpoint.clone(),
            kind,
        });
    }

    // Pipes come and go.

    /// Takes in an established connection.
    pub(crate) fn attach(
        self: &Arc<Self>,
        established: Established,
        reader: Reader,
        writer: Writer,
        info: Arc<PeerInfo>,
    ) -> Result<(Arc<Link>, Peer), AttachError> {
        let Established {
            peer,
            decoder,
            outbox,
            sealer,
        } = established;
        let link = Arc::new(Link::new(writer, Arc::clone(&self.ready)));
        let carrier = match &reader {
            Reader::Bytes(_) => Carrier::Octets(outbox),
            Reader::Items { end, .. } if end.is_several() => Carrier::Streams,
            Reader::Items { .. } => Carrier::Items,
        };
        let by_octets = matches!(reader, Reader::Bytes(_));
        let now = Instant::now();
        // Both halves at once: in between, the pipe could be detached and its place reused.
        let mut receiving = self.receiving.lock();
        let (key, identity) = {
            let mut sending = self.sending.lock();
            let key = sending.out.attach(carrier, &peer)?;
            link.set_key(key);
            let token = Some(Box::new(Token {
                sealer,
                load: None,
                spare: Vec::new(),
            }));
            place(
                &mut sending.links,
                key,
                SendLink {
                    link: Arc::clone(&link),
                    peer: info,
                    token,
                    wrote: now,
                    asked: now,
                    left: None,
                },
            );
            let identity = sending.out.identity(key).cloned().unwrap_or_default();
            (key, identity)
        };
        let undecoded = decoder.has_tail();
        receiving
            .inc
            .attach(key, by_octets.then_some(decoder), identity);
        let waker = Waker::from(Arc::clone(&link));
        let receive_link = ReceiveLink {
            link: Arc::clone(&link),
            reader,
            waker: waker.clone(),
            listed: false,
            had_turn: true,
            ended: false,
            broken: false,
            bucket: self
                .options
                .rate
                .is_set()
                .then(|| Box::new(Bucket::new(self.options.rate))),
            undecoded,
        };
        place(&mut receiving.links, key, receive_link);
        drop(receiving);
        // Before anything is read: whoever receives a message finds its peer counted.
        self.greet(&link, &peer);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.peers.change(|peers| {
            *peers += 1;
            true
        });
        if !self.task_reads() {
            waker.wake();
        }
        // What waited for a peer, subscriptions among it, moves now.
        let sending = self.sending.lock();
        self.after_send(sending);
        self.room.notify_waiters();
        Ok((link, peer))
    }

    /// Lets a connection go, `lost` if it was not this side that ended it. What it received stays to be
    /// read.
    pub(crate) fn detach(&self, key: PipeKey, lost: bool) {
        self.drain_ended(key);
        {
            // Both locks: reports and counts are to stand in the order of what they tell of.
            let mut receiving = self.receiving.lock();
            let mut sending = self.sending.lock();
            let send_link = sending
                .links
                .get_mut(key.index())
                .and_then(|slot| slot.take_if(|send_link| send_link.link.key() == key));
            if send_link.as_ref().is_some_and(|it| it.left.is_some()) {
                sending.left.retain(|left| *left != key);
            }
            let link = send_link.as_ref().map(|send_link| &send_link.link);
            if self.options.remember_departed
                && let Some(send_link) = &send_link
            {
                let gone = (key, Arc::clone(&send_link.peer));
                let departed = sending.departed.get_or_insert_default();
                departed.push_back(gone);
                if departed.len() > MAX_DEPARTED {
                    departed.pop_front();
                }
            }
            let (messages, uncertain) = link.map(|link| link.take_back(lost)).unwrap_or_default();
            let unfinished = send_link
                .and_then(|send_link| send_link.token)
                .and_then(|token| token.load);
            sending.out.detach(key, unfinished);
            sending.out.take_back(messages, uncertain);
            let cancelled = sending.out.take_cancelled();
            self.count_subscriptions(&mut sending);
            self.report_cancelled(&mut receiving, key, cancelled);
            drop(receiving);
            self.after_send(sending);
        }
        self.fail_requests(key);
        // Senders that waited for this peer find another, or learn that it is gone.
        self.room.notify_waiters();
        self.drained.notify_waiters();
    }

    /// Who is, or was lately, at the other end of a pipe.
    pub(crate) fn sender(&self, key: PipeKey) -> Option<Arc<PeerInfo>> {
        let left = || {
            let sending = self.sending.lock();
            let mut departed = sending.departed.iter().flat_map(|departed| departed.iter());
            let found = departed.find(|(known, _)| *known == key)?;
            Some(Arc::clone(&found.1))
        };
        self.peer(key).or_else(left)
    }

    /// Who is at the other end of a pipe, as long as it is connected.
    pub(crate) fn peer(&self, key: PipeKey) -> Option<Arc<PeerInfo>> {
        let sending = self.sending.lock();
        let send_link = sending.links.get(key.index())?.as_ref()?;
        (send_link.link.key() == key).then(|| Arc::clone(&send_link.peer))
    }

    /// The connections that are open, in the order in which they were made.
    pub(crate) fn links(&self) -> Vec<(PipeKey, Arc<PeerInfo>)> {
        let sending = self.sending.lock();
        let open = sending.links.iter().flatten();
        let mut links: Vec<_> = open
            .map(|it| (it.link.key(), Arc::clone(&it.peer)))
            .collect();
        links.sort_by_key(|(key, _)| key.generation());
        links
    }

    /// Asks one connection to end.
    pub(crate) fn close_link(&self, key: PipeKey, reason: Reason) {
        if let Some(Some(send_link)) = self.sending.lock().links.get(key.index())
            && send_link.link.key() == key
        {
            send_link.link.close(reason);
        }
    }

    /// Counts messages that found no room.
    pub(crate) fn count_dropped(&self, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        let counter = &self.counters.notices_dropped;
        counter.fetch_add(messages, Ordering::Relaxed);
    }

    // The end.

    /// The owner closes the socket: nothing more is accepted, what waits is still sent.
    pub(crate) fn start_closing(self: &Arc<Self>) {
        self.sending.lock().closed = true;
        self.phase.change(|phase| {
            *phase == Phase::Open && {
                *phase = Phase::Lingering;
                true
            }
        });
        self.ready.notify_all();
        self.room.notify_waiters();
    }

    /// Waits until everything was handed to the links, at most for `linger`; then ends all
    /// connections. Returns what was not sent.
    pub(crate) async fn finish_closing(self: &Arc<Self>, linger: Duration) -> usize {
        let drained = async {
            loop {
                let mut drained = std::pin::pin!(self.drained.notified());
                drained.as_mut().enable();
                self.flushing.store(true, Ordering::Relaxed);
                if self.sending.lock().out.is_drained() {
                    return;
                }
                drained.await;
            }
        };
        let start = tokio::time::Instant::now();
        let _ = tokio::time::timeout(linger, drained).await;
        self.phase.change(|phase| {
            *phase = Phase::Closed;
            true
        });
        let unsent = self.sending.lock().out.queued();
        self.stop_endpoints();
        self.tasks.close();
        self.tasks.wait().await;
        // What QUIC links wrote is sent by this process, and has not arrived before the peers say so.
        let left = linger.saturating_sub(start.elapsed());
        let _ = tokio::time::timeout(left, withy_transports::lingered()).await;
        unsent
    }

    fn stop_endpoints(&self) {
        self.endpoints.lock().stop();
    }
}

fn place<T>(slots: &mut Vec<Option<T>>, key: PipeKey, value: T) {
    if slots.capacity() == 0 {
        // Many sockets have one peer: the memory of more comes with the next.
        slots.reserve_exact(key.index() + 1);
    }
    if slots.len() <= key.index() {
        slots.resize_with(key.index() + 1, || None);
    }
    slots[key.index()] = Some(value);
}
