//! The question of a node that has just come: who is there?
//!
//! The daemon asks as well, and goes on asking. But it has to let a moment pass, so have those who answer,
//! and none of them says to all the same thing twice within a second (RFC 6762 §5.2, §6): who comes soon
//! after somebody else may hear nothing for another second. A one-shot question (RFC 6762 §5.1, §6.7) is
//! answered to the one who asks, at once.
//!
//! Deliberately not here: IPv6, where the daemon's answer has to do; and whatever comes later.
//!
//! Invariant: it ends after [`PATIENCE`], asks [`ASKED`] times on each of [`MAX_SOCKETS`] addresses at
//! most, and takes in [`MAX_ANSWERS`] packets at most.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::Shared;
use super::answer::{question, read};
use super::daemon::instance;
use super::interfaces::{Local, heard_on};
use crate::announcement::Announcement;
use crate::hints::Hints;

/// Where multicast DNS is spoken (RFC 6762 §3).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// How far it goes (RFC 6762 §11).
const TTL: u32 = 255;
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_millis(750);
/// How often it asks in that time, if nobody answers: a packet may be lost.
const ASKED: u32 = 3;
/// The most addresses that it asks from.
const MAX_SOCKETS: usize = 8;
/// The most packets that it takes in; there is a node in each.
const MAX_ANSWERS: usize = 256;
/// The longest packet (RFC 6762 §17).
const MAX_PACKET: usize = 9_000;

/// Asks on all IPv4 networks around this host, on a thread that ends by itself.
pub(super) fn ask(shared: &Arc<Shared>, locals: &[Local], port: u16, id: u16) {
    let (shared, locals) = (Arc::clone(shared), locals.to_vec());
    let asking = move || Asking::new(shared, locals, port, id).run();
    let thread = std::thread::Builder::new().name("withy-mdns-first".to_owned());
    // Without it the daemon's answer has to do.
    drop(thread.spawn(asking));
}

struct Asking {
    shared: Arc<Shared>,
    locals: Vec<Local>,
    sockets: Vec<(UdpSocket, u32)>,
    port: u16,
    id: u16,
    answers: usize,
}

impl Asking {
    fn new(shared: Arc<Shared>, locals: Vec<Local>, port: u16, id: u16) -> Self {
        let open = |local: &Local| match local.ip {
            // A network that cannot be asked on is none.
            IpAddr::V4(ip) => Some((socket(ip).ok()?, local.index)),
            IpAddr::V6(_) => None,
        };
        let sockets = locals.iter().filter_map(open).take(MAX_SOCKETS).collect();
        Self {
            shared,
            locals,
            sockets,
            port,
            id,
            answers: 0,
        }
    }

    fn run(mut self) {
        let start = Instant::now();
        for turn in 1..=ASKED {
            if self.answers == 0 {
                self.say();
            }
            let end = start + PATIENCE * turn / ASKED;
            while self.answers < MAX_ANSWERS && !self.shared.board().stop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                self.listen(left);
            }
        }
    }

    fn say(&self) {
        let question = question(self.id);
        let group = SocketAddrV4::new(GROUP, self.port);
        for (socket, _) in &self.sockets {
            // The network may be gone by now.
            let _ = socket.send_to(&question, group);
        }
    }

    /// Waits for answers, and takes in those that there are.
    fn listen(&mut self, left: Duration) {
        let sockets = self.sockets.iter();
        let asked = sockets.map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let mut asked: Vec<_> = asked.collect();
        let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        if poll(&mut asked, PollTimeout::from(millis)).is_err() {
            return;
        }
        let mut buffer = [0; MAX_PACKET];
        for at in 0..self.sockets.len() {
            while self.answers < MAX_ANSWERS {
                let (socket, index) = &self.sockets[at];
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    break;
                };
                let index = *index;
                self.answers += 1;
                self.take(&buffer[..length], from, index);
            }
        }
        if self.shared.board().instances.has_news() {
            self.shared.call();
        }
    }

    fn take(&self, packet: &[u8], from: SocketAddr, index: u32) {
        // Who answers has the port that was asked, and is beside us (RFC 6762 §11).
        if from.port() != self.port || heard_on(&self.locals, index, from.ip()).is_none() {
            return;
        }
        for answer in read(packet, self.id) {
            let Some(instance) = instance(&answer.name) else {
                continue;
            };
            let all = answer.ips.iter();
            let near = all.filter_map(|ip| heard_on(&self.locals, index, *ip));
            let mut addresses: Vec<_> = near.collect();
            let elsewhere = (answer.ips.len() - addresses.len()) as u64;
            addresses.sort_unstable();
            addresses.truncate(Hints::MAX_ADDRESSES);
            let fits = !answer.txt.is_empty() && answer.txt.len() < Announcement::MAX;
            let txt = fits.then_some(answer.txt);
            let mut board = self.shared.board();
            board.hear(instance, txt, answer.port, addresses, elsewhere);
        }
    }
}

/// A socket that speaks to the network of an address.
fn socket(ip: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&ip)?;
    socket.set_multicast_ttl_v4(TTL)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    Ok(socket.into())
}
