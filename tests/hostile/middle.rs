//! Two sockets with NOISE, and somebody between them who flips a bit or cuts the line: at every
//! place of what either side says in the handshake.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use withy::options::{ConnectionLimits, Reconnect};
use withy::{EventKind, Identity, Push, SocketType};
use withy_tests::raw::LONG;
use withy_tests::scale;

use crate::victim::{Config, HANDSHAKE, NOTED, SEED, Verdict, Victim, siege, within};

/// Attempts at a time: each has little to do.
const CROWD: usize = 16;
/// Attempts of one siege.
const SIEGE: usize = 300;
const GREETING: usize = 64;

/// What is done to the octets of one direction.
#[derive(Debug, Clone, Copy)]
struct Deed {
    /// Of what the client says, else of what the victim says.
    to_victim: bool,
    /// The octet.
    at: usize,
    /// What is flipped of it; nothing: the line ends before it.
    mask: u8,
}

/// What became of an attempt.
struct Outcome {
    deed: Deed,
    /// How the victim knows it.
    address: String,
    connected: bool,
}

/// One direction, until its end or the deed.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    deed: Option<Deed>,
    passed: &mut Vec<u8>,
) {
    let mut octets = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        let piece = &mut octets[..read];
        let at = deed.and_then(|deed| deed.at.checked_sub(passed.len()));
        passed.extend_from_slice(piece);
        if let (Some(at), Some(deed)) = (at.filter(|at| *at < read), deed) {
            if deed.mask == 0 {
                let _ = to.write_all(&piece[..at]).await;
                return;
            }
            piece[at] ^= deed.mask;
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// A client that connects through somebody in between; what either side said.
async fn attempt(victim: String, deed: Option<Deed>) -> (String, bool, [Vec<u8>; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let push = Push::builder()
        .identity(&Identity::from_seed(&SEED))
        .linger(Duration::ZERO)
        .reconnect(Reconnect {
            enabled: false,
            ..Reconnect::default()
        })
        .connection_limits(ConnectionLimits {
            handshake_timeout: HANDSHAKE,
            ..ConnectionLimits::default()
        })
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    push.connect_to(endpoint).unwrap();
    push.send(text(deed)).await.unwrap();
    let (client, _) = listener.accept().await.unwrap();
    let server = TcpStream::connect(victim).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (from_client, to_client) = client.into_split();
    let (from_victim, to_victim) = server.into_split();
    let mut said = [Vec::new(), Vec::new()];
    let [client_said, victim_said] = &mut said;
    let forwarding = async {
        let is_to_victim = |deed: &Deed| deed.to_victim;
        // When one direction ends, the line is dead.
        tokio::select! {
            () = forward(from_client, to_victim, deed.filter(is_to_victim), client_said) => {}
            () = forward(from_victim, to_client, deed.filter(|it| !it.to_victim), victim_said) => {}
        }
    };
    let watching = async {
        let mut connected = false;
        while let Some(event) = monitor.next().await {
            match event.kind {
                EventKind::Connected(_) if deed.is_none() => {
                    push.clone().close().await;
                    return true;
                }
                EventKind::Connected(_) => connected = true,
                EventKind::HandshakeFailed { .. } | EventKind::Disconnected { .. } => break,
                _ => {}
            }
        }
        connected
    };
    let ((), connected) = tokio::join!(forwarding, watching);
    (address, connected, said)
}

/// What a client sends that nobody may receive.
fn text(deed: Option<Deed>) -> Vec<u8> {
    let text = deed.map_or_else(|| "whole".to_owned(), |deed| format!("{deed:?}"));
    [NOTED, text.as_bytes()].concat()
}

/// The lengths of greeting and of two commands.
fn lengths(said: &[u8]) -> [usize; 3] {
    let mut lengths = [GREETING, 0, 0];
    let mut rest = &said[GREETING..];
    for length in &mut lengths[1..] {
        *length = match rest[0] & LONG {
            0 => 2 + usize::from(rest[1]),
            _ => {
                9 + rest[1..9]
                    .iter()
                    .fold(0, |sum, it| sum << 8 | usize::from(*it))
            }
        };
        rest = &rest[*length..];
    }
    lengths
}

/// The deeds to one direction: every bit of the greeting, a bit of every octet of the commands, and
/// a cut before every octet; some of them on every change.
fn deeds(to_victim: bool, lengths: [usize; 3]) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut start = 0;
    for (part, length) in lengths.into_iter().enumerate() {
        let step = match part {
            0 => scale::count(4, 1),
            // The header and the last octets always.
            _ => scale::count(1 + length as u64 / 16, 1),
        };
        for at in 0..length {
            let chosen = at % step as usize == 0 || part > 0 && (at < 10 || at + 1 == length);
            if !chosen {
                continue;
            }
            let at = start + at;
            let bits = if part == 0 { scale::count(2, 8) } else { 1 };
            let masks = (0..bits).map(|bit| 1 << ((at as u64 + bit) % 8));
            for mask in masks.chain([0]) {
                deeds.push(Deed {
                    to_victim,
                    at,
                    mask,
                });
            }
        }
        start += length;
    }
    deeds
}

async fn all(victim: &Victim, deeds: &[Deed]) {
    let address = victim.endpoint.to_string();
    let address = address.trim_start_matches("tcp://");
    for crowd in deeds.chunks(CROWD) {
        let mut attempts = JoinSet::new();
        for &deed in crowd {
            let victim = address.to_owned();
            attempts.spawn(async move {
                let (address, connected, _) = within(10, attempt(victim, Some(deed))).await;
                Outcome {
                    deed,
                    address,
                    connected,
                }
            });
        }
        for outcome in attempts.join_all().await {
            let Outcome {
                deed,
                address,
                connected,
            } = outcome;
            assert!(!connected, "the client has a session after {deed:?}");
            match victim.verdict(&address).await {
                Verdict::Failed(_) => {}
                // READY is its last word: it cannot know that this did not arrive as it was.
                Verdict::Lost(reason) => assert!(!deed.to_victim, "{reason} after {deed:?}"),
            }
            assert_eq!(victim.noted(&text(Some(deed))), 0, "{deed:?}");
        }
    }
}

#[tokio::test]
async fn whoever_is_in_between_gets_no_session_through_that_he_touched() {
    for to_victim in [true, false] {
        let victim = Victim::new(Config::noise(SocketType::Pull)).await;
        let address = victim.endpoint.to_string();
        let address = address.trim_start_matches("tcp://").to_owned();
        let (_, connected, said) = within(10, attempt(address, None)).await;
        assert!(connected, "who only forwards is not seen");
        victim.acquit().await;
        let deeds = deeds(to_victim, lengths(&said[usize::from(!to_victim)]));
        for deeds in deeds.chunks(SIEGE) {
            siege(Config::noise(SocketType::Pull), async |victim| {
                all(victim, deeds).await;
            })
            .await;
        }
        let whose = if to_victim { "client" } else { "server" };
        scale::report(
            &format!("deeds in between to what a NOISE {whose} says"),
            deeds.len(),
        );
    }
}
