//! Peers made by hand at the door: of ZMTP 3.0 and 3.1 in pieces of one octet, of older versions, and what
//! each socket type hears that it talks to.

use std::io;

use withy_tests::deadline::soon;
use withy_tests::raw;

use crate::house::{House, Mechanism, SOON, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_hears_that_it_talks_to_the_type_that_fits() {
    let house = House::new();
    let node = house.node().await;
    let at = "tcp://127.0.0.1:*";
    let door = house.door(&node, Mechanism::Null).listen(at);
    let door = door.serve("x", at).pull("y", at).open().await.unwrap();
    let shared = door.endpoints()[0].to_string();
    let (served, pulled) = (
        door.served()[0].1.to_string(),
        door.pulled()[0].1.to_string(),
    );
    let talk = [
        (&shared, "SUB", Some("XPUB")),
        (&shared, "XSUB", Some("XPUB")),
        (&shared, "PUB", Some("SUB")),
        (&shared, "XPUB", Some("SUB")),
        (&shared, "REQ", Some("ROUTER")),
        (&shared, "DEALER", Some("ROUTER")),
        (&shared, "PUSH", Some("PULL")),
        (&shared, "PULL", None),
        (&shared, "REP", None),
        (&shared, "ROUTER", None),
        (&shared, "PAIR", None),
        (&served, "REP", Some("DEALER")),
        (&served, "DEALER", Some("DEALER")),
        (&served, "ROUTER", None),
        (&served, "REQ", None),
        (&pulled, "PULL", Some("PUSH")),
        (&pulled, "SUB", None),
        (&pulled, "PUSH", None),
    ];
    for (at, theirs, ours) in talk {
        let mut peer = raw::Peer::connect(at).await.unwrap();
        match (peer.handshake(theirs).await, ours) {
            (Ok(ready), Some(ours)) => {
                let (_, properties) = ready.command().unwrap();
                let properties = String::from_utf8_lossy(properties).into_owned();
                let kind = format!("Socket-Type\0\0\0{}{ours}", ours.len() as u8 as char);
                assert!(properties.contains(&kind), "{theirs}: {properties:?}");
            }
            (Err(error), None) => {
                // It hears that this is for good.
                assert_eq!(error.kind(), io::ErrorKind::Other, "{theirs}: {error}");
                assert!(error.to_string().contains("no READY"), "{theirs}: {error}");
                peer.expect_close(SOON).await.unwrap();
            }
            (said, _) => panic!("{theirs} at {at}: {said:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minor_versions_of_zmtp_3_are_spoken_and_no_older_ones() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let at = door.endpoints()[0].to_string();
    for (minor, subscribe) in [
        (0, raw::frame(0, b"\x01home/")),
        (1, raw::command("SUBSCRIBE", b"home/")),
    ] {
        let mut sub = raw::Peer::connect(&at).await.unwrap();
        let greeting = raw::greeting(minor, "NULL", false);
        let ready = raw::ready(&[("Socket-Type", b"SUB")]);
        sub.dribble(&[&greeting[..], &ready, &subscribe].concat())
            .await
            .unwrap();
        sub.exactly(64).await.unwrap();
        assert!(sub.frame().await.unwrap().command().is_some());
        until(|| door.stats().filters == 1).await;
        let publisher = node.publisher("home/x").unwrap();
        soon(publisher.wait_subscribed(1)).await.unwrap();
        publisher.publish("1").await.unwrap();
        sub.expect(&raw::message(&["home/x", "1"])).await.unwrap();
        drop(sub);
        until(|| door.stats().filters == 0).await;
    }
    for old in [
        // ZMTP 2.0: the signature, the revision, and the socket type.
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 2][..],
        // ZMTP 1.0: an empty identity.
        &[1, 0],
    ] {
        let failed = door.stats().handshakes_failed;
        let mut peer = raw::Peer::connect(&at).await.unwrap();
        peer.send(old).await.unwrap();
        peer.expect_close(SOON).await.unwrap();
        until(|| door.stats().handshakes_failed > failed).await;
    }
}
