//! The `tcp` transport over loopback.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::io;
use std::net::{Ipv6Addr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use support::*;
use withy_transports::{
    AcceptError, ByteReader, ByteWriter, DialError, DialOptions, KeepAlive, Link, ListenError,
    ListenOptions, dial, listen,
};

fn has_ipv6() -> bool {
    StdListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn port(text: &str) -> &str {
    text.rsplit_once(':').unwrap().1
}

#[tokio::test]
async fn a_link_carries_bytes_both_ways_and_both_sides_know_each_other() {
    for wildcard in ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0"] {
        let mut listener = bound(wildcard).await;
        let real = listener.endpoint().to_string();
        assert!(real.starts_with("tcp://127.0.0.1:"), "{real}");
        assert_ne!(port(&real), "*");
        let (mut ours, mut theirs) = linked(&mut listener).await;
        assert_eq!(real, format!("tcp://{}", ours.peer.address));
        assert_eq!(ours.peer.address, theirs.local);
        assert_eq!(ours.local, theirs.peer.address);
        assert_eq!(ours.peer.credentials, None);
        talk(&mut ours, &mut theirs).await;
    }
}

#[tokio::test]
async fn slices_are_written_together_and_the_end_is_seen() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let (mut ours, mut theirs) = linked(&mut listener).await;
    let (_, writer) = bytes(&mut ours.link);
    let slices = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cd")];
    assert_eq!(writer.try_write_vectored(&slices).unwrap(), 4);
    writer.shutdown();
    writer.shutdown();
    assert_eq!(hear(&mut theirs.link, 9).await, b"abcd");
    assert_eq!(hear(&mut ours.link, 9).await, b"");
}

#[tokio::test]
async fn shutdown_wakes_our_own_reader() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let (ours, _theirs) = linked(&mut listener).await;
    let Link::Bytes(mut reader, writer) = ours.link else {
        panic!("this link carries messages");
    };
    let reading = tokio::spawn(async move {
        let mut octets = [0; 8];
        let mut buffer = tokio::io::ReadBuf::new(&mut octets);
        std::future::poll_fn(|cx| reader.poll_read(cx, &mut buffer))
            .await
            .unwrap();
        buffer.filled().len()
    });
    tokio::task::yield_now().await;
    writer.shutdown();
    assert_eq!(reading.await.unwrap(), 0);
}

