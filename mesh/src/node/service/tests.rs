//! Services on nodes of one process that reach each other as those of others do.

use std::time::Duration;

use withy_discovery::Kind;
use withy_proto::service::{Audience, ReplyHeader, RequestHeader, Status};
use withy_proto::trust::NodeId;
use withy_proto::{Message, SocketType};

use super::*;
use crate::error::ReceiveError;
use crate::node::Node;
use crate::node::interest::Wants;
use crate::node::tests::{User, soon};
use crate::socket::{Owner, Rep};

const SHORT: Duration = Duration::from_millis(300);

async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A client on a node of its own, once it is connected to so many instances.
async fn client(user: &User, instances: usize) -> Client {
    let client = user.node_apart().await.client("orders").unwrap();
    soon(client.wait_instances(instances)).await.unwrap();
    client
}

async fn serve(user: &User) -> (Node, Service) {
    let node = user.node_apart().await;
    let service = node.service("orders").unwrap();
    (node, service)
}

fn spawn(
    client: &Client,
    request: impl Into<Request>,
) -> tokio::task::JoinHandle<Result<Message, ServiceError>> {
    let (client, request) = (client.clone(), request.into());
    tokio::spawn(async move { client.request(request).await })
}

#[tokio::test]
async fn instances_share_the_requests() {
    const INSTANCES: usize = 3;
    const EACH: usize = 10;
    let user = User::new();
    let mut services = Vec::new();
    for _ in 0..INSTANCES {
        services.push(serve(&user).await);
    }
    let client = client(&user, INSTANCES).await;
    assert_eq!(client.instances().len(), INSTANCES);
    let asking: Vec<_> = (0..INSTANCES * EACH)
        .map(|n| spawn(&client, n.to_string()))
        .collect();
    // Nobody answers before all were asked: each has as many as any other.
    let mut requests = Vec::new();
    for (_, service) in &services {
        for _ in 0..EACH {
            requests.push(soon(service.recv()).await.unwrap());
        }
        assert_eq!(service.counts().open, EACH);
    }
    for mut request in requests.into_iter().rev() {
        assert_eq!(request.attempt(), 1);
        assert!(request.time_left().unwrap() > Request::WITHIN / 2);
        let message = request.take_message();
        request.reply(message).await.unwrap();
    }
    for (n, asking) in asking.into_iter().enumerate() {
        let reply = soon(asking).await.unwrap().unwrap();
        assert_eq!(reply.first(), &n.to_string());
    }
    assert_eq!(client.stats().late_replies, 0);
}

#[tokio::test]
async fn who_is_less_busy_is_asked_first_among_equals() {
    let user = User::new();
    let services = [serve(&user).await, serve(&user).await];
    let [one, other] = &services;
    let busy = client(&user, 2).await;
    let client = client(&user, 2).await;
    // One of them is half full with the requests of somebody else.
    one.1.set_capacity(2);
    other.1.set_capacity(2);
    let kept = [spawn(&busy, "kept"), spawn(&busy, "kept")];
    let mut open = Vec::new();
    for (_, service) in &services {
        open.push(soon(service.recv()).await.unwrap());
    }
    open.pop().unwrap().reply("done").await.unwrap();
    // Both say how busy they are.
    for _ in 0..2 {
        let asking = spawn(&client, "hello");
        let request = tokio::select! {
            request = soon(one.1.recv()) => request.unwrap(),
            request = soon(other.1.recv()) => request.unwrap(),
        };
        request.reply("hello").await.unwrap();
        soon(asking).await.unwrap().unwrap();
    }
    for _ in 0..4 {
        let asking = spawn(&client, "again");
        soon(other.1.recv()).await.unwrap().reply("").await.unwrap();
        soon(asking).await.unwrap().unwrap();
    }
    drop(open);
    for asking in kept {
        let _ = soon(asking).await.unwrap();
    }
}

