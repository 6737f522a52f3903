//! Withy on two tokio workers, through its async sockets; through their blocking twins, or on one
//! thread, where a row asks for that.
//!
//! Defaults throughout, but a publisher that blocks rather than drops where it is to lose nothing, as
//! the other peers' does where they can. How its nodes find each other is in `mesh`.

use std::sync::LazyLock;
use std::time::Instant;

use tokio::task::JoinSet;
use withy::blocking::Blocking;
use withy::options::Overflow;
use withy::socket::Socket;
use withy::{
    Builder, Identity, KeyPair, Message, Publisher, Pull, Push, Rep, Req, SecretKey, Subscriber,
};

use super::{Endless, Failure, Peer, Standing, keys, runtime};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::{Body, Probe, Stage, Subscription},
};

mod mesh;

/// Withy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Withy(pub(super) Variant);

/// How it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// As the row asks for.
    AsAsked,
    /// Frames travel in records, but without a cipher.
    NullInRecords,
    /// Where processes are to find each other, its sockets are told an endpoint.
    ByEndpoint,
}

impl Peer for Withy {
    fn name(&self) -> &'static str {
        match self.0 {
            Variant::AsAsked => "withy",
            Variant::NullInRecords => "withy-records",
            Variant::ByEndpoint => "withy-sockets",
        }
    }

    fn version(&self) -> String {
        concat!(env!("VERSION_WITHY"), ", 2 tokio workers").to_owned()
    }

    fn standing(&self) -> Standing {
        match self.0 {
            Variant::AsAsked => Standing::Subject,
            Variant::NullInRecords => Standing::Aside,
            Variant::ByEndpoint => Standing::StandIn,
        }
    }

    fn callers(&self) -> &'static [Caller] {
        match self.0 {
            Variant::AsAsked => &[Caller::Workers, Caller::OneThread, Caller::Blocking],
            _ => &[Caller::Workers],
        }
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let has_no_records = [Transport::Inproc, Transport::Quic].contains(&job.transport);
        match self.0 {
            Variant::NullInRecords if job.seal != Seal::Clear || has_no_records => Err("-"),
            Variant::ByEndpoint => Err("-"),
            _ => Ok(()),
        }
    }

    fn covers_named(&self, job: &Job) -> Result<(), &'static str> {
        match (self.0, job.role) {
            (Variant::NullInRecords, _) => Err("-"),
            (Variant::ByEndpoint, Role::Await | Role::Appear) => Err("-"),
            _ => Ok(()),
        }
    }

    fn named(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        match (self.0, job.role) {
            (Variant::AsAsked, _) => mesh::play(job, probe),
            (_, Role::Serve) => self.rep(job, probe),
            (_, Role::Call) => self.req(job, probe),
            (_, Role::NamedPublish) => mesh::publish_by_endpoint(job, probe),
            _ => mesh::subscribe_by_endpoint(job, probe),
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        if job.caller == Caller::Blocking {
            let socket = Blocking::over(self.server(Pull::builder(), job).build()?);
            probe.ready(&socket.bind_to(&job.endpoint[..])?.to_string());
            loop {
                probe.pulled(socket.recv()?.first());
            }
        }
        let this = *self;
        runtime::run(async move {
            let socket = this.server(Pull::builder(), job).build()?;
            probe.ready(&socket.bind_to(&job.endpoint[..]).await?.to_string());
            loop {
                probe.pulled(socket.recv().await?.first());
            }
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        if job.caller == Caller::Blocking {
            let socket = Blocking::over(self.client(Push::builder(), job).build()?);
            socket.connect_to(&job.endpoint[..])?;
            let body = Body::new(job.size);
            loop {
                socket.send(message(body.bytes()))?;
            }
        }
        let this = *self;
        runtime::run(async move {
            let socket = this.client(Push::builder(), job).build()?;
            socket.connect_to(&job.endpoint[..])?;
            let body = Body::new(job.size);
            loop {
                socket.send(message(body.bytes())).await?;
            }
        })
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let socket = this.server(Rep::builder(), job).build()?;
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
        let this = *self;
        runtime::run(async move {
            let socket = this.requester(job)?;
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                socket.request(message(body.bytes())).await?;
                probe.round_trip(start);
            }
        })
    }

    fn publish(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let builder = match job.role {
                Role::Publish => Publisher::builder().overflow(Overflow::Block),
                _ => Publisher::builder(),
            };
            let socket = this.server(builder, job).build()?;
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
        let this = *self;
        runtime::run(async move {
            let mut tasks = JoinSet::new();
            for lane in 0..job.lanes {
                let socket = this.client(Subscriber::builder(), job).build()?;
                socket.connect_to(&job.endpoint[..])?;
                socket.subscribe("");
                socket.ready().await?;
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
        let this = *self;
        runtime::run(async move {
            probe.ready("");
            runtime::wait_for(probe, Stage::Connect).await?;
            let mut sockets = Vec::with_capacity(job.lanes);
            for number in 0..job.lanes {
                let socket = this.client(Push::builder(), job).build()?;
                socket.connect_to(&job.endpoint[..])?;
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
        let this = *self;
        runtime::run(async move {
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                let socket = this.requester(job)?;
                socket.request(message(body.bytes())).await?;
                socket.close().await;
                probe.round_trip(start);
            }
        })
    }
}

impl Withy {
    fn server<S: Socket>(&self, builder: Builder<S>, job: &Job) -> Builder<S> {
        match (self.0, job.seal) {
            (Variant::NullInRecords, _) => builder.null_in_records(),
            (Variant::AsAsked, Seal::Curve) => builder.curve_server(server()).allow_any_client(),
            (Variant::AsAsked, Seal::Noise) => builder.identity(identity()),
            (Variant::AsAsked, Seal::Clear) if job.transport == Transport::Quic => {
                builder.identity(identity())
            }
            (Variant::AsAsked, Seal::Clear) => builder,
            (Variant::ByEndpoint, _) => builder.identity(identity()),
        }
    }

    fn client<S: Socket>(&self, builder: Builder<S>, job: &Job) -> Builder<S> {
        match (self.0, job.seal) {
            (Variant::AsAsked, Seal::Curve) => builder.curve_client(client(), server().public()),
            _ => self.server(builder, job),
        }
    }

    fn requester(&self, job: &Job) -> Result<Req, Failure> {
        let socket = self.client(Req::builder(), job).build()?;
        socket.connect_to(&job.endpoint[..])?;
        Ok(socket)
    }
}

fn server() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_octets(keys::SERVER.secret))
}

fn client() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_octets(keys::CLIENT.secret))
}

/// One identity for both processes. It protects nothing: anyone can read it here.
fn identity() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed(&[0x49; 32]));
    &IDENTITY
}

fn message(body: &[u8]) -> Message {
    Message::from(body)
}
