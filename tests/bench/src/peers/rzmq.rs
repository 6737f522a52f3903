//! rzmq on two tokio workers, without its io_uring backend (which gained nothing on two cores).
//!
//! Defaults throughout, but `XPUB_NODROP` on the publisher.

use std::{sync::OnceLock, time::Instant};

use bytes::Bytes;
use rzmq::{
    Context, Msg, Socket, SocketType, ZmqError,
    socket::options::{
        CURVE_SECRET_KEY, CURVE_SERVER, CURVE_SERVER_KEY, LAST_ENDPOINT, SUBSCRIBE, XPUB_NODROP,
    },
};
use tokio::task::JoinSet;

use super::{Endless, Failure, Peer, keys, runtime};
use crate::{
    job::Job,
    probe::{Body, Probe, Stage, Subscription},
};

/// rzmq.
#[derive(Debug)]
pub(super) struct Rzmq;

impl Peer for Rzmq {
    fn name(&self) -> &'static str {
        "rzmq"
    }

    fn version(&self) -> String {
        concat!(env!("VERSION_RZMQ"), ", 2 tokio workers").to_owned()
    }

    fn covers(&self, _: &Job) -> Result<(), &'static str> {
        Ok(())
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = bound(SocketType::Pull, job, probe).await?;
            loop {
                probe.pulled(body_of(&socket.recv().await?));
            }
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = connected(SocketType::Push, job).await?;
            let body = Body::new(job.size);
            loop {
                socket.send(message(body.bytes())).await?;
            }
        })
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = bound(SocketType::Rep, job, probe).await?;
            loop {
                let request = socket.recv().await?;
                socket.send(request).await?;
            }
        })
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = connected(SocketType::Req, job).await?;
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                socket.send(message(body.bytes())).await?;
                socket.recv().await?;
                probe.round_trip(start);
            }
        })
    }

    fn publish(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = secured(SocketType::Pub, job, true).await?;
            socket.set_option(XPUB_NODROP, true).await?;
            probe.ready(&bind(&socket, job).await?);
            let mut body = Body::new(job.size);
            for number in 0.. {
                socket.send(message(body.numbered(number))).await?;
            }
            Err("out of numbers".into())
        })
    }

    fn subscribe(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut tasks = JoinSet::new();
            for lane in 0..job.lanes {
                let socket = secured(SocketType::Sub, job, false).await?;
                socket.set_option(SUBSCRIBE, b"").await?;
                socket.connect(&job.endpoint).await?;
                tasks.spawn(async move {
                    let mut lane = Subscription::new(probe, lane);
                    loop {
                        lane.delivered(body_of(&socket.recv().await?));
                    }
                });
            }
            runtime::first_failure(tasks).await
        })
    }

    fn many_push(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            context()?;
            probe.ready("");
            runtime::wait_for(probe, Stage::Connect).await?;
            let mut first = JoinSet::new();
            for number in 0..job.lanes as u64 {
                first.spawn(async move {
                    let socket = connected(SocketType::Push, job).await?;
                    let mut body = Body::new(job.size);
                    socket.send(message(body.numbered(number))).await?;
                    Ok::<_, Failure>((socket, body))
                });
            }
            let mut sockets = Vec::with_capacity(job.lanes);
            while let Some(connected) = first.join_next().await {
                sockets.push(connected??);
            }
            runtime::wait_for(probe, Stage::Flood).await?;
            let mut tasks = JoinSet::new();
            for (socket, body) in sockets {
                tasks.spawn(async move {
                    loop {
                        socket.send(message(body.bytes())).await?;
                    }
                });
            }
            runtime::first_failure(tasks).await
        })
    }

    fn connect_loop(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                let socket = connected(SocketType::Req, job).await?;
                socket.send(message(body.bytes())).await?;
                socket.recv().await?;
                socket.close().await?;
                probe.round_trip(start);
            }
        })
    }
}

fn context() -> Result<&'static Context, Failure> {
    static CONTEXT: OnceLock<Result<Context, ZmqError>> = OnceLock::new();
    CONTEXT
        .get_or_init(Context::new)
        .as_ref()
        .map_err(|error| error.to_string().into())
}

async fn bound(kind: SocketType, job: &Job, probe: &Probe) -> Result<Socket, Failure> {
    let socket = secured(kind, job, true).await?;
    probe.ready(&bind(&socket, job).await?);
    Ok(socket)
}

async fn bind(socket: &Socket, job: &Job) -> Result<String, Failure> {
    socket.bind(&job.endpoint).await?;
    Ok(String::from_utf8(socket.get_option(LAST_ENDPOINT).await?)?)
}

async fn connected(kind: SocketType, job: &Job) -> Result<Socket, Failure> {
    let socket = secured(kind, job, false).await?;
    socket.connect(&job.endpoint).await?;
    Ok(socket)
}

async fn secured(kind: SocketType, job: &Job, server: bool) -> Result<Socket, Failure> {
    let socket = context()?.socket(kind)?;
    if job.curve {
        let own = if server { keys::SERVER } else { keys::CLIENT };
        socket.set_option_raw(CURVE_SECRET_KEY, &own.secret).await?;
        if server {
            socket.set_option(CURVE_SERVER, true).await?;
        } else {
            socket
                .set_option_raw(CURVE_SERVER_KEY, &keys::SERVER.public)
                .await?;
        }
    }
    Ok(socket)
}

fn message(body: &[u8]) -> Msg {
    Msg::from_bytes(Bytes::copy_from_slice(body))
}

fn body_of(message: &Msg) -> &[u8] {
    message.data().unwrap_or_default()
}