#[tokio::test]
async fn who_leaves_requests_unanswered_gets_no_more_while_others_answer() {
    let user = User::new();
    let services = [serve(&user).await, serve(&user).await];
    let client = client(&user, 2).await;
    let given_up = spawn(&client, Request::new("kept").within(SHORT));
    let (kept, other) = tokio::select! {
        kept = soon(services[0].1.recv()) => (kept.unwrap(), &services[1].1),
        kept = soon(services[1].1.recv()) => (kept.unwrap(), &services[0].1),
    };
    for round in 0..8 {
        if round == 4 {
            // Nobody waits for it any more, and it is owed all the same.
            until(|| given_up.is_finished()).await;
        }
        let asking = spawn(&client, "next");
        let request = soon(other.recv()).await.unwrap();
        request.reply("").await.unwrap();
        soon(asking).await.unwrap().unwrap();
    }
    let error = given_up.await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::TooLate);
    kept.reply("").await.unwrap();
}

#[tokio::test]
async fn what_loses_its_instance_is_asked_again_only_if_it_is_idempotent() {
    let user = User::new();
    let (node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    let once = spawn(&client, "once");
    let again = spawn(&client, Request::new("again").idempotent());
    let taken = [
        soon(service.recv()).await.unwrap(),
        soon(service.recv()).await.unwrap(),
    ];
    let marked = taken.each_ref().map(ServiceRequest::is_idempotent);
    assert!(marked[0] != marked[1]);
    node.close(Duration::ZERO).await;
    let lost = soon(once).await.unwrap().unwrap_err();
    assert_eq!(lost, ServiceError::PeerGone);
    assert!(lost.may_be_done());
    // It waits for the next to come.
    let (_node, next) = serve(&user).await;
    let request = soon(next.recv()).await.unwrap();
    assert_eq!(request.message().first(), "again");
    assert_eq!(request.attempt(), 2);
    request.reply("done").await.unwrap();
    assert_eq!(soon(again).await.unwrap().unwrap().first(), "done");
    assert_eq!(client.retried(), 1);
    drop(taken);
}

#[tokio::test]
async fn a_name_that_nobody_serves_says_so_at_the_deadline() {
    let user = User::new();
    let node = user.node().await;
    let other = user.node().await;
    let _elsewhere = other.service("bills").unwrap();
    soon(node.wait_peers(1)).await.unwrap();
    let client = node.client("orders").unwrap();
    let request = Request::new("hello").within(SHORT);
    let start = tokio::time::Instant::now();
    let error = soon(client.request(request)).await.unwrap_err();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(error.to_string(), "no instance of orders; 1 peers known");
    assert!(!error.may_be_done());
    let error = soon(client.ask_all("hello", SHORT)).await.unwrap_err();
    assert_eq!(error.to_string(), "no instance of orders; 1 peers known");
    // Who comes before the deadline is asked.
    let asking = spawn(&client, "hello");
    let service = other.service("orders").unwrap();
    let request = soon(service.recv()).await.unwrap();
    assert!(request.time_left().unwrap() < Request::WITHIN);
    request.reply("at last").await.unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap().first(), "at last");
}

#[tokio::test]
async fn a_late_reply_is_dropped_and_counted() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    let asking = spawn(&client, Request::new("slow").within(SHORT));
    let slow = soon(service.recv()).await.unwrap();
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::TooLate);
    until(|| slow.time_left() == Some(Duration::ZERO)).await;
    slow.reply("too late").await.unwrap();
    let asking = spawn(&client, "quick");
    soon(service.recv())
        .await
        .unwrap()
        .reply("in time")
        .await
        .unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap().first(), "in time");
    assert_eq!(client.stats().late_replies, 1);
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_not_received() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    // Nobody receives: the request waits until its time is over.
    let asking = spawn(&client, Request::new("late").within(SHORT));
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::TooLate);
    until(|| service.counts().late == 1).await;
    let asking = spawn(&client, "fresh");
    let request = soon(service.recv()).await.unwrap();
    assert_eq!(request.message().first(), "fresh");
    request.reply("").await.unwrap();
    soon(asking).await.unwrap().unwrap();
    assert_eq!(service.counts().given, 1);
}

