//! REQs and DEALERs at the door that get no reply from a service: they hear why.

use std::time::Duration;

use serde_json::json;
use withy_tests::python::{Peer, Socket};

use crate::house::{House, Mechanism, SOON, connected, echo, until};

/// What an error says: the frames before it are as they should be.
async fn error(theirs: &Socket, envelope: &[&str]) -> String {
    let mut reply = theirs.recv(SOON).await.unwrap().expect("a reply");
    let text = String::from_utf8(reply.pop().unwrap()).unwrap();
    assert_eq!(
        reply.pop().unwrap(),
        b"",
        "an error has an empty frame first"
    );
    let came: Vec<_> = reply.iter().map(|it| str::from_utf8(it).unwrap()).collect();
    assert_eq!(came, envelope);
    text.strip_prefix("error: ").expect("it says so").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_answers_is_answered_with_the_reason() {
    let house = House::new();
    let (node, _other) = (house.node().await, house.node().await);
    node.wait_peers(1).await.unwrap();
    let within = Duration::from_millis(300);
    let door = house.door(&node, Mechanism::Null).within(within);
    let door = door.listen("tcp://127.0.0.1:*").open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    let failing = node.service("failing").unwrap();
    tokio::spawn(async move {
        while let Ok(request) = failing.recv().await {
            request.fail("no such order").await.unwrap();
        }
    });
    let req = connected(&peer, "REQ", &[], at).await;
    let long = "x".repeat(200);
    for (request, why) in [
        (&["nobody", "1"][..], "no instance of nobody; 1 peers known"),
        (&["failing", "1"], "the request failed: no such order"),
        (&[""], "a name has 1 to"),
        (&["a\nb", "1"], "a name has 1 to"),
        (&[&long, "1"], "a name has 1 to"),
        (&["nobody"], "no instance of nobody; 1 peers known"),
    ] {
        req.send(request).await.unwrap();
        let said = error(&req, &[]).await;
        assert!(said.starts_with(why), "{said}");
    }
    let dealer = connected(&peer, "DEALER", &[], at).await;
    dealer.send(&["7", "8", "", "nobody", "1"]).await.unwrap();
    let said = error(&dealer, &["7", "8", ""]).await;
    assert_eq!(said, "no instance of nobody; 1 peers known");
    let stats = door.stats();
    assert_eq!((stats.requests, stats.failed, stats.malformed), (7, 7, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_much_hears_that_and_others_are_served() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    echo(&node);
    let greedy = connected(&peer, "DEALER", &[("SNDHWM", json!(0))], at).await;
    let most = withy::node::door::MAX_PEER_REQUESTS;
    for _ in 0..=most {
        greedy.send(&["nobody", "1"]).await.unwrap();
    }
    let said = error(&greedy, &[]).await;
    assert_eq!(said, "too many requests are under way");
    let modest = connected(&peer, "REQ", &[], at).await;
    modest.send(&["echo", "1"]).await.unwrap();
    assert_eq!(modest.recv(SOON).await.unwrap().unwrap(), [b"1"]);
    assert_eq!(door.stats().overflowed, 1);
    // What it asked ends with the door.
    until(|| door.stats().requests == most as u64 + 2).await;
}
