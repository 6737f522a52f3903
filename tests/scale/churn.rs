//! Peers that come and go: memory, tasks and descriptors stay as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use withy::options::Reconnect;
use withy::{
    Endpoint, KeyPair, Message, Publisher, Pull, Push, Rep, Req, Subscriber, generate_key_pair,
};
use withy_tests::raw::{self, Listener, Peer};
use withy_tests::scale;

use crate::process::{Usage, alone};

/// Cycles at a time.
const WORKERS: u64 = 8;
/// Kinds of cycles.
const KINDS: u64 = 12;
/// Looks at the process on the way.
const LOOKS: u64 = 10;
/// What the allocator may keep beyond the first look. A leak of 100 octets in a cycle is more.
const GROWTH: usize = 6 << 20;
const LONG: Duration = Duration::from_secs(30);

/// The sockets that stay.
struct Servers {
    pull: Pull,
    tcp: Endpoint,
    ipc: Endpoint,
    inproc: Endpoint,
    secure: Pull,
    keys: KeyPair,
    secure_at: Endpoint,
    rep_at: Endpoint,
    publisher: Publisher,
    published_at: Endpoint,
    /// Held until the next connection was made, so that each takes its own.
    hostile: Mutex<Listener>,
    rep: Rep,
    /// Messages that came.
    received: AtomicU64,
    /// Messages that were sent.
    sent: AtomicU64,
    /// Cycles that ended before the connection was established.
    cut: AtomicU64,
}

