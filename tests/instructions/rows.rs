//! What is counted.

use crate::Failure;
use crate::link::Link::{self, Inproc, Ipc, Quic, Tcp, TcpCurve, TcpNoise};
use crate::{engines, sockets};

/// One path, of which the instructions for a message are counted.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// How many messages are counted; so many that what happens once a batch is an average.
    pub(crate) messages: u64,
    /// By how many percent a count may differ from the baseline.
    pub(crate) tolerance: f64,
    work: Work,
}

/// What is done; sizes are octets of a body.
#[derive(Debug, Clone, Copy)]
enum Work {
    PushPull(Link, usize),
    ReqRep(Link, usize),
    PubSub(Link, usize, usize),
    ByName(usize, usize),
    ManyPush(Link, usize, usize),
    Connect(Link, usize),
    Encode(usize),
    Decode(usize),
    Prefixes(u32),
    Filters(u32),
    Seal(usize),
    Open(usize),
}

use Work::{
    ByName, Connect, Decode, Encode, Filters, ManyPush, Open, Prefixes, PubSub, PushPull, ReqRep,
    Seal,
};

const fn row(name: &'static str, messages: u64, tolerance: f64, work: Work) -> Row {
    Row {
        name,
        messages,
        tolerance,
        work,
    }
}

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    row("push-pull/tcp/64", 50_000, 8.0, PushPull(Tcp, 64)),
    row("push-pull/tcp/1024", 20_000, 5.0, PushPull(Tcp, 1_024)),
    row("push-pull/tcp/16384", 4_000, 5.0, PushPull(Tcp, 16_384)),
    row("push-pull/noise/64", 50_000, 10.0, PushPull(TcpNoise, 64)),
    row(
        "push-pull/noise/16384",
        2_000,
        5.0,
        PushPull(TcpNoise, 16_384),
    ),
    row("push-pull/curve/64", 20_000, 5.0, PushPull(TcpCurve, 64)),
    row("push-pull/quic/64", 50_000, 10.0, PushPull(Quic, 64)),
    row("push-pull/ipc/64", 50_000, 10.0, PushPull(Ipc, 64)),
    row("push-pull/inproc/64", 50_000, 8.0, PushPull(Inproc, 64)),
    row(
        "push-pull/inproc/1024",
        50_000,
        5.0,
        PushPull(Inproc, 1_024),
    ),
    row("req-rep/tcp/64", 3_000, 5.0, ReqRep(Tcp, 64)),
    row("req-rep/ipc/64", 3_000, 5.0, ReqRep(Ipc, 64)),
    row("req-rep/noise/64", 3_000, 5.0, ReqRep(TcpNoise, 64)),
    row("pub-sub/tcp/8/64", 20_000, 10.0, PubSub(Tcp, 64, 8)),
    row("named/pub-sub/8/64", 20_000, 5.0, ByName(64, 8)),
    row("many-push/tcp/100/64", 50_000, 5.0, ManyPush(Tcp, 64, 100)),
    row("connect/tcp", 100, 5.0, Connect(Tcp, 64)),
    row("connect/noise", 40, 5.0, Connect(TcpNoise, 64)),
    row("connect/curve", 40, 5.0, Connect(TcpCurve, 64)),
    row("encode/64", 50_000, 5.0, Encode(64)),
    row("encode/4096", 10_000, 5.0, Encode(4_096)),
    row("decode/64", 50_000, 5.0, Decode(64)),
    row("decode/4096", 10_000, 5.0, Decode(4_096)),
    row("prefixes/1000", 20_000, 5.0, Prefixes(1_000)),
    row("filters/1000", 20_000, 5.0, Filters(1_000)),
    row("seal/64", 5_000, 5.0, Seal(64)),
    row("seal/16384", 500, 5.0, Seal(16_384)),
    row("open/64", 5_000, 5.0, Open(64)),
    row("open/16384", 500, 5.0, Open(16_384)),
];

impl Row {
    /// Does the work in this process, of which callgrind counts a part.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let messages = self.messages;
        match self.work {
            PushPull(link, size) => sockets::push_pull(link, size, messages),
            ReqRep(link, size) => sockets::req_rep(link, size, messages),
            PubSub(link, size, subscribers) => sockets::pub_sub(link, size, subscribers, messages),
            ByName(size, subscribers) => sockets::by_name(size, subscribers, messages),
            ManyPush(link, size, pushers) => sockets::many_push(link, size, pushers, messages),
            Connect(link, size) => sockets::connect(link, size, messages),
            Encode(size) => engines::encode(size, messages),
            Decode(size) => engines::decode(size, messages),
            Prefixes(prefixes) => engines::prefixes(prefixes, messages),
            Filters(filters) => engines::filters(filters, messages),
            Seal(size) => engines::seal(size, messages),
            Open(size) => engines::open(size, messages),
        }
    }
}
