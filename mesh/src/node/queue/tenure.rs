//! Whether this node keeps a queue: what other nodes' records say, and what its own then says.

use std::time::Duration;

use withy_proto::queue::Keeper as Engine;

use super::error::KeepError;
use super::heir::HEIR;
use super::keeping::Keeping;
use super::millis;
use super::offers::Said;

/// How long a claim waits for a higher one before it is good.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// How long nobody else keeps a queue before a keeper that stepped down comes back.
pub const ABSENCE: Duration = Duration::from_secs(2);

/// How often a keeper goes above an epoch that only a peer knows of, at most; and how often it tries to
/// say in its record that it keeps the queue.
const PAUSE: Duration = Duration::from_secs(5);

/// Whether it neither claims nor holds the queue.
pub(super) fn is_aside(engine: &Engine) -> bool {
    engine.held().is_none() && !engine.is_claiming()
}

impl Keeping {
    /// Claims the queue, holds it or steps aside, as the others' epochs say. Says when to look again.
    pub(super) fn rule(&mut self, engine: &mut Engine, time: Duration) -> Option<Duration> {
        if let Some(other) = self.other {
            engine.observe(other.epoch, time);
        }
        let mut due = self.go_above_rumour(engine, time);
        if is_aside(engine) {
            self.offer = None;
            if self.other.is_some() {
                self.absent_since = None;
            } else if self.is_asked || !engine.queue().is_empty() {
                let back = *self.absent_since.get_or_insert(time) + ABSENCE;
                if time < back {
                    due = Some(back);
                } else {
                    self.come_back(engine, time);
                }
            }
        }
        let said = self.offer.as_ref().map(|(said, _)| *said);
        let is_said = said == Some(self.to_say(engine));
        if !is_aside(engine) && !is_said {
            if time >= self.offer_after
                && let Err(error) = self.say(engine)
            {
                tracing::error!(queue = %self.kept.queue, %error, "the record does not say who keeps a queue");
                self.offer_after = time + PAUSE;
            }
            if time < self.offer_after {
                due = Some(self.offer_after);
            }
        }
        due
    }

    /// Where clients know of an epoch whose holder is gone, they never go back: this node goes above it.
    /// Says when to look again.
    fn go_above_rumour(&mut self, engine: &mut Engine, time: Duration) -> Option<Duration> {
        let rumour = engine.rumour().filter(|_| engine.held().is_some())?;
        if time < self.rumour_after {
            return Some(self.rumour_after);
        }
        let number = rumour.number();
        tracing::info!(queue = %self.kept.queue, number, "clients of a queue know a higher epoch");
        self.rumour_after = time + PAUSE;
        engine.observe(rumour, time);
        self.come_back(engine, time);
        None
    }

    fn come_back(&mut self, engine: &mut Engine, time: Duration) {
        if let Err(error) = self.claim(engine, time) {
            tracing::error!(queue = %self.kept.queue, %error, "a queue cannot be claimed");
            self.absent_since = Some(time);
        }
    }

    pub(super) fn claim(&mut self, engine: &mut Engine, time: Duration) -> Result<(), KeepError> {
        let epoch = engine.claim_from(millis(time), time, PATIENCE)?;
        tracing::info!(queue = %self.kept.queue, epoch = epoch.number(), "claims a queue");
        self.absent_since = None;
        if self.heir.take().is_some() {
            // What is on its way to another keeper comes twice, flagged.
            engine.queue_mut().lost(HEIR, time);
        }
        Ok(())
    }

    /// Says in the node's record that it keeps the queue.
    pub(super) fn say(&mut self, engine: &Engine) -> Result<(), KeepError> {
        let to_say = self.to_say(engine);
        let service = to_say.service(&self.kept.queue);
        if let Some((said, offer)) = &mut self.offer {
            offer.renew(service)?;
            *said = to_say;
        } else {
            let core = self.socket.core();
            let offer = self.shared.offer_socket_as(service, core)?;
            self.offer = Some((to_say, offer));
        }
        Ok(())
    }

    fn to_say(&self, engine: &Engine) -> Said {
        Said {
            epoch: engine.known(),
            is_stored: self.writer.is_some(),
            is_held: engine.held().is_some(),
        }
    }
}
