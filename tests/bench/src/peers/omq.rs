//! omq through its blocking interface, the faster of its two: one I/O thread that it owns, the
//! workload on the calling thread.
//!
//! Defaults throughout, but `xpub_nodrop` on a publisher that is to lose nothing.

use std::{
    sync::{Arc, OnceLock},
    task::{Wake, Waker},
    thread::{self, Thread},
    time::Instant,
};

use omq_tokio::{
    Context, CurveKeypair, CurvePublicKey, CurveSecretKey, Endpoint, Error, Message, Options,
    SocketType, TrySendError, blocking::Socket,
};

use super::{
    BURST, DRAIN, Endless, Failure, Peer, REST, keys,
    keys::{Certificate, KeyPair},
};
use crate::{
    job::{Caller, Job, Role, Seal, Transport},
    probe::{Body, Probe, Stage, Subscription},
};

/// omq.
#[derive(Debug)]
pub(super) struct Omq;

impl Peer for Omq {
    fn name(&self) -> &'static str {
        "omq"
    }

    fn version(&self) -> String {
        concat!(
            "omq-tokio ",
            env!("VERSION_OMQ_TOKIO"),
            ", blocking interface"
        )
        .to_owned()
    }

    fn callers(&self) -> &'static [Caller] {
        &[Caller::Workers, Caller::Blocking]
    }

    fn covers(&self, _: &Job) -> Result<(), &'static str> {
        Ok(())
    }

    fn pull(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = bound(SocketType::Pull, job, probe)?;
        loop {
            probe.pulled(body_of(&socket.recv()?));
        }
    }

    fn push(&self, job: &'static Job, _: &'static Probe) -> Endless {
        let socket = connected(SocketType::Push, job)?;
        let body = Body::new(job.size);
        loop {
            socket.send(Message::from_slice(body.bytes()))?;
        }
    }

    fn rep(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = bound(SocketType::Rep, job, probe)?;
        loop {
            let request = socket.recv()?;
            socket.send(request)?;
        }
    }

    fn req(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let socket = connected(SocketType::Req, job)?;
        let body = Body::new(job.size);
        loop {
            let start = Instant::now();
            socket.send(Message::from_slice(body.bytes()))?;
            socket.recv()?;
            probe.round_trip(start);
        }
    }

    fn publish(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let mut options = options(job, true);
        options.xpub_nodrop = job.role == Role::Publish;
        let socket = context().blocking_socket(SocketType::Pub, options);
        probe.ready(&socket.bind(endpoint(job)?)?.to_string());
        probe.wait_for(Stage::Flood);
        let mut body = Body::new(job.size);
        for number in 0.. {
            socket.send(Message::from_slice(body.numbered(number)))?;
        }
        Err("out of numbers".into())
    }

    fn subscribe(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let mut lanes = Vec::with_capacity(job.lanes);
        for lane in 0..job.lanes {
            let socket = connected(SocketType::Sub, job)?;
            socket.subscribe("")?;
            lanes.push((socket, Subscription::new(probe, lane)));
        }
        probe.ready("");
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if drain(&mut lanes)? {
                continue;
            }
            // Registered before the last look, so that what arrives in between still wakes.
            let registered: Vec<_> = lanes
                .iter()
                .map(|(socket, _)| socket.register_recv_waker(waker.clone()))
                .collect();
            if !drain(&mut lanes)? {
                thread::park();
            }
            drop(registered);
        }
    }

    fn many_push(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        context();
        probe.ready("");
        probe.wait_for(Stage::Connect);
        let mut body = Body::new(job.size);
        let mut sockets = Vec::with_capacity(job.lanes);
        for number in 0..job.lanes as u64 {
            let socket = connected(SocketType::Push, job)?;
            socket.send(Message::from_slice(body.numbered(number)))?;
            sockets.push(socket);
        }
        probe.wait_for(Stage::Flood);
        loop {
            let mut sent = 0;
            for (number, socket) in (0..).zip(&sockets) {
                let body = body.numbered(number);
                for _ in 0..BURST {
                    match socket.try_send(Message::from_slice(body)) {
                        Ok(()) => sent += 1,
                        Err(TrySendError::Full(_)) => break,
                        Err(error) => return Err(error.to_string().into()),
                    }
                }
            }
            if sent < sockets.len() {
                thread::sleep(REST);
            }
        }
    }

    fn connect_loop(&self, job: &'static Job, probe: &'static Probe) -> Endless {
        let body = Body::new(job.size);
        loop {
            let start = Instant::now();
            let socket = connected(SocketType::Req, job)?;
            socket.send(Message::from_slice(body.bytes()))?;
            socket.recv()?;
            socket.close()?;
            probe.round_trip(start);
        }
    }
}

/// Wakes the thread that waits for any of its subscribers.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Takes what the subscribers hold; returns whether that was anything.
fn drain(lanes: &mut [(Socket, Subscription)]) -> Result<bool, Failure> {
    let mut any = false;
    for (socket, lane) in lanes {
        for _ in 0..DRAIN {
            match socket.try_recv() {
                Ok(message) => lane.delivered(body_of(&message)),
                Err(Error::WouldBlock) => break,
                Err(error) => return Err(error.into()),
            }
            any = true;
        }
    }
    Ok(any)
}

fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(Context::new)
}

fn bound(kind: SocketType, job: &Job, probe: &Probe) -> Result<Socket, Failure> {
    let socket = context().blocking_socket(kind, options(job, true));
    probe.ready(&socket.bind(endpoint(job)?)?.to_string());
    Ok(socket)
}

fn connected(kind: SocketType, job: &Job) -> Result<Socket, Failure> {
    let socket = context().blocking_socket(kind, options(job, false));
    socket.connect(endpoint(job)?)?;
    Ok(socket)
}

fn endpoint(job: &Job) -> Result<Endpoint, Failure> {
    Ok(job.endpoint.parse()?)
}

fn options(job: &Job, server: bool) -> Options {
    let options = Options::default();
    if job.transport == Transport::Quic {
        return with_certificate(options, server);
    }
    match (job.seal, server) {
        (Seal::Clear, _) => options,
        (_, true) => options.curve_server(pair(&keys::SERVER)),
        (_, false) => options.curve_client(
            pair(&keys::CLIENT),
            CurvePublicKey::from_bytes(keys::SERVER.public),
        ),
    }
}

fn with_certificate(mut options: Options, server: bool) -> Options {
    let Certificate { certificate, key } = Certificate::of_server();
    if server {
        options.quic.server_cert_pem = Some(certificate.into_bytes());
        options.quic.server_key_pem = Some(key.into_bytes());
    } else {
        options.quic.trust_pem = Some(certificate.into_bytes());
        options.quic.trust_system = false;
    }
    options
}

fn pair(keys: &KeyPair) -> CurveKeypair {
    CurveKeypair {
        public: CurvePublicKey::from_bytes(keys.public),
        secret: CurveSecretKey::from_bytes(keys.secret),
    }
}

fn body_of(message: &Message) -> &[u8] {
    message.part_slice(0).unwrap_or_default()
}
