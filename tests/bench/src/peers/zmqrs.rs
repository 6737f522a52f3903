//! zmq.rs (crate `zeromq`) on two tokio workers.
//!
//! It has no options to speak of. Some of its limits are worked around so that it takes part:
//! - Its senders never wait for their writer task, so a sender of large messages and a publisher
//!   yield now and then, without which the first loses its connection and the second delivers nothing.
//! - A REP socket reports the end of a connection as an error of `recv` or `send`; it goes on.
//! - After some thousand connections one to a REP socket gets no answer, so the connect loop gives
//!   such a one up. It does not count.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{
    task::{JoinSet, yield_now},
    time::timeout,
};
use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket, SocketRecv, SocketSend,
    SubSocket, ZmqMessage,
};

use super::{Endless, Failure, Peer, runtime};
use crate::{
    job::{Caller, Job, Seal, Transport},
    probe::{Body, Probe, Stage, Subscription},
};

/// From this size on, a sender yields after each message.
const LARGE: usize = 64 * 1024;
/// A publisher, and one of many senders, yields after this many messages.
const TURN: u64 = 64;
/// How long the connect loop waits for an answer.
const GIVE_UP: Duration = Duration::from_millis(20);

/// zmq.rs.
#[derive(Debug)]
pub(super) struct ZmqRs;

impl Peer for ZmqRs {
    fn name(&self) -> &'static str {
        "zmq.rs"
    }

    fn version(&self) -> String {
        concat!("zeromq ", env!("VERSION_ZEROMQ"), ", 2 tokio workers").to_owned()
    }

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::OneThread]
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let has = [Transport::Tcp, Transport::Ipc].contains(&job.transport);
        if job.seal != Seal::Clear || !has {
            Err("-")
        } else {
            Ok(())
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut socket = bound::<PullSocket>(job, probe).await?;
            loop {
                probe.pulled(body_of(&socket.recv().await?));
            }
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut socket = connected::<PushSocket>(job).await?;
            let body = Body::new(job.size);
            loop {
                socket.send(message(body.bytes())).await?;
                if job.size >= LARGE {
                    yield_now().await;
                }
            }
        })
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut socket = bound::<RepSocket>(job, probe).await?;
            loop {
                if let Ok(request) = socket.recv().await {
                    let _ = socket.send(request).await;
                }
            }
        })
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut socket = connected::<ReqSocket>(job).await?;
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
            let mut socket = bound::<PubSocket>(job, probe).await?;
            runtime::wait_for(probe, Stage::Flood).await?;
            let mut body = Body::new(job.size);
            for number in 0.. {
                socket.send(message(body.numbered(number))).await?;
                if number % TURN == 0 {
                    yield_now().await;
                }
            }
            Err("out of numbers".into())
        })
    }

    fn subscribe(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let mut tasks = JoinSet::new();
            for lane in 0..job.lanes {
                let mut socket = connected::<SubSocket>(job).await?;
                socket.subscribe("").await?;
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
            let mut first = JoinSet::new();
            for number in 0..job.lanes as u64 {
                first.spawn(async move {
                    let mut socket = connected::<PushSocket>(job).await?;
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
            for (mut socket, body) in sockets {
                tasks.spawn(async move {
                    loop {
                        for _ in 0..TURN {
                            socket.send(message(body.bytes())).await?;
                        }
                        yield_now().await;
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
                let trip = async {
                    let mut socket = connected::<ReqSocket>(job).await?;
                    socket.send(message(body.bytes())).await?;
                    Ok::<_, Failure>(socket.recv().await?)
                };
                if let Ok(reply) = timeout(GIVE_UP, trip).await {
                    reply?;
                    probe.round_trip(start);
                }
            }
        })
    }
}

async fn bound<S: Socket>(job: &Job, probe: &Probe) -> Result<S, Failure> {
    let mut socket = S::new();
    probe.ready(&socket.bind(&job.endpoint).await?.to_string());
    Ok(socket)
}

async fn connected<S: Socket>(job: &Job) -> Result<S, Failure> {
    let mut socket = S::new();
    socket.connect(&job.endpoint).await?;
    Ok(socket)
}

fn message(body: &[u8]) -> ZmqMessage {
    ZmqMessage::from(Bytes::copy_from_slice(body))
}

fn body_of(message: &ZmqMessage) -> &[u8] {
    message.get(0).map_or(&[], |body| body)
}
