//! The peers that keep the rules, and must not notice the attack.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use withy::socket::Socket;
use withy::{AnySocket, Builder, Identity, Message, Req, SocketType, generate_key_pair};

use super::kinds::publishes;
use super::{SEED, USER, Victim, counterpart};

/// Messages on their way at a time: fewer than any high-water mark.
pub(super) const WINDOW: u64 = 100;

/// In place of a number: a publisher's subscriber is there.
const PROBE: u64 = u64::MAX;

/// A peer that keeps the rules.
pub(crate) struct Good {
    tag: u64,
    socket: GoodSocket,
    /// The numbers that the victim received from it.
    numbers: tokio::sync::Mutex<mpsc::UnboundedReceiver<u64>>,
}

enum GoodSocket {
    Req(Req),
    Any(AnySocket),
}

impl Victim {
    /// A good peer, which starts to connect.
    pub(crate) fn good(&self) -> Good {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let (numbers, receiver) = mpsc::unbounded_channel();
        self.inbox.numbers.lock().unwrap().insert(tag, numbers);
        let socket = if self.kind() == SocketType::Rep {
            let req = self.client(Req::builder()).build().unwrap();
            req.connect_to(self.endpoint.clone()).unwrap();
            GoodSocket::Req(req)
        } else {
            let kind = counterpart(self.kind());
            let socket = self.client(AnySocket::builder(kind)).build().unwrap();
            if kind == SocketType::Sub {
                socket.subscribe(tag.to_be_bytes(), true);
            }
            socket.connect_to(self.endpoint.clone()).unwrap();
            GoodSocket::Any(socket)
        };
        Good {
            tag,
            socket,
            numbers: tokio::sync::Mutex::new(receiver),
        }
    }

    fn client<S: Socket>(&self, builder: Builder<S>) -> Builder<S> {
        match &self.config.keys {
            _ if self.config.noise => builder.identity(&Identity::from_seed(&SEED)),
            Some(keys) => builder.curve_client(generate_key_pair(), keys.public()),
            None if self.config.plain => builder.plain_client(USER.0, USER.1),
            None => builder,
        }
    }

    /// Exchanges so many messages with a good peer: all of them arrive, in order.
    pub(crate) async fn exchange(&self, good: &Good, count: u64) {
        let tag = good.tag;
        let socket = match &good.socket {
            GoodSocket::Req(req) => {
                // Many at a time, as for the other types.
                for first in (0..count).step_by(WINDOW as usize) {
                    let mut window = JoinSet::new();
                    for n in first..(first + WINDOW).min(count) {
                        let req = req.clone();
                        window.spawn(async move {
                            let reply = req.request(numbered(tag, n)).await.unwrap();
                            assert_eq!(parse(&reply), Some((tag, n)));
                        });
                    }
                    window.join_all().await;
                }
                return;
            }
            GoodSocket::Any(socket) => socket,
        };
        match self.kind() {
            SocketType::Pub | SocketType::XPub => self.probe(good, socket).await,
            SocketType::Sub => socket.wait_subscribed(1).await.unwrap(),
            _ => {}
        }
        let mut numbers = good.numbers.lock().await;
        let mut next = 0;
        while next < count {
            let window = next..(next + WINDOW).min(count);
            next = window.end;
            for n in window.clone() {
                let from = if publishes(self.kind()) {
                    &self.socket
                } else {
                    socket
                };
                from.send(numbered(tag, n)).await.unwrap();
            }
            for n in window {
                let came = match self.kind() {
                    SocketType::Pub | SocketType::XPub | SocketType::Router => {
                        after_probes(socket, tag).await
                    }
                    _ => numbers.recv().await.unwrap(),
                };
                assert_eq!(came, n, "{} and peer {tag}", self.kind());
            }
        }
    }

    /// Publishes to a subscriber until its subscription is known.
    async fn probe(&self, good: &Good, socket: &AnySocket) {
        loop {
            self.socket.send(numbered(good.tag, PROBE)).await.unwrap();
            let came = socket.recv_timeout(Duration::from_millis(20)).await;
            if came.is_ok() {
                return;
            }
        }
    }
}

impl Good {
    /// Leaves.
    pub(crate) async fn close(self) {
        match self.socket {
            GoodSocket::Req(req) => req.close().await,
            GoodSocket::Any(socket) => socket.close().await,
        };
    }
}

async fn after_probes(socket: &AnySocket, tag: u64) -> u64 {
    loop {
        let message = socket.recv().await.unwrap();
        let (from, n) = parse(&message).unwrap();
        assert_eq!(from, tag);
        if n != PROBE {
            return n;
        }
    }
}

fn numbered(tag: u64, n: u64) -> Message {
    [tag.to_be_bytes(), n.to_be_bytes()].into_iter().collect()
}

pub(super) fn parse(message: &Message) -> Option<(u64, u64)> {
    let number = |at| {
        Some(u64::from_be_bytes(
            message.part(at)?.as_slice().try_into().ok()?,
        ))
    };
    (message.len() == 2).then_some((number(0)?, number(1)?))
}