impl Servers {
    async fn new() -> Arc<Self> {
        let pull = Pull::new();
        let keys = generate_key_pair();
        let secure = Pull::builder()
            .curve_server(keys.clone())
            .allow_any_client()
            .build()
            .unwrap();
        let rep = Rep::new();
        let publisher = Publisher::new();
        let any = "tcp://127.0.0.1:*";
        let servers = Arc::new(Self {
            tcp: pull.bind_to(any).await.unwrap(),
            ipc: pull.bind_to("ipc://*").await.unwrap(),
            inproc: pull.bind_to("inproc://churn").await.unwrap(),
            secure_at: secure.bind_to(any).await.unwrap(),
            rep_at: rep.bind_to(any).await.unwrap(),
            published_at: publisher.bind_to("ipc://*").await.unwrap(),
            hostile: Mutex::new(Listener::bind().await.unwrap()),
            pull,
            secure,
            keys,
            publisher,
            rep,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        });
        for pull in [servers.pull.clone(), servers.secure.clone()] {
            let servers = Arc::clone(&servers);
            tokio::spawn(async move {
                while pull.recv().await.is_ok() {
                    servers.received.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let rep = servers.rep.clone();
        tokio::spawn(async move {
            while let Ok(mut request) = rep.recv().await {
                let message = request.take_message();
                // Whoever asked may be gone.
                let _ = request.reply(message).await;
            }
        });
        servers
    }

    /// Two connections at a time: what looks after several of a socket stays.
    async fn pairs(&self) {
        let clear = || Push::connect(self.tcp.clone()).unwrap();
        let secure = || {
            let builder = Push::builder().curve_client(generate_key_pair(), self.keys.public());
            let push = builder.build().unwrap();
            push.connect_to(self.secure_at.clone()).unwrap();
            push
        };
        let ask = || Req::connect(self.rep_at.clone()).unwrap();
        let _held = ([clear(), clear()], [secure(), secure()], [ask(), ask()]);
        self.pull.wait_peers(2).await.unwrap();
        self.secure.wait_peers(2).await.unwrap();
        self.rep.wait_peers(2).await.unwrap();
    }

    /// Everybody who came has gone, and all that was sent has come.
    async fn quiet(&self) {
        let quiet = async {
            while self.received.load(Ordering::Relaxed) < self.sent.load(Ordering::Relaxed)
                || self.pull.stats().peers
                    + self.secure.stats().peers
                    + self.rep.stats().peers
                    + self.publisher.stats().peers
                    > 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let quiet = tokio::time::timeout(LONG, quiet).await;
        let (sent, received) = (&self.sent, &self.received);
        assert!(quiet.is_ok(), "{sent:?} sent, {received:?} received");
    }

    /// One connection comes and goes.
    async fn cycle(&self, n: u64) {
        match n % KINDS {
            0 | 1 => self.push(Push::connect(self.tcp.clone()).unwrap()).await,
            2 | 3 => self.push(Push::connect(self.ipc.clone()).unwrap()).await,
            4 => self.push(Push::connect(self.inproc.clone()).unwrap()).await,
            5 => {
                let builder = Push::builder().curve_client(generate_key_pair(), self.keys.public());
                let push = builder.build().unwrap();
                push.connect_to(self.secure_at.clone()).unwrap();
                self.push(push).await;
            }
            6 => {
                let req = Req::connect(self.rep_at.clone()).unwrap();
                let reply = req.request(n.to_be_bytes()).await.unwrap();
                assert_eq!(*reply.first(), n.to_be_bytes());
            }
            7 => self.subscribe(n).await,
            8 => self.cut(&self.tcp, n).await,
            9 => self.cut(&self.secure_at, n).await,
            10 => {
                // Established, and then gone without a word.
                let mut peer = Peer::connect(&self.tcp.to_string()).await.unwrap();
                peer.handshake("PUSH").await.unwrap();
                if n % 24 == 10 {
                    peer.reset().unwrap();
                }
            }
            _ => self.refused().await,
        }
    }

    /// Sends one message, which arrives, and closes.
    async fn push(&self, push: Push) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        push.send("one").await.unwrap();
        assert_eq!(push.close().await, 0);
    }

    /// A topic of its own, and one message of it.
    async fn subscribe(&self, n: u64) {
        let subscriber = Subscriber::connect(self.published_at.clone()).unwrap();
        let topic = n.to_be_bytes();
        subscriber.subscribe(topic);
        loop {
            self.publisher.send(topic).await.unwrap();
            let came = subscriber.recv_timeout(Duration::from_millis(5)).await;
            if let Ok(message) = came {
                assert_eq!(message, Message::from(topic));
                return;
            }
        }
    }

    /// A handshake that ends early, at another place each time.
    async fn cut(&self, endpoint: &Endpoint, n: u64) {
        self.cut.fetch_add(1, Ordering::Relaxed);
        let mechanism = if endpoint == &self.tcp {
            "NULL"
        } else {
            "CURVE"
        };
        let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
        let octets = [&raw::greeting(1, mechanism, false)[..], &ready].concat();
        let mut peer = Peer::connect(&endpoint.to_string()).await.unwrap();
        let at = (n / KINDS) as usize % octets.len();
        // The server may be the first to hang up.
        let _ = peer.send(&octets[..at]).await;
        if n % 24 < 12 {
            let _ = peer.reset();
        }
    }

    /// A server that hangs up on whoever connects.
    async fn refused(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
        let push = Push::builder()
            .reconnect(Reconnect {
                enabled: false,
                ..Reconnect::default()
            })
            .linger(Duration::ZERO)
            .build()
            .unwrap();
        let hostile = self.hostile.lock().await;
        push.connect_to(hostile.endpoint().unwrap()).unwrap();
        drop(hostile.accept().await.unwrap());
        drop(hostile);
        push.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let _alone = alone().await;
    scale::allow_descriptors(500);
    let cycles = scale::count(2_000, 100_000);
    let servers = Servers::new().await;
    let start = Instant::now();
    // One of each kind: the servers' own tasks run from then on.
    for n in 0..KINDS {
        servers.cycle(n).await;
    }
    servers.pairs().await;
    servers.quiet().await;
    let before = Usage::now();
    let (mut first, mut last): (Option<Usage>, _) = (None, before);
    for look in 0..LOOKS {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let servers = Arc::clone(&servers);
            workers.spawn(async move {
                let of_this_look = look * cycles / LOOKS..(look + 1) * cycles / LOOKS;
                for n in of_this_look.filter(|n| n % WORKERS == worker) {
                    let cycle = tokio::time::timeout(LONG, servers.cycle(n)).await;
                    assert!(cycle.is_ok(), "cycle {n} takes too long");
                }
            });
        }
        workers.join_all().await;
        servers.quiet().await;
        last = Usage::settled(before).await;
        // The first look is the warm-up's: buffers and tables have their size then.
        let first = *first.get_or_insert(last);
        let grown = last.memory.saturating_sub(first.memory);
        println!("look {look}: {last:?}, grown by {grown}");
        assert!(grown <= GROWTH, "{first:?} became {last:?} at look {look}");
    }
    let first = first.unwrap();
    assert_eq!(servers.publisher.stats().subscriptions, 0);
    scale::report("connect/disconnect cycles", cycles);
    scale::report(
        "of these cut during the handshake",
        servers.cut.load(Ordering::Relaxed),
    );
    scale::report("seconds", start.elapsed().as_secs());
    scale::report(
        "memory after a tenth and at the end, KiB",
        format!("{} and {}", first.memory / 1024, last.memory / 1024),
    );
    scale::report(
        "tasks before and at the end",
        format!("{} and {}", before.tasks, last.tasks),
    );
    scale::report(
        "descriptors before and at the end",
        format!("{} and {}", before.descriptors, last.descriptors),
    );
}

/// One socket that connects and disconnects, binds and unbinds, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_changes_its_endpoints_keeps_none() {
    let _alone = alone().await;
    let cycles = scale::count(300, 20_000);
    let pull = Pull::bind("tcp://127.0.0.1:*").await.unwrap();
    let at = pull.endpoints().remove(0);
    let push = Push::new();
    let (came, mut messages) = mpsc::unbounded_channel();
    tokio::spawn({
        let pull = pull.clone();
        async move {
            while let Ok(message) = pull.recv().await {
                let _ = came.send(message);
            }
        }
    });
    let mut first: Option<Usage> = None;
    let mut last = Usage::now();
    for n in 0..cycles {
        push.connect_to(at.clone()).unwrap();
        push.send(n.to_be_bytes()).await.unwrap();
        let message = tokio::time::timeout(LONG, messages.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(message, Message::from(n.to_be_bytes()));
        push.disconnect(&at).unwrap();
        let other = pull.bind_to("ipc://*").await.unwrap();
        pull.unbind(&other).unwrap();
        let gone = async {
            while push.stats().peers + pull.stats().peers > 0 || pull.endpoints().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, gone).await.unwrap();
        if n == cycles / 10 {
            first = Some(Usage::now());
        }
        last = Usage::now();
    }
    let first = first.unwrap();
    last = Usage::settled(Usage {
        memory: last.memory,
        ..first
    })
    .await;
    assert!(last.memory.saturating_sub(first.memory) <= GROWTH);
    scale::report("endpoints that came and went on one socket", 2 * cycles);
}