#[tokio::test]
async fn all_are_asked_and_each_has_an_answer() {
    let user = User::new();
    let services = [
        serve(&user).await,
        serve(&user).await,
        serve(&user).await,
        serve(&user).await,
    ];
    let client = client(&user, 4).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.ask_all("who?", 5 * SHORT).await }
    });
    let mut taken = Vec::new();
    for (_, service) in &services {
        let request = soon(service.recv()).await.unwrap();
        assert!(request.is_to_all());
        taken.push(request);
    }
    let silent = taken.remove(0);
    taken.remove(0).fail("not today").await.unwrap();
    drop(taken.remove(0));
    taken.remove(0).reply("me").await.unwrap();
    let answers = soon(asking).await.unwrap().unwrap();
    assert_eq!(answers.len(), 4);
    let of = |at: usize| {
        let node: &Node = &services[at].0;
        let it = answers.iter().find(|it| it.instance.node == node.id());
        let it = it.unwrap();
        assert_eq!(it.instance.identity, node.identity());
        it.reply.clone()
    };
    let failed = |reason: &str| {
        Err(ServiceError::Failed {
            reason: reason.to_owned(),
        })
    };
    assert_eq!(of(0), Err(ServiceError::TooLate));
    assert_eq!(of(1), failed("not today"));
    assert_eq!(of(2), failed("the request was dropped without a reply"));
    assert_eq!(of(3), Ok(Message::from("me")));
    drop(silent);
}

#[tokio::test]
async fn all_includes_who_is_known_and_not_connected_yet() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let asker = user.node_apart().await;
    let seen = |node: &Node| node.peers().iter().any(|peer| !peer.offers.is_empty());
    until(|| seen(&asker)).await;
    // Made just now: it has no connection.
    let client = asker.client("orders").unwrap();
    let asking = client.ask_all("who?", Request::WITHIN);
    let answering = async {
        soon(service.recv())
            .await
            .unwrap()
            .reply("me")
            .await
            .unwrap()
    };
    let (answers, ()) = soon(async { tokio::join!(asking, answering) }).await;
    let answers = answers.unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].reply, Ok(Message::from("me")));
}

#[tokio::test]
async fn all_waits_for_who_is_known_and_not_reached_until_he_is_known_no_more() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    // It says to serve the name, and has no socket for it.
    let says = user.node_apart().await;
    let offer = || {
        let service = withy_discovery::Service::new(Kind::Service, "orders");
        says.shared().offer(service, false).unwrap()
    };
    let offered = offer();
    let client = client(&user, 1).await;
    let sought = |count| {
        let client = &client;
        until(move || client.0.interest.sought().len() == count)
    };
    sought(2).await;
    tokio::spawn(async move {
        while let Ok(request) = service.recv().await {
            request.reply("me").await.unwrap();
        }
    });
    let start = tokio::time::Instant::now();
    let answers = soon(client.ask_all("who?", SHORT)).await.unwrap();
    assert!(start.elapsed() >= SHORT);
    let missing = answers.iter().find(|it| it.instance.node == says.id());
    assert_eq!(missing.unwrap().reply, Err(ServiceError::NotReached));
    assert_eq!(answers.len(), 2);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.ask_all("who?", Request::WITHIN).await }
    });
    until(|| client.stats().received >= 2).await;
    assert!(!asking.is_finished());
    drop(offered);
    let answers = soon(asking).await.unwrap().unwrap();
    assert_eq!(answers.iter().filter(|it| it.reply.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_full_instance_is_busy_and_another_is_asked() {
    let user = User::new();
    let (_node, full) = serve(&user).await;
    full.set_capacity(1);
    let client = client(&user, 1).await;
    let first = spawn(&client, "first");
    let taken = soon(full.recv()).await.unwrap();
    // Nobody receives now, and the next hears that the instance is busy all the same.
    let error = soon(client.request("second")).await.unwrap_err();
    assert_eq!(error, ServiceError::Busy);
    assert!(!error.may_be_done());
    let (_node, free) = serve(&user).await;
    soon(client.wait_instances(2)).await.unwrap();
    // That with fewer requests first, then the full one, which sends the last on.
    let more = [(); 3].map(|()| spawn(&client, "more"));
    for _ in &more {
        let request = tokio::select! {
            request = soon(free.recv()) => request.unwrap(),
            _ = soon(full.recv()) => panic!("it is full"),
        };
        request.reply("done").await.unwrap();
    }
    for asking in more {
        assert_eq!(soon(asking).await.unwrap().unwrap().first(), "done");
    }
    taken.reply("done").await.unwrap();
    soon(first).await.unwrap().unwrap();
    assert_eq!(full.counts().done, 1);
    assert!(full.counts().busy >= 1);
}

#[tokio::test]
async fn what_was_received_is_answered_though_the_service_is_gone() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    let first = spawn(&client, "first");
    let taken = soon(service.recv()).await.unwrap();
    let second = spawn(&client, "second");
    until(|| service.counts().waiting == 1).await;
    drop(service);
    let error = soon(second).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::Busy);
    let error = soon(client.request("third")).await.unwrap_err();
    assert_eq!(error, ServiceError::Busy);
    taken.reply("done").await.unwrap();
    assert_eq!(soon(first).await.unwrap().unwrap().first(), "done");
    until(|| client.instances().is_empty()).await;
}

