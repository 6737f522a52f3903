//! The machine's limit: the same bytes in the same frames, without a messaging library.
//!
//! A stream of frames is packed into large writes on a blocking socket and taken apart again,
//! which is the ceiling of every PUSH/PULL row. A ping-pong between two tokio tasks is the floor
//! of every REQ/REP row, and one round trip on a fresh connection that of the connect row. In rows
//! with NOISE the large writes are sealed records, and in those over QUIC writes to a stream of quinn.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Endless, Failure, Peer, Standing, runtime};
use crate::{
    job::{Job, Role, Seal, Transport},
    probe::{Body, Probe},
};

mod quic;
mod sealed;

/// Bytes offered to one write and to one read.
const CHUNK: usize = 256 * 1024;
/// Bytes in front of a body: its length.
const HEADER: usize = 8;

/// No library at all, or quinn alone.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Datagrams);

/// How large quinn's datagrams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datagrams {
    /// As it chooses itself: for any path.
    Default,
    /// As Withy has them on loopback.
    Loopback,
}

impl Peer for Raw {
    fn name(&self) -> &'static str {
        match self.0 {
            Datagrams::Default => "limit",
            Datagrams::Loopback => "limit-loopback",
        }
    }

    fn version(&self) -> String {
        if self.0 == Datagrams::Loopback {
            return "quinn as Withy configures it on loopback: datagrams of 6,500 octets"
                .to_owned();
        }
        concat!(
            "bare sockets; ping-pong on tokio ",
            env!("VERSION_TOKIO"),
            ", 2 workers; with NOISE AES-256-GCM of ring ",
            env!("VERSION_RING"),
            " in records of 16 KiB; quinn ",
            env!("VERSION_QUINN")
        )
        .to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Limit
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let part = match job.role {
            Role::Pull | Role::Push => job.seal != Seal::Curve,
            Role::Rep | Role::Req | Role::ConnectLoop => job.seal == Seal::Clear,
            _ => false,
        };
        let connects = matches!(job.role, Role::ConnectLoop);
        match job.transport {
            Transport::Tcp | Transport::Ipc if self.0 == Datagrams::Loopback => Err("-"),
            Transport::Tcp | Transport::Ipc if part && job.lanes == 1 => Ok(()),
            Transport::Quic if part && job.lanes == 1 && !connects => Ok(()),
            _ => Err("-"),
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        if job.transport == Transport::Quic {
            return quic::pull(self.0, probe);
        }
        if job.transport == Transport::Ipc {
            let listener = UnixListener::bind(path(job))?;
            probe.ready(&job.endpoint);
            take_apart(listener.accept()?.0, probe)
        } else {
            let listener = TcpListener::bind(address(job))?;
            probe.ready(&format!("tcp://{}", listener.local_addr()?));
            match job.seal {
                Seal::Clear => take_apart(listener.accept()?.0, probe),
                _ => take_apart(sealed::Reader::new(listener.accept()?.0), probe),
            }
        }
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        match (job.transport, job.seal) {
            (Transport::Quic, _) => quic::push(self.0, job),
            (Transport::Ipc, _) => pack(UnixStream::connect(path(job))?, job),
            (_, Seal::Clear) => pack(TcpStream::connect(address(job))?, job),
            _ => pack(sealed::Writer::new(TcpStream::connect(address(job))?), job),
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
                    tokio::spawn(echo(listener.accept().await?.0, job.size));
                }
            }
            let listener = tokio::net::TcpListener::bind(address(job)).await?;
            probe.ready(&format!("tcp://{}", listener.local_addr()?));
            loop {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                tokio::spawn(echo(stream, job.size));
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
                loop {
                    round_trip(&mut stream, job.size, probe, Instant::now()).await?;
                }
            }
            let mut stream = tokio::net::TcpStream::connect(address(job)).await?;
            stream.set_nodelay(true)?;
            loop {
                round_trip(&mut stream, job.size, probe, Instant::now()).await?;
            }
        })
    }

    fn connect_loop(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        runtime::run(async move {
            loop {
                let start = Instant::now();
                let mut stream = tokio::net::TcpStream::connect(address(job)).await?;
                stream.set_nodelay(true)?;
                round_trip(&mut stream, job.size, probe, start).await?;
            }
        })
    }
}

/// Sends frames without end: packed into chunks, each body a fresh copy; one larger than a chunk
/// goes out as it is.
fn pack(mut stream: impl Write, job: &Job) -> Endless {
    let body = Body::new(job.size);
    let header = (job.size as u64).to_le_bytes();
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        if HEADER + job.size > CHUNK {
            stream.write_all(&header)?;
            stream.write_all(body.bytes())?;
            continue;
        }
        chunk.clear();
        while chunk.len() + HEADER + job.size <= CHUNK {
            chunk.extend_from_slice(&header);
            chunk.extend_from_slice(body.bytes());
        }
        stream.write_all(&chunk)?;
    }
}

/// Reads chunks and steps from frame to frame in them, without a copy.
fn take_apart(mut stream: impl Read, probe: &Probe) -> Endless {
    let mut chunk = vec![0; CHUNK];
    let mut held = 0;
    // What is left of a body that reaches beyond the chunk.
    let mut skip = 0;
    loop {
        let read = stream.read(&mut chunk[held..])?;
        if read == 0 {
            return Err("stream closed".into());
        }
        let filled = held + read;
        let mut at = skip.min(filled);
        skip -= at;
        while skip == 0 {
            let Some(header) = chunk[at..filled].first_chunk::<HEADER>() else {
                break;
            };
            let size = usize::try_from(u64::from_le_bytes(*header))?;
            probe.pulled(&[]);
            let end = at + HEADER + size;
            skip = end.saturating_sub(filled);
            at = end.min(filled);
        }
        chunk.copy_within(at..filled, 0);
        held = filled - at;
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, size: usize) -> Result<(), Failure> {
    let mut body = vec![0; size];
    loop {
        stream.read_exact(&mut body).await?;
        stream.write_all(&body).await?;
    }
}

async fn round_trip(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    size: usize,
    probe: &Probe,
    start: Instant,
) -> Result<(), Failure> {
    let mut body = vec![0; size];
    stream.write_all(&body).await?;
    stream.read_exact(&mut body).await?;
    probe.round_trip(start);
    Ok(())
}

fn address(job: &Job) -> &str {
    job.endpoint.trim_start_matches("tcp://")
}

fn path(job: &Job) -> &str {
    job.endpoint.trim_start_matches("ipc://")
}
