//! REPs and worker DEALERs: the requests to a service of the mesh go to them.
//!
//! The service is offered while one of them is connected. Each has one request at a time, so that one
//! that dies takes one with it; which is asked of the next if it is idempotent, and fails otherwise.
//! We show ourselves as a DEALER, to whom both talk, and are a REQ, which tells replies apart.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use withy_proto::pattern::request::wrap;
use withy_proto::{Endpoint, SocketType};

use super::entrance::SideDoor;
use super::hall::Hall;
use crate::error::RequestError;
use crate::event::Reason;
use crate::node::{Client, NameError, ServiceRequest};
use crate::options::Options;
use crate::socket::Owner;
use crate::socket::req::Whom;
use crate::trust::Verb;

/// How long it is waited until a name is tried again that cannot be offered now.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Workers {
    hall: Arc<Hall>,
    name: Box<str>,
    socket: Owner,
}

impl Workers {
    pub(super) fn open(
        hall: &Arc<Hall>,
        name: &str,
        mut options: Options,
    ) -> Result<Arc<Self>, NameError> {
        let shared = hall.node.shared();
        shared.check_name(name)?;
        options.shown_as = Some(SocketType::Dealer);
        options.hosts = Some(Arc::new(SideDoor {
            hall: Arc::clone(hall),
            ours: SocketType::Dealer,
            takes: &[SocketType::Rep, SocketType::Dealer],
            verb: Verb::Serve,
            name: name.into(),
        }));
        let workers = Arc::new(Self {
            hall: Arc::clone(hall),
            name: name.into(),
            socket: hall.socket(SocketType::Req, options),
        });
        hall.spawn(Arc::clone(&workers).run());
        hall.spawn(look_again(
            Arc::clone(hall),
            workers.socket.clone(),
            Verb::Serve,
            name.into(),
        ));
        Ok(workers)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn socket(&self) -> &Owner {
        &self.socket
    }

    /// Where it listens; the builder has bound it.
    pub(super) fn endpoint(&self) -> Endpoint {
        bound(&self.socket)
    }

    /// Offers the service while somebody works on it.
    async fn run(self: Arc<Self>) {
        let mut peers = self.socket.core().peers.subscribe();
        while peers.wait_for(|peers| *peers > 0).await.is_ok() {
            match self.hall.node.service(&*self.name) {
                Ok(service) => loop {
                    tokio::select! {
                        request = service.recv() => match request {
                            Ok(request) => {
                                let workers = Arc::clone(&self);
                                self.hall.spawn(async move { workers.ask(request).await });
                            }
                            Err(_) => return,
                        },
                        _ = peers.wait_for(|peers| *peers == 0) => break,
                    }
                },
                // As long as requests of before are open.
                Err(error) => {
                    tracing::debug!(name = &*self.name, %error, "not offered yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Has a request done by whoever is free first.
    async fn ask(&self, mut request: ServiceRequest) {
        let core = self.socket.core();
        let body = request.take_message();
        let left = request.time_left().unwrap_or(self.hall.within);
        let deadline = Instant::now() + left.min(Duration::from_secs(24 * 3_600));
        let mut lost = 0;
        let failure = loop {
            let wrapped = |id| wrap(body.clone(), id);
            let asked = core.ask(Whom::Least(&[]), Some(deadline), wrapped).await;
            let mut pending = match asked {
                Ok(Some(pending)) => pending,
                Ok(None) => break "no worker was free in time",
                Err(_) => break "the door is closed",
            };
            match core.await_reply(&mut pending, Some(deadline)).await {
                Ok(reply) => {
                    // Who asked may be gone.
                    if request.reply(reply).await.is_ok() {
                        self.hall.counts.served.fetch_add(1, Relaxed);
                    }
                    return;
                }
                Err(RequestError::PeerGone) => {
                    lost += 1;
                    if !request.is_idempotent() || lost >= Client::MAX_LOST {
                        break "the worker is gone: the request may have been done";
                    }
                }
                Err(RequestError::Timeout) => {
                    break "no reply came in time: the request may have been done";
                }
                Err(_) => break "the door is closed",
            }
        };
        let _ = request.fail(failure).await;
    }
}

/// Where a socket listens that has one endpoint.
pub(super) fn bound(socket: &Owner) -> Endpoint {
    let mut endpoints = socket.endpoints();
    endpoints.pop().expect("it is bound before anybody asks")
}

/// Closes the connections of those who may not do what they are here for any more.
pub(super) async fn look_again(hall: Arc<Hall>, socket: Owner, verb: Verb, name: Box<str>) {
    let mut changes: watch::Receiver<()> = hall.node.shared().trust.changes();
    while changes.changed().await.is_ok() {
        let core = socket.core();
        for (key, peer) in core.links() {
            if !hall.allows(&hall.principal(&peer), verb, &name) {
                core.close_link(key, Reason::NotPermitted);
            }
        }
    }
}
