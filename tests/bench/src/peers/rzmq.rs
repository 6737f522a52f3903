//! rzmq on two tokio workers, without its io_uring backend (which gained nothing on two cores).
//!
//! Defaults throughout, but `XPUB_NODROP` on a publisher that is to lose nothing. One of its limits is worked around:
//! every actor of a context is told of every other one through a queue of 256 events, and closes
//! itself when it falls behind; so many sockets share several contexts and connect at a gentle pace.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rzmq::{
    Context, Msg, Socket, SocketType, ZmqError,
    socket::options::{
        CURVE_SECRET_KEY, CURVE_SERVER, CURVE_SERVER_KEY, LAST_ENDPOINT, NOISE_XX_ENABLED,
        NOISE_XX_REMOTE_STATIC_PUBLIC_KEY, NOISE_XX_STATIC_SECRET_KEY, SUBSCRIBE, XPUB_NODROP,
    },
};
use tokio::{task::JoinSet, time::sleep};

use super::{Endless, Failure, Peer, keys, runtime};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::{Body, Probe, Stage, Subscription},
};

/// Sockets to a context where there are many.
const SHARE: usize = 32;
/// Time between two of many connections.
const PACE: Duration = Duration::from_millis(5);

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

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::OneThread]
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        if job.transport == Transport::Quic {
            Err("-")
        } else {
            Ok(())
        }
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
            let socket = secured(context()?, SocketType::Pub, job, true).await?;
            if job.role == Role::Publish {
                socket.set_option(XPUB_NODROP, true).await?;
            }
            probe.ready(&bind(&socket, job).await?);
            runtime::wait_for(probe, Stage::Flood).await?;
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
                let socket = secured(context()?, SocketType::Sub, job, false).await?;
                socket.set_option(SUBSCRIBE, b"").await?;
                socket.connect(&job.endpoint).await?;
                tasks.spawn(async move {
                    let mut lane = Subscription::new(probe, lane);
                    loop {
                        lane.delivered(body_of(&socket.recv().await?));
                    }
                });
            }
            probe.ready("");
            runtime::first_failure(tasks).await
        })
    }

    fn many_push(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            probe.ready("");
            runtime::wait_for(probe, Stage::Connect).await?;
            let mut sockets = Vec::with_capacity(job.lanes);
            let mut context = Context::new()?;
            for number in 0..job.lanes {
                if number % SHARE == 0 {
                    context = Context::new()?;
                }
                let socket = secured(&context, SocketType::Push, job, false).await?;
                socket.connect(&job.endpoint).await?;
                let mut body = Body::new(job.size);
                socket.send(message(body.numbered(number as u64))).await?;
                sockets.push((socket, body));
                sleep(PACE).await;
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
    let socket = secured(context()?, kind, job, true).await?;
    probe.ready(&bind(&socket, job).await?);
    Ok(socket)
}

async fn bind(socket: &Socket, job: &Job) -> Result<String, Failure> {
    socket.bind(&job.endpoint).await?;
    Ok(String::from_utf8(socket.get_option(LAST_ENDPOINT).await?)?)
}

async fn connected(kind: SocketType, job: &Job) -> Result<Socket, Failure> {
    let socket = secured(context()?, kind, job, false).await?;
    socket.connect(&job.endpoint).await?;
    Ok(socket)
}

async fn secured(
    context: &Context,
    kind: SocketType,
    job: &Job,
    server: bool,
) -> Result<Socket, Failure> {
    let socket = context.socket(kind)?;
    let own = if server { keys::SERVER } else { keys::CLIENT };
    let remote = match job.seal {
        Seal::Clear => return Ok(socket),
        Seal::Curve => {
            socket.set_option_raw(CURVE_SECRET_KEY, &own.secret).await?;
            CURVE_SERVER_KEY
        }
        Seal::Noise => {
            socket.set_option(NOISE_XX_ENABLED, true).await?;
            let key = NOISE_XX_STATIC_SECRET_KEY;
            socket.set_option_raw(key, &own.secret).await?;
            NOISE_XX_REMOTE_STATIC_PUBLIC_KEY
        }
    };
    match (job.seal, server) {
        (Seal::Curve, true) => socket.set_option(CURVE_SERVER, true).await?,
        (_, true) => {}
        (_, false) => socket.set_option_raw(remote, &keys::SERVER.public).await?,
    }
    Ok(socket)
}

fn message(body: &[u8]) -> Msg {
    Msg::from_bytes(Bytes::copy_from_slice(body))
}

fn body_of(message: &Msg) -> &[u8] {
    message.data().unwrap_or_default()
}
