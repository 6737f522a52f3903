//! zenoh: a publisher and a subscriber for PUSH and PULL, a query for a request, between two peers
//! without discovery.
//!
//! Defaults throughout, but a publisher that blocks rather than drops. In rows with NOISE it uses
//! QUIC, its fastest encryption.

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

/// zenoh.
#[derive(Debug)]
pub(super) struct Zenoh;

impl Peer for Zenoh {
    fn name(&self) -> &'static str {
        "zenoh"
    }

    fn version(&self) -> String {
        concat!(env!("VERSION_ZENOH"), ", in rows with NOISE over QUIC").to_owned()
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let part = matches!(job.role, Role::Pull | Role::Push | Role::Rep | Role::Req);
        match (job.transport, job.seal) {
            (Transport::Tcp, Seal::Clear | Seal::Noise) if part && job.lanes == 1 => Ok(()),
            (Transport::Quic, _) if part && job.lanes == 1 => Ok(()),
            _ => Err("-"),
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            let (session, endpoint) = bound(job).await?;
            let _subscriber = session
                .declare_subscriber(KEY)
                .callback(|_| probe.pulled(&[]))
                .await?;
            probe.ready(&endpoint);
            std::future::pending().await
        })
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        runtime::run(async move {
            let session = connected(job).await?;
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
        runtime::run(async move {
            let (session, endpoint) = bound(job).await?;
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
        runtime::run(async move {
            let session = connected(job).await?;
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

async fn bound(job: &Job) -> Result<(Session, String), Failure> {
    // It does not tell which port it was given.
    let port = match is_quic(job) {
        true => UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port(),
        false => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
    };
    let endpoint = format!("{}/127.0.0.1:{port}", scheme(job));
    let session = ::zenoh::open(config("listen", &endpoint)?).await?;
    Ok((session, endpoint))
}

async fn connected(job: &Job) -> Result<Session, Failure> {
    ::zenoh::open(config("connect", &job.endpoint)?).await
}

fn is_quic(job: &Job) -> bool {
    job.transport == Transport::Quic || job.seal == Seal::Noise
}

fn scheme(job: &Job) -> &'static str {
    match is_quic(job) {
        true => "quic",
        false => "tcp",
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
