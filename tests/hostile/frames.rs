//! Peers that shook hands as they should, and then break the rules of frames and commands.

use withy::{Reason, SocketType};
use withy_proto::zmtp::DecodeError;
use withy_proto::zmtp::command::CommandError;
use withy_proto::zmtp::frame::HeaderError;
use withy_tests::raw::{self, COMMAND, LONG, MORE};

use crate::memory::Growth;
use crate::victim::{Config, SHARED, siege, siege_alone, sieges};

/// What a connection is closed for.
fn error(reason: Reason) -> DecodeError {
    match reason {
        Reason::Protocol(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn frames_that_no_rule_allows_close_the_connection() {
    let mut offences = vec![
        (raw::frame(COMMAND | MORE, b"\x04PING\0\0"), None),
        (raw::frame(COMMAND, b""), None),
        (raw::frame(COMMAND, b"\x09PING\0\0"), None),
        (
            raw::command("PING", b""),
            Some(CommandError::PingWithoutTtl),
        ),
        (
            raw::command("PING", b"\0"),
            Some(CommandError::PingWithoutTtl),
        ),
    ];
    offences.extend((3..8).map(|bit| (raw::frame(1 << bit, b"body"), None)));
    for kind in SHARED {
        siege(Config::patient(kind), async |victim| {
            for (offence, expected) in &offences {
                let mut peer = victim.peer().await;
                peer.send(offence).await.unwrap();
                match (error(victim.closes(peer).await), expected) {
                    (DecodeError::Command(error), Some(expected)) => assert_eq!(error, *expected),
                    (DecodeError::Header(_) | DecodeError::Command(_), None) => {}
                    (other, _) => panic!("{other} for {offence:02x?}"),
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn claims_of_size_cost_the_socket_nothing() {
    let memory = Growth::alone().await;
    for kind in SHARED {
        siege_alone(Config::patient(kind), async |victim| {
            for flags in [LONG, LONG | MORE, LONG | COMMAND] {
                for size in [
                    1 << 31,
                    u64::from(u32::MAX),
                    1 << 63,
                    u64::MAX,
                    (64 << 20) + 1,
                ] {
                    let mut peer = victim.peer().await;
                    peer.send(&raw::header(flags, size)).await.unwrap();
                    match error(victim.closes(peer).await) {
                        DecodeError::MessageTooLarge { size: named, limit } => {
                            assert_eq!((named, limit), (size, 64 << 20));
                        }
                        DecodeError::Header(HeaderError::SizeOverLimit) => {
                            assert!(size > i64::MAX as u64)
                        }
                        other => panic!("{other} for {size}"),
                    }
                }
            }
            // What is within the limit may come; until it does there is nothing to keep.
            let mut patient = Vec::new();
            for _ in 0..50 {
                let mut peer = victim.peer().await;
                peer.send(&raw::header(LONG, 64 << 20)).await.unwrap();
                peer.send(&[0; 100]).await.unwrap();
                patient.push(peer);
            }
            for mut peer in patient {
                peer.finish().await.unwrap();
                assert_eq!(victim.closes(peer).await, Reason::PeerClosed);
            }
        })
        .await;
    }
    memory.within(64 << 20);
}

#[tokio::test]
async fn messages_over_a_limit_close_the_connection() {
    for kind in SHARED {
        let config = Config {
            max_message_size: 10_000,
            max_parts: 8,
            ..Config::patient(kind)
        };
        siege(config, async |victim| {
            // Endless: it goes on until it is stopped.
            let mut peer = victim.peer().await;
            let part = raw::frame(MORE, b"");
            while peer.send(&part).await.is_ok() {}
            let reason = error(victim.closes(peer).await);
            assert_eq!(reason, DecodeError::TooManyParts { limit: 8 });
            assert!(reason.to_string().contains("max_parts (8)"), "{reason}");
            for parts in [vec![10_001], vec![4_000, 4_000, 2_001]] {
                let bodies: Vec<_> = parts.iter().map(|size| vec![7; *size]).collect();
                let mut peer = victim.peer().await;
                peer.send(&raw::message(&bodies)).await.unwrap();
                let reason = error(victim.closes(peer).await);
                assert!(matches!(
                    reason,
                    DecodeError::MessageTooLarge { limit: 10_000, .. }
                ));
                assert!(
                    reason.to_string().contains("max_message_size (10000)"),
                    "{reason}"
                );
            }
            // The limits themselves are legal.
            let mut peer = victim.peer().await;
            peer.send(&raw::message(&[vec![7; 10_000]])).await.unwrap();
            peer.send(&raw::message(&[""; 8])).await.unwrap();
            victim.keeps(&mut peer).await;
        })
        .await;
    }
}

#[tokio::test]
async fn pings_are_answered_whatever_they_say() {
    let context: Vec<u8> = (0..200).collect();
    sieges(SHARED.map(Config::patient), async |victim| {
        let mut peer = victim.peer().await;
        for ttl in [0, 1, 655, 656, 65_534, 65_535_u16] {
            for len in [0, 1, 15, 16, 17, 200] {
                let data = [&ttl.to_be_bytes()[..], &context[..len]].concat();
                peer.send(&raw::command("PING", &data)).await.unwrap();
                loop {
                    let frame = peer.frame().await.unwrap();
                    if let Some((b"PONG", echo)) = frame.command() {
                        assert_eq!(echo, &context[..len.min(16)]);
                        break;
                    }
                }
            }
        }
        // The last TTL is the one that counts; none at all is no deadline.
        for ttl in [1, 0_u16] {
            peer.send(&raw::command("PING", &ttl.to_be_bytes()))
                .await
                .unwrap();
            peer.frame().await.unwrap();
        }
        let beyond = std::time::Duration::from_millis(300);
        peer.expect_silence(beyond).await.unwrap();
        victim.keeps(&mut peer).await;
        // A TTL is kept to: a peer that lives 100 ms without traffic is dead after them.
        peer.send(&raw::command("PING", &[0, 1])).await.unwrap();
        assert_eq!(victim.closes(peer).await, Reason::Silent);
    })
    .await;
}

#[tokio::test]
async fn unknown_commands_are_ignored_and_counted() {
    for kind in SHARED {
        siege(Config::patient(kind), async |victim| {
            let before = victim.stats().ignored_commands;
            let mut peer = victim.peer().await;
            for name in ["JOIN", "", "LEAVE", "ping", "\0\u{1b}[2J", &"x".repeat(255)] {
                peer.send(&raw::command(name, b"data")).await.unwrap();
            }
            peer.send(&raw::command("HICCUP", &[0; 70_000]))
                .await
                .unwrap();
            // Within a message they are allowed, too: RFC 37 §3.3.
            peer.send(&raw::frame(MORE, b"head")).await.unwrap();
            peer.send(&raw::command("JOIN", b"")).await.unwrap();
            peer.send(&raw::frame(0, b"tail")).await.unwrap();
            victim.keeps(&mut peer).await;
            assert_eq!(victim.stats().ignored_commands - before, 8);
        })
        .await;
    }
}

#[tokio::test]
async fn links_that_break_inside_a_frame_leave_nothing_behind() {
    for kind in SHARED {
        siege(Config::patient(kind), async |victim| {
            for octets in [
                raw::header(LONG, 1 << 20),
                raw::header(LONG, 1 << 20)[..4].to_vec(),
                [raw::header(LONG, 1 << 20), vec![7; 500_000]].concat(),
                [raw::frame(MORE, b"first"), raw::header(0, 9)].concat(),
            ] {
                let mut peer = victim.peer().await;
                peer.send(&octets).await.unwrap();
                peer.finish().await.unwrap();
                assert_eq!(victim.closes(peer).await, Reason::PeerClosed);

                let mut peer = victim.peer().await;
                peer.send(&octets).await.unwrap();
                let address = peer.address().unwrap();
                peer.reset().unwrap();
                let reason = victim.loss(&address).await;
                assert_eq!(reason, Reason::PeerClosed);
            }
            // What was whole before the end is a message.
            if victim.kind() == SocketType::Pull {
                let before = victim.stats().received;
                let mut peer = victim.peer().await;
                peer.send(&raw::message(&["whole", "message"]))
                    .await
                    .unwrap();
                peer.finish().await.unwrap();
                assert_eq!(victim.closes(peer).await, Reason::PeerClosed);
                assert!(victim.stats().received > before);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_peers_error_ends_the_connection_and_is_reported() {
    siege(Config::patient(SocketType::Pull), async |victim| {
        for (data, said) in [
            (&b"\x08go away!"[..], "go away!"),
            (b"", ""),
            (b"\xff\x1b[2J", "\\x1b[2J"),
        ] {
            let mut peer = victim.peer().await;
            peer.send(&raw::command("ERROR", data)).await.unwrap();
            match victim.closes(peer).await {
                Reason::PeerError(reason) => assert_eq!(reason, said),
                other => panic!("{other}"),
            }
        }
    })
    .await;
}
