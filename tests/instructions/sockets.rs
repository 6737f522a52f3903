//! Rows with sockets: both ends in this process, on a runtime of one thread.

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use withy::options::Overflow;
use withy::{Message, Node, Publisher, Pull, Push, Rep, Req, Subscriber, Trust};

use crate::Failure;
use crate::callgrind::counted;
use crate::link::{Link, identity};

/// What is published by name.
const TOPIC: &str = "counted/topic";

/// A publisher by name drops for who has no room: before a queue is full, it waits.
const BATCH: u64 = 256;

fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Ok(runtime?)
}

/// Lets `messages` pass, of which those before are not counted that find caches and buffers as new.
fn count(
    runtime: &Runtime,
    messages: u64,
    mut pass: impl AsyncFnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    runtime.block_on(pass(messages.div_ceil(4)))?;
    let mut result = Ok(());
    counted(&mut || result = runtime.block_on(pass(messages)));
    result
}

fn body(size: usize) -> Vec<u8> {
    vec![7; size]
}

/// The end of all tasks.
async fn all_done(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

pub(crate) fn push_pull(link: Link, size: usize, messages: u64) -> Result<(), Failure> {
    many_push(link, size, 1, messages)
}

/// Some PUSH to one PULL.
pub(crate) fn many_push(
    link: Link,
    size: usize,
    pushers: usize,
    messages: u64,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let (pull, pushers) = runtime.block_on(async {
        let pull = link.server(Pull::builder()).build()?;
        let endpoint = pull.bind_to(link.endpoint()).await?;
        let mut sockets = Vec::new();
        for _ in 0..pushers {
            let push = link.client(Push::builder()).build()?;
            push.connect_to(&endpoint)?;
            push.ready().await?;
            sockets.push(push);
        }
        Ok::<_, Failure>((pull, sockets))
    })?;
    count(&runtime, messages, async |messages| {
        let each = messages / pushers.len() as u64;
        let mut tasks = JoinSet::new();
        for push in &pushers {
            let (push, body) = (push.clone(), body(size));
            tasks.spawn(async move {
                for _ in 0..each {
                    push.send(Message::from(&body[..])).await?;
                }
                Ok(())
            });
        }
        for _ in 0..each * pushers.len() as u64 {
            pull.recv().await?;
        }
        all_done(tasks).await
    })
}

pub(crate) fn req_rep(link: Link, size: usize, messages: u64) -> Result<(), Failure> {
    let runtime = runtime()?;
    let req = runtime.block_on(async {
        let (req, endpoint) = (link.client(Req::builder()).build()?, echo(link).await?);
        req.connect_to(&endpoint[..])?;
        Ok::<_, Failure>(req)
    })?;
    let body = body(size);
    count(&runtime, messages, async |messages| {
        for _ in 0..messages {
            req.request(Message::from(&body[..])).await?;
        }
        Ok(())
    })
}

/// Connections one after the other: a handshake, a round trip, and the end.
pub(crate) fn connect(link: Link, size: usize, connections: u64) -> Result<(), Failure> {
    let runtime = runtime()?;
    let endpoint = runtime.block_on(echo(link))?;
    let body = body(size);
    count(&runtime, connections, async |connections| {
        for _ in 0..connections {
            let req = link.client(Req::builder()).build()?;
            req.connect_to(&endpoint[..])?;
            req.request(Message::from(&body[..])).await?;
            req.close().await;
        }
        Ok(())
    })
}

/// A REP that sends back what it gets, for as long as the runtime lives. Where it is.
async fn echo(link: Link) -> Result<String, Failure> {
    let rep = link.server(Rep::builder()).build()?;
    let endpoint = rep.bind_to(link.endpoint()).await?.to_string();
    tokio::spawn(async move {
        while let Ok(mut request) = rep.recv().await {
            let reply = request.take_message();
            // A client may be gone by now.
            let _ = request.reply(reply).await;
        }
    });
    Ok(endpoint)
}

pub(crate) fn pub_sub(
    link: Link,
    size: usize,
    subscribers: usize,
    messages: u64,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let (publisher, subscribers) = runtime.block_on(async {
        let publisher = Publisher::builder().overflow(Overflow::Block);
        let publisher = link.server(publisher).build()?;
        let endpoint = publisher.bind_to(link.endpoint()).await?;
        let mut sockets = Vec::new();
        for _ in 0..subscribers {
            let subscriber = link.client(Subscriber::builder()).build()?;
            subscriber.connect_to(&endpoint)?;
            subscriber.subscribe("");
            sockets.push(subscriber);
        }
        publisher.wait_subscribed(subscribers).await?;
        Ok::<_, Failure>((publisher, sockets))
    })?;
    count(&runtime, messages, async |messages| {
        let mut tasks = JoinSet::new();
        for subscriber in &subscribers {
            let subscriber = subscriber.clone();
            tasks.spawn(async move {
                for _ in 0..messages {
                    subscriber.recv().await?;
                }
                Ok(())
            });
        }
        let body = body(size);
        for _ in 0..messages {
            publisher.send(Message::from(&body[..])).await?;
        }
        all_done(tasks).await
    })
}

/// As [`pub_sub`], by name: a node that publishes, and one with the subscribers.
pub(crate) fn by_name(size: usize, subscribers: usize, messages: u64) -> Result<(), Failure> {
    let runtime = runtime()?;
    let directory = tempfile::tempdir()?;
    let node = async || {
        // Another handle of the identity, and so another node each time.
        let identity = withy::Identity::from_seed(&identity().expose_seed());
        let builder = Node::builder().identity(&identity).trust(&Trust::new());
        builder
            .runtime_directory(directory.path().join("run"))
            .build()
            .await
    };
    let (publisher, subscribers, _subscribing) = runtime.block_on(async {
        let publisher = node().await?.publisher(TOPIC)?;
        let subscribing = node().await?;
        let mut sockets = Vec::new();
        for _ in 0..subscribers {
            sockets.push(subscribing.subscriber(TOPIC)?);
        }
        publisher.wait_subscribed(subscribers).await?;
        Ok::<_, Failure>((publisher, sockets, subscribing))
    })?;
    count(&runtime, messages, async |messages| {
        let mut tasks = JoinSet::new();
        for subscriber in &subscribers {
            let subscriber = subscriber.clone();
            tasks.spawn(async move {
                for _ in 0..messages {
                    subscriber.recv().await?;
                }
                Ok(())
            });
        }
        let body = body(size);
        for number in 0..messages {
            publisher.publish(&body[..]).await?;
            if number % BATCH == 0 {
                publisher.flush().await;
                tokio::task::yield_now().await;
            }
        }
        publisher.flush().await;
        all_done(tasks).await
    })
}
