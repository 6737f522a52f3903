//! The `ipc` transport: paths, abstract names, fresh paths, filters.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::*;
use tempfile::TempDir;
use tokio::sync::Barrier;
use withy_transports::{
    AcceptError, DialError, DialOptions, ListenError, ListenOptions, dial, listen,
};

struct Place {
    path: String,
    text: String,
    _directory: TempDir,
}

/// A path in a directory of its own.
fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket").to_str().unwrap().to_owned();
    let text = format!("ipc://{path}");
    Place {
        path,
        text,
        _directory: directory,
    }
}

fn is_socket(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[tokio::test]
async fn a_path_carries_bytes_both_ways_and_the_system_names_the_peer() {
    let place = place();
    let mut listener = bound(&place.text).await;
    assert_eq!(listener.endpoint().to_string(), place.text);
    let (mut ours, mut theirs) = linked(&mut listener).await;
    for connected in [&ours, &theirs] {
        assert_eq!(connected.local, format!("ipc:{}", place.path));
        assert_eq!(connected.peer.address, format!("ipc:{}", place.path));
        let peer = connected.peer.credentials.unwrap();
        assert_eq!(peer.uid, fs::metadata(&place.path).unwrap().uid());
        assert_eq!(peer.pid, Some(std::process::id() as i32));
    }
    talk(&mut ours, &mut theirs).await;
    drop(listener);
    assert!(!Path::new(&place.path).exists());
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn shutdown_ends_both_sides() {
    let mut listener = bound("ipc://*").await;
    let (mut ours, mut theirs) = linked(&mut listener).await;
    say(&mut ours.link, b"last").await;
    bytes(&mut ours.link).1.shutdown();
    assert_eq!(hear(&mut theirs.link, 9).await, b"last");
    assert_eq!(hear(&mut ours.link, 9).await, b"");
}

#[tokio::test]
async fn a_socket_file_left_behind_is_replaced() {
    let place = place();
    drop(UnixListener::bind(&place.path).unwrap());
    assert!(is_socket(&place.path));
    let error = dial(&endpoint(&place.text), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_refused(), "{error}");
    let mut listener = bound(&place.text).await;
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_live_socket_is_left_alone() {
    let place = place();
    let mut live = bound(&place.text).await;
    let error = listen(&endpoint(&place.text), &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    // Whoever asks whether it is live connects to it, and goes away.
    let mut probe = live.accept().await.unwrap();
    assert_eq!(hear(&mut probe.link, 1).await, b"");
    let (mut ours, mut theirs) = linked(&mut live).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_live_socket_of_another_kind_is_left_alone() {
    let place = place();
    let _datagram = UnixDatagram::bind(&place.path).unwrap();
    let error = listen(&endpoint(&place.text), &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    assert!(is_socket(&place.path));
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let options = ListenOptions::default();
    let file = place();
    fs::write(&file.path, "precious").unwrap();
    let error = listen(&endpoint(&file.text), &options).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&file.path).unwrap(), "precious");

    // A link to a socket that was left behind is no socket either.
    let (link, socket) = (place(), place());
    drop(UnixListener::bind(&socket.path).unwrap());
    std::os::unix::fs::symlink(&socket.path, &link.path).unwrap();
    let error = listen(&endpoint(&link.text), &options).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert!(is_socket(&socket.path) && fs::symlink_metadata(&link.path).is_ok());
}

#[tokio::test]
async fn a_path_that_another_took_over_is_not_removed() {
    let place = place();
    let first = bound(&place.text).await;
    fs::remove_file(&place.path).unwrap();
    let mut second = bound(&place.text).await;
    drop(first);
    assert!(is_socket(&place.path));
    let (mut ours, mut theirs) = linked(&mut second).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_wildcard_makes_a_private_path_and_removes_it() {
    let mut listener = bound("ipc://*").await;
    let another = bound("ipc://*").await;
    assert_ne!(listener.endpoint(), another.endpoint());
    let text = listener.endpoint().to_string();
    let path = Path::new(text.strip_prefix("ipc://").unwrap());
    assert!(is_socket(path));
    let directory = path.parent().unwrap();
    assert_eq!(
        fs::metadata(directory).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
    drop(listener);
    assert!(!directory.exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_leaves_no_file() {
    let text = format!("ipc://@withy-test-{}", std::process::id());
    let mut listener = bound(&text).await;
    assert_eq!(listener.endpoint().to_string(), text);
    let (mut ours, mut theirs) = linked(&mut listener).await;
    assert_eq!(theirs.peer.address, text.replacen("ipc://", "ipc:", 1));
    talk(&mut ours, &mut theirs).await;
    let error = listen(&endpoint(&text), &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    drop(listener);
    let error = dial(&endpoint(&text), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_refused(), "{error}");
    bound(&text).await;
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_a_typed_error() {
    let (dialling, listening) = (DialOptions::default(), ListenOptions::default());
    for text in [
        format!("ipc:///{}", "x".repeat(200)),
        format!("ipc://@{}", "x".repeat(200)),
    ] {
        let error = listen(&endpoint(&text), &listening).await.unwrap_err();
        let ListenError::PathTooLong(error) = error else {
            panic!("{error}");
        };
        assert!(error.max < 200 && error.path.len() > 200, "{error}");
        let error = dial(&endpoint(&text), &dialling).await.unwrap_err();
        assert!(
            matches!(error, DialError::PathTooLong(_)) && error.is_permanent(),
            "{error}"
        );
    }
    #[cfg(target_os = "linux")]
    for (text, fits) in [
        (format!("ipc://@{}", "x".repeat(107)), true),
        (format!("ipc://@{}", "x".repeat(108)), false),
    ] {
        assert_eq!(listen(&endpoint(&text), &listening).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn dialling_needs_someone_to_be_there() {
    let place = place();
    let error = dial(&endpoint(&place.text), &DialOptions::default())
        .await
        .unwrap_err();
    let DialError::Ipc { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    assert!(!error.is_permanent());
    let error = dial(&endpoint("ipc://*"), &DialOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::NotDialable { .. }), "{error}");
}

#[tokio::test]
async fn a_filter_turns_processes_away_and_says_whom() {
    let own = std::process::id() as i32;
    let mut options = ListenOptions::default();
    options.ipc_filter.pids = vec![own + 1];
    let mut listener = listen(&endpoint("ipc://*"), &options).await.unwrap();
    let mut ours = dialled(&listener.endpoint().to_string()).await;
    let error = listener.accept().await.unwrap_err();
    assert!(error.is_transient());
    let AcceptError::Filtered(peer) = error else {
        panic!("{error}");
    };
    assert_eq!(peer.credentials.unwrap().pid, Some(own));
    assert_eq!(hear(&mut ours.link, 1).await, b"");

    let credentials = peer.credentials.unwrap();
    let mut accepting = [ListenOptions::default(), ListenOptions::default(), options];
    accepting[0].ipc_filter.uids = vec![credentials.uid];
    accepting[1].ipc_filter.gids = vec![credentials.gid];
    accepting[2].ipc_filter.pids.push(own);
    for options in accepting {
        let mut listener = listen(&endpoint("ipc://*"), &options).await.unwrap();
        let (mut ours, mut theirs) = linked(&mut listener).await;
        talk(&mut ours, &mut theirs).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_waits_for_room_in_a_full_queue() {
    let mut options = ListenOptions::default();
    options.backlog = 0;
    let mut listener = listen(&endpoint("ipc://*"), &options).await.unwrap();
    let target = listener.endpoint().clone();
    let mut dialling = DialOptions::default();
    dialling.connect_timeout = Duration::from_secs(1);

    let mut queued = 0;
    let error = loop {
        match dial(&target, &dialling).await {
            Ok(_) => queued += 1,
            Err(error) => break error,
        }
        assert!(queued < 10, "the queue has no end");
    };
    let DialError::Ipc { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);

    dialling.connect_timeout = Duration::from_secs(3600);
    let waiting = tokio::spawn(async move { dial(&target, &dialling).await.map(|_| ()) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    for _ in 0..queued {
        listener.accept().await.unwrap();
    }
    waiting.await.unwrap().unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_connection() {
    let mut listener = bound("ipc://*").await;
    assert!(is_pending(listener.accept()).await);
    let (mut ours, mut theirs) = linked(&mut listener).await;
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn the_longest_timeout_is_none() {
    let place = place();
    let _listener = bound(&place.text).await;
    let mut options = DialOptions::default();
    options.connect_timeout = Duration::MAX;
    dial(&endpoint(&place.text), &options).await.unwrap();
}

/// Between its bind and its listen a socket looks as one that was left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_that_bind_a_path_at_once_one_has_it() {
    for _ in 0..200 {
        let place = place();
        drop(UnixListener::bind(&place.path).unwrap());
        let together = Arc::new(Barrier::new(4));
        let binding: Vec<_> = (0..4)
            .map(|_| {
                let (together, at) = (Arc::clone(&together), endpoint(&place.text));
                tokio::task::spawn(async move {
                    together.wait().await;
                    listen(&at, &ListenOptions::default()).await
                })
            })
            .collect();
        let mut listeners = Vec::new();
        for bound in binding {
            match bound.await.unwrap() {
                Ok(listener) => listeners.push(listener),
                Err(error) => assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}"),
            }
        }
        assert_eq!(listeners.len(), 1);
        linked(&mut listeners[0]).await;
    }
}
