//! PAIR: exactly one peer.

use withy::{EventKind, Message, Pair};

use crate::support::{Way, each_way, soon};

#[tokio::test]
async fn two_talk_both_ways_and_a_third_is_refused() {
    for way in each_way("pair") {
        exactly_two(&way).await;
    }
}

async fn exactly_two(way: &Way) {
    let bound = way.server(Pair::builder());
    let mut monitor = bound.monitor();
    let endpoint = bound.bind_to(way.any()).await.unwrap();
    let [connected, third] = [(); 2].map(|()| way.client(Pair::builder()));
    connected.connect_to(endpoint.clone()).unwrap();
    connected.send("ping").await.unwrap();
    assert_eq!(soon(bound.recv()).await.unwrap(), Message::from("ping"));
    third.connect_to(endpoint).unwrap();
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
