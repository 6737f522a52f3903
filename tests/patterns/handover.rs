//! ROUTER: who may take a routing id that another holds.

use std::time::Duration;

use withy::event::{AttachError, HandshakeFailure};
use withy::options::{Heartbeat, Reconnect};
use withy::{Dealer, EventKind, KeyPair, Message, Monitor, Reason, Router, generate_key_pair};
use withy_tests::raw;

use crate::support::{ANY, event, soon};

const NAME: &str = "name";

async fn handed_over(monitor: &mut Monitor) {
    let reason = event(monitor, |kind| match kind {
        EventKind::Disconnected { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reason.await, Reason::HandedOver);
}

async fn speaks(router: &Router, dealer: &Dealer) {
    dealer.send("mine").await.unwrap();
    let mine = Message::from_iter([NAME, "mine"]);
    assert_eq!(soon(router.recv()).await.unwrap(), mine);
    let yours = Message::from_iter([NAME, "yours"]);
    router.send(yours).await.unwrap();
    assert_eq!(soon(dealer.recv()).await.unwrap(), Message::from("yours"));
}

#[tokio::test]
async fn the_same_curve_key_takes_its_routing_id_over_and_another_does_not() {
    let (server, key) = (generate_key_pair(), generate_key_pair());
    let router = Router::builder()
        .curve_server(server.clone())
        .allow_any_client()
        .build()
        .unwrap();
    let mut monitor = router.monitor();
    let endpoint = router.bind_to(ANY).await.unwrap();
    let dealer = |key: &KeyPair| {
        let dealer = Dealer::builder()
            .routing_id(NAME)
            .curve_client(key.clone(), server.public())
            // Else whoever lost the id would take it back.
            .reconnect(Reconnect {
                enabled: false,
                ..Reconnect::default()
            })
            .build()
            .unwrap();
        dealer.connect_to(endpoint.clone()).unwrap();
        dealer
    };
    let first = dealer(&key);
    speaks(&router, &first).await;
    let second = dealer(&key);
    handed_over(&mut monitor).await;
    speaks(&router, &second).await;

    let stranger = dealer(&generate_key_pair());
    let refused = event(&mut monitor, |kind| match kind {
        EventKind::HandshakeFailed { reason, .. } => Some(reason),
        _ => None,
    });
    assert!(matches!(
        refused.await,
        HandshakeFailure::NoPlace(AttachError::IdentityTaken {
            same_key: false,
            ..
        })
    ));
    speaks(&router, &second).await;
    assert_eq!(stranger.stats().peers, 0);
}

#[tokio::test]
async fn a_newcomer_takes_the_routing_id_of_a_connection_that_missed_heartbeats() {
    let router = Router::builder()
        .heartbeat(Heartbeat {
            enabled: Some(true),
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(3_600),
        })
        .build()
        .unwrap();
    let mut monitor = router.monitor();
    let endpoint = router.bind_to(ANY).await.unwrap();
    // It takes part in the handshake, and never says anything again.
    let mut silent = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
    silent.send(&raw::greeting(1, "NULL", false)).await.unwrap();
    silent.exactly(64).await.unwrap();
    let properties: [(&str, &[u8]); 2] =
        [("Socket-Type", b"DEALER"), ("Identity", NAME.as_bytes())];
    silent.send(&raw::ready(&properties)).await.unwrap();
    soon(router.ready()).await.unwrap();

    let newcomer = Dealer::builder().routing_id(NAME).build().unwrap();
    newcomer.connect_to(endpoint).unwrap();
    handed_over(&mut monitor).await;
    speaks(&router, &newcomer).await;
    silent.expect_close(raw::DEADLINE).await.unwrap();
}
