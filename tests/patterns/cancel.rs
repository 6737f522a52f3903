//! Every send and receive future, polled k times and dropped, for k = 0, 1, 2, ... until it is over
//! by itself: nothing is lost, doubled, torn or out of order. A send that was dropped was not
//! accepted, and a receive that was dropped took nothing, even where its wake-up was on the way.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use withy::options::{DialOptions, ListenOptions, Overflow};
use withy::socket::Socket;
use withy::{
    AnySocket, Builder, Dealer, Message, Pull, ReceiveError, Rep, Req, Select, SendError,
    SocketType, Subscriber, XPub,
};
use withy_tests::scale;

use crate::support::{Way, number, soon};

/// Polls a future up to `polls` times and drops it; its output, if it was ready by then. After
/// each poll that was in vain, the last one too, `meanwhile` runs.
async fn polled<T>(
    future: impl Future<Output = T>,
    polls: usize,
    mut meanwhile: impl AsyncFnMut(),
) -> Option<T> {
    assert!(polls < PATIENCE, "what it waits for is lost");
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(value) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(value);
        }
        meanwhile().await;
    }
    None
}

/// Lets the connections' tasks run.
async fn others_run() {
    tokio::task::yield_now().await;
}

/// Who sends to whom.
const WAYS: [(SocketType, SocketType); 7] = [
    (SocketType::Push, SocketType::Pull),
    (SocketType::Dealer, SocketType::Router),
    (SocketType::Router, SocketType::Dealer),
    (SocketType::Pair, SocketType::Pair),
    (SocketType::Pub, SocketType::Sub),
    (SocketType::XPub, SocketType::XSub),
    (SocketType::XSub, SocketType::XPub),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Send,
    Timeout,
    Sink,
}

const SENDINGS: [Sending; 3] = [Sending::Send, Sending::Timeout, Sending::Sink];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Recv,
    From,
    Timeout,
    Many,
    Stream,
    Select,
}

const RECEIVINGS: [Receiving; 6] = [
    Receiving::Recv,
    Receiving::From,
    Receiving::Timeout,
    Receiving::Many,
    Receiving::Stream,
    Receiving::Select,
];

const LATE: Duration = Duration::from_secs(20);
/// A future that is not over after so many polls never will be.
const PATIENCE: usize = 500;

/// Of each cell that sends: more than an ipc link takes.
const MESSAGES: u64 = 100;
/// Of each cell that receives.
const RECEIVED: u64 = 40;

/// A way, with little room on it.
struct Cell(Way);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cell {
    fn all(name: &str) -> impl Iterator<Item = Self> {
        let name = format!("cancel: {name}");
        Way::all(&name).map(Self).collect::<Vec<_>>().into_iter()
    }

    fn any(&self) -> String {
        self.0.any()
    }

    /// The side that binds.
    fn server<S: Socket>(&self, builder: Builder<S>) -> S {
        let mut options = ListenOptions::default();
        options.tcp.send_buffer = Some(4_096);
        options.tcp.receive_buffer = Some(4_096);
        options.inproc_capacity = 2;
        self.0.server(builder.listen_options(options))
    }

    /// The side that connects.
    fn client<S: Socket>(&self, builder: Builder<S>) -> S {
        let mut options = DialOptions::default();
        options.tcp.send_buffer = Some(4_096);
        options.tcp.receive_buffer = Some(4_096);
        options.inproc_capacity = 2;
        self.0.client(builder.dial_options(options))
    }

