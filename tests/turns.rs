//! Who computes and who sends without end keeps neither its own messages nor other tasks waiting.
//!
//! A program of its own, with one test at a time: what else runs has its share of the processors.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use withy::{AnySocket, Endpoint, Message, Publisher, Pull, Push, SocketType, Subscriber};
use withy_tests::deadline::soon;
use withy_tests::scale::{self, percentile};

/// Any free port on loopback.
const ANY: &str = "tcp://127.0.0.1:0";

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A numbered message.
fn number(n: u64) -> Message {
    Message::from(n.to_be_bytes())
}

/// The number of a message.
fn number_of(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().expect("eight octets"))
}

/// A runtime of each flavour.
fn runtimes() -> [(&'static str, Runtime); 2] {
    let one = Builder::new_current_thread().enable_all().build();
    let two = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    [("one thread", one.unwrap()), ("two", two.unwrap())]
}

/// Messages at once, of which the first may go at once and the last may not.
const BURST: u64 = 10;
/// What is computed after them, unless they arrive before.
const COMPUTES: Duration = Duration::from_millis(100);

/// A receiver on a thread of its own, which says when the last message of each burst is there.
struct Receiver {
    endpoint: Endpoint,
    arrivals: mpsc::Receiver<Instant>,
    thread: JoinHandle<()>,
}

impl Receiver {
    fn start(kind: SocketType, bursts: u64) -> Self {
        let (bound, endpoint) = mpsc::channel();
        let (arrived, arrivals) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let receiver = AnySocket::builder(kind).build().unwrap();
                if kind == SocketType::Sub {
                    receiver.subscribe("", true);
                }
                bound.send(receiver.bind_to(ANY).await.unwrap()).unwrap();
                for last in (0..bursts).map(|burst| (burst + 1) * BURST - 1) {
                    while number_of(&soon(receiver.recv()).await.unwrap()) != last {}
                    arrived.send(Instant::now()).unwrap();
                }
            });
        });
        Self {
            endpoint: endpoint.recv().unwrap(),
            arrivals,
            thread,
        }
    }
}

/// Sends bursts, computes after each, and returns how long the last message took to the last receiver.
async fn send_and_compute(
    sender: AnySocket,
    bursts: u64,
    arrivals: Vec<mpsc::Receiver<Instant>>,
) -> Vec<Duration> {
    let mut delays = Vec::new();
    for burst in 0..bursts {
        for at in 0..BURST {
            sender.send(number(burst * BURST + at)).await.unwrap();
        }
        let sent = Instant::now();
        let arrived_before = |arrivals: &mpsc::Receiver<Instant>| loop {
            match arrivals.try_recv() {
                Err(TryRecvError::Empty) if sent.elapsed() < COMPUTES => std::hint::spin_loop(),
                tried => break tried.ok(),
            }
        };
        let arrived: Vec<_> = arrivals.iter().map(arrived_before).collect();
        // Nothing is left once the sender lets others run.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let arrived = arrived.into_iter().zip(&arrivals);
        let arrived = arrived.map(|(at, arrivals)| at.unwrap_or_else(|| arrivals.recv().unwrap()));
        let last = arrived.max().unwrap();
        delays.push(last.saturating_duration_since(sent));
    }
    delays.sort();
    delays
}

