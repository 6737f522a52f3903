//! Doors of nodes in this process, with this library's own sockets in front of them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::logged::Log;
use crate::node::tests::{User, soon};
use crate::{Dealer, Message, Publisher, Push, Req};

const AT: &str = "tcp://127.0.0.1:*";

async fn door(node: &Node) -> ZmtpDoor {
    let within = Duration::from_millis(200);
    let door = ZmtpDoor::builder(node).listen(AT).within(within);
    door.open().await.unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_door_goes_with_its_last_handle_and_with_its_node() {
    let user = User::new();
    let node = user.node().await;
    let open = door(&node).await;
    let at = open.endpoints()[0].clone();
    let again = || ZmtpDoor::builder(&node).listen(at.clone()).open();
    assert!(again().await.is_err(), "the port is taken");
    drop(open.clone());
    assert!(again().await.is_err(), "there is another handle");
    drop(open);
    let open = soon(async {
        loop {
            match again().await {
                Ok(open) => return open,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let req = Req::connect(&at).unwrap();
    soon(req.ready()).await.unwrap();
    node.close(Duration::ZERO).await;
    until(|| req.stats().peers == 0).await;
    assert!(open.0.hall.stop.is_cancelled());
}

#[tokio::test]
async fn names_that_are_not_used_make_room_for_others() {
    let user = User::new();
    let node = user.node().await;
    let echo = node.service("echo").unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = echo.recv().await {
            let message = request.take_message();
            let _ = request.reply(message).await;
        }
    });
    let door = ZmtpDoor::builder(&node).listen(AT);
    let door = door
        .within(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    let (lines, lanes) = (&door.0.callers, &door.0.pushers);
    let at = &door.endpoints()[0];
    // As many as there may be, of several peers; nobody serves or pulls them.
    let dealers: Vec<_> = (0..4).map(|_| Dealer::connect(at).unwrap()).collect();
    for number in 0..MAX_NAMES {
        let dealer = &dealers[number / MAX_PEER_REQUESTS];
        let request = ["", &format!("name{number}"), ""];
        dealer.send(Message::from_iter(request)).await.unwrap();
    }
    until(|| lines.lines() == MAX_NAMES).await;
    let req = Req::connect(at).unwrap();
    let ask = || req.request(Message::from_iter(["echo", "1"]));
    let refused = soon(ask()).await.unwrap();
    assert_eq!(refused.first(), "");
    let why = "error: requests to 256 services are under way";
    assert_eq!(refused.part(1).unwrap(), why);
    // Two of them are served now, and so one of them may go.
    let late = node.service("name7").unwrap();
    soon(late.recv()).await.unwrap().reply("").await.unwrap();
    until(|| lines.idle() == 1).await;
    assert_eq!(soon(ask()).await.unwrap().first(), "1");
    assert_eq!(lines.lines(), MAX_NAMES);

    let push = Push::connect(at).unwrap();
    let taken = node.pull("queue0").unwrap();
    for number in 0..=MAX_NAMES {
        let name = format!("queue{number}");
        if number > 0 {
            push.send(Message::from_iter([&name, "1"])).await.unwrap();
        } else {
            push.send(Message::from_iter([&name, "0"])).await.unwrap();
            soon(taken.recv()).await.unwrap();
            until(|| door.stats().pushed == 1).await;
        }
    }
    // The lane of the first was idle.
    until(|| lanes.waiting() == MAX_NAMES).await;
    assert_eq!(door.stats().overflowed, 1, "of the request");
}

#[tokio::test]
async fn large_requests_wait_in_bounded_memory() {
    let user = User::new();
    let node = user.node().await;
    let door = ZmtpDoor::builder(&node).listen(AT);
    let door = door
        .within(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    let dealer = Dealer::connect(&door.endpoints()[0]).unwrap();
    let body = vec![7; MAX_REQUEST_OCTETS / 8 * 3];
    for _ in 0..3 {
        let request = Message::from_iter([&b"nobody"[..], &body]);
        dealer.send(request).await.unwrap();
    }
    let refused = soon(dealer.recv()).await.unwrap();
    assert_eq!(
        refused.part(1).unwrap(),
        "error: too many requests are under way"
    );
    assert_eq!(door.stats().overflowed, 1, "two of them have room");
    let late = node.service("nobody").unwrap();
    for _ in 0..2 {
        soon(late.recv())
            .await
            .unwrap()
            .reply("done")
            .await
            .unwrap();
        assert_eq!(soon(dealer.recv()).await.unwrap().first(), "done");
    }
    // There is room again.
    dealer
        .send(Message::from_iter([&b"nobody"[..], &body]))
        .await
        .unwrap();
    soon(late.recv())
        .await
        .unwrap()
        .reply("done")
        .await
        .unwrap();
    assert_eq!(soon(dealer.recv()).await.unwrap().first(), "done");
}

#[tokio::test]
async fn what_comes_to_nothing_is_told_once() {
    let user = User::new();
    let node = user.node().await;
    let door = door(&node).await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let push = Push::connect(&door.endpoints()[0]).unwrap();
    for _ in 0..10 {
        push.send("alone").await.unwrap();
    }
    until(|| door.stats().malformed == 10).await;
    drop(guard);
    let told = log.take();
    let times = told
        .matches("what is pushed has two frames or more")
        .count();
    // Each field is written twice.
    assert_eq!(times, 2, "{told}");
}

#[tokio::test]
async fn a_push_that_leaves_at_once_has_pushed() {
    let user = User::new();
    let node = user.node().await;
    let door = door(&node).await;
    let jobs = node.pull("jobs").unwrap();
    let push = Push::connect(&door.endpoints()[0]).unwrap();
    for number in 0..100_u8 {
        let job = Message::from_iter([&b"jobs"[..], &[number]]);
        push.send(job).await.unwrap();
    }
    assert_eq!(push.close().await, 0);
    for number in 0..100_u8 {
        assert_eq!(soon(jobs.recv()).await.unwrap().first(), &[number][..]);
    }
}

#[tokio::test]
async fn doors_of_two_nodes_are_doors_to_the_same_mesh() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let (here, there) = (door(&one).await, door(&two).await);
    let subscriber = crate::Subscriber::connect(&there.endpoints()[0]).unwrap();
    subscriber.subscribe("home/");
    let publisher = Publisher::connect(&here.endpoints()[0]).unwrap();
    let bus = &one.publisher("home/x").unwrap();
    soon(bus.wait_subscribed(1)).await.unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    let message = Message::from_iter(["home/x", "1"]);
    publisher.send(message.clone()).await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap(), message);
    assert_eq!(Arc::strong_count(&here.0), 1);
    here.close(Duration::from_secs(1)).await;
    there.close(Duration::from_secs(1)).await;
}
