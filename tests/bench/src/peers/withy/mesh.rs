//! Withy's nodes, which find each other in a directory or by multicast DNS, and the same work by plain
//! sockets that are told where to connect.
//!
//! A publisher of the bus drops for who has no room, as a plain one does by default. Both wait until what
//! they published is on its way before a subscriber's queue can be full, so that nothing is lost.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use withy::{Identity, Message, Node, Publisher, Subscriber, Trust};

use super::super::{Endless, Failure, runtime};
use super::{identity, message};
use crate::{
    job::{Job, Role, Transport},
    probe::{Body, Probe, Stage, Subscription, now},
};

/// What is published.
const TOPIC: &str = "bench/topic";
/// What is served.
const NAME: &str = "bench";
/// Messages between two waits; a queue has room for 1,000.
const BATCH: u64 = 256;

/// Plays a part on a node.
pub(super) fn play(job: &'static Job, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        match job.role {
            Role::NamedPublish => publish(job, probe).await,
            Role::NamedSubscribe => subscribe(job, probe).await,
            Role::Serve => serve(job, probe).await,
            Role::Call => call(job, probe).await,
            Role::Await => wait(job, probe).await,
            _ => appear(job).await,
        }
    })
}

/// Where nodes meet: a directory, or a port of multicast DNS that nobody else uses.
fn meeting(job: &Job) -> Result<String, Failure> {
    match job.transport {
        Transport::Ipc => Ok(job.endpoint.clone()),
        _ => Ok(UdpSocket::bind("0.0.0.0:0")?
            .local_addr()?
            .port()
            .to_string()),
    }
}

async fn node(meeting: &str) -> Result<Node, Failure> {
    // Another handle of the identity, and so another node each time.
    let identity = Identity::from_seed(&identity().expose_seed());
    let builder = Node::builder().identity(&identity).trust(&Trust::new());
    let builder = match meeting.strip_prefix("ipc://") {
        Some(directory) => builder.runtime_directory(directory),
        None => builder.without_host().lan().mdns_port(meeting.parse()?),
    };
    Ok(builder.build().await?)
}

async fn publish(job: &Job, probe: &'static Probe) -> Endless {
    let meeting = meeting(job)?;
    let publisher = node(&meeting).await?.publisher(TOPIC)?;
    probe.ready(&meeting);
    runtime::wait_for(probe, Stage::Flood).await?;
    publisher.wait_subscribed(job.lanes).await?;
    let mut body = Body::new(job.size);
    for number in 0.. {
        publisher.publish(body.numbered(number)).await?;
        if number % BATCH == 0 {
            publisher.flush().await;
        }
    }
    Err("out of numbers".into())
}

async fn subscribe(job: &Job, probe: &'static Probe) -> Endless {
    let node = node(&job.endpoint).await?;
    let mut tasks = JoinSet::new();
    for lane in 0..job.lanes {
        let subscriber = node.subscriber(TOPIC)?;
        tasks.spawn(async move {
            let mut lane = Subscription::new(probe, lane);
            loop {
                lane.delivered(&subscriber.recv().await?.body);
            }
        });
    }
    probe.ready("");
    runtime::first_failure(tasks).await
}

async fn serve(job: &Job, probe: &'static Probe) -> Endless {
    let meeting = meeting(job)?;
    let service = node(&meeting).await?.service(NAME)?;
    probe.ready(&meeting);
    loop {
        let mut request = service.recv().await?;
        let reply = request.take_message();
        // A client may be gone by now.
        let _ = request.reply(reply).await;
    }
}

async fn call(job: &Job, probe: &'static Probe) -> Endless {
    let client = node(&job.endpoint).await?.client(NAME)?;
    client.wait_instances(1).await?;
    let body = Body::new(job.size);
    loop {
        let start = Instant::now();
        client.request(message(body.bytes())).await?;
        probe.round_trip(start);
    }
}

async fn wait(job: &Job, probe: &'static Probe) -> Endless {
    let meeting = meeting(job)?;
    let subscriber = node(&meeting).await?.subscriber(TOPIC)?;
    probe.ready(&meeting);
    loop {
        probe.appeared(&subscriber.recv().await?.body);
    }
}

async fn appear(job: &Job) -> Endless {
    let mut body = Body::new(job.size);
    loop {
        let begun = now();
        let node = node(&job.endpoint).await?;
        let publisher = node.publisher(TOPIC)?;
        publisher.wait_subscribed(1).await?;
        publisher.publish(body.numbered(begun)).await?;
        publisher.flush().await;
        node.close(Duration::from_secs(1)).await;
    }
}

/// As [`publish`], by a socket.
pub(super) fn publish_by_endpoint(job: &'static Job, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        let socket = Publisher::builder().identity(identity()).build()?;
        probe.ready(&socket.bind_to(&job.endpoint[..]).await?.to_string());
        runtime::wait_for(probe, Stage::Flood).await?;
        socket.wait_subscribed(job.lanes).await?;
        let mut body = Body::new(job.size);
        for number in 0.. {
            let mut message = Message::from(TOPIC);
            message.push(body.numbered(number));
            socket.send(message).await?;
            if number % BATCH == 0 {
                socket.flush().await;
            }
        }
        Err("out of numbers".into())
    })
}

/// As [`subscribe`], by sockets.
pub(super) fn subscribe_by_endpoint(job: &'static Job, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        let mut tasks = JoinSet::new();
        for lane in 0..job.lanes {
            let socket = Subscriber::builder().identity(identity()).build()?;
            socket.connect_to(&job.endpoint[..])?;
            socket.subscribe(TOPIC);
            tasks.spawn(async move {
                let mut lane = Subscription::new(probe, lane);
                loop {
                    let message = socket.recv().await?;
                    lane.delivered(message.frames().last().ok_or("no frame")?);
                }
            });
        }
        probe.ready("");
        runtime::first_failure(tasks).await
    })
}
