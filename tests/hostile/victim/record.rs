//! What the socket under attack says about its peers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use withy::event::HandshakeFailure;
use withy::{EventKind, Monitor, Reason};

/// What became of an offender.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It never was a peer.
    Failed(HandshakeFailure),
    /// It was a peer.
    Lost(Reason),
}

/// What the victim's monitor said.
#[derive(Default)]
pub(super) struct Record {
    pub(super) verdicts: Mutex<HashMap<String, Verdict>>,
    pub(super) changed: Notify,
    pub(super) failed: AtomicU64,
    pub(super) broke_rules: AtomicU64,
    pub(super) good_lost: AtomicU64,
    pub(super) missed: AtomicU64,
}

impl Record {
    pub(super) async fn keep(self: Arc<Self>, mut monitor: Monitor) {
        while let Some(event) = monitor.next().await {
            self.missed.store(monitor.missed(), Ordering::Relaxed);
            let (address, verdict) = match event.kind {
                EventKind::HandshakeFailed { address, reason } => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    (address, Verdict::Failed(reason))
                }
                EventKind::Disconnected { peer, reason } => {
                    if matches!(reason, Reason::Protocol(_) | Reason::Subscriptions(_)) {
                        self.broke_rules.fetch_add(1, Ordering::Relaxed);
                    }
                    // A good peer leaves by itself, when it is closed.
                    if peer.withy && !matches!(reason, Reason::PeerClosed | Reason::Closed) {
                        self.good_lost.fetch_add(1, Ordering::Relaxed);
                    }
                    (peer.address.clone(), Verdict::Lost(reason))
                }
                _ => continue,
            };
            self.verdicts.lock().unwrap().insert(address, verdict);
            self.changed.notify_waiters();
        }
    }
}
