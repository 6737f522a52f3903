//! What the tests of all transports share: listening, dialling, and talking over the link.

#![allow(dead_code, reason = "no test file uses all of it")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::process::Command;

use withy_proto::Endpoint;
use withy_transports::{
    ByteReader, ByteWriter, Connected, DialOptions, Link, ListenOptions, Listener, dial, listen,
    pipe,
};

pub(crate) fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

pub(crate) async fn bound(text: &str) -> Listener {
    listen(&endpoint(text), &ListenOptions::default())
        .await
        .unwrap()
}

pub(crate) async fn dialled(text: &str) -> Connected {
    dial(&endpoint(text), &DialOptions::default())
        .await
        .unwrap()
}

/// Both sides of a new link.
pub(crate) async fn linked(listener: &mut Listener) -> (Connected, Connected) {
    let endpoint = listener.endpoint().clone();
    let ours = dial(&endpoint, &DialOptions::default()).await.unwrap();
    (ours, listener.accept().await.unwrap())
}

pub(crate) fn bytes(link: &mut Link) -> (&mut ByteReader, &mut ByteWriter) {
    match link {
        Link::Bytes(reader, writer) => (reader, writer),
        Link::Messages(_) => panic!("this link carries messages"),
    }
}

pub(crate) fn messages(link: &Link) -> &pipe::End<withy_transports::Parcel> {
    match link {
        Link::Bytes(..) => panic!("this link carries bytes"),
        Link::Messages(end) => end,
    }
}

pub(crate) async fn say(link: &mut Link, octets: &[u8]) {
    let (_, writer) = bytes(link);
    poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
    assert_eq!(writer.try_write(octets).unwrap(), octets.len());
}

/// Reads until `length` octets are there, or the stream ends.
pub(crate) async fn hear(link: &mut Link, length: usize) -> Vec<u8> {
    let (reader, _) = bytes(link);
    let mut heard = Vec::with_capacity(length);
    while heard.len() < length {
        if poll_fn(|cx| reader.poll_read_buf(cx, &mut heard))
            .await
            .unwrap_or(0)
            == 0
        {
            break;
        }
    }
    heard
}

/// Grants the peer of a link all that it gets once it is trusted.
pub(crate) fn admit(connected: Connected) -> Connected {
    if let Link::Bytes(ByteReader::Quic(reader), _) = &connected.link {
        reader.admit();
    }
    connected
}

/// Says something in both directions.
pub(crate) async fn talk(one: &mut Connected, other: &mut Connected) {
    say(&mut one.link, b"question").await;
    assert_eq!(hear(&mut other.link, 8).await, b"question");
    say(&mut other.link, b"answer").await;
    assert_eq!(hear(&mut one.link, 6).await, b"answer");
}

/// Whether a future still waits after it was polled once.
pub(crate) async fn is_pending(future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

pub(crate) fn batch<T>(items: impl IntoIterator<Item = T>) -> VecDeque<T> {
    items.into_iter().collect()
}

/// Set in a process in which a test runs once more, prepared by a shell.
pub(crate) const PREPARED: &str = "WITHY_PREPARED";

/// Runs one test of this program again, in a process that `preparation` sets up; the program and its
/// arguments are in `"$0" "$@"`.
pub(crate) fn run_prepared(test: &str, preparation: &str, configure: impl FnOnce(&mut Command)) {
    let mut command = Command::new("sh");
    command
        .args(["-c", preparation])
        .arg(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PREPARED, "1");
    configure(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
}
