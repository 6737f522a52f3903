//! zenoh: a publisher and a subscriber for PUSH and PULL, a query for a request, between two peers
//! without discovery, but where discovery is what is measured.
//!
//! Defaults throughout, but a publisher that blocks rather than drops. In rows with NOISE it uses
//! QUIC, its fastest encryption; as `zenoh-clear` it does without in rows by name, over TCP, and finds
//! others as it does by default, by multicast. How it does the work of those is in `named`.

use std::net::{TcpListener, UdpSocket};
use std::time::Instant;

use ::zenoh::qos::CongestionControl;
use ::zenoh::{Config, Session, Wait as _};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Endless, Failure, Peer, keys::Certificate, runtime};
use crate::{
    job::{Job, Role, Seal, Transport},
    probe::{Body, Probe},
};

/// What is published and asked for.
const KEY: &str = "bench";

mod named;

/// zenoh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zenoh(pub(super) Sealing);

/// What seals its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealing {
    /// What the row asks for.
    AsAsked,
    /// Nothing, in rows by name; it has no others.
    Never,
}

impl Peer for Zenoh {
    fn name(&self) -> &'static str {
        match self.0 {
            Sealing::AsAsked => "zenoh",
            Sealing::Never => "zenoh-clear",
        }
    }

    fn version(&self) -> String {
        match self.0 {
            Sealing::AsAsked => concat!(env!("VERSION_ZENOH"), ", encrypted over QUIC"),
            Sealing::Never => concat!(env!("VERSION_ZENOH"), ", by name without encryption"),
        }
        .to_owned()
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        if self.0 == Sealing::Never {
            return Err("-");
        }
        let part = matches!(job.role, Role::Pull | Role::Push | Role::Rep | Role::Req);
        match (job.transport, job.seal) {
            (Transport::Tcp, Seal::Clear | Seal::Noise) if part && job.lanes == 1 => Ok(()),
            (Transport::Quic, _) if part && job.lanes == 1 => Ok(()),
            _ => Err("-"),
        }
    }

    fn covers_named(&self, _: &Job) -> Result<(), &'static str> {
        Ok(())
    }

    fn named(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        match job.role {
            Role::Serve => self.rep(job, probe),
            Role::Call => self.req(job, probe),
            _ => runtime::run(this.play(job, probe)),
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let (session, endpoint) = this.bound(job).await?;
            let _subscriber = session
                .declare_subscriber(KEY)
                .callback(|_| probe.pulled(&[]))
                .await?;
            probe.ready(&endpoint);
            std::future::pending().await
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let session = this.connected(job).await?;
            let publisher = session
                .declare_publisher(KEY)
                .congestion_control(CongestionControl::Block)
                .await?;
            let body = Body::new(job.size);
            loop {
                publisher.put(body.bytes()).await?;
            }
        })
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let (session, endpoint) = this.bound(job).await?;
            let _queryable = session
                .declare_queryable(KEY)
                .callback(|query| {
                    let body = query.payload().cloned().unwrap_or_default();
                    // The asker may be gone.
                    let _ = query.reply(KEY, body).wait();
                })
                .await?;
            probe.ready(&endpoint);
            std::future::pending().await
        })
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let this = *self;
        runtime::run(async move {
            let session = this.connected(job).await?;
            let body = Body::new(job.size);
            loop {
                let start = Instant::now();
                let replies = session.get(KEY).payload(body.bytes()).await?;
                // Without one, the other side is not known yet.
                if replies.recv_async().await.is_ok() {
                    probe.round_trip(start);
                }
            }
        })
    }
}

impl Zenoh {
    async fn bound(self, job: &Job) -> Result<(Session, String), Failure> {
        // It does not tell which port it was given.
        let port = match self.is_quic(job) {
            true => UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port(),
            false => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        };
        let endpoint = format!("{}/127.0.0.1:{port}", self.scheme(job));
        let session = ::zenoh::open(config("listen", &endpoint)?).await?;
        Ok((session, endpoint))
    }

    async fn connected(self, job: &Job) -> Result<Session, Failure> {
        ::zenoh::open(config("connect", &job.endpoint)?).await
    }

    fn is_quic(self, job: &Job) -> bool {
        self.0 == Sealing::AsAsked && (job.transport == Transport::Quic || job.seal == Seal::Noise)
    }

    fn scheme(self, job: &Job) -> &'static str {
        match self.is_quic(job) {
            true => "quic",
            false => "tcp",
        }
    }
}

fn config(side: &str, endpoint: &str) -> Result<Config, Failure> {
    let Certificate { certificate, key } = Certificate::of_server();
    let [certificate, key] = [certificate, key].map(|pem| BASE64_STANDARD.encode(pem));
    let mut config = Config::default();
    for (name, value) in [
        ("mode", "peer"),
        ("transport/link/tls/listen_certificate_base64", &certificate),
        ("transport/link/tls/listen_private_key_base64", &key),
        (
            "transport/link/tls/root_ca_certificate_base64",
            &certificate,
        ),
    ] {
        config.insert_json5(name, &format!("{value:?}"))?;
    }
    config.insert_json5("scouting/multicast/enabled", "false")?;
    for other in ["listen", "connect"] {
        let endpoints = match other == side {
            true => format!("[{endpoint:?}]"),
            false => "[]".to_owned(),
        };
        config.insert_json5(&format!("{other}/endpoints"), &endpoints)?;
    }
    Ok(config)
}
