//! zenoh's publisher and subscribers of the rows by name, and peers that begin and are found by
//! multicast.

use std::net::UdpSocket;
use std::time::Duration;

use ::zenoh::qos::CongestionControl;
use ::zenoh::{Config, Session};

use super::super::{Endless, Failure, runtime};
use super::{KEY, Sealing, Zenoh, config};
use crate::{
    job::{Job, Role},
    probe::{Body, Probe, Stage, Subscription, now},
};

/// How often a publisher looks whether somebody subscribed.
const LOOK: Duration = Duration::from_micros(500);

impl Zenoh {
    /// Plays what is no request and no reply.
    pub(super) async fn play(self, job: &'static Job, probe: &'static Probe) -> Endless {
        match job.role {
            Role::NamedPublish => self.publish(job, probe).await,
            Role::NamedSubscribe => self.subscribe(job, probe).await,
            Role::Await => self.wait(probe).await,
            _ => self.appear(job).await,
        }
    }

    async fn publish(self, job: &Job, probe: &'static Probe) -> Endless {
        let (session, endpoint) = self.bound(job).await?;
        let publisher = session
            .declare_publisher(KEY)
            .congestion_control(CongestionControl::Block)
            .await?;
        probe.ready(&endpoint);
        runtime::wait_for(probe, Stage::Flood).await?;
        let mut body = Body::new(job.size);
        for number in 0.. {
            publisher.put(body.numbered(number)).await?;
        }
        Err("out of numbers".into())
    }

    /// A session for each subscriber, as there is a connection for each elsewhere.
    async fn subscribe(self, job: &Job, probe: &'static Probe) -> Endless {
        let mut all = Vec::new();
        for lane in 0..job.lanes {
            let session = self.connected(job).await?;
            let mut lane = Subscription::new(probe, lane);
            let subscriber = session
                .declare_subscriber(KEY)
                .callback_mut(move |sample| lane.delivered(&sample.payload().to_bytes()))
                .await?;
            all.push((subscriber, session));
        }
        probe.ready("");
        std::future::pending().await
    }

    /// A peer that looks for others by multicast, at a port of its own.
    async fn scouting(self, port: &str) -> Result<Session, Failure> {
        let mut config = match self.0 {
            Sealing::AsAsked => config("listen", "quic/127.0.0.1:0")?,
            Sealing::Never => Config::default(),
        };
        for (name, value) in [
            ("mode", "peer"),
            ("scouting/multicast/address", &format!("224.0.0.224:{port}")),
        ] {
            config.insert_json5(name, &format!("{value:?}"))?;
        }
        config.insert_json5("scouting/multicast/enabled", "true")?;
        ::zenoh::open(config).await
    }

    async fn wait(self, probe: &'static Probe) -> Endless {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let port = socket.local_addr()?.port().to_string();
        drop(socket);
        let session = self.scouting(&port).await?;
        let _subscriber = session
            .declare_subscriber(KEY)
            .callback(|sample| probe.appeared(&sample.payload().to_bytes()))
            .await?;
        probe.ready(&port);
        std::future::pending().await
    }

    async fn appear(self, job: &Job) -> Endless {
        let mut body = Body::new(job.size);
        loop {
            let begun = now();
            let session = self.scouting(&job.endpoint).await?;
            let publisher = session
                .declare_publisher(KEY)
                .congestion_control(CongestionControl::Block)
                .await?;
            while !publisher.matching_status().await?.matching() {
                tokio::time::sleep(LOOK).await;
            }
            publisher.put(body.numbered(begun)).await?;
            session.close().await?;
        }
    }
}
