//! ROUTER and DEALER: by routing id, and nobody takes another's.

use std::time::Duration;

use withy::{ConnectError, Dealer, EventKind, Frame, Message, Router, SendError};

use crate::support::{ANY, Way, each_way, only, soon};

fn dealer(id: &str) -> Dealer {
    Dealer::builder().routing_id(id).build().unwrap()
}

#[tokio::test]
async fn messages_find_the_peer_that_the_first_frame_names() {
    for way in each_way("by-name") {
        by_name(&way).await;
    }
}

async fn by_name(way: &Way) {
    let router = way.server(Router::builder());
    let endpoint = router.bind_to(way.any()).await.unwrap();
    let dealers = ["a", "b", "c"].map(|id| way.client(Dealer::builder().routing_id(id)));
    for dealer in &dealers {
        dealer.connect_to(endpoint.clone()).unwrap();
        dealer.send("here").await.unwrap();
        soon(router.recv()).await.unwrap();
    }
    for id in ["c", "a", "b"] {
        router
            .send([id, "for", id].into_iter().collect::<Message>())
            .await
            .unwrap();
    }
    for (dealer, id) in dealers.iter().zip(["a", "b", "c"]) {
        assert_eq!(
            soon(dealer.recv()).await.unwrap(),
            ["for", id].into_iter().collect::<Message>()
        );
    }
    let unknown = router
        .send(["z", "x"].into_iter().collect::<Message>())
        .await;
    assert!(matches!(unknown, Err(SendError::Unroutable(message)) if message.len() == 2));
    assert!(matches!(
        router.send("bare").await,
        Err(SendError::NoIdentity(_))
    ));
}

#[tokio::test]
async fn a_second_peer_of_the_same_name_is_refused_and_the_first_stays() {
    let router = Router::bind(ANY).await.unwrap();
    let endpoint = only(router.endpoints());
    let mut monitor = router.monitor();
    let first = dealer("name");
    first.connect_to(endpoint.clone()).unwrap();
    first.send("first").await.unwrap();
    soon(router.recv()).await.unwrap();
    let second = dealer("name");
    second.connect_to(endpoint).unwrap();
    soon(async {
        while !matches!(
            monitor.next().await.map(|event| event.kind),
            Some(EventKind::HandshakeFailed { .. })
        ) {}
    })
    .await;
    router
        .send(["name", "hello"].into_iter().collect::<Message>())
        .await
        .unwrap();
    assert_eq!(soon(first.recv()).await.unwrap(), Message::from("hello"));
    drop(first);
    // The name is free again, and the second peer comes back by itself.
    second.send("second").await.unwrap();
    assert_eq!(
        soon(router.recv()).await.unwrap().part(1).unwrap(),
        "second"
    );
}

#[tokio::test]
async fn handover_gives_the_name_to_the_newcomer() {
    let router = Router::builder().handover().build().unwrap();
    let endpoint = router.bind_to(ANY).await.unwrap();
    let first = dealer("name");
    first.connect_to(endpoint.clone()).unwrap();
    first.send("first").await.unwrap();
    soon(router.recv()).await.unwrap();
    first.disconnect(&endpoint).unwrap();
    let second = dealer("name");
    second.connect_to(endpoint).unwrap();
    second.send("second").await.unwrap();
    soon(router.recv()).await.unwrap();
    router
        .send(["name", "yours"].into_iter().collect::<Message>())
        .await
        .unwrap();
    assert_eq!(soon(second.recv()).await.unwrap(), Message::from("yours"));
}

#[tokio::test]
async fn unroutable_messages_can_be_dropped_and_are_counted() {
    let router = Router::builder().drop_unroutable().build().unwrap();
    router.bind_to(ANY).await.unwrap();
    router
        .send(["nobody", "x"].into_iter().collect::<Message>())
        .await
        .unwrap();
    assert_eq!(router.stats().dropped, 1);
}

#[tokio::test]
async fn a_probe_tells_the_router_who_is_there() {
    let router = Router::bind(ANY).await.unwrap();
    let dealer = Dealer::builder()
        .routing_id("probe")
        .probe_router()
        .build()
        .unwrap();
    dealer.connect_to(only(router.endpoints())).unwrap();
    let probe = soon(router.recv_timeout(Duration::from_secs(5)))
        .await
        .unwrap();
    assert_eq!(probe, ["probe", ""].into_iter().collect::<Message>());
}

#[tokio::test]
async fn a_router_names_the_peer_that_it_connects_to() {
    for way in each_way("connect-as") {
        let listening = way.server(Router::builder());
        let endpoint = listening.bind_to(way.any()).await.unwrap();
        let router = way.client(Router::builder());
        router.connect_as(endpoint, "left").unwrap();
        soon(router.ready()).await.unwrap();
        router
            .send(Message::from_iter(["left", "hello"]))
            .await
            .unwrap();
        let got = soon(listening.recv()).await.unwrap();
        assert_eq!(got.part(1).unwrap(), "hello");
        listening
            .send(Message::from_iter([
                got.first().clone(),
                Frame::from("back"),
            ]))
            .await
            .unwrap();
        assert_eq!(
            soon(router.recv()).await.unwrap(),
            Message::from_iter(["left", "back"])
        );
    }
    for bad in [vec![], vec![0, 1], vec![1; 256]] {
        let refused = Router::new().connect_as("tcp://127.0.0.1:1", bad);
        assert!(matches!(refused, Err(ConnectError::RoutingId)));
    }
}
