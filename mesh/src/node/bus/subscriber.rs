//! The side that receives.
//!
//! What is published is read from the socket by whoever receives it, as long as nothing that comes has a
//! priority or expires. From the first such message on a task reads ahead, and messages
//! [wait](super::waiting) in the order of their priority, from when they came.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use withy_proto::Message;
use withy_proto::SocketType;
use withy_proto::bus::{Filter, Header, Opened, Priority, Publication};
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::publish::Matching;

use super::super::Node;
use super::super::error::NameError;
use super::super::guard::Permitted;
use super::super::interest::{Interest, Wants};
use super::late::Late;
use super::waiting::Waiting;
use crate::driver::receive::Stalled;
use crate::error::ReceiveError;
use crate::event::Reason;
use crate::socket::{Owner, PeerKey};
use crate::stats::Stats;

/// Receives what is published on the topics that a filter chooses, by whoever is on the mesh.
///
/// Messages of a higher [priority](withy_proto::bus::Header::priority) overtake others that wait here,
/// and one that [expires](withy_proto::bus::Header::expiry) before it is received is dropped and
/// [counted](Stats::expired). For that, up to 1,000 messages and 16 MiB are read ahead.
///
/// It is made by [`Node::subscriber`]. A clone is another handle of the same subscriber.
#[derive(Debug, Clone)]
pub struct BusSubscriber(Arc<Subscribes>);

#[derive(Debug)]
struct Subscribes {
    filter: Filter,
    reader: Reader,
    /// What was read ahead, once something is.
    waiting: OnceLock<Arc<Waiting>>,
    /// From now on a task reads ahead.
    ahead: Notify,
    asks: Option<Interest>,
    _interest: Interest,
    node: Node,
}

impl Drop for Subscribes {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.get() {
            waiting.left.cancel();
        }
    }
}

/// Reads what comes over the bus.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) socket: Owner,
    pub(super) permitted: Arc<Permitted>,
}

impl BusSubscriber {
    pub(in super::super) fn new(node: &Node, filter: Filter) -> Result<Self, NameError> {
        Ok(Self(Arc::new(Subscribes::new(node, filter)?)))
    }

    /// One that gets what was kept before it.
    pub(in super::super) fn late(node: &Node, filter: Filter) -> Result<Self, NameError> {
        let mut subscribes = Subscribes::new(node, filter)?;
        let shared = node.shared();
        let waiting = Arc::new(Waiting::default());
        let (filter, reader) = (&subscribes.filter, subscribes.reader.clone());
        let (joiners, asks) = Late::new(shared, filter, reader, Arc::clone(&waiting));
        subscribes.asks = Some(shared.want(Late::wants(filter), asks.core()));
        shared.spawn(joiners.run());
        subscribes.waiting = OnceLock::from(waiting);
        Ok(Self(Arc::new(subscribes)))
    }

    /// What it subscribed to.
    pub fn filter(&self) -> &Filter {
        &self.0.filter
    }

    /// Receives the next message, of the publishers in turn. Those of one node that have the same
    /// priority come in the order in which it published them.
    ///
    /// # Errors
    /// The node is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub async fn recv(&self) -> Result<Publication, ReceiveError> {
        loop {
            if let Some(waiting) = self.0.waiting.get() {
                return waiting.take().await;
            }
            // In a block of its own, so that it takes no place in the future.
            {
                let mut next = None;
                let core = self.0.reader.socket.core();
                if let Some(from) = core.take_publication(&mut next)
                    && let Some(publication) = next
                {
                    let topic = || publication.topic.as_str();
                    if !self.0.reader.permits(topic, from) {
                        continue;
                    }
                    if self.is_next(&publication.header) {
                        return Ok(publication);
                    }
                    self.put_aside(publication);
                    continue;
                }
            }
            let mut message = Message::new();
            match self.0.reader.socket.core().receive_or_wait(&mut message) {
                Ok(from) => {
                    if let Some(opened) = self.open(&mut message, from) {
                        return Ok(opened.into_publication());
                    }
                }
                Err(Stalled::Wait(arrival)) => {
                    let mut ahead = std::pin::pin!(self.0.ahead.notified());
                    ahead.as_mut().enable();
                    if self.0.waiting.get().is_none() {
                        tokio::select! {
                            () = arrival => {}
                            () = ahead => {}
                        }
                    }
                }
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(ReceiveError::Closed),
            }
        }
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// None is there, or the node is closed.
    pub fn try_recv(&self) -> Result<Publication, ReceiveError> {
        loop {
            if let Some(waiting) = self.0.waiting.get() {
                return waiting.try_take();
            }
            let (mut message, from) = self.0.reader.socket.try_recv_from()?;
            if let Some(opened) = self.open(&mut message, from.0) {
                return Ok(opened.into_publication());
            }
        }
    }

