//! libzmq through its C interface: one I/O thread, the workload on the calling thread.
//!
//! Defaults throughout, but `ZMQ_XPUB_NODROP` on a publisher that is to lose nothing, more sockets per context than
//! 1,023, and no linger where connections are opened and closed in a loop.

use std::{io, sync::OnceLock, thread, time::Instant};

use self::ffi::{Context, Message, Poller, Socket};
use super::{BURST, DRAIN, Endless, Failure, Peer, REST, Standing, keys};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::{Body, Probe, Stage, Subscription},
};

#[expect(unsafe_code, reason = "the C interface of libzmq; see the module")]
mod ffi;

/// Sockets of a context.
const SOCKETS: i32 = 16_384;

/// libzmq.
#[derive(Debug)]
pub(super) struct Libzmq;

impl Peer for Libzmq {
    fn name(&self) -> &'static str {
        "libzmq"
    }

    fn version(&self) -> String {
        format!("{}, built from source", ffi::versions())
    }

    fn standing(&self) -> Standing {
        Standing::Reference
    }

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::Blocking]
    }

    fn covers(&self, job: &Job) -> Result<(), &'static str> {
        if job.transport == Transport::Quic {
            Err("-")
        } else {
            Ok(())
        }
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = bound(ffi::PULL, job, probe)?;
        let mut message = Message::new();
        loop {
            socket.recv(&mut message)?;
            probe.pulled(message.bytes());
        }
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        let socket = connected(ffi::PUSH, job)?;
        let body = Body::new(job.size);
        loop {
            socket.send(body.bytes())?;
        }
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = bound(ffi::REP, job, probe)?;
        let mut message = Message::new();
        loop {
            socket.recv(&mut message)?;
            socket.send(message.bytes())?;
        }
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = connected(ffi::REQ, job)?;
        let (body, mut message) = (Body::new(job.size), Message::new());
        loop {
            let start = Instant::now();
            socket.send(body.bytes())?;
            socket.recv(&mut message)?;
            probe.round_trip(start);
        }
    }

    fn publish(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = secured(context()?.socket(ffi::PUB)?, job, true)?;
        if job.role == Role::Publish {
            socket.set_number(ffi::XPUB_NODROP, 1)?;
        }
        probe.ready(&socket.bind(&job.endpoint)?);
        probe.wait_for(Stage::Flood);
        let mut body = Body::new(job.size);
        for number in 0.. {
            socket.send(body.numbered(number))?;
        }
        Err("out of numbers".into())
    }

    fn subscribe(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let mut sockets = Vec::with_capacity(job.lanes);
        for _ in 0..job.lanes {
            let socket = connected(ffi::SUB, job)?;
            socket.set(ffi::SUBSCRIBE, b"")?;
            sockets.push(socket);
        }
        probe.ready("");
        let mut lanes: Vec<_> = (0..job.lanes)
            .map(|lane| Subscription::new(probe, lane))
            .collect();
        let (mut poller, mut message) = (Poller::new(&sockets), Message::new());
        loop {
            for ready in poller.wait(&sockets)? {
                for _ in 0..DRAIN {
                    if !sockets[ready].try_recv(&mut message)? {
                        break;
                    }
                    lanes[ready].delivered(message.bytes());
                }
            }
        }
    }

    fn many_push(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        context()?;
        probe.ready("");
        probe.wait_for(Stage::Connect);
        let mut body = Body::new(job.size);
        let mut sockets = Vec::with_capacity(job.lanes);
        for number in 0..job.lanes as u64 {
            let socket = connected(ffi::PUSH, job)?;
            socket.send(body.numbered(number))?;
            sockets.push(socket);
        }
        probe.wait_for(Stage::Flood);
        loop {
            let mut sent = 0;
            for (number, socket) in (0..).zip(&sockets) {
                let body = body.numbered(number);
                for _ in 0..BURST {
                    if !socket.try_send(body)? {
                        break;
                    }
                    sent += 1;
                }
            }
            if sent < sockets.len() {
                thread::sleep(REST);
            }
        }
    }

    fn connect_loop(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let (body, mut message) = (Body::new(job.size), Message::new());
        loop {
            let start = Instant::now();
            let socket = connected(ffi::REQ, job)?;
            socket.set_number(ffi::LINGER, 0)?;
            socket.send(body.bytes())?;
            socket.recv(&mut message)?;
            drop(socket);
            probe.round_trip(start);
        }
    }
}

/// The context of the process.
fn context() -> Result<&'static Context, Failure> {
    static CONTEXT: OnceLock<io::Result<Context>> = OnceLock::new();
    let made = CONTEXT.get_or_init(|| {
        let context = Context::new()?;
        context.set(ffi::MAX_SOCKETS, SOCKETS)?;
        Ok(context)
    });
    made.as_ref().map_err(|error| error.to_string().into())
}

fn bound(kind: i32, job: &Job, probe: &Probe) -> Result<Socket, Failure> {
    let socket = secured(context()?.socket(kind)?, job, true)?;
    let endpoint = socket.bind(&job.endpoint)?;
    probe.ready(&endpoint);
    Ok(socket)
}

fn connected(kind: i32, job: &Job) -> Result<Socket, Failure> {
    let socket = secured(context()?.socket(kind)?, job, false)?;
    socket.connect(&job.endpoint)?;
    Ok(socket)
}

fn secured(socket: Socket, job: &Job, server: bool) -> Result<Socket, Failure> {
    if job.seal != Seal::Clear {
        let own = if server { keys::SERVER } else { keys::CLIENT };
        socket.set(ffi::CURVE_PUBLICKEY, &own.public)?;
        socket.set(ffi::CURVE_SECRETKEY, &own.secret)?;
        if server {
            socket.set_number(ffi::CURVE_SERVER, 1)?;
        } else {
            socket.set(ffi::CURVE_SERVERKEY, &keys::SERVER.public)?;
        }
    }
    Ok(socket)
}
