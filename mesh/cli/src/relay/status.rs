//! The status of a node over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! ```text
//!  /healthz   200 while the process serves it
//!  /readyz    200 while the node can be used; 503 while it leaves, or has seeds and met nobody yet
//!  /metrics   counters and levels, in the text format of Prometheus
//! ```
//!
//! Whoever reaches the address may ask, and nothing else: there is no request that changes anything,
//! and no identity or address in the replies, nor a name but those of the queues that are kept here.
//!
//! Invariant: at most [`MAX_CONNECTIONS`] connections are open, each for at most [`PATIENCE`] and with
//! one request of at most [`MAX_HEAD`] octets. Of more, the oldest goes, so that nobody who holds
//! connections open keeps a probe out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use withy::Node;
use withy::node::{QueueKeeper, ZmtpDoor};

use super::metrics;
use crate::exit::complain;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may take, with its request and its reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request with its headers, in octets: the least that hyper can be told.
const MAX_HEAD: usize = 8 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 32;
/// How long nothing is accepted after that failed, as for want of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is to ask.
#[derive(Debug)]
pub(super) struct Status {
    node: Node,
    /// Whether it was told of others that are to be there.
    has_seeds: bool,
    /// The queues that it was told to keep.
    kept: Vec<QueueKeeper>,
    /// The door for ZeroMQ sockets.
    door: Option<ZmtpDoor>,
    leaving: AtomicBool,
}

impl Status {
    pub(super) fn new(
        node: &Node,
        has_seeds: bool,
        kept: Vec<QueueKeeper>,
        door: Option<ZmtpDoor>,
    ) -> Self {
        Self {
            node: node.clone(),
            has_seeds,
            kept,
            door,
            leaving: AtomicBool::new(false),
        }
    }

    /// The node leaves from now on.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        if self.leaving.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "the node leaves\n");
        }
        let stats = self.node.stats();
        match self.has_seeds && stats.present + stats.suspected == 0 {
            true => (StatusCode::SERVICE_UNAVAILABLE, "no seed was reached yet\n"),
            false => (StatusCode::OK, "ready\n"),
        }
    }

    fn reply(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
            reply.headers_mut().insert(ALLOW, allowed);
            return reply;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let (code, why) = self.readiness();
                text(code, why)
            }
            "/metrics" => {
                let ready = self.readiness().0 == StatusCode::OK;
                let (stats, door) = (self.node.stats(), self.door.as_ref());
                let body = metrics::text(&stats, ready, &self.kept, door);
                typed(StatusCode::OK, PROMETHEUS, body)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz and /metrics\n",
            ),
        }
    }
}

fn text(code: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(code, TEXT, body)
}

fn typed(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = code;
    let kind = hyper::header::HeaderValue::from_static(kind);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, status: Arc<Status>) {
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open.add(tokio::spawn(answer(stream, Arc::clone(&status)))),
            Err(error) => {
                complain(format_args!(
                    "the status is not served for a moment: {error}"
                ));
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, status: Arc<Status>) {
    let service = service_fn(move |request| {
        let reply = status.reply(&request);
        async move { Ok::<_, Infallible>(reply) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong is the other side's, who may be anybody.
    let _ = tokio::time::timeout(PATIENCE, connection).await;
}

/// The connections that are open, the oldest first.
#[derive(Debug, Default)]
struct Open(VecDeque<JoinHandle<()>>);

impl Open {
    fn add(&mut self, connection: JoinHandle<()>) {
        self.0.retain(|it| !it.is_finished());
        if self.0.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
