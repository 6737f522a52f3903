//! Connections that come about, or do not: how many are accepted, listeners in trouble, attempts
//! that fail.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use withy::event::{
    AcceptError, AcceptFailure, DecodeError, DialError, DialFailure, HandshakeFailure,
};
use withy::options::{ConnectionLimits, ListenOptions, Reconnect};
use withy::{Dealer, EventKind, Message, Pull, Push, Reason};
use withy_tests::raw;

use crate::support::{ANY, event, only, soon};

fn at_most(max_connections: usize) -> ConnectionLimits {
    ConnectionLimits {
        max_connections,
        ..ConnectionLimits::default()
    }
}

/// Waits for an event that `pick` wants.
#[tokio::test]
async fn a_burst_of_peers_gets_no_more_than_max_connections() {
    let pull = Pull::builder()
        .connection_limits(at_most(2))
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    // All are accepted before the first is through.
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
        peer.send(&raw::greeting(1, "NULL", false)).await.unwrap();
        peer.exactly(64).await.unwrap();
        peers.push(peer);
    }
    for peer in &mut peers {
        let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
        peer.send(&ready).await.unwrap();
    }
    let (mut connected, mut refused) = (0, 0);
    while connected + refused < 20 {
        let through = event(&mut monitor, |kind| match kind {
            EventKind::Connected(_) => Some(true),
            EventKind::HandshakeFailed {
                reason: HandshakeFailure::TooManyConnections(2),
                ..
            } => Some(false),
            _ => None,
        })
        .await;
        connected += u32::from(through);
        refused += u32::from(!through);
    }
    assert_eq!((connected, refused), (2, 18));
    let stats = pull.stats();
    assert_eq!((stats.peers, stats.refused), (2, 18));

    // The next one is not even asked who it is.
    let _late = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
    event(&mut monitor, |kind| match kind {
        EventKind::AcceptFailed {
            reason: AcceptFailure::TooManyConnections { limit: 2, .. },
        } => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(pull.stats().refused, 19);

    // Whoever leaves makes room.
    drop(peers);
    let push = Push::connect(endpoint).unwrap();
    push.send("hello").await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap().first(), "hello");
}

#[tokio::test]
async fn connections_that_a_socket_makes_or_that_never_finish_take_no_place() {
    let far = Dealer::bind(ANY).await.unwrap();
    let near = Dealer::builder()
        .connection_limits(at_most(1))
        .build()
        .unwrap();
    near.connect_to(only(far.endpoints())).unwrap();
    soon(near.ready()).await.unwrap();
    let endpoint = near.bind_to(ANY).await.unwrap();
    let mut idle = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
    idle.exactly(64).await.unwrap();
    let third = Dealer::connect(endpoint).unwrap();
    soon(third.ready()).await.unwrap();
    assert_eq!(near.stats().refused, 0);
}

#[tokio::test]
async fn processes_that_the_filter_denies_do_not_delay_others() {
    let mut listen = ListenOptions::default();
    listen.ipc_filter.uids = vec![u32::MAX - 1];
    let pull = Pull::builder().listen_options(listen).build().unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("ipc://*").await.unwrap();
    let path = endpoint.to_string();
    let path = path.strip_prefix("ipc://").unwrap();
    let denied = 300;
    for _ in 0..denied {
        UnixStream::connect(path).unwrap();
    }
    // With a rest after each it takes longer than there is time.
    soon(async {
        for _ in 0..denied {
            let error = event(&mut monitor, |kind| match kind {
                EventKind::AcceptFailed {
                    reason: AcceptFailure::Link(error),
                } => Some(error),
                _ => None,
            })
            .await;
            assert!(matches!(*error, AcceptError::Filtered(_)));
        }
    })
    .await;
    assert_eq!(pull.stats().refused, denied);
}

#[tokio::test]
async fn a_listener_that_broke_ends_with_its_error_and_leaves_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let pull = Pull::builder().insecure().build().unwrap();
    let mut monitor = pull.monitor();
    pull.bind_to(&format!("fd://{}", listener.as_raw_fd()))
        .await
        .unwrap();
    let push = Push::connect(&endpoint).unwrap();
    soon(pull.ready()).await.unwrap();
    let socket = TcpStream::from(OwnedFd::from(listener));
    socket.shutdown(Shutdown::Both).unwrap();
    let error = event(&mut monitor, |kind| match kind {
        EventKind::Unbound { error } => Some(error),
        _ => None,
    })
    .await;
    assert!(matches!(error.as_deref(), Some(AcceptError::Failed(_))));
    assert!(pull.endpoints().is_empty());
    soon(push.send("still there")).await.unwrap();
    assert_eq!(
        soon(pull.recv()).await.unwrap(),
        Message::from("still there")
    );
    soon(pull.close()).await;
}

#[tokio::test]
async fn an_attempt_that_fails_for_good_is_told_too() {
    let once = Reconnect {
        enabled: false,
        ..Reconnect::default()
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("tcp://{}", free.local_addr().unwrap());
    drop(free);
    let too_long = format!("ipc:///{}", "x".repeat(200));
    for (endpoint, reconnect, permanent) in [
        (refused, once, false),
        (too_long, Reconnect::default(), true),
    ] {
        let push = Push::builder().reconnect(reconnect).build().unwrap();
        let mut monitor = push.monitor();
        push.connect_to(&endpoint).unwrap();
        let (reason, delay) = event(&mut monitor, |kind| match kind {
            EventKind::DialFailed { reason, delay } => Some((reason, delay)),
            _ => None,
        })
        .await;
        assert_eq!(delay, None);
        assert_eq!(reason.is_permanent(), permanent, "{reason}");
        match reason {
            DialFailure::Link(error) => assert_eq!(
                matches!(*error, DialError::Unreachable { .. }),
                !permanent,
                "{error}"
            ),
            other => panic!("{other}"),
        }
    }
}

/// Over inproc, too, where a message is handed over as it is.
#[tokio::test]
async fn messages_over_a_limit_close_a_connection_inside_the_process() {
    let large = Message::from(vec![0; 2_000]);
    let many: Message = ["a", "b"].into_iter().collect();
    for (name, offence) in [("large", large), ("many", many)] {
        let pull = Pull::builder()
            .max_message_size(10)
            .max_parts(1)
            .build()
            .unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull
            .bind_to(&format!("inproc://limits-{name}"))
            .await
            .unwrap();
        let push = Push::connect(endpoint).unwrap();
        soon(push.ready()).await.unwrap();
        for message in [Message::from("first"), offence] {
            push.send(message).await.unwrap();
        }
        assert_eq!(soon(pull.recv()).await.unwrap().first(), "first");
        // Whoever reads comes upon it.
        let reading = tokio::spawn({
            let pull = pull.clone();
            async move { pull.recv().await }
        });
        let reason = event(&mut monitor, |kind| match kind {
            EventKind::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
        match reason {
            Reason::Protocol(DecodeError::MessageTooLarge {
                size: 2_000,
                limit: 10,
            }) => {
                assert_eq!(name, "large");
            }
            Reason::Protocol(DecodeError::TooManyParts { limit: 1 }) => assert_eq!(name, "many"),
            other => panic!("{other}"),
        }
        assert_eq!(pull.stats().protocol_errors, 1);
        // The peer connects again.
        soon(push.send("last")).await.unwrap();
        assert_eq!(soon(reading).await.unwrap().unwrap().first(), "last");
    }
}
