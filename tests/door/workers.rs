//! Workers of a service at its own endpoint: they share its requests, and one that dies takes one with it.

use std::time::Duration;

use withy::node::service::Request;
use withy::node::{ServiceError, ZmtpDoor};
use withy_tests::deadline::soon;
use withy_tests::python::{Peer, Socket};

use crate::house::{House, Mechanism, SOON, connected, until};

async fn worker(peer: &Peer, kind: &str, door: &ZmtpDoor) -> Socket {
    connected(peer, kind, &[], &door.served()[0].1).await
}

async fn request(worker: &Socket) -> Vec<Vec<u8>> {
    worker.recv(SOON).await.unwrap().expect("a request")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_requests_and_a_name_is_offered_while_there_is_one() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house.door(&node, Mechanism::Null);
    let door = door
        .serve("adder", "tcp://127.0.0.1:*")
        .open()
        .await
        .unwrap();
    let client = other.client("adder").unwrap();
    let short = Request::new("1").within(Duration::from_millis(200));
    let nobody = client.request(short).await.unwrap_err();
    assert!(
        matches!(nobody, ServiceError::NoInstance { .. }),
        "{nobody}"
    );

    let peer = Peer::start();
    let rep = worker(&peer, "REP", &door).await;
    let dealer = worker(&peer, "DEALER", &door).await;
    until(|| door.stats().workers == 2).await;
    let asking = async {
        let (one, two) = tokio::join!(client.request("1"), client.request("2"));
        (one.unwrap(), two.unwrap())
    };
    // Each has one of the two, and neither waits for the other.
    let working = async {
        let (one, mut two) = tokio::join!(request(&rep), request(&dealer));
        assert_eq!((one.len(), two.len()), (1, 2));
        rep.send(&one).await.unwrap();
        two.push(b"!".to_vec());
        dealer.send(&two).await.unwrap();
    };
    let ((one, two), ()) = soon(async { tokio::join!(asking, working) }).await;
    assert_eq!(one.len() + two.len(), 3, "one of them was marked");
    until(|| door.stats().served == 2).await;

    rep.close().await.unwrap();
    dealer.close().await.unwrap();
    until(|| door.stats().workers == 0).await;
    soon(async {
        while !client.instances().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_fails_its_request_or_leaves_it_to_the_next() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house.door(&node, Mechanism::Null);
    let door = door
        .serve("adder", "tcp://127.0.0.1:*")
        .open()
        .await
        .unwrap();
    let client = other.client("adder").unwrap();
    for idempotent in [false, true] {
        let (doomed, spare) = (Peer::start(), Peer::start());
        let first = worker(&doomed, "REP", &door).await;
        until(|| door.stats().workers == 1).await;
        let asked = match idempotent {
            true => Request::new("1").idempotent(),
            false => Request::new("1"),
        };
        let asking = client.request(asked);
        let dying = async {
            request(&first).await;
            let next = worker(&spare, "REP", &door).await;
            until(|| door.stats().workers == 2).await;
            drop(doomed);
            if idempotent {
                let again = request(&next).await;
                next.send(&again).await.unwrap();
            }
            next
        };
        let (reply, next) = soon(async { tokio::join!(asking, dying) }).await;
        match reply {
            Ok(reply) => assert!(idempotent && reply.first() == "1"),
            Err(ServiceError::Failed { reason }) => {
                assert!(
                    !idempotent && reason.contains("the worker is gone"),
                    "{reason}"
                );
            }
            Err(error) => panic!("{error}"),
        }
        // Whoever is left goes on.
        let (reply, ()) = tokio::join!(client.request("2"), async {
            let it = request(&next).await;
            next.send(&it).await.unwrap();
        });
        assert_eq!(reply.unwrap().first(), "2");
        drop(spare);
        until(|| door.stats().workers == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_its_deadline_though_its_worker_says_nothing() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house.door(&node, Mechanism::Null);
    let door = door
        .serve("adder", "tcp://127.0.0.1:*")
        .open()
        .await
        .unwrap();
    let (peer, client) = (Peer::start(), other.client("adder").unwrap());
    let rep = worker(&peer, "REP", &door).await;
    soon(client.wait_instances(1)).await.unwrap();
    let short = Request::new("1").within(Duration::from_millis(300));
    let late = client.request(short).await.unwrap_err();
    assert!(late.may_be_done(), "{late}");
    // Its reply comes when nobody waits for it, and is not taken for that of the next request.
    let mut reply = request(&rep).await;
    reply[0].extend(b", late");
    rep.send(&reply).await.unwrap();
    let (reply, ()) = tokio::join!(client.request("2"), async {
        let it = request(&rep).await;
        rep.send(&it).await.unwrap();
    });
    assert_eq!(reply.unwrap().first(), "2");
}
