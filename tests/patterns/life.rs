//! The life of a connection: heartbeats, reconnects, monitors, closing, refusals before anything
//! happens.

use std::time::Duration;

use tokio::task::JoinSet;
use withy::options::{Heartbeat, HighWaterMark};
use withy::{
    AnySocket, BindError, Closed, ConnectError, Dealer, EventKind, Message, Monitor, Publisher,
    Pull, Push, Reason, ReceiveError, SocketType, Subscriber, Unfit,
};

use withy_tests::raw;

use crate::support::{ANY, Way, each_link, number, number_of, only, soon};

/// Tests all links at the same time: these tests mostly wait.
async fn for_each_link<F: Future<Output = ()> + Send + 'static>(name: &str, test: fn(Way) -> F) {
    let mut all = JoinSet::new();
    for way in each_link(name) {
        all.spawn(test(way));
    }
    all.join_all().await;
}

#[tokio::test]
async fn clear_text_does_not_leave_the_host_unless_told_to() {
    for endpoint in ["tcp://192.0.2.1:5555", "tcp://example.org:5555"] {
        let error = Push::connect(endpoint).unwrap_err();
        assert!(matches!(
            error,
            ConnectError::Unfit {
                why: Unfit::Insecure(_),
                ..
            }
        ));
        assert!(error.to_string().contains("insecure()"), "{error}");
        let push = Push::builder().insecure().build().unwrap();
        push.connect_to(endpoint).unwrap();
    }
    for endpoint in ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"] {
        assert!(
            matches!(
                Pull::bind(endpoint).await,
                Err(BindError::Unfit {
                    why: Unfit::Insecure(_),
                    ..
                })
            ),
            "{endpoint}"
        );
    }
    Push::connect("tcp://localhost:1").unwrap();
}

#[tokio::test]
async fn the_monitor_tells_the_story_of_a_connection() {
    let pull = Pull::new();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    let push = Push::connect(endpoint.clone()).unwrap();
    soon(push.ready()).await.unwrap();
    drop(push);
    let mut story = Vec::new();
    soon(async {
        while let Some(event) = monitor.next().await {
            assert_eq!(event.endpoint, endpoint);
            story.push(match event.kind {
                EventKind::Listening => "listening",
                EventKind::Accepted { .. } => "accepted",
                EventKind::Connected(peer) => {
                    assert_eq!(
                        (peer.kind, peer.mechanism, peer.withy),
                        (SocketType::Push, "NULL", true)
                    );
                    "connected"
                }
                EventKind::Disconnected { reason, .. } => {
                    assert_eq!(reason, Reason::PeerClosed);
                    story.push("disconnected");
                    return;
                }
                other => panic!("{other:?}"),
            });
        }
    })
    .await;
    assert_eq!(
        story,
        ["listening", "accepted", "connected", "disconnected"]
    );
}

#[tokio::test]
async fn closing_sends_what_waits_and_says_what_it_could_not() {
    for way in each_link("closing") {
        let pull = way.server(Pull::builder());
        let endpoint = pull.bind_to(way.any()).await.unwrap();
        let push = way.client(Push::builder());
        push.connect_to(endpoint).unwrap();
        for n in 0..900 {
            push.send(number(n)).await.unwrap();
        }
        assert_eq!(soon(push.close()).await, 0, "{way}");
        for n in 0..900 {
            assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n, "{way}");
        }

        let push = way.client(Push::builder().linger(Duration::from_millis(50)));
        push.connect_to("tcp://127.0.0.1:1").unwrap();
        push.send("nobody takes it").await.unwrap();
        assert_eq!(soon(push.close()).await, 1, "{way}");
    }
}

#[tokio::test]
async fn a_closed_socket_wakes_those_who_wait() {
    let pull = Pull::bind(ANY).await.unwrap();
    let waiting = tokio::spawn({
        let pull = pull.clone();
        async move { pull.recv().await }
    });
    tokio::task::yield_now().await;
    pull.close().await;
    assert_eq!(soon(waiting).await.unwrap(), Err(ReceiveError::Closed));
}

#[tokio::test]
async fn a_silent_link_is_given_up_by_heartbeats() {
    // A peer that shakes hands and then says nothing: plain TCP underneath, so that it is silent.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let heartbeat = Heartbeat {
        enabled: Some(true),
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(150),
    };
    let pull = Pull::builder().heartbeat(heartbeat).build().unwrap();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    let mut monitor = pull.monitor();
    let address = endpoint.to_string().trim_start_matches("tcp://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await.unwrap();
    stream
        .write_all(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH")
        .await
        .unwrap();
    stream.write_all(b"\0\x02hi").await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap(), Message::from("hi"));
    soon(async {
        loop {
            if let Some(EventKind::Disconnected { reason, .. }) =
                monitor.next().await.map(|event| event.kind)
            {
                assert_eq!(reason, Reason::Silent);
                return;
            }
        }
    })
    .await;
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    let ping = rest.windows(5).any(|octets| octets == b"\x04PING");
    assert!(ping, "it was asked first");
}

