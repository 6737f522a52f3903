//! The machine's limit: the same bytes in the same frames, without a messaging library.
//!
//! A stream of frames is packed into large writes on a blocking socket and taken apart again,
//! which is the ceiling of every PUSH/PULL row; as `limit-stream`, the reader also copies each body into
//! memory of its own, without which no library can give it away. A ping-pong between two tokio tasks is
//! the floor of every REQ/REP row, and one round trip on a fresh connection that of the connect row. In
//! rows with NOISE the large writes are sealed records and each ping is sealed, and in those over QUIC
//! they are writes to a stream of quinn.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    time::Instant,
};

use super::{Endless, Failure, Peer, Standing, runtime};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::Probe,
};

mod ping;
mod quic;
mod sealed;
mod stream;

/// Bytes offered to one write and to one read.
const CHUNK: usize = 256 * 1024;
/// Bytes in front of a body: its length.
const HEADER: usize = 8;

/// No library at all, or quinn alone.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Variant);

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// No more than it must.
    Bare,
    /// The reader gives each body memory of its own.
    Stream,
    /// The datagrams of quinn are as large as Withy has them on loopback, not as any path takes them.
    Loopback,
}

impl Peer for Raw {
    fn name(&self) -> &'static str {
        match self.0 {
            Variant::Bare => "limit",
            Variant::Stream => "limit-stream",
            Variant::Loopback => "limit-loopback",
        }
    }

    fn version(&self) -> String {
        match self.0 {
            Variant::Bare => concat!(
                "bare sockets; ping-pong on tokio ",
                env!("VERSION_TOKIO"),
                "; with NOISE AES-256-GCM of ring ",
                env!("VERSION_RING"),
                " in records of 16 KiB; quinn ",
                env!("VERSION_QUINN")
            ),
            Variant::Stream => "as limit, and each body is copied into memory of its own",
            Variant::Loopback => {
                "quinn as Withy configures it on loopback: datagrams of 6,500 octets"
            }
        }
        .to_owned()
    }

    fn standing(&self) -> Standing {
        match self.0 {
            Variant::Bare | Variant::Stream => Standing::Limit,
            Variant::Loopback => Standing::Aside,
        }
    }

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::OneThread]
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let part = match job.role {
            Role::Pull | Role::Push | Role::Rep | Role::Req => job.seal != Seal::Curve,
            Role::ConnectLoop => job.seal == Seal::Clear && job.transport == Transport::Tcp,
            _ => false,
        };
        let has = match (self.0, job.transport) {
            (_, Transport::Inproc) => false,
            (Variant::Bare, _) => true,
            (Variant::Stream, Transport::Quic) => false,
            (Variant::Stream, _) => matches!(job.role, Role::Pull | Role::Push),
            (Variant::Loopback, transport) => transport == Transport::Quic,
        };
        if has && part && job.lanes == 1 {
            Ok(())
        } else {
            Err("-")
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        if job.transport == Transport::Quic {
            return quic::pull(self.0, probe);
        }
        if job.transport == Transport::Ipc {
            let listener = UnixListener::bind(path(job))?;
            probe.ready(&job.endpoint);
            self.read(listener.accept()?.0, probe)
        } else {
            let listener = TcpListener::bind(address(job))?;
            probe.ready(&format!("tcp://{}", listener.local_addr()?));
            match job.seal {
                Seal::Clear => self.read(listener.accept()?.0, probe),
                _ => self.read(sealed::Reader::new(listener.accept()?.0), probe),
            }
        }
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        match (job.transport, job.seal) {
            (Transport::Quic, _) => quic::push(self.0, job),
            (Transport::Ipc, _) => stream::pack(UnixStream::connect(path(job))?, job),
            (_, Seal::Clear) => stream::pack(TcpStream::connect(address(job))?, job),
            _ => stream::pack(sealed::Writer::new(TcpStream::connect(address(job))?), job),
        }
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        if job.transport == Transport::Quic {
            return quic::rep(self.0, job, probe);
        }
        runtime::run(async move {
            if job.transport == Transport::Ipc {
                let listener = tokio::net::UnixListener::bind(path(job))?;
                probe.ready(&job.endpoint);
                loop {
                    tokio::spawn(ping::echo(listener.accept().await?.0, job));
                }
            }
            let listener = tokio::net::TcpListener::bind(address(job)).await?;
            probe.ready(&format!("tcp://{}", listener.local_addr()?));
            loop {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                tokio::spawn(ping::echo(stream, job));
            }
        })
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        if job.transport == Transport::Quic {
            return quic::req(self.0, job, probe);
        }
        runtime::run(async move {
            if job.transport == Transport::Ipc {
                let mut stream = tokio::net::UnixStream::connect(path(job)).await?;
                let mut ball = ping::Ball::new(job);
                loop {
                    ping::round_trip(&mut stream, &mut ball, probe, Instant::now()).await?;
                }
            }
            let mut stream = tokio::net::TcpStream::connect(address(job)).await?;
            stream.set_nodelay(true)?;
            let mut ball = ping::Ball::new(job);
            loop {
                ping::round_trip(&mut stream, &mut ball, probe, Instant::now()).await?;
            }
        })
    }

    fn connect_loop(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            loop {
                let start = Instant::now();
                let mut stream = tokio::net::TcpStream::connect(address(job)).await?;
                stream.set_nodelay(true)?;
                ping::round_trip(&mut stream, &mut ping::Ball::new(job), probe, start).await?;
            }
        })
    }
}

impl Raw {
    fn read(&self, stream: impl Read, probe: &Probe) -> Endless {
        match self.0 {
            Variant::Stream => stream::take_out(stream, probe),
            _ => stream::take_apart(stream, probe),
        }
    }
}

fn address(job: &Job) -> &str {
    job.endpoint.trim_start_matches("tcp://")
}

fn path(job: &Job) -> &str {
    job.endpoint.trim_start_matches("ipc://")
}