    /// Looks at a message, and returns it if it is to be handed out at once; others wait for their turn.
    #[inline]
    fn open<'a>(&self, message: &'a mut Message, from: PipeKey) -> Option<Opened<'a>> {
        let opened = self.0.reader.open(message, from)?;
        if self.is_next(opened.header()) {
            return Some(opened);
        }
        self.put_aside(opened.into_publication());
        None
    }

    /// Whether what was read last is to be handed out next.
    #[inline]
    fn is_next(&self, header: &Header) -> bool {
        let is_plain = header.priority == Priority::default() && header.expiry.is_none();
        is_plain && self.0.waiting.get().is_none()
    }

    /// Lets a message wait for its turn, which from now on all do.
    #[cold]
    fn put_aside(&self, publication: Publication) {
        let waiting = self.0.waiting.get_or_init(|| {
            let waiting = Arc::new(Waiting::default());
            let shared = self.0.node.shared();
            let reader = self.0.reader.clone();
            shared.spawn(reader.read_ahead(Arc::clone(&waiting), shared.stop.clone()));
            waiting
        });
        waiting.put_at_once(publication);
        self.0.ahead.notify_waiters();
    }

    /// The nodes that it is connected to.
    pub fn publishers(&self) -> usize {
        self.stats().peers as usize
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.reader.socket.stats();
        if let Some(waiting) = self.0.waiting.get() {
            stats.expired = waiting.expired();
            stats.unread += waiting.len() as u64;
        }
        stats
    }
}

impl Subscribes {
    fn new(node: &Node, filter: Filter) -> Result<Self, NameError> {
        let shared = node.shared();
        if shared.is_closed() {
            return Err(NameError::Closed);
        }
        let mut options = shared.options();
        options.send.matching = Matching::Filters;
        options.remember_departed = true;
        let socket = shared.socket(SocketType::Sub, options);
        socket.core().subscribe(filter.as_octets(), true);
        let wants = Wants::Topics(filter.clone());
        let permitted = Permitted::to_offer(shared.identity.id(), &shared.trust, &wants);
        let permitted = Arc::new(permitted);
        Ok(Self {
            _interest: shared.want(wants, socket.core()),
            filter,
            reader: Reader { socket, permitted },
            waiting: OnceLock::new(),
            ahead: Notify::new(),
            asks: None,
            node: node.clone(),
        })
    }
}

impl Reader {
    /// Looks at a message. One that may not be published is counted; whoever sends what is none is let go.
    #[inline]
    fn open<'a>(&self, message: &'a mut Message, from: PipeKey) -> Option<Opened<'a>> {
        let core = self.socket.core();
        match Opened::new(message) {
            Ok(opened) => self.permits(|| opened.topic(), from).then_some(opened),
            Err(error) => {
                core.close_link(from, Reason::Application(error.to_string()));
                None
            }
        }
    }

    /// Whether who sent a message may publish on its topic; if not, that is counted.
    #[inline]
    fn permits<'a>(&self, topic: impl FnOnce() -> &'a str, from: PipeKey) -> bool {
        !self.permitted.is_asked() || self.is_permitted(topic(), from)
    }

    fn is_permitted(&self, topic: &str, from: PipeKey) -> bool {
        let core = self.socket.core();
        // Of whom has long left nobody knows who it was.
        let allowed = core.sender(from).is_some_and(|peer| {
            let shown = peer.proven.as_ref().map(|proven| &proven.shown);
            self.permitted.may_publish(shown, topic)
        });
        if !allowed {
            core.counters.denied.fetch_add(1, Relaxed);
        }
        allowed
    }

    /// As [`Reader::open`], and takes the message apart.
    pub(super) fn read(&self, (mut message, from): (Message, PeerKey)) -> Option<Publication> {
        let opened = self.open(&mut message, from.0)?;
        Some(opened.into_publication())
    }

    async fn read_ahead(self, waiting: Arc<Waiting>, stop: CancellationToken) {
        let read = async {
            while let Ok(received) = self.socket.recv_from().await {
                if let Some(publication) = self.read(received) {
                    waiting.put(publication).await;
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = stop.cancelled() => {}
            () = waiting.left.cancelled() => {}
        }
        waiting.close();
    }
}
