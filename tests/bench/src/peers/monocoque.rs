//! monocoque on tokio: one thread, no tasks, one connection per socket object.
//!
//! Its PUSH writes are coalesced (64 KiB, its own threshold), which its documentation asks for
//! where throughput matters and which takes an explicit flush at the end of a burst; this burst
//! has no end. REQ and REP write at once, its default. A socket takes one peer, so it has no
//! part in the rows with many; its separate fan-out types are not measured.

use std::{
    io::{Error, ErrorKind},
    time::Instant,
};

use bytes::Bytes;
use monocoque::{
    SocketOptions,
    rt::{LocalRuntime, TcpListener, TcpStream, UnixListener, UnixStream},
    zmq::{PullSocket, PushSocket, RepSocket, ReqSocket},
};

use super::{Endless, Failure, Peer, Standing, keys};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::{Body, Probe},
};

/// monocoque.
#[derive(Debug)]
pub(super) struct Monocoque;

/// Builds a socket of the named type on the job's transport, and plays `$part` with it.
macro_rules! on_transport {
    ($stream:ident, $job:ident, $probe:ident, $socket:ident, $options:expr, $part:expr) => {
        LocalRuntime::new()?.block_on(async {
            match $job.transport {
                Transport::Tcp => {
                    let stream = tcp::$stream($job, $probe).await?;
                    let socket = $socket::from_tcp_with_options(stream, $options).await?;
                    $part(socket).await
                }
                Transport::Ipc => {
                    let stream = ipc::$stream($job, $probe).await?;
                    let socket = $socket::from_unix_stream_with_options(stream, $options).await?;
                    $part(socket).await
                }
                Transport::Inproc | Transport::Quic => Err("not here".into()),
            }
        })
    };
}

impl Peer for Monocoque {
    fn name(&self) -> &'static str {
        "monocoque"
    }

    fn version(&self) -> String {
        concat!(env!("VERSION_MONOCOQUE_RS"), ", tokio, PUSH coalesced").to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::OneToOne
    }

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::OneThread]
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        let one_to_one = matches!(job.role, Role::Pull | Role::Push | Role::Rep | Role::Req);
        match job.transport {
            Transport::Inproc => Err("not run"),
            Transport::Quic => Err("-"),
            _ if one_to_one && job.lanes == 1 => Ok(()),
            _ => Err("-"),
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        on_transport!(
            accepted,
            job,
            probe,
            PullSocket,
            options(job, true),
            async |mut socket: PullSocket<_>| {
                let mut frames = Vec::new();
                while socket.recv_into(&mut frames).await? {
                    probe.pulled(body_of(&frames));
                }
                Err(closed())
            }
        )
    }

    fn push(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let options = options(job, false).with_write_coalescing(true);
        on_transport!(
            connected,
            job,
            probe,
            PushSocket,
            options,
            async |mut socket: PushSocket<_>| {
                let body = Body::new(job.size);
                loop {
                    socket
                        .send_one(Bytes::copy_from_slice(body.bytes()))
                        .await?;
                }
            }
        )
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        on_transport!(
            accepted,
            job,
            probe,
            RepSocket,
            options(job, true),
            async |mut socket: RepSocket<_>| {
                while let Some(request) = socket.recv().await? {
                    socket.send(request).await?;
                }
                Err(closed())
            }
        )
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        on_transport!(
            connected,
            job,
            probe,
            ReqSocket,
            options(job, false),
            async |mut socket: ReqSocket<_>| {
                let (body, mut frames) = (Body::new(job.size), Vec::new());
                loop {
                    let start = Instant::now();
                    socket
                        .send_one(Bytes::copy_from_slice(body.bytes()))
                        .await?;
                    if !socket.recv_into(&mut frames).await? {
                        return Err(closed());
                    }
                    probe.round_trip(start);
                }
            }
        )
    }
}

mod tcp {
    use super::{Failure, Job, Probe, TcpListener, TcpStream};

    pub(super) async fn accepted(job: &Job, probe: &Probe) -> Result<TcpStream, Failure> {
        let listener = TcpListener::bind(address(job)).await?;
        probe.ready(&format!("tcp://{}", listener.local_addr()?));
        Ok(listener.accept().await?.0)
    }

    pub(super) async fn connected(job: &Job, _: &Probe) -> Result<TcpStream, Failure> {
        Ok(TcpStream::connect(address(job)).await?)
    }

    fn address(job: &Job) -> &str {
        job.endpoint.trim_start_matches("tcp://")
    }
}

mod ipc {
    use super::{Failure, Job, Probe, UnixListener, UnixStream};

    pub(super) async fn accepted(job: &Job, probe: &Probe) -> Result<UnixStream, Failure> {
        let listener = UnixListener::bind(path(job)).await?;
        probe.ready(&job.endpoint);
        Ok(listener.accept().await?.0)
    }

    pub(super) async fn connected(job: &Job, _: &Probe) -> Result<UnixStream, Failure> {
        Ok(UnixStream::connect(path(job)).await?)
    }

    fn path(job: &Job) -> &str {
        job.endpoint.trim_start_matches("ipc://")
    }
}

fn options(job: &Job, server: bool) -> SocketOptions {
    let options = SocketOptions::default();
    match (job.seal, server) {
        (Seal::Clear, _) => options,
        (_, true) => options
            .with_curve_server(true)
            .with_curve_keypair(keys::SERVER.public, keys::SERVER.secret),
        (_, false) => options
            .with_curve_keypair(keys::CLIENT.public, keys::CLIENT.secret)
            .with_curve_serverkey(keys::SERVER.public),
    }
}

fn closed() -> Failure {
    Error::from(ErrorKind::UnexpectedEof).into()
}

fn body_of(frames: &[Bytes]) -> &[u8] {
    frames.first().map_or(&[], |body| body)
}