#[tokio::test]
async fn the_caller_is_who_the_handshake_proved() {
    let user = User::new();
    let (node, service) = serve(&user).await;
    let asker = user.node_apart().await;
    let client = asker.client("orders").unwrap();
    let asking = spawn(&client, "who am I?");
    let request = soon(service.recv()).await.unwrap();
    assert_eq!(request.identity(), Some(asker.identity()));
    assert_eq!(request.node(), Some(asker.id()));
    assert!(request.peer().accepted);
    request.reply("").await.unwrap();
    soon(asking).await.unwrap().unwrap();
    // On the node itself nothing is proven.
    let client = node.client("orders").unwrap();
    let asking = spawn(&client, "who am I?");
    let request = soon(service.recv()).await.unwrap();
    assert_eq!((request.identity(), request.node()), (None, None));
    request.reply("").await.unwrap();
    soon(asking).await.unwrap().unwrap();
    assert_eq!(client.instances()[0].node, node.id());
}

/// A socket that is connected to whoever serves the name.
async fn by_hand(user: &User) -> Owner {
    let wants = Wants::Named(Kind::Service, "orders".into());
    let node = user.node_apart().await;
    let socket = node.seek(SocketType::Dealer, "orders", wants).unwrap();
    soon(socket.wait_peers(1)).await.unwrap();
    socket
}

fn message(frames: &[&[u8]]) -> Message {
    frames.iter().copied().collect()
}

#[tokio::test]
async fn an_instance_lets_who_sends_garbage_go_and_nobody_else() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    let header = RequestHeader::default().encode();
    let garbage = [
        message(&[b"no envelope"]),
        message(&[b"id", b"", &[1, 3, 1, 0], b"body"]),
        message(&[b"id", b"", &[1, 2], b"body"]),
        message(&[b"id", b"", &header]),
        message(&[b"id", b"", &[1; 1_025], b"body"]),
    ];
    let receiving = tokio::spawn(async move {
        let received = service.recv().await;
        (service, received)
    });
    for mut message in garbage {
        let offender = by_hand(&user).await;
        let mut monitor = offender.monitor();
        offender.send(&mut message).await.unwrap();
        soon(async {
            while !matches!(
                monitor.next().await.unwrap().kind,
                crate::EventKind::Disconnected { .. }
            ) {}
        })
        .await;
    }
    let asking = spawn(&client, "hello");
    let (service, request) = soon(receiving).await.unwrap();
    request.unwrap().reply("hello").await.unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap().first(), "hello");
    let stats = service.stats();
    assert_eq!((stats.malformed, stats.protocol_errors), (5, 5));
    assert_eq!(client.stats().connections, 1, "it was not let go");
}