    /// Two sockets that are connected, the second to the first.
    async fn linked(&self, way: (SocketType, SocketType)) -> (AnySocket, AnySocket) {
        let builder = |kind| {
            let builder = AnySocket::builder(kind).send_high_water_mark(2);
            match kind {
                SocketType::Dealer => builder.routing_id("them"),
                SocketType::Pub | SocketType::XPub | SocketType::XSub => {
                    builder.overflow(Overflow::Block)
                }
                _ => builder,
            }
        };
        let sender = self.server(builder(way.0));
        let receiver = self.client(builder(way.1));
        if matches!(way.1, SocketType::Sub | SocketType::XSub) {
            receiver.subscribe("", true);
        }
        let endpoint = sender.bind_to(self.any().as_str()).await.unwrap();
        receiver.connect_to(endpoint).unwrap();
        soon(sender.ready()).await.unwrap();
        soon(receiver.ready()).await.unwrap();
        if matches!(way.1, SocketType::Sub | SocketType::XSub) {
            soon(sender.wait_subscribed(1)).await.unwrap();
        }
        if way == (SocketType::XPub, SocketType::XSub) {
            assert_eq!(*soon(sender.recv()).await.unwrap().first(), *b"\x01");
        }
        (sender, receiver)
    }
}

/// So long that few are on the way.
const LONG: usize = 16_000;
/// Several in a buffer.
const SHORT: usize = 100;

/// Message `n`: its number, a body of about `size` octets, an empty frame.
fn body(n: u64, size: usize) -> Message {
    let mut message = number(n);
    message.push(vec![n as u8; size + n as usize % 300]);
    message.push("");
    message
}

/// As [`body`], as a socket of this type sends it to a DEALER, or receives it of one.
fn message(kind: SocketType, n: u64, size: usize) -> Message {
    let mut message = body(n, size);
    if kind == SocketType::Router {
        message.push_front("them");
    }
    message
}

/// One attempt to send; whether the message was accepted.
async fn attempt(how: Sending, socket: &AnySocket, message: Message, polls: usize) -> bool {
    match how {
        Sending::Send => match polled(socket.send(message), polls, others_run).await {
            Some(result) => result.is_ok() || panic!("{result:?}"),
            None => false,
        },
        Sending::Timeout => {
            // Every other one gives up by itself.
            let timeout = LATE * (polls as u32 % 2);
            let sending = socket.send_timeout(message.clone(), timeout);
            match polled(sending, polls, others_run).await {
                Some(Ok(())) => true,
                Some(Err(SendError::Timeout(back))) => {
                    assert_eq!(back, message);
                    false
                }
                Some(Err(error)) => panic!("{error}"),
                None => false,
            }
        }
        Sending::Sink => {
            let mut sink = socket.sink();
            let ready = poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx)).await;
            ready.unwrap();
            Pin::new(&mut sink).start_send(message.clone()).unwrap();
            let flushing = poll_fn(|cx| Pin::new(&mut sink).poll_flush(cx));
            if let Some(flushed) = polled(flushing, polls, others_run).await {
                flushed.unwrap();
            }
            match sink.into_inner() {
                (_, Some(held)) => {
                    assert_eq!(held, message);
                    false
                }
                (_, None) => true,
            }
        }
    }
}

/// Polls sends of numbered messages, while `take` makes room; returns how often one was dropped.
async fn drop_sends(
    mut attempt: impl AsyncFnMut(u64, usize) -> bool,
    mut take: impl AsyncFnMut(u64),
) -> u64 {
    let (mut dropped, mut taken) = (0, 0);
    for n in 0..MESSAGES {
        let mut polls = 0;
        while !attempt(n, polls).await {
            dropped += 1;
            polls += 1;
            // More polls do not help where there is no room.
            if polls > 3 && taken < n {
                take(taken).await;
                taken += 1;
                polls = 0;
            }
        }
    }
    while taken < MESSAGES {
        take(taken).await;
        taken += 1;
    }
    dropped
}

