//! Who comes through the door, and what he may do there.

use std::time::Duration;

use serde_json::json;
use withy::node::{DoorError, ZmtpDoor};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

use crate::house::{House, MECHANISMS, Mechanism, SOON, builder, connected, echo, until};

/// How long a change of the permissions may take.
const RELOAD: Duration = Duration::from_secs(1);

impl House {
    /// How rules name ada and bob.
    fn named(&self, mechanism: Mechanism) -> [String; 2] {
        match mechanism {
            Mechanism::Null => ["local".to_owned(), "plain:bob".to_owned()],
            Mechanism::Plain => ["plain:ada".to_owned(), "plain:bob".to_owned()],
            Mechanism::Curve => [&self.ada, &self.bob].map(|it| format!("curve:{}", it.public())),
        }
    }

    fn allow(&self, rules: &str) {
        let home = self.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        // At once, as an editor does it.
        std::fs::write(home.join("new"), rules).unwrap();
        std::fs::rename(home.join("new"), home.join("permissions")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_does_what_its_rules_allow_and_nothing_else() {
    for mechanism in MECHANISMS {
        let house = House::new();
        let [ada, bob] = house.named(mechanism);
        house.allow(&format!(
            "{ada} subscribe home/#\n{ada} publish home/hall\n{ada} call echo\n{ada} push jobs\n{bob} serve x"
        ));
        let node = house.node().await;
        echo(&node);
        let at = "tcp://127.0.0.1:*";
        let door = house.door(&node, mechanism).listen(at);
        let door = door.serve("x", at).pull("jobs", at).open().await.unwrap();
        let (peer, at) = (Peer::start(), &door.endpoints()[0]);
        let options = house.ada(mechanism);
        let jobs = node.pull("jobs").unwrap();
        let heard = node.subscriber("#").unwrap();

        let push = connected(&peer, "PUSH", &options, at).await;
        push.send(&["other", "1"]).await.unwrap();
        push.send(&["jobs", "2"]).await.unwrap();
        assert_eq!(soon(jobs.recv()).await.unwrap().first(), "2");
        assert_eq!(door.stats().denied, 1, "{mechanism:?}");

        let req = connected(&peer, "REQ", &options, at).await;
        req.send(&["other", "1"]).await.unwrap();
        let reply = req.recv(SOON).await.unwrap().unwrap();
        assert_eq!(reply, [&b""[..], b"error: no permission to call \"other\""]);
        req.send(&["echo", "2"]).await.unwrap();
        assert_eq!(req.recv(SOON).await.unwrap().unwrap(), [b"2"]);
        assert_eq!(door.stats().denied, 2, "{mechanism:?}");

        // All is asked for, and comes as far as it is allowed.
        let sub = connected(&peer, "SUB", &options, at).await;
        sub.subscribe(b"").await.unwrap();
        sub.subscribe(b"garden/").await.unwrap();
        assert_eq!(sub.recv(Duration::ZERO).await.unwrap(), None);
        until(|| door.stats().denied == 3).await;
        let publisher = node.publisher("#").unwrap();
        let probe = "home/x".parse().unwrap();
        soon(publisher.wait_subscribed_to(&probe, 2)).await.unwrap();
        for topic in ["garden/x", "home/x"] {
            let topic = topic.parse().unwrap();
            publisher.publish_to(&topic, "1").await.unwrap();
        }
        let came = sub.recv(SOON).await.unwrap().unwrap();
        assert_eq!(came, [&b"home/x"[..], b"1"]);

        let publishing = connected(&peer, "PUB", &options, at).await;
        let both = async {
            loop {
                publishing.send(&["home/kitchen", "no"]).await.unwrap();
                publishing.send(&["home/hall", "yes"]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let hears = async {
            loop {
                let it = heard.recv().await.unwrap();
                assert_ne!(it.topic.as_str(), "home/kitchen");
                if it.topic.as_str() == "home/hall" && door.stats().denied > 3 {
                    return;
                }
            }
        };
        soon(async {
            tokio::select! { () = hears => {}, () = both => {} }
        })
        .await;

        // No worker of ada's, and no PULL.
        for (kind, at) in [("REP", &door.served()[0].1), ("PULL", &door.pulled()[0].1)] {
            let failed = door.stats().handshakes_failed;
            let theirs = connected(&peer, kind, &options, at).await;
            until(|| door.stats().handshakes_failed > failed).await;
            theirs.close().await.unwrap();
        }
        assert_eq!((door.stats().workers, door.stats().takers), (0, 0));
        if mechanism != Mechanism::Null {
            let worker = house.bob(mechanism);
            let worker = connected(&peer, "REP", &worker, &door.served()[0].1).await;
            until(|| door.stats().workers == 1).await;
            // What is not allowed any more ends.
            house.allow(&format!("{ada} call nothing"));
            let changed = std::time::Instant::now();
            until(|| door.stats().workers == 0).await;
            assert!(changed.elapsed() < RELOAD, "{:?}", changed.elapsed());
            drop(worker);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_narrow_and_widen_while_peers_are_connected() {
    let house = House::new();
    let mechanism = Mechanism::Curve;
    let [ada, _] = house.named(mechanism);
    house.allow(&format!("{ada} subscribe home/#"));
    let node = house.node().await;
    let door = house.door(&node, mechanism).listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let peer = Peer::start();
    let sub = connected(&peer, "SUB", &house.ada(mechanism), &door.endpoints()[0]).await;
    sub.subscribe(b"garden/").await.unwrap();
    assert_eq!(sub.recv(Duration::ZERO).await.unwrap(), None);
    until(|| door.stats().denied == 1).await;
    assert_eq!(door.stats().filters, 0);
    for (rules, filters) in [("subscribe garden/#", 1), ("subscribe home/#", 0)] {
        let changed = std::time::Instant::now();
        house.allow(&format!("{ada} {rules}"));
        until(|| door.stats().filters == filters).await;
        assert!(changed.elapsed() < RELOAD, "{:?}", changed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_prove_who_he_is_does_not_come_in() {
    let house = House::new();
    let node = house.node().await;
    let peer = Peer::start();
    for mechanism in [Mechanism::Plain, Mechanism::Curve] {
        let door = house.door(&node, mechanism).listen("tcp://127.0.0.1:*");
        let door = door.open().await.unwrap();
        let mut wrong = house.ada(mechanism);
        match mechanism {
            Mechanism::Plain => wrong[1].1 = json!("guess"),
            _ => {
                let keys = peer.key_pair().await.unwrap();
                wrong[0].1 = json!(keys.public);
                wrong[1].1 = json!(keys.secret);
            }
        }
        for options in [wrong, Vec::new()] {
            let failed = door.stats().handshakes_failed;
            let theirs = connected(&peer, "REQ", &options, &door.endpoints()[0]).await;
            until(|| door.stats().handshakes_failed > failed).await;
            theirs.close().await.unwrap();
        }
        assert_eq!(door.stats().requests, 0);
    }
}

#[tokio::test]
async fn a_door_is_open_to_this_host_only_unless_peers_prove_who_they_are() {
    let house = House::new();
    let node = builder(house.path()).build().await.unwrap();
    for at in [
        "tcp://0.0.0.0:*",
        "tcp://*:*",
        "tcp://[::]:*",
        "tcp://192.0.2.1:1",
    ] {
        for door in [
            ZmtpDoor::builder(&node).listen(at),
            ZmtpDoor::builder(&node).serve("x", at),
            ZmtpDoor::builder(&node).pull("x", at),
            // Not even so.
            ZmtpDoor::builder(&node).listen(at).insecure(),
        ] {
            let refused = door.open().await.unwrap_err();
            assert!(matches!(refused, DoorError::Open(_)), "{at}: {refused}");
            assert!(
                refused.to_string().contains("on this host only"),
                "{refused}"
            );
        }
        let plain = house.door(&node, Mechanism::Plain).listen(at);
        let refused = plain.open().await.unwrap_err();
        assert!(matches!(refused, DoorError::Clear(_)), "{at}: {refused}");
    }
    let at = "tcp://0.0.0.0:*";
    let plain = house.door(&node, Mechanism::Plain).insecure();
    assert!(plain.listen(at).open().await.is_ok());
    let curve = house.door(&node, Mechanism::Curve);
    assert!(curve.listen(at).open().await.is_ok());
    for at in ["tcp://127.0.0.1:*", "tcp://[::1]:*", "ipc://*"] {
        let door = ZmtpDoor::builder(&node).listen(at).open().await;
        assert!(door.is_ok(), "{at}: {door:?}");
    }
    for (door, why) in [
        (ZmtpDoor::builder(&node), "no endpoint"),
        (
            ZmtpDoor::builder(&node).listen("inproc://x"),
            "tcp:// and ipc://",
        ),
        (ZmtpDoor::builder(&node).listen("nowhere"), "nowhere"),
        (
            ZmtpDoor::builder(&node).serve("a\nb", "ipc://*"),
            "a name has",
        ),
        (
            ZmtpDoor::builder(&node)
                .pull("x", "ipc://*")
                .pull("x", "ipc://*"),
            "has an endpoint already",
        ),
    ] {
        let refused = door.open().await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