#[tokio::test]
async fn what_an_instance_does_not_understand_or_is_for_another_is_unknown() {
    let user = User::new();
    let (node, service) = serve(&user).await;
    let socket = by_hand(&user).await;
    let another = RequestHeader {
        audience: Audience::Node(NodeId::from_octets([7; 32])),
        ..RequestHeader::default()
    };
    let over = RequestHeader {
        left: Some(Duration::ZERO),
        ..RequestHeader::default()
    };
    let ours = RequestHeader {
        audience: Audience::Node(node.id()),
        ..RequestHeader::default()
    };
    let receiving = tokio::spawn(async move {
        let request = service.recv().await.unwrap();
        request.reply("for me").await.unwrap();
        service
    });
    for (header, status) in [
        (vec![2, 9, 9], Status::Unknown),
        (another.encode().to_vec(), Status::Unknown),
        (over.encode().to_vec(), Status::TooLate),
        (ours.encode().to_vec(), Status::Done),
    ] {
        let mut request = message(&[b"id", b"", &header, b"body"]);
        socket.send(&mut request).await.unwrap();
        let mut reply = soon(socket.recv()).await.unwrap();
        reply.pop_front();
        reply.pop_front();
        let (header, _) = ReplyHeader::unwrap(reply).unwrap();
        assert_eq!(header.status, status);
    }
    let service = soon(receiving).await.unwrap();
    assert_eq!(service.stats().malformed, 0);
    assert_eq!((service.counts().late, service.counts().given), (1, 1));
}

/// An instance that replies what it is told to.
async fn instance_by_hand(user: &User) -> (Node, Rep) {
    let node = user.node_apart().await;
    let socket = node.socket(SocketType::Rep);
    node.put(&socket, Kind::Service, "orders").unwrap();
    (node, Rep::over(socket))
}

#[tokio::test]
async fn a_client_lets_an_instance_that_replies_garbage_go_and_asks_the_next() {
    let user = User::new();
    let (node, bad) = instance_by_hand(&user).await;
    let client = client(&user, 1).await;
    let asking = spawn(&client, "once");
    let request = soon(bad.recv()).await.unwrap();
    request.reply("garbage").await.unwrap();
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::PeerGone);
    assert_eq!(client.stats().malformed, 1);
    until(|| client.stats().protocol_errors == 1).await;

    let asking = spawn(&client, Request::new("again").idempotent());
    let request = soon(bad.recv()).await.unwrap();
    let (_node, good) = serve(&user).await;
    until(|| client.instances().len() == 2).await;
    request
        .reply(message(&[&[1, 1, 1, 9], b"body"]))
        .await
        .unwrap();
    let request = soon(good.recv()).await.unwrap();
    request.reply("done").await.unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap().first(), "done");
    drop(node);
}

#[tokio::test]
async fn a_client_passes_those_over_that_do_not_understand_it() {
    let user = User::new();
    let (_node, later) = instance_by_hand(&user).await;
    let client = client(&user, 1).await;
    let unknown = || {
        let header = ReplyHeader {
            status: Status::Unknown,
            ..ReplyHeader::default()
        };
        header.wrap(None)
    };
    let asking = spawn(&client, "hello");
    let request = soon(later.recv()).await.unwrap();
    request.reply(unknown()).await.unwrap();
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::Unknown);
    assert!(!error.may_be_done());
}

#[tokio::test]
async fn a_closed_node_ends_what_waits() {
    let user = User::new();
    let node = user.node().await;
    let (service, client) = (
        node.service("orders").unwrap(),
        node.client("bills").unwrap(),
    );
    let receiving = tokio::spawn(async move { service.recv().await.map(drop) });
    let asking = spawn(&client, "hello");
    let all = tokio::spawn({
        let client = client.clone();
        async move { client.ask_all("hello", Request::WITHIN).await.map(drop) }
    });
    tokio::task::yield_now().await;
    node.close(Duration::from_secs(1)).await;
    assert_eq!(soon(receiving).await.unwrap(), Err(ReceiveError::Closed));
    assert_eq!(soon(asking).await.unwrap(), Err(ServiceError::Closed));
    assert_eq!(soon(all).await.unwrap(), Err(ServiceError::Closed));
    assert_eq!(client.request("x").await, Err(ServiceError::Closed));
}

#[tokio::test]
async fn a_cancelled_request_is_forgotten() {
    let user = User::new();
    let (_node, service) = serve(&user).await;
    let client = client(&user, 1).await;
    let asking = spawn(&client, "cancelled");
    let request = soon(service.recv()).await.unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    request.reply("").await.unwrap();
    let asking = spawn(&client, "next");
    let request = soon(service.recv()).await.unwrap();
    assert_eq!(request.message().first(), "next");
    request.reply("done").await.unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap().first(), "done");
    assert_eq!(client.stats().late_replies, 1);
}
