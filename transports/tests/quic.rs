//! The `quic` transport over loopback: links between nodes that know each other's keys.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::collections::HashSet;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::*;
use tokio::time::timeout;
use withy_proto::crypto::{Provider, sign};
use withy_transports::{
    ByteReader, ByteWriter, Connected, DialError, DialOptions, Link, ListenError, ListenOptions,
    Listener, Proven, QuicError, dial, lingered, listen,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(seed: u8) -> [u8; 32] {
    sign::SigningKey::from_seed(Provider::Real, &[seed; 32]).public()
}

/// Each connection that these make has a socket of its own, by which it is told from others.
fn dialling(seed: u8) -> DialOptions {
    static SOCKETS: AtomicU32 = AtomicU32::new(1 << 20);
    let mut options = DialOptions::default();
    options.quic.socket_buffer = SOCKETS.fetch_add(1, Ordering::Relaxed);
    options.quic.node_key = Some(sign::SigningKey::from_seed(Provider::Real, &[seed; 32]));
    options.connect_timeout = PATIENCE;
    options
}

fn listening(seed: u8) -> ListenOptions {
    let mut options = ListenOptions::default();
    options.quic.node_key = Some(sign::SigningKey::from_seed(Provider::Real, &[seed; 32]));
    options.quic.handshake_timeout = PATIENCE;
    options
}

async fn listener(options: &ListenOptions) -> Listener {
    listen(&endpoint("quic://127.0.0.1:*"), options)
        .await
        .unwrap()
}

fn proven(connected: &Connected) -> &Proven {
    connected.peer.proven.as_ref().unwrap()
}

/// Both sides of a new link, each of which has admitted the other and knows that it was.
async fn link(listener: &mut Listener, options: &DialOptions) -> (Connected, Connected) {
    let endpoint = listener.endpoint().clone();
    let (ours, theirs) = tokio::join!(dial(&endpoint, options), listener.accept());
    let (mut ours, mut theirs) = (admit(ours.unwrap()), admit(theirs.unwrap()));
    talk(&mut ours, &mut theirs).await;
    (ours, theirs)
}

fn split(connected: Connected) -> (ByteReader, ByteWriter) {
    match connected.link {
        Link::Bytes(reader, writer) => (reader, writer),
        Link::Messages(_) => panic!("this link carries messages"),
    }
}

/// Octets that are not the same over and over.
fn octets(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

async fn write(writer: &ByteWriter, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match writer.try_write(octets) {
            Ok(taken) => octets = &octets[taken..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| writer.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads to the end.
async fn read(reader: &mut ByteReader) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    loop {
        heard.reserve(64 << 10);
        if poll_fn(|cx| reader.poll_read_buf(cx, &mut heard)).await? == 0 {
            return Ok(heard);
        }
    }
}

#[tokio::test]
async fn a_link_carries_octets_both_ways_and_both_sides_know_each_other() {
    let mut listener = listener(&listening(1)).await;
    let real = listener.endpoint().to_string();
    assert!(real.starts_with("quic://127.0.0.1:") && !real.ends_with('*'));
    let (mut ours, mut theirs) = link(&mut listener, &dialling(2)).await;
    assert_eq!(real, format!("quic://{}", ours.peer.address));
    assert_eq!(ours.peer.address, theirs.local);
    assert_eq!(ours.local, theirs.peer.address);
    assert_eq!(proven(&ours).key, key(1));
    assert_eq!(proven(&theirs).key, key(2));
    assert!(proven(&ours).post_quantum && proven(&theirs).post_quantum);
    let (other, _) = link(&mut listener, &dialling(2)).await;
    let bindings = [&ours, &theirs, &other].map(|side| proven(side).binding);
    assert_eq!(bindings[0], bindings[1]);
    assert_ne!(
        bindings[0], bindings[2],
        "of another link of the same connection"
    );
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_octets_arrives_in_both_directions_at_once() {
    let mut listener = listener(&listening(1)).await;
    for length in [0, 1, 1_199, 65_536, 3 << 20, (9 << 20) + 1] {
        let (ours, theirs) = link(&mut listener, &dialling(2)).await;
        let sides = [ours, theirs].map(|side| {
            tokio::spawn(async move {
                let (mut reader, writer) = split(side);
                let sent = octets(length);
                let writing = async {
                    write(&writer, &sent).await.unwrap();
                    drop(writer);
                };
                let ((), heard) = tokio::join!(writing, read(&mut reader));
                assert!(heard.unwrap() == sent, "{length} octets");
            })
        });
        for side in sides {
            timeout(PATIENCE, side).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn slices_are_written_together_and_the_end_is_seen() {
    let mut listener = listener(&listening(1)).await;
    let (mut ours, mut theirs) = link(&mut listener, &dialling(2)).await;
    let (_, writer) = bytes(&mut ours.link);
    let long = octets(100_000);
    let slices = [&b"ab"[..], b"", b"cd", &long, b"ef"].map(IoSlice::new);
    assert_eq!(writer.try_write_vectored(&slices).unwrap(), 100_006);
    assert_eq!(writer.try_write_vectored(&[]).unwrap(), 0);
    writer.shutdown();
    writer.shutdown();
    assert!(writer.try_write(b"more").is_err());
    let heard = hear(&mut theirs.link, 200_000).await;
    assert!(heard == [b"abcd", &long[..], b"ef"].concat());
    assert_eq!(hear(&mut ours.link, 9).await, b"");
}

#[tokio::test]
async fn shutdown_wakes_our_own_reader() {
    let mut listener = listener(&listening(1)).await;
    let (ours, _theirs) = link(&mut listener, &dialling(2)).await;
    let (mut reader, writer) = split(ours);
    let reading = tokio::spawn(async move { read(&mut reader).await.unwrap() });
    tokio::task::yield_now().await;
    writer.shutdown();
    assert_eq!(reading.await.unwrap(), b"");
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let mut listener = listener(&listening(1)).await;
    let (ours, theirs) = link(&mut listener, &dialling(2)).await;
    let ((mut our_reader, our_writer), (mut reader, writer)) = (split(ours), split(theirs));
    write(&our_writer, b"question").await.unwrap();
    drop(our_writer);
    assert_eq!(read(&mut reader).await.unwrap(), b"question");
    write(&writer, b"answer").await.unwrap();
    drop(writer);
    assert_eq!(read(&mut our_reader).await.unwrap(), b"answer");
}

#[tokio::test]
async fn a_writer_without_room_is_told_so_and_woken_by_the_reader() {
    let mut listener = listener(&listening(1)).await;
    let (ours, theirs) = link(&mut listener, &dialling(2)).await;
    let ((_our_reader, our_writer), (mut reader, _writer)) = (split(ours), split(theirs));
    let chunk = octets(64 << 10);
    let mut sent = 0;
    let full = loop {
        match our_writer.try_write(&chunk) {
            Ok(taken) => sent += taken,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let mut ready = Box::pin(poll_fn(|cx| our_writer.poll_write_ready(cx)));
    assert!(is_pending(ready.as_mut()).await);
    let waiting = async {
        ready.await.unwrap();
        assert!(our_writer.try_write(&chunk).unwrap() > 0);
    };
    let reading = async {
        let mut heard = Vec::new();
        while heard.len() < sent {
            heard.reserve(64 << 10);
            poll_fn(|cx| reader.poll_read_buf(cx, &mut heard))
                .await
                .unwrap();
        }
    };
    timeout(PATIENCE, async { tokio::join!(waiting, reading) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_write_in_vain_does_not_take_the_wake_up_from_the_task_that_waits() {
    let mut listener = listener(&listening(1)).await;
    let (ours, theirs) = link(&mut listener, &dialling(2)).await;
    let ((_our_reader, our_writer), (mut reader, _writer)) = (split(ours), split(theirs));
    while our_writer.try_write(&octets(64 << 10)).is_ok() {}
    let our_writer = std::sync::Arc::new(our_writer);
    let waiter = std::sync::Arc::clone(&our_writer);
    let waiting = tokio::spawn(async move { poll_fn(|cx| waiter.poll_write_ready(cx)).await });
    tokio::task::yield_now().await;
    assert!(our_writer.try_write(b"in vain").is_err());
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        loop {
            heard.clear();
            heard.reserve(64 << 10);
            if poll_fn(|cx| reader.poll_read_buf(cx, &mut heard))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    reading.abort();
}

#[tokio::test]
async fn a_writer_that_waits_hears_of_the_end_from_any_side() {
    for end in ["reader gone", "peer ended", "we ended"] {
        let mut listener = listener(&listening(1)).await;
        let (ours, theirs) = link(&mut listener, &dialling(2)).await;
        let ((_our_reader, our_writer), (reader, writer)) = (split(ours), split(theirs));
        while our_writer.try_write(&octets(64 << 10)).is_ok() {}
        let mut ready = Box::pin(poll_fn(|cx| our_writer.poll_write_ready(cx)));
        assert!(is_pending(ready.as_mut()).await);
        match end {
            "reader gone" => drop(reader),
            "peer ended" => {
                let mut reader = reader;
                writer.shutdown();
                read(&mut reader).await.unwrap();
            }
            _ => our_writer.shutdown(),
        }
        timeout(PATIENCE, ready).await.unwrap().unwrap();
        let error = our_writer.try_write(b"x").unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "{end}");
    }
}

#[tokio::test]
async fn links_that_nobody_reads_do_not_hold_up_another() {
    let mut listener = listener(&listening(1)).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let (ours, theirs) = link(&mut listener, &dialling(2)).await;
        let (_, writer) = split(ours);
        while writer.try_write(&octets(64 << 10)).is_ok() {}
        stalled.push((writer, theirs));
    }
    let (mut ours, mut theirs) = link(&mut listener, &dialling(2)).await;
    talk(&mut ours, &mut theirs).await;
    assert_eq!(ours.peer.address, stalled[0].1.local, "one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_links_share_a_connection() {
    const LINKS: usize = 100;
    let mut listener = listener(&listening(1)).await;
    let endpoint = listener.endpoint().clone();
    let dials: Vec<_> = (0..LINKS)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { dial(&endpoint, &dialling(2)).await.unwrap() })
        })
        .collect();
    let mut theirs = Vec::new();
    for _ in 0..LINKS {
        theirs.push(admit(listener.accept().await.unwrap()));
    }
    let mut locals = HashSet::new();
    for (number, dial) in dials.into_iter().enumerate() {
        let mut ours = dial.await.unwrap();
        say(&mut ours.link, format!("{number:09}").as_bytes()).await;
        locals.insert(ours.local);
    }
    assert_eq!(locals.len(), 1, "one connection");
    let mut heard = Vec::new();
    for link in &mut theirs {
        heard.push(hear(&mut link.link, 99).await);
    }
    heard.sort();
    let said = (0..LINKS).map(|number| format!("{number:09}").into_bytes());
    assert_eq!(heard, said.collect::<Vec<_>>());
}

/// Whoever has only proven a node's key may fill 64 KiB and open 8 links, on either side.
#[tokio::test]
async fn a_peer_that_was_not_admitted_costs_little() {
    const LIMIT: usize = 64 << 10;
    let mut listener = listener(&listening(1)).await;
    let endpoint = listener.endpoint().clone();
    let mut links = Vec::new();
    for _ in 0..8 {
        let options = dialling(2);
        let (ours, theirs) = tokio::join!(dial(&endpoint, &options), listener.accept());
        links.push((ours.unwrap(), theirs.unwrap()));
    }
    // One more gets a connection of its own.
    let options = dialling(2);
    let (other, _theirs) = tokio::join!(dial(&endpoint, &options), listener.accept());
    assert_ne!(other.unwrap().local, links[0].0.local);
    let fill = |links: &mut Vec<(Connected, Connected)>, of_ours: bool| {
        let mut written = 0;
        for (ours, theirs) in links {
            let (_, writer) = bytes(&mut if of_ours { ours } else { theirs }.link);
            while let Ok(count) = writer.try_write(&[5; 4_096]) {
                written += count;
            }
        }
        written
    };
    for of_ours in [true, false] {
        let written = fill(&mut links, of_ours);
        // What began the links is in it as well.
        assert!((LIMIT - 100..=LIMIT).contains(&written), "{written} octets");
    }
    // One link that is admitted opens the gate for all of the connection.
    let (ours, theirs) = links.swap_remove(0);
    let _theirs = admit(theirs);
    let (_, writer) = split(ours);
    poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
    assert!(writer.try_write(&[5; 4_096]).is_ok());
    assert!(fill(&mut links, true) > 2 << 20);
    let options = dialling(2);
    let (more, _theirs) = tokio::join!(dial(&endpoint, &options), listener.accept());
    assert_eq!(more.unwrap().local, links[0].0.local);
}

#[tokio::test]
async fn a_full_connection_is_followed_by_another() {
    let mut options = listening(1);
    options.quic.max_links = 2;
    let mut listener = listener(&options).await;
    let mut links = Vec::new();
    for _ in 0..7 {
        links.push(link(&mut listener, &dialling(2)).await);
    }
    let locals: HashSet<_> = links.iter().map(|(ours, _)| ours.local.clone()).collect();
    assert_eq!(locals.len(), 4);
    for (ours, theirs) in &mut links {
        talk(ours, theirs).await;
    }
}

#[tokio::test]
async fn other_keys_and_expectations_have_connections_of_their_own() {
    let mut listener = listener(&listening(1)).await;
    let (one, _a) = link(&mut listener, &dialling(2)).await;
    let (same, _b) = link(&mut listener, &dialling(2)).await;
    let (other, _c) = link(&mut listener, &dialling(3)).await;
    assert_eq!(one.local, same.local);
    assert_ne!(one.local, other.local);
}

#[tokio::test]
async fn a_connection_ends_with_its_last_link_and_the_next_dial_makes_another() {
    let mut listener = listener(&listening(1)).await;
    let (ours, theirs) = link(&mut listener, &dialling(2)).await;
    let before = ours.local.clone();
    let (_, writer) = split(ours);
    // It fits into the window, so that nobody has to read.
    write(&writer, &octets(1 << 19)).await.unwrap();
    drop(writer);
    let (mut reader, writer) = split(theirs);
    assert_eq!(read(&mut reader).await.unwrap().len(), 1 << 19);
    // Our side closes the connection once it has heard that all arrived.
    let gone = async {
        loop {
            match writer.try_write(b"?") {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    timeout(PATIENCE, lingered()).await.unwrap();
    let (mut ours, mut theirs) = link(&mut listener, &dialling(2)).await;
    assert_ne!(ours.local, before);
    talk(&mut ours, &mut theirs).await;
}

/// The dial that makes a connection does not wait for the listener's answer, and need not read it.
#[tokio::test]
async fn what_was_written_is_there_though_nobody_reads_the_answer() {
    let mut listener = listener(&listening(1)).await;
    for _ in 0..10 {
        let ours = dial(listener.endpoint(), &dialling(2)).await.unwrap();
        let (reader, writer) = split(ours);
        write(&writer, b"all of it").await.unwrap();
        drop((reader, writer));
        let theirs = timeout(PATIENCE, listener.accept()).await.unwrap();
        let (mut reader, _writer) = split(theirs.unwrap());
        assert_eq!(read(&mut reader).await.unwrap(), b"all of it");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_the_connection_has_ended() {
    let mut listener = listener(&listening(1)).await;
    for ending in ["drop", "shutdown"] {
        let (ours, theirs) = link(&mut listener, &dialling(2)).await;
        let (mut reader, writer) = split(theirs);
        let (our_reader, our_writer) = split(ours);
        write(&our_writer, &octets(1 << 19)).await.unwrap();
        if ending == "shutdown" {
            our_writer.shutdown();
        }
        drop((our_reader, our_writer));
        timeout(PATIENCE, lingered()).await.unwrap();
        let closed = async {
            while writer.try_write(b"?").is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, closed).await.unwrap();
        assert!(read(&mut reader).await.unwrap() == octets(1 << 19));
    }
}

#[test]
fn a_runtime_that_is_gone_takes_its_connections_out_of_the_pool() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (listening_one, dialling_one, dialling_two) = (runtime(), runtime(), runtime());
    let mut listener = listening_one.block_on(listener(&listening(1)));
    let place = listener.endpoint().clone();
    let (came, comes) = tokio::sync::oneshot::channel();
    let accepting = std::thread::spawn(move || {
        listening_one.block_on(async {
            let _one = listener.accept().await.unwrap();
            came.send(()).unwrap();
            let mut two = listener.accept().await.unwrap();
            say(&mut two.link, b"two").await;
            drop(two);
            lingered().await;
        });
    });
    let _one = dialling_one.block_on(async {
        let one = dial(&place, &dialling(2)).await.unwrap();
        comes.await.unwrap();
        one
    });
    drop(dialling_one);
    dialling_two.block_on(async {
        let mut two = dial(&place, &dialling(2)).await.unwrap();
        assert_eq!(hear(&mut two.link, 3).await, b"two");
        // The other side waits for our runtime's acknowledgement.
        let joined = tokio::task::spawn_blocking(|| accepting.join()).await;
        joined.unwrap().unwrap();
    });
}

#[tokio::test]
async fn a_dropped_listener_refuses_new_links_and_leaves_the_old_ones() {
    let mut listener = listener(&listening(1)).await;
    let endpoint = listener.endpoint().clone();
    let (mut ours, mut theirs) = link(&mut listener, &dialling(2)).await;
    drop(listener);
    let error = dial(&endpoint, &dialling(2)).await.unwrap_err();
    assert!(error.is_refused() && !error.is_permanent(), "{error}");
    talk(&mut ours, &mut theirs).await;
    // Without a connection nobody answers.
    let mut hasty = dialling(3);
    hasty.connect_timeout = Duration::from_millis(300);
    let error = dial(&endpoint, &hasty).await.unwrap_err();
    assert!(is(&error, &QuicError::Timeout), "{error}");
    talk(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_dial_to_nobody_ends_in_time() {
    // Bound, so that nobody else gets the port, and mute.
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let mut hasty = dialling(2);
    hasty.connect_timeout = Duration::from_millis(300);
    let begin = Instant::now();
    let error = dial(&endpoint(&format!("quic://127.0.0.1:{port}")), &hasty).await;
    let error = error.unwrap_err();
    assert!(
        is(&error, &QuicError::Timeout) && !error.is_permanent(),
        "{error}"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn another_key_than_the_expected_one_is_refused() {
    let mut listener = listener(&listening(1)).await;
    let mut options = dialling(2);
    options.quic.expected_key = Some(key(9));
    let error = dial(listener.endpoint(), &options).await.unwrap_err();
    assert!(is(&error, &QuicError::WrongKey), "{error}");
    options.quic.expected_key = Some(key(1));
    let endpoint = listener.endpoint().clone();
    let accepting = async {
        loop {
            // The failed handshake may be told of first.
            if let Ok(theirs) = listener.accept().await {
                return theirs;
            }
        }
    };
    let (ours, mut theirs) = tokio::join!(dial(&endpoint, &options), accepting);
    talk(&mut ours.unwrap(), &mut theirs).await;
}

#[tokio::test]
async fn without_a_node_key_the_error_says_so() {
    let place = endpoint("quic://127.0.0.1:1");
    let error = dial(&place, &DialOptions::default()).await.unwrap_err();
    assert!(matches!(error, DialError::NoNodeKey { .. }) && error.is_permanent());
    assert!(error.to_string().contains("node key"), "{error}");
    let error = listen(&place, &ListenOptions::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::NoNodeKey { .. }));
    assert!(error.to_string().contains("node key"), "{error}");
}

#[tokio::test]
async fn endpoints_of_the_other_side_are_refused() {
    for text in ["quic://*:1", "quic://127.0.0.1:*"] {
        let error = dial(&endpoint(text), &dialling(2)).await.unwrap_err();
        assert!(matches!(error, DialError::NotDialable { .. }), "{error}");
    }
    let text = format!("quic://{}@127.0.0.1:*", "a".repeat(56));
    let error = listen(&endpoint(&text), &listening(1)).await.unwrap_err();
    assert!(matches!(error, ListenError::NotBindable { .. }), "{error}");
    let taken = listener(&listening(1)).await;
    let error = listen(taken.endpoint(), &listening(1)).await.unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
}

/// Whether a dial failed at its only address for this reason.
fn is(error: &DialError, reason: &QuicError) -> bool {
    matches!(error, DialError::Quic { failures, .. } if failures.iter().all(|(_, it)| it == reason))
}

/// Two nodes that dial each other have one connection, if who was dialled knows whom he dials.
#[tokio::test]
async fn a_listener_opens_links_over_a_connection_that_the_peer_made() {
    let (mut one, mut two) = (listener(&listening(1)).await, listener(&listening(2)).await);
    let (mut first, mut second) = link(&mut two, &dialling(1)).await;
    let mut options = dialling(2);
    options.quic.likely_key = Some(key(1));
    let (mut ours, mut theirs) = link(&mut one, &options).await;
    // No socket was opened for it.
    assert_eq!(ours.local, second.local);
    assert_eq!(theirs.peer.address, second.local);
    // It is a link to the listener that was dialled, of which both sides know as of any other.
    assert_eq!(
        format!("quic://{}", ours.peer.address),
        one.endpoint().to_string()
    );
    assert_eq!((proven(&ours).key, proven(&theirs).key), (key(1), key(2)));
    assert_eq!(proven(&ours).binding, proven(&theirs).binding);
    assert_ne!(proven(&ours).binding, proven(&first).binding);
    talk(&mut first, &mut second).await;
    // The connection lives as long as any link over it, whoever opened that.
    drop((first, second));
    talk(&mut ours, &mut theirs).await;
}

/// Whoever is behind the same address has to be dialled.
#[tokio::test]
async fn a_listener_dials_whom_it_has_no_connection_to() {
    let (mut one, mut two) = (listener(&listening(1)).await, listener(&listening(2)).await);
    let (_first, second) = link(&mut two, &dialling(1)).await;
    // Of another key, though it dialled from this address.
    let mut three = listener(&listening(3)).await;
    let mut options = dialling(2);
    options.quic.likely_key = Some(key(3));
    let (ours, _theirs) = link(&mut three, &options).await;
    assert_ne!(ours.local, second.local);
    // And of the same node at another port, where it does not listen.
    drop(one.endpoint().clone());
    let mut options = dialling(2);
    options.quic.likely_key = Some(key(1));
    let mut other = listener(&listening(4)).await;
    let (ours, _theirs) = link(&mut other, &options).await;
    assert_ne!(ours.local, second.local);
    assert_eq!(proven(&ours).key, key(4));
    let (ours, _theirs) = link(&mut one, &options).await;
    assert_eq!(ours.local, second.local);
}