#[tokio::test]
async fn a_wildcard_host_listens_on_all_addresses() {
    let mut listener = bound("tcp://*:*").await;
    let real = listener.endpoint().to_string();
    assert!(real.starts_with("tcp://0.0.0.0:"), "{real}");
    assert!(!listener.endpoint().is_local());
    let mut ours = dialled(&format!("tcp://127.0.0.1:{}", port(&real))).await;
    let mut theirs = listener.accept().await.unwrap();
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn ipv6_works_where_the_system_has_it() {
    let listened = listen(&endpoint("tcp://[::1]:*"), &ListenOptions::default()).await;
    if !has_ipv6() {
        assert!(
            matches!(listened, Err(ListenError::Io { .. })),
            "{listened:?}"
        );
        return;
    }
    let mut listener = listened.unwrap();
    assert!(listener.endpoint().to_string().starts_with("tcp://[::1]:"));
    assert!(listener.endpoint().is_local());
    let (mut ours, mut theirs) = linked(&mut listener).await;
    assert!(theirs.peer.address.starts_with("[::1]:"));
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn with_the_ipv6_option_a_wildcard_is_dual_stack() {
    if !has_ipv6() {
        return;
    }
    let mut options = ListenOptions::default();
    options.tcp.ipv6 = true;
    for wildcard in ["tcp://*:*", "tcp://[::]:*"] {
        let mut listener = listen(&endpoint(wildcard), &options).await.unwrap();
        let real = listener.endpoint().to_string();
        assert!(real.starts_with("tcp://[::]:"), "{real}");
        for address in ["127.0.0.1", "[::1]"] {
            let mut ours = dialled(&format!("tcp://{address}:{}", port(&real))).await;
            let mut theirs = listener.accept().await.unwrap();
            assert!(
                theirs.peer.address.starts_with(address),
                "{}",
                theirs.peer.address
            );
            assert_eq!(theirs.local, ours.peer.address);
            talk(&mut ours, &mut theirs).await;
        }
    }
}

#[tokio::test]
async fn an_interface_name_is_its_address() {
    let name = if cfg!(target_os = "linux") {
        "lo"
    } else {
        "lo0"
    };
    let mut listener = bound(&format!("tcp://{name}:*")).await;
    assert!(
        listener
            .endpoint()
            .to_string()
            .starts_with("tcp://127.0.0.1:")
    );
    assert!(listener.endpoint().is_local());
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn localhost_is_dialled_at_all_its_addresses() {
    for address in ["127.0.0.1", "[::1]", "localhost"] {
        if address == "[::1]" && !has_ipv6() {
            continue;
        }
        let mut listener = bound(&format!("tcp://{address}:*")).await;
        let real = listener.endpoint().to_string();
        let mut ours = dialled(&format!("tcp://localhost:{}", port(&real))).await;
        let mut theirs = listener.accept().await.unwrap();
        talk(&mut ours, &mut theirs).await;
    }
}

#[tokio::test]
async fn names_without_an_address_are_an_error_that_says_so() {
    // No resolver asks anyone for a label of more than 63 octets.
    let name = "x".repeat(64);
    let text = format!("tcp://{name}.test:1");
    let error = dial(&endpoint(&text), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DialError::Resolve { host, .. } if host.starts_with(&name)),
        "{error}"
    );
    assert!(!error.is_permanent());
    let error = listen(&endpoint(&text), &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::Resolve { .. }), "{error}");
    let text = "tcp://no-interface:*;127.0.0.1:1";
    let error = dial(&endpoint(text), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DialError::Resolve { host, .. } if host == "no-interface"),
        "{error}"
    );
}

#[tokio::test]
async fn a_dial_may_choose_its_source() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let port = port(&listener.endpoint().to_string()).to_owned();
    let sources = if cfg!(target_os = "linux") {
        [("127.0.0.2:*", "127.0.0.2:"), ("lo:0", "127.0.0.1:")]
    } else {
        [("127.0.0.1:*", "127.0.0.1:"), ("lo0:0", "127.0.0.1:")]
    };
    for (source, expected) in sources {
        let mut ours = dialled(&format!("tcp://{source};127.0.0.1:{port}")).await;
        let mut theirs = listener.accept().await.unwrap();
        assert!(
            theirs.peer.address.starts_with(expected),
            "{}",
            theirs.peer.address
        );
        talk(&mut ours, &mut theirs).await;
    }
    // A source of the other family reaches nothing.
    let text = format!("tcp://[::1]:*;127.0.0.1:{port}");
    let error = dial(&endpoint(&text), &DialOptions::default())
        .await
        .unwrap_err();
    let DialError::Unreachable { failures, .. } = &error else {
        panic!("{error}");
    };
    assert!(failures.is_empty() && !error.is_refused());
    assert!(error.to_string().contains("source"), "{error}");
}

