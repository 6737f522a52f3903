//! INVERT_MATCHING: a subscriber gets what it did not ask for, where both sides say so.

use withy::{Message, Publisher, Subscriber, XPub};

use crate::support::{each_way, soon};

async fn gets(subscriber: &Subscriber, wanted: &[&str]) {
    for wanted in wanted {
        let got = soon(subscriber.recv()).await.unwrap();
        assert_eq!(got, Message::from(*wanted));
    }
}

#[tokio::test]
async fn both_sides_inverted_pass_what_was_not_subscribed() {
    for way in each_way("inverted") {
        let publisher = way.server(Publisher::builder().invert_matching());
        let endpoint = publisher.bind_to(way.any()).await.unwrap();
        let subscriber = way.client(Subscriber::builder().invert_matching());
        subscriber.connect_to(endpoint).unwrap();
        subscriber.subscribe("a");
        subscriber.subscribe("bc");
        soon(publisher.wait_subscribed(2)).await.unwrap();
        for topic in ["a1", "b1", "bc1", "c1", "", "a2", "b2"] {
            publisher.send(topic).await.unwrap();
        }
        gets(&subscriber, &["b1", "c1", "", "b2"]).await;
        assert_eq!(publisher.stats().sent, 4, "the publisher filters");
        assert_eq!(subscriber.stats().discarded, 0);
    }
}

#[tokio::test]
async fn an_inverted_xpub_leaves_a_plain_subscriber_nothing() {
    let xpub = XPub::builder().invert_matching().build().unwrap();
    let endpoint = xpub.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let plain = Subscriber::connect(endpoint.clone()).unwrap();
    plain.subscribe("a");
    soon(xpub.wait_subscribed(1)).await.unwrap();
    xpub.send("a1").await.unwrap();
    xpub.send("b1").await.unwrap();
    assert_eq!(xpub.stats().sent, 1);
    // Its own filter takes the rest.
    soon(async {
        while plain.stats().discarded < 1 {
            assert!(plain.try_recv().is_err());
            tokio::task::yield_now().await;
        }
    })
    .await;
}
