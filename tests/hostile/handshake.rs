//! Valid handshakes that somebody cut or changed on the way, at every place.

use withy::Reason;
use withy::SocketType;
use withy::event::HandshakeFailure;
use withy_proto::zmtp::ConnectionError;
use withy_proto::zmtp::connection::MAX_HANDSHAKE_COMMAND;
use withy_tests::raw::{self, COMMAND, LONG};

use crate::victim::{
    CROWD, Config, HANDSHAKE, SHARED, USER, Verdict, Victim, counterpart, siege, sieges,
};

/// Every type without security, and PLAIN.
fn configs() -> impl Iterator<Item = Config> {
    let clear = SHARED.into_iter().map(Config::new);
    clear.chain([
        Config::plain(SocketType::Pull),
        Config::plain(SocketType::Rep),
    ])
}

/// All that a peer says in a NULL or PLAIN handshake.
fn handshake(victim: &Victim) -> Vec<u8> {
    let kind = counterpart(victim.kind());
    let metadata = raw::metadata(&[
        ("Socket-Type", kind.name().as_bytes()),
        ("Identity", b""),
        ("X-note", b"any"),
    ]);
    if victim.is_plain() {
        let mut hello = Vec::new();
        for text in [USER.0, USER.1] {
            hello.push(text.len() as u8);
            hello.extend_from_slice(text.as_bytes());
        }
        return [
            &raw::greeting(1, "PLAIN", false)[..],
            &raw::command("HELLO", &hello),
            &raw::command("INITIATE", &metadata),
        ]
        .concat();
    }
    let ready = raw::command("READY", &metadata);
    [&raw::greeting(1, "NULL", false)[..], &ready].concat()
}

