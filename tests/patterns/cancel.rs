//! Every send and receive future, dropped after k polls for all small k: nothing is lost, doubled
//! or torn.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use withy::{Pull, Push, Rep, Req};

use crate::support::{ANY, number, number_of, only, soon};

/// Polls a future up to `polls` times and drops it; its output, if it was ready by then.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for at in 0..polls {
        let mut result = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                result = Some(value);
            }
            Poll::Ready(())
        })
        .await;
        if result.is_some() {
            return result;
        }
        if at + 1 < polls {
            tokio::task::yield_now().await;
        }
    }
    None
}

#[tokio::test]
async fn sends_and_receives_that_are_dropped_lose_and_double_nothing() {
    for mark in [3, 100, 1_000] {
        let pull = Pull::bind(ANY).await.unwrap();
        let push = Push::builder().send_high_water_mark(mark).build().unwrap();
        push.connect_to(only(pull.endpoints())).unwrap();
        let count = 20_000;
        let sender = tokio::spawn(async move {
            let mut n = 0;
            let mut polls = 0;
            let pad = vec![0; 3_000];
            while n < count {
                polls = (polls + 1) % 5;
                let mut message = number(n);
                message.push(pad.clone());
                match polled(push.send(message), polls).await {
                    Some(result) => {
                        result.unwrap();
                        n += 1;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
            assert_eq!(push.close().await, 0);
        });
        let mut expected = 0;
        let mut polls = 0;
        soon(async {
            while expected < count {
                polls = (polls + 1) % 4;
                match polled(pull.recv(), polls).await {
                    Some(message) => {
                        let message = message.unwrap();
                        assert_eq!(number_of(&message), expected);
                        assert_eq!(message.len(), 2);
                        expected += 1;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        soon(sender).await.unwrap();
    }
}

#[tokio::test]
async fn requests_that_are_dropped_leave_the_socket_free() {
    let rep = Rep::bind(ANY).await.unwrap();
    let req = Req::connect(only(rep.endpoints())).unwrap();
    let server = tokio::spawn(async move {
        while let Ok(request) = rep.recv().await {
            let reply = request.message().clone();
            let _ = request.reply(reply).await;
        }
    });
    for n in 0..2_000 {
        let polls = (n % 6) as usize;
        if let Some(reply) = polled(req.request(number(n)), polls).await {
            assert_eq!(number_of(&reply.unwrap()), n);
        }
    }
    assert_eq!(number_of(&soon(req.request(number(7))).await.unwrap()), 7);
    server.abort();
}