#[tokio::test]
async fn a_refused_dial_says_so_for_every_address() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let text = format!("tcp://127.0.0.1:{port}");
    let error = dial(&endpoint(&text), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_refused() && !error.is_permanent(), "{error}");
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_taken_port_is_in_use() {
    let listener = bound("tcp://127.0.0.1:*").await;
    let port = port(&listener.endpoint().to_string()).to_owned();
    for text in [
        format!("tcp://127.0.0.1:{port}"),
        format!("tcp://localhost:{port}"),
    ] {
        let error = listen(&endpoint(&text), &ListenOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    }
    drop(listener);
    bound(&format!("tcp://127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn endpoints_of_the_other_side_are_refused() {
    for text in [
        "tcp://*:1",
        "tcp://127.0.0.1:*",
        "tcp://localhost:0",
        "fd://3",
        "systemd://a",
    ] {
        let error = dial(&endpoint(text), &DialOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::NotDialable { .. }), "{error}");
        assert!(error.is_permanent());
    }
    let text = "tcp://127.0.0.1:*;127.0.0.1:*";
    let error = listen(&endpoint(text), &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::NotBindable { .. }), "{error}");
}

#[tokio::test]
async fn options_reach_the_sockets_of_both_sides() {
    let mut keep_alive = KeepAlive::default();
    keep_alive.idle = Some(Duration::from_secs(61));
    keep_alive.interval = Some(Duration::from_secs(7));
    keep_alive.count = Some(3);
    for no_delay in [true, false] {
        let (mut listening, mut dialling) = (ListenOptions::default(), DialOptions::default());
        for tcp in [&mut listening.tcp, &mut dialling.tcp] {
            assert!(tcp.no_delay, "it is the default");
            tcp.no_delay = no_delay;
            tcp.keep_alive = Some(keep_alive.clone());
            tcp.send_buffer = Some(100_000);
            tcp.receive_buffer = Some(100_000);
            tcp.tos = Some(0x10);
        }
        let mut listener = listen(&endpoint("tcp://127.0.0.1:*"), &listening)
            .await
            .unwrap();
        let ours = dial(listener.endpoint(), &dialling).await.unwrap();
        let theirs = listener.accept().await.unwrap();
        for connected in [ours, theirs] {
            let Link::Bytes(ByteReader::Tcp(_), ByteWriter::Tcp(half)) = &connected.link else {
                panic!("{connected:?}");
            };
            let socket = SockRef::from(half.as_ref());
            assert_eq!(socket.tcp_nodelay().unwrap(), no_delay);
            assert!(socket.keepalive().unwrap());
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(61)
            );
            assert_eq!(
                socket.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(7)
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
            assert!(socket.send_buffer_size().unwrap() >= 100_000);
            assert!(socket.recv_buffer_size().unwrap() >= 100_000);
        }
    }
}

#[tokio::test]
async fn an_unknown_device_is_an_error() {
    let (mut listening, mut dialling) = (ListenOptions::default(), DialOptions::default());
    listening.tcp.bind_to_device = Some("no-device".into());
    dialling.tcp.bind_to_device = Some("no-device".into());
    let error = listen(&endpoint("tcp://127.0.0.1:*"), &listening)
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::Io { .. }), "{error}");
    let listener = bound("tcp://127.0.0.1:*").await;
    let error = dial(listener.endpoint(), &dialling).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_connection() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    for _ in 0..3 {
        assert!(is_pending(listener.accept()).await);
    }
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_connection_that_is_gone_before_it_is_accepted_does_no_harm() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let gone = dialled(&listener.endpoint().to_string()).await;
    let Link::Bytes(_, ByteWriter::Tcp(half)) = &gone.link else {
        panic!("{gone:?}");
    };
    SockRef::from(half.as_ref())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(gone);
    let accepted = listener.accept().await;
    assert!(accepted.is_ok() || accepted.is_err_and(|error| error.is_transient()));
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn accepting_survives_a_lack_of_descriptors() {
    if std::env::var_os(PREPARED).is_none() {
        let test = "accepting_survives_a_lack_of_descriptors";
        run_prepared(test, r#"ulimit -n 64 && exec "$0" "$@""#, |_| {});
        return;
    }
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let mut ours = dialled(&listener.endpoint().to_string()).await;
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    let error = listener.accept().await.unwrap_err();
    assert!(matches!(error, AcceptError::Transient(_)), "{error}");
    drop(hoard);
    let mut theirs = listener.accept().await.unwrap();
    talk(&mut ours, &mut theirs).await;
}