async fn send_cell(cell: &Cell, way: (SocketType, SocketType), how: Sending) {
    let (sender, receiver) = cell.linked(way).await;
    let dropped = drop_sends(
        async |n, polls| attempt(how, &sender, message(way.0, n, LONG), polls).await,
        async |n| {
            let got = soon(receiver.recv()).await.unwrap();
            assert_eq!(got, message(way.1, n, LONG), "{cell}");
        },
    )
    .await;
    // One poll of each is 0, so there are more only where some had to wait.
    let at_once = if how == Sending::Sink { 0 } else { MESSAGES };
    assert!(dropped > at_once, "{cell}: no send had to wait");
    let stats = sender.stats();
    assert_eq!((stats.sent, stats.dropped), (MESSAGES, 0), "{cell}");
    assert_eq!(soon(sender.close()).await, 0, "{cell}");
    let more = receiver.try_recv();
    assert!(matches!(more, Err(ReceiveError::Empty)), "{cell}: {more:?}");
}

/// A future that receives, in any of the ways there are. What a timeout ends received nothing.
fn receiving<'a>(
    how: Receiving,
    socket: &'a AnySocket,
    got: &'a mut Vec<Message>,
    polls: usize,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    match how {
        Receiving::Recv => Box::pin(async { got.push(socket.recv().await.unwrap()) }),
        Receiving::From => Box::pin(async { got.push(socket.recv_from().await.unwrap().0) }),
        Receiving::Timeout => Box::pin(async move {
            match socket.recv_timeout(LATE * (polls as u32 % 2)).await {
                Err(ReceiveError::Timeout) => {}
                result => got.push(result.unwrap()),
            }
        }),
        Receiving::Many => Box::pin(async {
            socket.recv_many(got, 2).await.unwrap();
        }),
        Receiving::Stream => Box::pin(async {
            let mut stream = socket.stream();
            let next = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
            got.extend(next);
        }),
        Receiving::Select => Box::pin(async {
            let idle = Pull::new();
            let mut select = Select::new().with(&idle).with(socket);
            let (index, message) = select.recv().await.unwrap();
            assert_eq!(index, 1);
            got.push(message);
        }),
    }
}

async fn receive_cell(cell: &Cell, way: (SocketType, SocketType), how: Receiving) {
    let (sender, receiver) = cell.linked(way).await;
    let send = async |n| soon(sender.send(message(way.0, n, SHORT))).await.unwrap();
    let (mut sent, mut received, mut polls) = (0, 0, 0);
    while received < RECEIVED {
        let mut got = Vec::new();
        let future = receiving(how, &receiver, &mut got, polls);
        // What it waits for comes while it waits, and up to three at a time.
        let over = polled(future, polls, async || {
            if sent == received && sent < RECEIVED {
                for _ in 0..=sent % 3 {
                    send(sent).await;
                    sent += 1;
                }
            }
            others_run().await;
        })
        .await;
        assert!(over.is_some() || got.is_empty(), "{cell}");
        for got in &got {
            assert_eq!(*got, message(way.1, received, SHORT), "{cell}");
            received += 1;
        }
        polls = if got.is_empty() { polls + 1 } else { 0 };
    }
    while received < sent {
        let got = soon(receiver.recv()).await.unwrap();
        assert_eq!(got, message(way.1, received, SHORT), "{cell}");
        received += 1;
    }
    // Of two that wait, the one that is woken goes: the other has the message.
    for pause in 0..RECEIVED / 4 {
        let mut unused = Vec::new();
        let mut gone = receiving(how, &receiver, &mut unused, 1);
        let mut stays = pin!(receiver.recv());
        let mut context = Context::from_waker(Waker::noop());
        while gone.as_mut().poll(&mut context).is_ready() {}
        let waits = poll_fn(|cx| Poll::Ready(stays.as_mut().poll(cx))).await;
        assert!(waits.is_pending(), "{cell}");
        send(sent).await;
        for _ in 0..pause {
            others_run().await;
        }
        drop(gone);
        let got = soon(stays).await.unwrap();
        assert_eq!(got, message(way.1, sent, SHORT), "{cell}");
        sent += 1;
    }
    assert_eq!(receiver.stats().received, sent, "{cell}");
    let more = receiver.try_recv();
    assert!(matches!(more, Err(ReceiveError::Empty)), "{cell}: {more:?}");
}

