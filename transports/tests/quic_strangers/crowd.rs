//! Peers that stall, and more peers than there is room for.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use withy_transports::{Connected, Listener, QuicError, dial};

use crate::peers::*;
use crate::support::*;

/// Waits until a peer, which has said nothing on a link, ends it.
async fn ended(link: &mut Connected) {
    let heard = timeout(PATIENCE, hear(&mut link.link, 1)).await;
    assert_eq!(heard.unwrap(), b"");
}

/// A link that the listener does not admit.
async fn linked_only(listener: &mut Listener, seed: u16) -> (Connected, Connected) {
    let endpoint = listener.endpoint().clone();
    let options = dialling(seed, None);
    let (ours, theirs) = tokio::join!(dial(&endpoint, &options), listener.accept());
    (ours.unwrap(), theirs.unwrap())
}

#[tokio::test]
async fn a_half_open_handshake_ends_at_its_deadline() {
    let mut options = listening(&[]);
    options.quic.handshake_timeout = Duration::from_millis(200);
    let (mut listener, address) = listener(&options).await;
    let stalling = Raw::new().await;
    let flight = first_flight(dialling(9, None)).await;
    let begin = Instant::now();
    stalling.send(&flight, address).await;
    let (peer, source) = failed(&mut listener).await;
    assert_eq!(source, QuicError::Timeout);
    assert_eq!(peer.address, stalling.0.local_addr().unwrap().to_string());
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_connection_without_an_admitted_link_ends_at_its_deadline() {
    let mut options = listening(&[]);
    options.quic.admission_timeout = Duration::from_millis(300);
    options.quic.linger = Duration::from_millis(300);
    let (mut listener, _) = listener(&options).await;
    let mut good_one = good(&mut listener, &dialling(2, None)).await;
    let begin = Instant::now();
    let (mut ours, _theirs) = linked_only(&mut listener, 3).await;
    ended(&mut ours).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let given_up = refused(&mut listener).await;
    assert_eq!((given_up.given_up, given_up.newcomers), (1, 0));
    // Two links of one connection, of which one is admitted and ends.
    let (mut first, their_first) = good(&mut listener, &dialling(4, None)).await;
    let (mut second, _their_second) = linked_only(&mut listener, 4).await;
    assert_eq!(first.local, second.local);
    drop(their_first);
    ended(&mut first).await;
    ended(&mut second).await;
    // All the while.
    talk(&mut good_one.0, &mut good_one.1).await;
}

#[tokio::test]
async fn connections_without_an_admitted_link_keep_no_good_one_out() {
    let mut options = listening(&[]);
    options.quic.max_connections = 4;
    options.quic.admission_timeout = PATIENCE;
    let (mut listener, _) = listener(&options).await;
    let mut held = vec![good(&mut listener, &dialling(2, None)).await];
    let mut others = Vec::new();
    for number in 0..3 {
        others.push(linked_only(&mut listener, 10 + number).await);
    }
    let begin = Instant::now();
    for number in 3..6 {
        let options = dialling(number, None);
        held.push(
            timeout(PATIENCE, good(&mut listener, &options))
                .await
                .unwrap(),
        );
        // It was the oldest that had to go.
        ended(&mut others.remove(0).0).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    for (ours, theirs) in &mut held {
        talk(ours, theirs).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_peers_do_not_keep_a_good_one_out() {
    const PEERS: u16 = 200;
    let mut options = listening(&[]);
    // None of them ends before the good one is in.
    options.quic.retry_mark = 32;
    let (mut listener, address) = listener(&options).await;
    let mut stalling = Vec::new();
    for number in 0..PEERS {
        let flight = first_flight(dialling(1_000 + number, None)).await;
        let raw = Raw::new().await;
        raw.send(&flight, address).await;
        stalling.push(raw);
    }
    let begin = Instant::now();
    good(&mut listener, &dialling(2, None)).await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Above the mark a datagram costs one short packet, which asks whether somebody is there.
    let last = stalling.pop().unwrap();
    let retry = last.hear().await;
    assert_eq!(retry[0] & 0xf0, 0xf0, "a retry (RFC 9000 §17.2.5)");
    assert!(retry.len() < INITIAL / 3);
    assert!(last.heard() <= 1, "two datagrams were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_half_open_peers_push_each_other_out() {
    let mut options = listening(&[]);
    options.quic.retry_mark = usize::MAX;
    options.quic.max_handshakes = 8;
    let (mut listener, address) = listener(&options).await;
    let mut stalling = Vec::new();
    for number in 0..40 {
        let flight = first_flight(dialling(2_000 + number, None)).await;
        let raw = Raw::new().await;
        raw.send(&flight, address).await;
        stalling.push(raw);
    }
    good(&mut listener, &dialling(2, None)).await;
}

#[tokio::test]
async fn above_the_limit_of_connections_nobody_is_answered() {
    let mut options = listening(&[]);
    options.quic.max_connections = 1;
    let (mut listener, _) = listener(&options).await;
    let _one = good(&mut listener, &dialling(2, None)).await;
    let mut hasty = dialling(3, None);
    hasty.connect_timeout = Duration::from_millis(300);
    let error = dial(listener.endpoint(), &hasty).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
    let refused = refused(&mut listener).await;
    assert!(refused.newcomers > 0);
    assert_eq!((refused.given_up, refused.withheld), (0, 0));
    // Another link of the one who is in needs no place.
    good(&mut listener, &dialling(2, None)).await;
}