/// An application that takes one message and turns to other things is still there for its peers.
#[tokio::test]
async fn pings_and_hang_ups_are_seen_after_a_message_was_taken() {
    for kind in [SocketType::Pull, SocketType::Dealer, SocketType::Sub] {
        let theirs = match kind {
            SocketType::Pull => "PUSH",
            SocketType::Dealer => "DEALER",
            _ => "PUB",
        };
        let socket = AnySocket::builder(kind).build().unwrap();
        if kind == SocketType::Sub {
            socket.subscribe("", true);
        }
        let mut monitor = socket.monitor();
        let endpoint = socket.bind_to(ANY).await.unwrap();
        let mut peer = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
        peer.handshake(theirs).await.unwrap();
        for text in ["one", "two"] {
            peer.send(&raw::message(&[text])).await.unwrap();
            assert_eq!(soon(socket.recv()).await.unwrap(), Message::from(text));
            let ping = raw::command("PING", b"\0\0there?");
            peer.send(&ping).await.unwrap();
            loop {
                let frame = peer.frame().await.unwrap();
                if frame.command() == Some((b"PONG", b"there?")) {
                    break;
                }
            }
        }
        peer.send(&raw::message(&["three"])).await.unwrap();
        assert_eq!(soon(socket.recv()).await.unwrap(), Message::from("three"));
        peer.finish().await.unwrap();
        soon(disconnected(&mut monitor)).await;
    }
}

#[tokio::test]
async fn a_hang_up_is_seen_while_nobody_receives() {
    for way in each_link("hang-up") {
        hangs_up(&way).await;
    }
}

/// Waits until a connection ends.
async fn disconnected(monitor: &mut Monitor) {
    while !matches!(
        monitor.next().await.map(|event| event.kind),
        Some(EventKind::Disconnected { .. })
    ) {}
}

async fn hangs_up(way: &Way) {
    let pull = way.server(Pull::builder());
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder());
    push.connect_to(endpoint).unwrap();
    push.send("left behind").await.unwrap();
    assert_eq!(soon(push.close()).await, 0);
    soon(disconnected(&mut monitor)).await;
    assert_eq!(
        soon(pull.recv()).await.unwrap(),
        Message::from("left behind")
    );
}

/// A connection that is alone looks after its socket: what becomes of that when others come, and when
/// it leaves them or nobody behind.
#[tokio::test]
async fn hang_ups_are_seen_in_whatever_order_peers_come_and_go() {
    let pull = Pull::new();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    let connect = async |peers| {
        let push = Push::connect(&endpoint).unwrap();
        soon(pull.wait_peers(peers)).await.unwrap();
        push
    };
    let mut sent = 0;
    // By number: each of these is connected, or hangs up.
    for turn in [&[1, 1][..], &[1, 2, 1, 2], &[1, 2, 2, 1], &[1, 1, 2, 2]] {
        let mut pushes = [None, None];
        for &who in turn {
            let push: &mut Option<Push> = &mut pushes[who - 1];
            let Some(push) = push.take() else {
                let peers = pull.stats().peers as usize + 1;
                *push = Some(connect(peers).await);
                continue;
            };
            push.send("left behind").await.unwrap();
            assert_eq!(soon(push.close()).await, 0);
            soon(disconnected(&mut monitor)).await;
            sent += 1;
        }
    }
    for _ in 0..sent {
        assert_eq!(
            soon(pull.recv()).await.unwrap(),
            Message::from("left behind")
        );
    }
}

/// Between two receives a pipe is in nobody's hands, and what the last one read may not have been
/// all: PING and the end are seen all the same.
#[tokio::test]
async fn an_application_that_is_away_keeps_its_peer_until_that_ends() {
    for_each_link("away", |way| async move { is_away(&way).await }).await;
}

async fn is_away(way: &Way) {
    let quick = Heartbeat {
        enabled: Some(true),
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(400),
    };
    let pull = way.server(Pull::builder().heartbeat(quick));
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder().heartbeat(quick));
    push.connect_to(endpoint).unwrap();
    for n in 0..100 {
        push.send(number(n)).await.unwrap();
    }
    // The others are readable and stay where they are.
    assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), 0);
    let mut ended = std::pin::pin!(async {
        loop {
            if let EventKind::Disconnected { reason, .. } = monitor.next().await.unwrap().kind {
                return reason;
            }
        }
    });
    let long = Duration::from_millis(1_500);
    if let Ok(reason) = tokio::time::timeout(long, &mut ended).await {
        panic!("{reason}");
    }
    drop(push);
    assert_eq!(soon(ended).await, Reason::PeerClosed);
    for n in 1..100 {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
}

