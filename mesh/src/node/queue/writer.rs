//! What a keeper has to store, on its way to disk: one write at a time, on a thread that may block, and
//! what comes meanwhile goes with the next.
//!
//! ```text
//!  Idle --records, or the log is long--> Writing --done--> Idle
//!                                           |
//!                                           +--error--> Failed --after RETRY--> Writing
//! ```
//!
//! Invariant: records are written in their order, and the engine hears of what is on disk only.

use std::future::pending;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use withy_proto::queue::{Keeper as Engine, Receipt, Record};

use crate::store::{Log, StoreError};

/// Octets of records that are written at a time; the record that passes it is the last.
const MAX_BATCH: usize = 4 * 1024 * 1024;

/// How long a store that took nothing is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The way to disk.
#[derive(Debug)]
pub(super) struct Writer {
    runtime: Handle,
    /// Away while it is written to.
    log: Option<Log>,
    under_way: Option<JoinHandle<Written>>,
    /// Records that could not be appended, to be tried again before all others.
    failed: Option<(Vec<u8>, Receipt)>,
    /// Only a snapshot will do.
    must_rewrite: bool,
    retry_at: Option<Duration>,
    /// What went wrong last.
    error: Option<StoreError>,
}

/// A write that ended.
#[derive(Debug)]
pub(super) struct Written {
    log: Log,
    octets: Vec<u8>,
    receipt: Receipt,
    is_snapshot: bool,
    result: Result<(), StoreError>,
}

impl Writer {
    pub(super) fn new(runtime: Handle, log: Log) -> Self {
        Self {
            runtime,
            log: Some(log),
            under_way: None,
            failed: None,
            must_rewrite: false,
            retry_at: None,
            error: None,
        }
    }

    /// What went wrong last, if nothing was written since.
    pub(super) fn error(&self) -> Option<&StoreError> {
        self.error.as_ref()
    }

    /// When a write that failed is tried again.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins to write what there is, unless a write is under way or failed a moment ago.
    pub(super) fn start(&mut self, engine: &mut Engine, now: Duration) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let Some(log) = self.log.take() else {
            return;
        };
        let is_retry = self.retry_at.take().is_some();
        if self.must_rewrite || !is_retry && log.is_long() {
            self.failed = None;
            let (receipt, records) = engine.queue_mut().snapshot();
            return self.write(log, receipt, Snapshot(records.collect()));
        }
        let (mut octets, mut last) = match self.failed.take() {
            Some((octets, receipt)) => (octets, Some(receipt)),
            None => (Vec::new(), None),
        };
        while octets.len() < MAX_BATCH
            && let Some((receipt, record)) = engine.poll_store()
        {
            record.encode(&mut octets);
            last = Some(receipt);
        }
        match last {
            Some(receipt) => self.write(log, receipt, Append(octets)),
            None => self.log = Some(log),
        }
    }

    fn write(&mut self, mut log: Log, receipt: Receipt, what: What) {
        let write = move || {
            let (octets, is_snapshot, result) = match what {
                Append(octets) => {
                    let result = log.append(&octets);
                    (octets, false, result)
                }
                Snapshot(records) => (Vec::new(), true, log.rewrite(records)),
            };
            Written {
                log,
                octets,
                receipt,
                is_snapshot,
                result,
            }
        };
        self.under_way = Some(self.runtime.spawn_blocking(write));
    }

    /// Waits until the write that is under way has ended; for ever if none is.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn written(&mut self) -> Option<Written> {
        let Some(under_way) = &mut self.under_way else {
            return pending().await;
        };
        let written = under_way.await;
        self.under_way = None;
        written.ok()
    }

    /// Tells the engine what came of a write.
    pub(super) fn finish(&mut self, written: Option<Written>, engine: &mut Engine, now: Duration) {
        let Some(written) = written else {
            // It panicked, which the runtime reports, and the log went with it.
            return engine.store_failed();
        };
        let Written {
            log,
            octets,
            receipt,
            is_snapshot,
            result,
        } = written;
        match result {
            Ok(()) => {
                self.must_rewrite = false;
                if self.error.take().is_some() {
                    tracing::info!("a queue's store takes what it is given again");
                }
                engine.stored(receipt);
            }
            Err(error) => {
                // A snapshot that failed took the records that were to be appended.
                self.must_rewrite = is_snapshot || self.must_rewrite || log.is_suspect();
                self.failed = (!is_snapshot).then_some((octets, receipt));
                self.retry_at = Some(now + RETRY);
                if self.error.is_none() {
                    tracing::error!(%error, "a queue's store takes nothing");
                }
                self.error = Some(error);
                engine.store_failed();
            }
        }
        self.log = Some(log);
    }
}

/// What is to be written.
enum What {
    Append(Vec<u8>),
    Snapshot(Vec<Record>),
}

use What::{Append, Snapshot};