/// What only an XPUB has.
async fn send_to_cell(cell: &Cell) {
    let xpub = cell.server(XPub::builder().send_high_water_mark(2));
    let subscriber = cell.client(Subscriber::builder());
    subscriber.subscribe("");
    let endpoint = xpub.bind_to(cell.any().as_str()).await.unwrap();
    subscriber.connect_to(endpoint).unwrap();
    let (_, peer) = soon(xpub.recv_from()).await.unwrap();
    let dropped = drop_sends(
        async |n, polls| {
            let sending = xpub.send_to(peer, body(n, LONG));
            let sent = polled(sending, polls, others_run).await;
            sent.is_some_and(|sent| sent.is_ok() || panic!("{sent:?}"))
        },
        async |n| {
            assert_eq!(
                soon(subscriber.recv()).await.unwrap(),
                body(n, LONG),
                "{cell}"
            )
        },
    )
    .await;
    assert!(dropped > MESSAGES, "{cell}: no send had to wait");
}

/// An echo, and the numbers of the requests that came to it.
async fn echo(cell: &Cell) -> (Req, tokio::task::JoinHandle<Vec<u64>>) {
    let rep = cell.server(Rep::builder());
    let req = cell.client(Req::builder());
    let endpoint = rep.bind_to(cell.any().as_str()).await.unwrap();
    req.connect_to(endpoint).unwrap();
    soon(req.ready()).await.unwrap();
    let server = tokio::spawn(async move {
        let mut came = Vec::new();
        loop {
            let mut request = rep.recv().await.unwrap();
            let message = request.take_message();
            let n = number_in(&message);
            came.push(n);
            assert_eq!(message, body(n, SHORT));
            request.reply(message).await.unwrap();
            if n == u64::MAX {
                return came;
            }
        }
    });
    (req, server)
}

fn number_in(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().unwrap())
}

/// A request that was dropped may be acted on, once; its reply goes to nobody else.
async fn ask_cell(cell: &Cell, timed: bool) {
    let (req, server) = echo(cell).await;
    let (mut n, mut answered) = (0, Vec::new());
    while answered.len() < MESSAGES as usize {
        for polls in 0.. {
            n += 1;
            let reply = if timed {
                polled(req.request_timeout(body(n, SHORT), LATE), polls, others_run).await
            } else {
                polled(req.request(body(n, SHORT)), polls, others_run).await
            };
            if let Some(reply) = reply {
                assert_eq!(reply.unwrap(), body(n, SHORT), "{cell}");
                answered.push(n);
                break;
            }
        }
    }
    let last = body(u64::MAX, SHORT);
    assert_eq!(soon(req.request(last.clone())).await.unwrap(), last);
    let came = soon(server).await.unwrap();
    assert!(
        came.is_sorted_by(|a, b| a < b),
        "{cell}: doubled or out of order"
    );
    let acted_on = answered.iter().all(|n| came.binary_search(n).is_ok());
    assert!(acted_on, "{cell}");
    assert!(n > answered.len() as u64, "{cell}: nothing was dropped");
}

async fn lock_step_cell(cell: &Cell) {
    let (req, server) = echo(cell).await;
    for n in (0..MESSAGES).chain([u64::MAX]) {
        let mut polls = 0;
        while polled(req.send(body(n, SHORT)), polls, others_run)
            .await
            .map(Result::unwrap)
            .is_none()
        {
            polls += 1;
        }
        for polls in 0.. {
            if let Some(reply) = polled(req.recv(), polls, others_run).await {
                assert_eq!(reply.unwrap(), body(n, SHORT), "{cell}");
                break;
            }
        }
    }
    let came = soon(server).await.unwrap();
    assert!(came.into_iter().eq((0..MESSAGES).chain([u64::MAX])));
}

