//! Inside a process a body is handed over, not copied.

use bytes::Bytes;
use withy::{Frame, Message, Publisher, Pull, Push, Subscriber};

use crate::support::soon;

const LARGE: usize = 1 << 20;

#[tokio::test]
async fn a_large_body_stays_where_it_is() {
    let body = Bytes::from(vec![7; LARGE]);
    let place = body.as_ptr();
    let pull = Pull::bind("inproc://by reference").await.unwrap();
    let push = Push::connect("inproc://by reference").unwrap();
    let mut message = Message::from("head");
    message.push(Frame::from(body));
    push.send(message).await.unwrap();
    let got = soon(pull.recv()).await.unwrap();
    assert_eq!(got.part(1).unwrap().as_slice().as_ptr(), place);
}

#[tokio::test]
async fn subscribers_share_one_body() {
    let body = Bytes::from(vec![7; LARGE]);
    let place = body.as_ptr();
    let publisher = Publisher::bind("inproc://shared body").await.unwrap();
    let subscribers: Vec<_> = (0..3)
        .map(|_| {
            let subscriber = Subscriber::connect("inproc://shared body").unwrap();
            subscriber.subscribe("");
            subscriber
        })
        .collect();
    soon(publisher.wait_subscribed(3)).await.unwrap();
    publisher
        .send(Message::from(Frame::from(body)))
        .await
        .unwrap();
    for subscriber in &subscribers {
        let got = soon(subscriber.recv()).await.unwrap();
        assert_eq!(got.first().as_slice().as_ptr(), place);
    }
}
