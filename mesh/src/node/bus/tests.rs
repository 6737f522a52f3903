//! What is said about messages, and what comes of it.

use std::time::{Duration, Instant};

use withy_proto::bus::{Priority, Publication};

use super::super::tests::{User, soon};
use super::BusSubscriber;
use crate::error::Closed;

fn message(body: &str, level: u8, expiry: Option<Duration>) -> Publication {
    let mut publication = Publication::new("home/a".parse().unwrap(), body.to_owned());
    publication.header.priority = Priority::new(level).unwrap();
    publication.header.expiry = expiry;
    publication
}

async fn wait_unread(subscriber: &BusSubscriber, messages: u64) {
    soon(async {
        while subscriber.stats().unread < messages {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_received_by_priority_as_long_as_it_lives() {
    let user = User::new();
    let (kitchen, screen) = (user.node_apart().await, user.node_apart().await);
    let subscriber = screen.subscriber("home/#").unwrap();
    let publisher = kitchen.publisher("home/a").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    // One handle waits already when messages with priorities begin to come.
    let second = subscriber.clone();
    let waits = tokio::spawn(async move { soon(second.recv()).await.unwrap().body });
    publisher.send(message("first", 1, None)).await.unwrap();
    assert_eq!(waits.await.unwrap(), "first");
    for number in 0..20 {
        let sent = message(&number.to_string(), number % 2 * 9, None);
        publisher.send(sent).await.unwrap();
    }
    wait_unread(&subscriber, 20).await;
    let urgent = (0..20).filter(|number| number % 2 == 1);
    for number in urgent.chain((0..20).filter(|number| number % 2 == 0)) {
        let received = soon(subscriber.recv()).await.unwrap();
        assert_eq!(received.body, number.to_string().as_str());
    }
    let life = Duration::from_millis(20);
    for sent in [message("old", 4, Some(life)), message("lasts", 0, None)] {
        publisher.send(sent).await.unwrap();
    }
    wait_unread(&subscriber, 2).await;
    let since = Instant::now();
    while since.elapsed() < life {
        tokio::task::yield_now().await;
    }
    assert_eq!(subscriber.stats().expired, 0);
    let left = soon(subscriber.recv()).await.unwrap();
    assert_eq!(left.body, "lasts");
    assert_eq!(
        (subscriber.stats().expired, subscriber.stats().unread),
        (1, 0)
    );
}

#[tokio::test]
async fn a_publisher_hears_of_its_first_subscriber_and_of_its_last() {
    let user = User::new();
    let (kitchen, screen) = (user.node_apart().await, user.node_apart().await);
    let publisher = kitchen.publisher("home/+/temp").unwrap();
    let mut matching = publisher.matching();
    assert!(!matching.is_matching());
    // Wanted is another publisher of the node, and something of this one twice.
    let other = kitchen.publisher("garden").unwrap();
    let _elsewhere = screen.subscriber("garden").unwrap();
    soon(other.wait_subscribed(1)).await.unwrap();
    let first = screen.subscriber("home/#").unwrap();
    assert_eq!(soon(matching.changed()).await, Ok(1));
    let second = kitchen.subscriber("+/hall/+").unwrap();
    // A cancelled call takes nothing away.
    {
        let mut cancelled = std::pin::pin!(matching.changed());
        tokio::select! {
            biased;
            _ = &mut cancelled => {}
            () = std::future::ready(()) => {}
        }
    }
    soon(async {
        while matching.subscribers() < 2 {
            let _ = matching.changed().await;
        }
    })
    .await;
    // One that is made later knows of them all the same.
    let mut later = publisher.matching();
    assert_eq!(later.subscribers(), 2);
    drop(second);
    assert_eq!(soon(matching.changed()).await, Ok(1));
    drop(first);
    assert_eq!(soon(matching.changed()).await, Ok(0));
    assert!(!matching.is_matching() && !later.is_matching());
    // It can come back, with a whole node that then leaves.
    let hall = user.node_apart().await;
    let _third = hall.subscriber("home/hall/temp").unwrap();
    assert_eq!(soon(matching.changed()).await, Ok(1));
    hall.close(Duration::from_secs(1)).await;
    assert_eq!(soon(matching.changed()).await, Ok(0));
    let closes = kitchen.close(Duration::from_secs(1));
    let (told, ()) = tokio::join!(soon(matching.changed()), closes);
    assert_eq!(told, Err(Closed));
}
