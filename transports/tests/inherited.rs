//! Listening sockets that someone else opened.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use support::*;
use withy_transports::{ListenError, ListenOptions, listen};

#[tokio::test]
async fn a_tcp_socket_is_taken_over_by_its_number() {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let text = format!("fd://{}", socket.as_raw_fd());
    // The socket outlives the listener, and so can be taken over again.
    for _ in 0..2 {
        let mut listener = bound(&text).await;
        assert_eq!(listener.endpoint().to_string(), format!("tcp://{address}"));
        assert!(listener.endpoint().is_local() && !endpoint(&text).is_local());
        let (mut ours, mut theirs) = linked(&mut listener).await;
        talk(&mut ours, &mut theirs).await;
    }
}

#[tokio::test]
async fn a_unix_socket_is_taken_over_and_its_file_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let mut listener = bound(&format!("fd://{}", socket.as_raw_fd())).await;
    assert_eq!(
        listener.endpoint().to_string(),
        format!("ipc://{}", path.display())
    );
    let (mut ours, mut theirs) = linked(&mut listener).await;
    assert_eq!(theirs.peer.address, format!("ipc:{}", path.display()));
    assert!(theirs.peer.credentials.is_some());
    talk(&mut ours, &mut theirs).await;
    drop(listener);
    assert!(path.exists());
}

#[tokio::test]
async fn what_does_not_listen_is_refused() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagram = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let file = File::open("/dev/null").unwrap();
    let wrong = [
        stream.as_raw_fd(),
        datagram.as_raw_fd(),
        file.as_raw_fd(),
        i32::MAX,
    ];
    for number in wrong {
        let target = endpoint(&format!("fd://{number}"));
        let error = listen(&target, &ListenOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ListenError::NotInherited { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_found_by_its_name() {
    let text = "systemd://mesh";
    if std::env::var_os(PREPARED).is_none() {
        let error = listen(&endpoint(text), &ListenOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ListenError::NotInherited { .. }), "{error}");
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // Descriptors 3 and 4, as a service manager passes them; ours is the second.
        let preparation = r#"LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:mesh
            export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES
            exec "$0" "$@" 3</dev/null 4<&0 0</dev/null"#;
        let test = "a_socket_of_the_service_manager_is_found_by_its_name";
        run_prepared(test, preparation, |command| {
            command.stdin(OwnedFd::from(socket));
        });
        return;
    }
    let mut listener = bound(text).await;
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
    let again = bound("systemd://mesh:0").await;
    assert_eq!(again.endpoint(), listener.endpoint());
    for text in ["systemd://mesh:1", "systemd://other", "systemd://nobody"] {
        let error = listen(&endpoint(text), &ListenOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ListenError::NotInherited { .. }), "{error}");
    }
}