#[tokio::test]
async fn every_cut_ends_the_handshake() {
    sieges(configs(), async |victim| {
        let octets = handshake(victim);
        let mut cut = Vec::new();
        for at in 0..octets.len() {
            // One hangs up there, one falls silent.
            let mut gone = victim.link().await;
            gone.send(&octets[..at]).await.unwrap();
            gone.finish().await.unwrap();
            let mut silent = victim.link().await;
            silent.send(&octets[..at]).await.unwrap();
            cut.push((at, gone, silent));
        }
        for (at, gone, silent) in cut {
            let failure = victim.refuses(gone).await;
            assert!(
                matches!(failure, HandshakeFailure::Link(_)),
                "{failure} at {at}"
            );
            let failure = victim.refuses(silent).await;
            assert!(
                matches!(failure, HandshakeFailure::Timeout(HANDSHAKE)),
                "{failure} at {at}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn every_flipped_bit_is_refused_or_leaves_a_legal_session() {
    let (mut refused, mut legal) = (0, 0);
    for config in [
        Config::new(SocketType::Pull),
        Config::new(SocketType::Router),
        Config::new(SocketType::Rep),
        Config::plain(SocketType::Pull),
    ] {
        let counts = std::cell::Cell::new((0, 0));
        siege(config, async |victim| {
            counts.set((0, 0));
            let octets = handshake(victim);
            let bits: Vec<usize> = (0..octets.len() * 8).collect();
            for crowd in bits.chunks(CROWD) {
                let mut flipped = Vec::new();
                for &bit in crowd {
                    let mut octets = octets.clone();
                    octets[bit / 8] ^= 1 << (bit % 8);
                    // Behind the handshake a message, and the end.
                    octets.extend(raw::message(&[""]));
                    let mut peer = victim.link().await;
                    peer.send(&octets).await.unwrap();
                    peer.finish().await.unwrap();
                    flipped.push((bit, peer));
                }
                for (bit, peer) in flipped {
                    let (refused, legal) = counts.get();
                    match victim.judges(peer).await {
                        Verdict::Failed(_) => counts.set((refused + 1, legal)),
                        Verdict::Lost(Reason::PeerClosed) => counts.set((refused, legal + 1)),
                        Verdict::Lost(other) => panic!("{other} for bit {bit}"),
                    }
                }
            }
        })
        .await;
        let (some_refused, some_legal) = counts.get();
        refused += some_refused;
        legal += some_legal;
    }
    // Padding, minor version and the names of unknown properties are free; little else is.
    assert!(refused > legal, "{refused} refused, {legal} legal");
    assert!(legal > 100, "{legal} legal");
}

#[tokio::test]
async fn frames_that_are_no_handshake_are_refused() {
    let greeting = raw::greeting(1, "NULL", false);
    let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
    let is_protocol = |failure: &HandshakeFailure| matches!(failure, HandshakeFailure::Protocol(_));
    siege(Config::new(SocketType::Pull), async |victim| {
        let mut offences: Vec<Vec<u8>> = vec![
            raw::message(&["too early"]),
            raw::frame(COMMAND, b""),
            raw::frame(COMMAND, b"\x06READY"),
            raw::frame(COMMAND | 1, &ready[2..]),
            raw::command("HELLO", b"\x01a\x01b"),
            raw::command("INITIATE", &[]),
            raw::command("PING", b"\0\0"),
            raw::command("SUBSCRIBE", b""),
            raw::command("", b""),
            raw::command("ready", &ready[8..]),
            raw::header(COMMAND | LONG, MAX_HANDSHAKE_COMMAND as u64 + 1),
        ];
        offences.extend((3..8).map(|bit| raw::frame(COMMAND | 1 << bit, &ready[2..])));
        for size in [1 << 31, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            offences.push(raw::header(COMMAND | LONG, size));
        }
        for offence in offences {
            let mut peer = victim.link().await;
            peer.send(&greeting).await.unwrap();
            peer.send(&offence).await.unwrap();
            let failure = victim.refuses(peer).await;
            assert!(is_protocol(&failure), "{failure} for {offence:02x?}");
        }
        // A second greeting, and a handshake twice.
        let mut peer = victim.link().await;
        peer.send(&[greeting, greeting].concat()).await.unwrap();
        assert!(is_protocol(&victim.refuses(peer).await));
        let mut peer = victim.peer().await;
        peer.send(&ready).await.unwrap();
        victim.keeps(&mut peer).await;
        assert!(victim.stats().ignored_commands > 0);
        // An ERROR is an end, not an offence to answer.
        let mut peer = victim.link().await;
        peer.send(&greeting).await.unwrap();
        peer.send(&raw::command("ERROR", b"\x02no")).await.unwrap();
        let failure = victim.refuses(peer).await;
        assert!(failure.to_string().contains("no"), "{failure}");
    })
    .await;
}

#[tokio::test]
async fn wrong_socket_types_are_refused_and_named() {
    let types = [
        "REQ", "REP", "DEALER", "ROUTER", "PUB", "SUB", "XPUB", "XSUB", "PUSH", "PULL", "PAIR", "",
        "pull", "STREAM", "PULL\0",
    ];
    for kind in SHARED.into_iter().chain([SocketType::Pair]) {
        siege(Config::new(kind), async |victim| {
            for theirs in types {
                let fits = SocketType::from_name(theirs.as_bytes())
                    .is_some_and(|theirs| kind.accepts(theirs));
                if fits {
                    continue;
                }
                let mut peer = victim.link().await;
                peer.send(&raw::greeting(1, "NULL", false)).await.unwrap();
                peer.send(&raw::ready(&[("Socket-Type", theirs.as_bytes())]))
                    .await
                    .unwrap();
                match victim.refuses(peer).await {
                    HandshakeFailure::Protocol(ConnectionError::SocketType {
                        ours,
                        theirs: named,
                    }) => {
                        assert_eq!(ours, kind);
                        assert!(theirs.starts_with(&named) || named.starts_with("PULL"));
                    }
                    other => panic!("{other} for {theirs}"),
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn metadata_is_held_to_its_rules() {
    let kind = ("Socket-Type", &b"PUSH"[..]);
    let names: Vec<String> = (0..10_000).map(|n| format!("X-{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b""[..])).collect();
    let long = [7; 256];
    let huge = [7; 17 * 1024];
    let mut cut = raw::metadata(&[kind, ("X", b"value")]);
    cut.truncate(cut.len() - 1);
    let mut beyond = raw::metadata(&[kind]);
    beyond.extend_from_slice(b"\x01X\xff\xff\xff\xff");
    let bodies = [
        raw::metadata(&[&[kind], &many[..]].concat()),
        raw::metadata(&[&[kind], &many[..65]].concat()),
        raw::metadata(&[kind, kind]),
        raw::metadata(&[kind, ("SOCKET-TYPE", b"PUSH")]),
        raw::metadata(&[kind, ("", b"nameless")]),
        raw::metadata(&[kind, ("a b", b"")]),
        raw::metadata(&[kind, ("n\u{e9}e", b"")]),
        raw::metadata(&[kind, ("Identity", &long)]),
        raw::metadata(&[kind, ("X", &huge)]),
        raw::metadata(&[]),
        cut,
        beyond,
    ];
    siege(Config::new(SocketType::Pull), async |victim| {
        for body in &bodies {
            let mut peer = victim.link().await;
            peer.send(&raw::greeting(1, "NULL", false)).await.unwrap();
            let _ = peer.send(&raw::command("READY", body)).await;
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(failure, HandshakeFailure::Protocol(_)),
                "{failure} for {:02x?}",
                &body[..body.len().min(100)]
            );
        }
        // What is odd but legal.
        let mut peer = victim.link().await;
        peer.send(&raw::greeting(0, "NULL", true)).await.unwrap();
        let odd = [&many[..60], &[kind, ("X-octets", b"\0\xff")]].concat();
        peer.send(&raw::ready(&odd)).await.unwrap();
        peer.exactly(64).await.unwrap();
        victim.keeps(&mut peer).await;
    })
    .await;
}