/// Its PONGs are late, since it reads all that was sent before the PING first; its own PINGs are
/// not.
#[tokio::test]
async fn a_slow_reader_is_not_taken_for_dead() {
    for_each_link("slow", |way| async move { reads_slowly(&way).await }).await;
}

async fn reads_slowly(way: &Way) {
    let quick = Heartbeat {
        enabled: Some(true),
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(500),
    };
    let pull = way.server(Pull::builder().heartbeat(quick));
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder().heartbeat(quick));
    let mut monitors = [pull.monitor(), push.monitor()];
    push.connect_to(endpoint).unwrap();
    let flood = tokio::spawn(async move { while push.send(vec![7; 4_096]).await.is_ok() {} });
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..200 {
        pace.tick().await;
        soon(pull.recv()).await.unwrap();
    }
    flood.abort();
    for monitor in &mut monitors {
        while let Some(event) = monitor.try_next() {
            if let EventKind::Disconnected { reason, .. } = event.kind {
                panic!("{reason}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_waits_for_peers_hears_that_the_socket_closes() {
    let publisher = Publisher::bind(ANY).await.unwrap();
    let waiting = publisher.clone();
    let both =
        tokio::spawn(
            async move { tokio::join!(waiting.wait_peers(2), waiting.wait_subscribed(1)) },
        );
    let subscriber = Subscriber::connect(only(publisher.endpoints())).unwrap();
    soon(publisher.ready()).await.unwrap();
    soon(publisher.clone().close()).await;
    assert_eq!(soon(both).await.unwrap(), (Err(Closed), Err(Closed)));
    assert_eq!(soon(publisher.ready()).await, Err(Closed));
    drop(subscriber);
}

#[tokio::test]
async fn what_a_peer_sent_before_it_left_arrives_though_writing_to_it_fails_first() {
    for _ in 0..20 {
        let dealer = Dealer::bind(ANY).await.unwrap();
        let mut monitor = dealer.monitor();
        let endpoint = only(dealer.endpoints()).to_string();
        let mut peer = raw::Peer::connect(&endpoint).await.unwrap();
        peer.handshake("DEALER").await.unwrap();
        soon(dealer.ready()).await.unwrap();
        let flood = {
            let dealer = dealer.clone();
            tokio::spawn(async move { while dealer.send(vec![0; 10_000]).await.is_ok() {} })
        };
        // Some of it stands unread when the peer closes, which resets the connection.
        peer.frame().await.unwrap();
        let sent: Vec<u8> = (0..2_000)
            .flat_map(|n| raw::message(&[number(n).first()]))
            .collect();
        peer.send(&sent).await.unwrap();
        drop(peer);
        soon(async {
            while let Some(event) = monitor.next().await {
                if matches!(event.kind, EventKind::Disconnected { .. }) {
                    return;
                }
            }
        })
        .await;
        for n in 0..2_000 {
            assert_eq!(number_of(&soon(dealer.recv()).await.unwrap()), n);
        }
        flood.abort();
    }
}

/// The high-water mark is reached with the last whole frame of a read that fills its buffer.
#[tokio::test]
async fn reading_goes_on_in_the_middle_of_a_frame_after_a_pause() {
    const READ: usize = 64 * 1024;
    const COUNT: u32 = 4_000;
    let body = |n: u32| [&n.to_be_bytes()[..], &[0; 60]].concat();
    let frame = raw::message(&[body(0)]).len();
    assert_ne!(READ % frame, 0);
    let mark = HighWaterMark {
        messages: READ / frame,
        ..HighWaterMark::default()
    };
    let pull = Pull::builder()
        .receive_high_water_mark(mark)
        .build()
        .unwrap();
    let endpoint = pull.bind_to(ANY).await.unwrap().to_string();
    let mut peer = raw::Peer::connect(&endpoint).await.unwrap();
    peer.handshake("PUSH").await.unwrap();
    soon(pull.ready()).await.unwrap();
    let sent: Vec<u8> = (0..COUNT).flat_map(|n| raw::message(&[body(n)])).collect();
    let sending = async { peer.send(&sent).await.unwrap() };
    let receiving = async {
        while (pull.stats().unread as usize) < mark.messages {
            tokio::task::yield_now().await;
        }
        for n in 0..COUNT {
            assert_eq!(*pull.recv().await.unwrap().first(), *body(n));
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
}

/// Their runtime is made by whoever is first, also where none may be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn blocking_sockets_are_made_by_many_tasks_at_once() {
    let together = std::sync::Arc::new(std::sync::Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let together = std::sync::Arc::clone(&together);
            tokio::spawn(async move {
                together.wait();
                withy::blocking::Push::connect(format!("inproc://first-use-{n}")).unwrap()
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
}
