//! What a node offers in all patterns, and what somebody who may be a stranger tries of it.

use std::time::Duration;

use withy::Node;
use withy::node::PeerTag;
use withy::node::queue::ProducerOptions;

use crate::node::say;

/// What who tries gets, of what is offered, where he may.
pub(crate) const GOT: [&str; 7] = ["topic", "reply", "push", "pull", "accepted", "job", "pair"];

/// What who offers takes from him.
pub(crate) const TAKEN: [&str; 3] = ["request", "work", "shout"];

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Offers everything under a name, and says what was taken from whom.
pub(crate) async fn offer_all(node: Node, name: String) {
    let took = |what: &str, from: &str| say(&format!("took {what} from {from}"));
    let publisher = node.publisher(&name).unwrap();
    let service = node.service(&name).unwrap();
    let (push, pull) = (
        node.push(&name).unwrap(),
        node.pull(format!("{name}/work")).unwrap(),
    );
    let (producer, pair) = (node.producer(&name).unwrap(), node.pair(&name).unwrap());
    let group = node.join(&name).unwrap();
    say("offers");
    let publishes = async {
        loop {
            publisher.publish("secret").await.unwrap();
            // A queue is full sooner or later.
            let _ = tokio::time::timeout(PAUSE, producer.put("secret")).await;
            let _ = push.try_send("secret");
            let _ = pair.try_send("secret");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let serves = async {
        while let Ok(mut request) = service.recv().await {
            let message = request.take_message();
            took("request", message.first().as_str().unwrap());
            let _ = request.reply("secret").await;
        }
    };
    let pulls = async {
        while let Ok(message) = pull.recv().await {
            took("work", message.first().as_str().unwrap());
        }
    };
    let listens = async {
        while let Ok(heard) = group.recv().await {
            took("shout", heard.message.first().as_str().unwrap());
        }
    };
    tokio::join!(publishes, serves, pulls, listens);
}

/// Tries all of it again and again, and says what came of it. What it says to others is who it is.
pub(crate) async fn try_all(node: Node, name: String) {
    let tag: PeerTag = node.tag();
    let own = tag.to_string();
    let only_puts = ProducerOptions {
        keep: None,
        ..ProducerOptions::default()
    };
    let got = |what: &str| say(&format!("got {what}"));
    let subscriber = node.subscriber("#").unwrap();
    let client = node.client(&name).unwrap();
    let push = node.push(format!("{name}/work")).unwrap();
    let pull = node.pull(&name).unwrap();
    let producer = node.producer_with(&name, only_puts).unwrap();
    let worker = node.worker(&name).unwrap();
    let pair = node.pair(&name).unwrap();
    let group = node.join(&name).unwrap();
    say("tries");
    let hears = async {
        while let Ok(publication) = subscriber.recv().await {
            // Its own it hears in any case.
            if publication.topic.as_str() == name {
                got("topic");
            }
        }
    };
    let asks = async {
        loop {
            if client.request(&*own).await.is_ok() {
                got("reply");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let pushes = async {
        while push.send(&*own).await.is_ok() {
            got("push");
            group.shout(&*own);
            tokio::time::sleep(PAUSE).await;
        }
    };
    let pulls = async {
        while pull.recv().await.is_ok() {
            got("pull");
        }
    };
    let puts = async {
        while producer.put(&*own).await.is_ok() {
            got("accepted");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let works = async {
        while let Ok(job) = worker.recv().await {
            let _ = job.ack();
            got("job");
        }
    };
    let plays = async {
        while pair.recv().await.is_ok() {
            got("pair");
        }
    };
    tokio::join!(hears, asks, pushes, pulls, puts, works, plays);
}
