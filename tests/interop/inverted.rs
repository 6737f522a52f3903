//! INVERT_MATCHING on both sides of a link with libzmq.

use std::time::Duration;

use serde_json::json;
use withy::{Message, Publisher, Subscriber};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_sub_gets_of_our_publisher_what_it_did_not_subscribe() {
    let peer = Peer::start();
    let publisher = Publisher::builder().invert_matching().build().unwrap();
    let endpoint = publisher.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let options = [("INVERT_MATCHING", json!(1))];
    let sub = peer.socket("SUB", &options).await.unwrap();
    sub.subscribe(b"a").await.unwrap();
    sub.connect(&endpoint.to_string()).await.unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    for topic in ["a1", "b1", "a2", "b2"] {
        publisher.send(topic).await.unwrap();
    }
    for wanted in ["b1", "b2"] {
        let got = sub.recv(SOON).await.unwrap().unwrap();
        assert_eq!(got, [wanted.as_bytes()]);
    }
    assert_eq!(publisher.stats().sent, 2);
}

#[tokio::test]
async fn our_subscriber_gets_of_a_pub_what_it_did_not_subscribe() {
    let peer = Peer::start();
    let options = [("INVERT_MATCHING", json!(1))];
    let publisher = peer.socket("PUB", &options).await.unwrap();
    let endpoint = publisher.bind("tcp://127.0.0.1:*").await.unwrap();
    let subscriber = Subscriber::builder().invert_matching().build().unwrap();
    subscriber.subscribe("a");
    subscriber.connect_to(endpoint.as_str()).unwrap();
    soon(subscriber.ready()).await.unwrap();
    // A PUB does not say when it has a peer: probe until one comes.
    let brief = Duration::from_millis(20);
    soon(async {
        loop {
            publisher.send(&[b"probe"]).await.unwrap();
            if subscriber.recv_timeout(brief).await.is_ok() {
                return;
            }
        }
    })
    .await;
    for topic in [b"a1", b"b1"] {
        publisher.send(&[topic]).await.unwrap();
    }
    let got = soon(async {
        loop {
            let got = subscriber.recv().await.unwrap();
            if got != Message::from("probe") {
                return got;
            }
        }
    })
    .await;
    assert_eq!(got, Message::from("b1"));
}