/// No knob, no `flush`: what was sent is on its way, though its sender gives its thread to nobody.
#[test]
fn a_tail_does_not_wait_for_its_sender_to_compute() {
    let _alone = alone();
    let bursts = scale::count(100, 2_000);
    for (kind, to, receivers) in [
        (SocketType::Push, SocketType::Pull, 1),
        (SocketType::Pub, SocketType::Sub, 2),
    ] {
        for (flavour, runtime) in runtimes() {
            let receivers: Vec<_> = (0..receivers)
                .map(|_| Receiver::start(to, bursts))
                .collect();
            let endpoints: Vec<_> = receivers.iter().map(|it| it.endpoint.clone()).collect();
            let (arrivals, threads): (Vec<_>, Vec<_>) = receivers
                .into_iter()
                .map(|it| (it.arrivals, it.thread))
                .unzip();
            let sending = runtime.spawn(async move {
                let sender = AnySocket::builder(kind).build().unwrap();
                for endpoint in &endpoints {
                    sender.connect_to(endpoint).unwrap();
                }
                match kind {
                    SocketType::Pub => sender.wait_subscribed(endpoints.len()).await.unwrap(),
                    _ => sender.ready().await.unwrap(),
                }
                send_and_compute(sender, bursts, arrivals).await
            });
            let delays = runtime.block_on(sending).unwrap();
            threads.into_iter().for_each(|it| it.join().unwrap());
            let [p50, p90, p99] = [50, 90, 99].map(|of| percentile(&delays, of));
            scale::report(
                &format!("how long a tail waits behind who computes, {kind}, {flavour}: p50, p99"),
                format!("{p50:?}, {p99:?}"),
            );
            // The first may be late, and on a machine with other work others have to wait for a processor.
            assert!(p90 < COMPUTES, "{kind}, {flavour}: {delays:?}");
            let limit = Duration::from_millis(1);
            assert!(
                !scale::is_full() || p50 < limit,
                "{kind}, {flavour}: {delays:?}"
            );
        }
    }
}

/// Ticks of a millisecond that are looked at.
fn ticks() -> u64 {
    scale::count(500, 5_000)
}

/// What a tick may be late, of a hundred all but one. Where a machine has other work, that counts as well.
fn late() -> Duration {
    Duration::from_millis(scale::count(25, 5))
}

/// How late ticks are beside tasks that go on without end.
async fn tick_beside(what: &str, flavour: &str) {
    let mut ticks: Vec<Duration> = Vec::new();
    let mut due = tokio::time::Instant::now();
    for _ in 0..self::ticks() {
        due += Duration::from_millis(1);
        tokio::time::sleep_until(due).await;
        let now = tokio::time::Instant::now();
        ticks.push(now - due);
        due = now;
    }
    ticks.sort();
    let (p50, p99) = (percentile(&ticks, 50), percentile(&ticks, 99));
    scale::report(
        &format!("how late a tick is beside {what}, {flavour}: p50, p99"),
        format!("{p50:?}, {p99:?}"),
    );
    assert!(p99 <= late(), "{what}, {flavour}: p99 {p99:?}");
}

#[test]
fn a_ticker_ticks_beside_loops_that_send_and_receive() {
    let _alone = alone();
    for (flavour, runtime) in runtimes() {
        runtime.block_on(async {
            let pull = Pull::bind(ANY).await.unwrap();
            let push = Push::connect(&pull.endpoints()[0]).unwrap();
            let sending = tokio::spawn(async move { while push.send(number(1)).await.is_ok() {} });
            let receiving = tokio::spawn(async move { while pull.recv().await.is_ok() {} });
            tokio::spawn(async move { tick_beside("PUSH and PULL", flavour).await })
                .await
                .unwrap();
            sending.abort();
            receiving.abort();
        });
    }
}

#[test]
fn a_ticker_ticks_beside_a_publisher_and_its_subscribers() {
    let _alone = alone();
    for (flavour, runtime) in runtimes() {
        runtime.block_on(async {
            let publisher = Publisher::bind(ANY).await.unwrap();
            let endpoint = publisher.endpoints()[0].clone();
            let mut busy = Vec::new();
            for _ in 0..4 {
                let subscriber = Subscriber::connect(&endpoint).unwrap();
                subscriber.subscribe("");
                busy.push(tokio::spawn(async move {
                    while subscriber.recv().await.is_ok() {}
                }));
            }
            busy.push(tokio::spawn(async move {
                while publisher.send(number(1)).await.is_ok() {}
            }));
            tokio::spawn(async move { tick_beside("PUB and SUB", flavour).await })
                .await
                .unwrap();
            busy.iter().for_each(|busy| busy.abort());
        });
    }
}
