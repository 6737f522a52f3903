//! How long a node takes to answer.

use std::time::Duration;

use withy_discovery::{Action, PeerTag};

use super::error::PingError;
use super::shared::Shared;

/// How often it is tried to make a link.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked whether the answer came.
const POLL: Duration = Duration::from_millis(1);

impl Shared {
    /// Asks a node for an answer, over a link that is made if there is none.
    pub(super) async fn ping(&self, tag: PeerTag) -> Result<Duration, PingError> {
        let asking = async {
            let key = self.link_to(tag).await?;
            let core = self.control();
            // A link that is gone has no answers, and would have none for ever.
            let before = core.answers(key).ok_or(PingError::Lost)?;
            core.ping(key, core.options.heartbeat.ttl());
            while core.answers(key).ok_or(PingError::Lost)? == before {
                tokio::time::sleep(POLL).await;
            }
            core.round_trip(key).ok_or(PingError::Lost)
        };
        tokio::select! {
            answer = asking => answer,
            () = self.stop.cancelled() => Err(PingError::Closed),
        }
    }

    async fn link_to(&self, tag: PeerTag) -> Result<withy_proto::pattern::PipeKey, PingError> {
        let mut links = self.control().peers.subscribe();
        loop {
            links.borrow_and_update();
            {
                let mut state = self.state.lock();
                if let Some(key) = state.links.key(tag) {
                    return Ok(key);
                }
                let record = state.discovery.table().record(tag);
                match record.map(|record| self.may_trust(record)) {
                    None => return Err(PingError::Unknown),
                    Some(false) => return Err(PingError::NotTrusted),
                    Some(true) => {}
                }
                let time = self.now();
                self.act(&mut state, Action::Open(tag), time);
            }
            tokio::select! {
                _ = links.changed() => self.work.notify_one(),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