/// Requests arrive once, and exactly those replies that were not dropped.
async fn answer_cell(cell: &Cell, timed: bool) {
    let rep = cell.server(Rep::builder().send_high_water_mark(2));
    let dealer = cell.client(Dealer::builder());
    let endpoint = rep.bind_to(cell.any().as_str()).await.unwrap();
    dealer.connect_to(endpoint).unwrap();
    let (mut asked, mut replied) = (0, Vec::new());
    for n in 0..MESSAGES {
        let mut polls = 0;
        let request = loop {
            let meanwhile = async || {
                if asked == n {
                    let mut request = body(n, SHORT);
                    request.push_front("");
                    soon(dealer.send(request)).await.unwrap();
                    asked += 1;
                }
                others_run().await;
            };
            let request = if timed {
                let timeout = LATE * (polls as u32 % 2);
                match polled(rep.recv_timeout(timeout), polls, meanwhile).await {
                    Some(Err(ReceiveError::Timeout)) => None,
                    request => request,
                }
            } else {
                polled(rep.recv(), polls, meanwhile).await
            };
            match request {
                Some(request) => break request.unwrap(),
                None => polls += 1,
            }
        };
        assert_eq!(*request.message(), body(n, SHORT), "{cell}");
        let reply = request.reply(body(n, SHORT));
        if let Some(sent) = polled(reply, n as usize % 3, others_run).await {
            sent.unwrap();
            replied.push(n);
        }
    }
    assert!(!replied.is_empty() && replied.len() < MESSAGES as usize);
    for n in replied {
        let mut reply = soon(dealer.recv()).await.unwrap();
        assert_eq!(reply.pop_front().unwrap(), "");
        assert_eq!(reply, body(n, SHORT), "{cell}");
    }
    let more = dealer.try_recv();
    assert!(matches!(more, Err(ReceiveError::Empty)), "{cell}: {more:?}");
}

/// Counts the cells that were run, so that a table that shrinks is seen.
fn all_run(what: &str, run: usize, expected: usize) {
    let count = format!("{run} / {expected} expected");
    scale::report(&format!("cancel cells run, {what}"), count);
    assert_eq!(run, expected);
}

#[tokio::test]
async fn sends_that_are_dropped_lose_double_and_tear_nothing() {
    let mut run = 0;
    for way in WAYS {
        for how in SENDINGS {
            for cell in Cell::all(&format!("{} to {}, {how:?}", way.0, way.1)) {
                send_cell(&cell, way, how).await;
                run += 1;
            }
        }
    }
    for cell in Cell::all("XPUB to one") {
        send_to_cell(&cell).await;
        run += 1;
    }
    all_run("sends", run, (7 * 3 + 1) * Way::COUNT);
}

#[tokio::test]
async fn receives_that_are_dropped_lose_double_and_tear_nothing() {
    let mut run = 0;
    for way in WAYS {
        for how in RECEIVINGS {
            for cell in Cell::all(&format!("{} from {}, {how:?}", way.1, way.0)) {
                receive_cell(&cell, way, how).await;
                run += 1;
            }
        }
    }
    all_run("receives", run, 7 * 6 * Way::COUNT);
}

#[tokio::test]
async fn requests_and_replies_that_are_dropped_confuse_nobody() {
    let mut run = 0;
    for timed in [false, true] {
        for cell in Cell::all(&format!("REQ asks, timed {timed}")) {
            ask_cell(&cell, timed).await;
            run += 1;
        }
        for cell in Cell::all(&format!("REP answers, timed {timed}")) {
            answer_cell(&cell, timed).await;
            run += 1;
        }
    }
    for cell in Cell::all("REQ in lock-step") {
        lock_step_cell(&cell).await;
        run += 1;
    }
    all_run("requests", run, (2 + 2 + 1) * Way::COUNT);
}
