//! Withy on two tokio workers, through its async sockets.
//!
//! Defaults throughout, but a publisher that blocks rather than drops, as the other peers' does
//! where they can.

use std::time::Instant;

use tokio::task::JoinSet;
use withy::options::Overflow;
use withy::{KeyPair, Message, Publisher, Pull, Push, Rep, Req, SecretKey, Subscriber};

use super::{Endless, Failure, Peer, Standing, keys, runtime};
use crate::{
    job::Job,
    probe::{Body, Probe, Stage, Subscription},
};

/// Withy.
#[derive(Debug)]
pub(super) struct Withy;

impl Peer for Withy {
    fn name(&self) -> &'static str {
        "withy"
    }

    fn version(&self) -> String {
        concat!(env!("VERSION_WITHY"), ", 2 tokio workers").to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Subject
    }

    fn covers(&self, _: &Job) -> Result<(), &'static str> {
        Ok(())
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let builder = Pull::builder();
            let socket = if job.curve {
                builder.curve_server(server()).allow_any_client()
            } else {
                builder
            }
            .build()?;
            probe.ready(&socket.bind_to(&job.endpoint[..]).await?.to_string());
            loop {
                probe.pulled(socket.recv().await?.first());
            }
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        runtime::run(async move {
            let builder = Push::builder();
            let socket = if job.curve {
                builder.curve_client(client(), server().public())
            } else {
                builder
            }
            .build()?;
            socket.connect_to(&job.endpoint[..])?;
            let body = Body::new(job.size);
            loop {
                socket.send(message(body.bytes())).await?;
            }
        })
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let builder = Rep::builder();
            let socket = if job.curve {
                builder.curve_server(server()).allow_any_client()
            } else {
                builder
            }
            .build()?;
            probe.ready(&socket.bind_to(&job.endpoint[..]).await?.to_string());
            loop {
                let mut request = socket.recv().await?;
                let reply = request.take_message();
                // A client may be gone by now: that is the connect loop's business.
                let _ = request.reply(reply).await;
            }
        })
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = requester(job)?;
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                socket.request(message(body.bytes())).await?;
                probe.round_trip(start);
            }
        })
    }

    fn publish(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let socket = Publisher::builder().overflow(Overflow::Block).build()?;
            probe.ready(&socket.bind_to(&job.endpoint[..]).await?.to_string());
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
                let socket = Subscriber::connect(&job.endpoint[..])?;
                socket.subscribe("");
                socket.ready().await;
                tasks.spawn(async move {
                    let mut lane = Subscription::new(probe, lane);
                    loop {
                        lane.delivered(socket.recv().await?.first());
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
            for number in 0..job.lanes {
                let socket = Push::connect(&job.endpoint[..])?;
                let mut body = Body::new(job.size);
                socket.send(message(body.numbered(number as u64))).await?;
                sockets.push((socket, body));
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
                let socket = requester(job)?;
                socket.request(message(body.bytes())).await?;
                socket.close().await;
                probe.round_trip(start);
            }
        })
    }
}

fn requester(job: &Job) -> Result<Req, Failure> {
    let builder = Req::builder();
    let socket = if job.curve {
        builder.curve_client(client(), server().public())
    } else {
        builder
    }
    .build()?;
    socket.connect_to(&job.endpoint[..])?;
    Ok(socket)
}

fn server() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_octets(keys::SERVER.secret))
}

fn client() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_octets(keys::CLIENT.secret))
}

fn message(body: &[u8]) -> Message {
    Message::from(body)
}
