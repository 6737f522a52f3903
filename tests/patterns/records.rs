//! Frames in records, as a mechanism that seals many frames at once sends them: the same sockets,
//! the same path, here with a cipher that does nothing.

use withy::{Frame, Message, Publisher, Pull, Push, Rep, Req, Subscriber};

use crate::support::{number, number_of, soon};

const ANY: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];

#[tokio::test]
async fn messages_arrive_whole_and_in_order() {
    for any in ANY {
        let pull = Pull::builder().null_in_records().build().unwrap();
        let endpoint = pull.bind_to(any).await.unwrap();
        let push = Push::builder().null_in_records().build().unwrap();
        push.connect_to(endpoint).unwrap();
        let sizes = [0, 1, 71, 9_000, 65_519, 65_520, 200_000, 3 << 20];
        let message = move |n: usize| {
            let body = vec![n as u8; sizes[n % sizes.len()]];
            Message::from_frames(vec![Frame::from(n.to_string()), Frame::from(body)])
        };
        let sender = tokio::spawn(async move {
            for n in 0..50_000 {
                push.send(number(n)).await.unwrap();
            }
            for n in 0..80 {
                push.send(message(n)).await.unwrap();
            }
            assert_eq!(push.close().await, 0);
        });
        for n in 0..50_000 {
            assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
        }
        for n in 0..80 {
            assert!(
                soon(pull.recv()).await.unwrap() == message(n),
                "message {n}"
            );
        }
        soon(sender).await.unwrap();
    }
}

/// A receiver at its high-water mark leaves records half read, and goes on where it was.
#[tokio::test]
async fn a_slow_receiver_loses_nothing() {
    let pull = Pull::builder().null_in_records().build().unwrap();
    let endpoint = pull.bind_to(ANY[0]).await.unwrap();
    let push = Push::builder().null_in_records().build().unwrap();
    push.connect_to(endpoint).unwrap();
    let mut sent = 0;
    // Until nothing fits anywhere: the watch has read what it may, the link is full.
    let full = std::time::Duration::from_millis(300);
    while let Ok(Ok(())) = tokio::time::timeout(full, push.send(number(sent))).await {
        sent += 1;
    }
    assert!(sent > 1_000, "{sent}");
    for n in 0..sent {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
}

#[tokio::test]
async fn requests_and_fan_out_pass() {
    let rep = Rep::builder().null_in_records().build().unwrap();
    let endpoint = rep.bind_to(ANY[0]).await.unwrap();
    let req = Req::builder().null_in_records().build().unwrap();
    req.connect_to(endpoint).unwrap();
    for n in 0..100 {
        let answering = async {
            let mut request = rep.recv().await.unwrap();
            let reply = request.take_message();
            request.reply(reply).await.unwrap();
        };
        let (reply, ()) = soon(async { tokio::join!(req.request(number(n)), answering) }).await;
        assert_eq!(number_of(&reply.unwrap()), n);
    }
    let publisher = Publisher::builder().null_in_records().build().unwrap();
    let endpoint = publisher.bind_to(ANY[0]).await.unwrap();
    let subscribers = [0; 3].map(|_| {
        let subscriber = Subscriber::builder().null_in_records().build().unwrap();
        subscriber.subscribe("");
        subscriber.connect_to(endpoint.clone()).unwrap();
        subscriber
    });
    soon(publisher.wait_subscribed(3)).await.unwrap();
    for n in 0..500 {
        publisher.send(number(n)).await.unwrap();
    }
    for subscriber in &subscribers {
        for n in 0..500 {
            assert_eq!(number_of(&soon(subscriber.recv()).await.unwrap()), n);
        }
    }
}
