//! Asking every instance of a service.

use std::pin::Pin;
use std::task::Poll;

use tokio::time::Instant;
use withy_proto::Message;
use withy_proto::trust::{IdentityId, NodeId};

use super::client::Client;
use super::error::ServiceError;
use crate::event::PeerInfo;

/// One of those that serve a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Instance {
    /// Whose node it is on.
    pub identity: IdentityId,
    /// The node that it is on. A handshake proved both, except within the process.
    pub node: NodeId,
}

/// What one instance answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Which.
    pub instance: Instance,
    /// Its reply.
    pub reply: Result<Message, ServiceError>,
}

impl Instance {
    /// That at the other end of a connection which a client made.
    pub(super) fn of(info: &PeerInfo) -> Option<Self> {
        let (identity, node) = **info.meant.as_ref()?;
        Some(Self { identity, node })
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Message, ServiceError>> + Send + 'a>>;

/// One that was asked.
struct Asked<'a> {
    instance: Instance,
    asking: Result<Asking<'a>, Result<Message, ServiceError>>,
}

/// Those that were asked, each once.
#[derive(Default)]
struct All<'a>(Vec<Asked<'a>>);

impl<'a> All<'a> {
    fn has(&self, instance: Instance) -> bool {
        self.0.iter().any(|asked| asked.instance == instance)
    }

    /// Waits until all have answered.
    async fn answered(&mut self) {
        std::future::poll_fn(|cx| {
            let mut pending = false;
            for asked in &mut self.0 {
                if let Ok(asking) = &mut asked.asking {
                    match asking.as_mut().poll(cx) {
                        Poll::Ready(reply) => asked.asking = Err(reply),
                        Poll::Pending => pending = true,
                    }
                }
            }
            match pending {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    /// The answers, in the order of the instances; who has not answered did not in time.
    fn into_answers(self, missing: Vec<Instance>) -> Vec<Answer> {
        let asked = self.0.into_iter().map(|asked| Answer {
            instance: asked.instance,
            reply: asked.asking.err().unwrap_or(Err(ServiceError::TooLate)),
        });
        let missing = missing.into_iter().map(|instance| Answer {
            instance,
            reply: Err(ServiceError::NotReached),
        });
        let mut answers: Vec<_> = asked.chain(missing).collect();
        answers.sort_by_key(|answer| answer.instance);
        answers
    }
}

/// Asks those that are known now, or the first to be there.
pub(super) async fn ask_all(
    client: &Client,
    message: &Message,
    deadline: Instant,
) -> Result<Vec<Answer>, ServiceError> {
    let core = client.0.socket.core();
    let shared = client.0.node.shared();
    let mut peers = core.peers.subscribe();
    // Who leaves the mesh meanwhile is not waited for.
    let mut news = shared.events.subscribe();
    let mut all = All::default();
    let mut first = client.0.interest.sought();
    loop {
        peers.borrow_and_update();
        let now = client.0.interest.sought();
        if first.is_empty() {
            first.clone_from(&now);
        }
        for (key, info) in core.links() {
            let Some(instance) = Instance::of(&info) else {
                continue;
            };
            if first.contains(&(instance.identity, instance.node)) && !all.has(instance) {
                let asking: Asking<'_> = Box::pin(client.ask_one(key, message, deadline));
                let asking = Ok(asking);
                all.0.push(Asked { instance, asking });
            }
        }
        let known = first
            .iter()
            .map(|&(identity, node)| Instance { identity, node });
        let missing: Vec<_> = known.filter(|instance| !all.has(*instance)).collect();
        let waits = |it: &Instance| now.contains(&(it.identity, it.node));
        let complete = !all.0.is_empty() && !missing.iter().any(waits);
        tokio::select! {
            biased;
            () = all.answered(), if !all.0.is_empty() => {
                if complete {
                    return Ok(all.into_answers(missing));
                }
                // Those that were asked are done: others may still come.
                tokio::select! {
                    Ok(()) = peers.changed() => {}
                    _ = news.recv() => {}
                    () = tokio::time::sleep_until(deadline) => return Ok(all.into_answers(missing)),
                    () = shared.stop.cancelled() => return Err(ServiceError::Closed),
                }
            }
            Ok(()) = peers.changed() => {}
            _ = news.recv() => {}
            () = tokio::time::sleep_until(deadline) => {
                return match first.is_empty() {
                    true => Err(client.nobody()),
                    false => Ok(all.into_answers(missing)),
                };
            }
            () = shared.stop.cancelled() => return Err(ServiceError::Closed),
        }
    }
}
