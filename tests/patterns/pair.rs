//! PAIR: exactly one peer.

use withy::{EventKind, Message, Pair};

use crate::support::{ANY, only, soon};

#[tokio::test]
async fn two_talk_both_ways_and_a_third_is_refused() {
    let bound = Pair::bind(ANY).await.unwrap();
    let mut monitor = bound.monitor();
    let connected = Pair::connect(only(bound.endpoints())).unwrap();
    connected.send("ping").await.unwrap();
    assert_eq!(soon(bound.recv()).await.unwrap(), Message::from("ping"));
    let third = Pair::connect(only(bound.endpoints())).unwrap();
    soon(async {
        while !matches!(
            monitor.next().await.map(|event| event.kind),
            Some(EventKind::HandshakeFailed { .. })
        ) {}
    })
    .await;
    bound.send("pong").await.unwrap();
    assert_eq!(soon(connected.recv()).await.unwrap(), Message::from("pong"));
    drop(third);
}
