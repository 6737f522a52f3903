//! A socket as a stream and as a sink: who is woken when, and how they end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use futures_sink::Sink;
use withy::socket::{Messages, Outlet};
use withy::{Message, Pull, Push, SendError};

use crate::support::{each_way, number, number_of, soon};

async fn next(stream: &mut Messages<Pull>) -> Option<Message> {
    soon(poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx))).await
}

async fn ready(sink: &mut Outlet<Push>) -> Result<(), SendError> {
    poll_fn(|cx| Pin::new(&mut *sink).poll_ready(cx)).await
}

async fn flush(sink: &mut Outlet<Push>) -> Result<(), SendError> {
    soon(poll_fn(|cx| Pin::new(&mut *sink).poll_flush(cx))).await
}

async fn is_ready(sink: &mut Outlet<Push>) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *sink).poll_ready(cx).is_ready())).await
}

#[tokio::test]
async fn a_stream_is_woken_by_messages_and_ends_when_the_socket_closes() {
    for way in each_way("stream") {
        let pull = way.server(Pull::builder());
        let endpoint = pull.bind_to(way.any()).await.unwrap();
        let push = way.client(Push::builder());
        push.connect_to(endpoint).unwrap();
        let mut stream = pull.stream();
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(message) = next(&mut stream).await {
                got.push(number_of(&message));
            }
            got
        });
        for n in 0..100 {
            push.send(number(n)).await.unwrap();
            tokio::task::yield_now().await;
        }
        soon(async {
            while pull.stats().received < 100 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The stream waits by now, and nothing but the close wakes it.
        pull.close().await;
        let got = soon(reader).await.unwrap();
        assert!(got.into_iter().eq(0..100));
    }
}

#[tokio::test]
async fn a_sink_holds_one_message_back_until_there_is_room() {
    let push = Push::builder().send_high_water_mark(1).build().unwrap();
    // Nobody is there yet: one message waits, no more.
    push.connect_to("inproc://sink").unwrap();
    let mut sink = push.sink();
    for n in 0..2 {
        ready(&mut sink).await.unwrap();
        Pin::new(&mut sink).start_send(number(n)).unwrap();
    }
    assert!(!is_ready(&mut sink).await);
    let waiting = tokio::spawn(async move {
        ready(&mut sink).await.unwrap();
        sink
    });
    tokio::task::yield_now().await;
    let pull = Pull::bind("inproc://sink").await.unwrap();
    let mut sink = soon(waiting).await.unwrap();
    Pin::new(&mut sink).start_send(number(2)).unwrap();
    let reading = async {
        for n in 0..3 {
            assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
        }
    };
    let (flushed, ()) = tokio::join!(flush(&mut sink), reading);
    flushed.unwrap();
    assert_eq!(push.stats().queued, 0);
    // Closing the sink leaves the socket open.
    soon(poll_fn(|cx| Pin::new(&mut sink).poll_close(cx)))
        .await
        .unwrap();
    push.send(number(3)).await.unwrap();
    assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), 3);
}

#[tokio::test]
async fn a_sink_that_waits_gets_its_message_back_when_the_socket_closes() {
    let push = Push::builder()
        .send_high_water_mark(1)
        .linger(std::time::Duration::ZERO)
        .build()
        .unwrap();
    push.connect_to("inproc://sink that closes").unwrap();
    let mut sink = push.sink();
    for n in 0..2 {
        ready(&mut sink).await.unwrap();
        Pin::new(&mut sink).start_send(number(n)).unwrap();
    }
    assert!(!is_ready(&mut sink).await);
    let waiting = tokio::spawn(async move { ready(&mut sink).await });
    tokio::task::yield_now().await;
    assert_eq!(push.close().await, 1);
    let back = soon(waiting).await.unwrap();
    assert!(matches!(back, Err(SendError::Closed(message)) if number_of(&message) == 1));
}
