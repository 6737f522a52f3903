//! A peer of a keeper: its link, and what it does of what permissions tell apart.
//!
//! Invariant: what it did once is looked at again when permissions change, and not for each message.

use std::sync::Arc;

use withy_proto::pattern::PipeKey;
use withy_proto::queue::{Command, QueueName};

use crate::event::PeerInfo;
use crate::node::guard::Permitted;
use crate::trust::Verb;

/// Who kept the queue before puts what it has.
const PUTS: &[Verb] = &[Verb::Push, Verb::Serve];

const TAKES: &[Verb] = &[Verb::Pull];

/// A peer of a keeper.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: PipeKey,
    info: Arc<PeerInfo>,
    puts: bool,
    takes: bool,
}

impl Peer {
    pub(super) fn new(key: PipeKey, info: Arc<PeerInfo>) -> Self {
        Self {
            key,
            info,
            puts: false,
            takes: false,
        }
    }

    /// Whether it may say this.
    pub(super) fn may(
        &mut self,
        command: &Command,
        permitted: &Permitted,
        queue: &QueueName,
    ) -> bool {
        let (does, verbs) = match command {
            Command::Put { .. } => (&mut self.puts, PUTS),
            _ => (&mut self.takes, TAKES),
        };
        *does = *does || permits(permitted, &self.info, verbs, queue);
        *does
    }

    /// Whether it may do all that it did, now that the permissions are others.
    pub(super) fn still_may(&self, permitted: &Permitted, queue: &QueueName) -> bool {
        let may = |does: bool, verbs| !does || permits(permitted, &self.info, verbs, queue);
        may(self.puts, PUTS) && may(self.takes, TAKES)
    }
}

fn permits(permitted: &Permitted, info: &PeerInfo, verbs: &[Verb], queue: &QueueName) -> bool {
    let shown = info.proven.as_ref().map(|proven| &proven.shown);
    permitted.may(shown, verbs, queue.as_str())
}
