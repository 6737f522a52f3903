//! What keeps a connection alive, and what closed links leave behind.
//!
//! Each half of a link has a lease. When the last lease of a connection is gone, its keeper ends it.
//! A closed stream is handed to the keeper, which sees to it that the peer gets all of it. Tasks of a
//! runtime do that, so that what lingers is counted for each runtime.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use quinn::SendStream;
use tokio::runtime::{Handle, Id};
use tokio::sync::{mpsc, watch};

use super::guests::Admissions;
use super::link::Ended;

/// A use of a connection.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    keeper: mpsc::UnboundedSender<Retired>,
    lingering: Arc<Lingering>,
    pub(super) admissions: Admissions,
}

impl Lease {
    /// The first lease of a connection of this runtime, and what its keeper listens to.
    pub(super) fn new(admissions: Admissions) -> (Self, mpsc::UnboundedReceiver<Retired>) {
        let (keeper, retired) = mpsc::unbounded_channel();
        let lease = Self {
            keeper,
            lingering: Lingering::here(),
            admissions,
        };
        (lease, retired)
    }

    /// Hands a closed stream in. Without a keeper the connection or its runtime is gone, and nothing
    /// more can be done for it.
    ///
    /// `held` lives until the peer has all of the stream.
    pub(super) fn retire(&self, stream: SendStream, link: Arc<Ended>, held: Option<Held>) {
        let lingering = Arc::clone(&self.lingering);
        lingering.0.send_modify(|count| *count += 1);
        let _ = self.keeper.send(Retired {
            stream,
            link,
            lingering,
            _held: held,
        });
    }

    pub(super) fn is_void(&self) -> bool {
        self.keeper.is_closed()
    }

    pub(super) fn downgrade(&self) -> WeakLease {
        WeakLease {
            keeper: self.keeper.downgrade(),
            lingering: Arc::clone(&self.lingering),
            admissions: self.admissions.clone(),
        }
    }
}

/// What a lease can be had from as long as there is another.
#[derive(Debug)]
pub(super) struct WeakLease {
    keeper: mpsc::WeakUnboundedSender<Retired>,
    lingering: Arc<Lingering>,
    pub(super) admissions: Admissions,
}

impl WeakLease {
    pub(super) fn upgrade(&self) -> Option<Lease> {
        Some(Lease {
            keeper: self.keeper.upgrade()?,
            lingering: Arc::clone(&self.lingering),
            admissions: self.admissions.clone(),
        })
    }
}

/// A stream that was written to its end, until the peer has all of it.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) stream: SendStream,
    /// That of the stream, which may go on without it.
    pub(super) link: Arc<Ended>,
    lingering: Arc<Lingering>,
    _held: Option<Held>,
}

/// Whatever is to live as long as a closed stream.
pub(super) type Held = Box<dyn std::fmt::Debug + Send>;

impl Drop for Retired {
    fn drop(&mut self) {
        self.lingering.0.send_modify(|count| *count -= 1);
    }
}

/// How many streams of closed links the peers of one runtime do not have yet.
#[derive(Debug)]
struct Lingering(watch::Sender<usize>);

static LINGERING: LazyLock<Mutex<HashMap<Id, Weak<Lingering>>>> = LazyLock::new(Mutex::default);

impl Lingering {
    fn here() -> Arc<Self> {
        let mut all = LINGERING.lock();
        let id = Handle::current().id();
        if let Some(here) = all.get(&id).and_then(Weak::upgrade) {
            return here;
        }
        all.retain(|_, it| it.strong_count() > 0);
        let here = Arc::new(Self(watch::Sender::new(0)));
        all.insert(id, Arc::downgrade(&here));
        here
    }
}

/// Waits until the peers have what closed `quic` links of this runtime wrote, or the
/// [`linger`](crate::QuicOptions::linger) of each is over.
///
/// The system sends what `tcp` sockets left behind after a process is gone; what `quic` links left
/// behind is sent by tasks of the runtime. Await this before it shuts down.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn lingered() {
    let here = Lingering::here();
    // It holds the sender itself.
    let _ = here.0.subscribe().wait_for(|count| *count == 0).await;
}
