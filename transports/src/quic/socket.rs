//! The UDP sockets under QUIC, and the silence that they keep.
//!
//! quinn answers some packets before anybody can judge them: those of other QUIC versions, first
//! packets with a bad token, packets of connections that it does not know. Here they are dropped
//! before quinn sees them. Short headers pass, since quinn asks [`Ids`] about them itself.
//!
//! What is sent to an address that may be another's, with a long header, is held to its
//! [budget](Budgets).
//!
//! Invariant: a datagram that is neither tagged by a member nor addressed to a connection id of ours
//! causes no packet.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

use super::budget::Budgets;
use super::ids::{ID, Ids};
use super::refusals::Refusals;
use super::tag::Gate;

/// The only version: 1 (RFC 9000).
const VERSION: u32 = 1;

/// Octets of a datagram that begins a handshake, at least (RFC 9000 §14.1).
const MIN_INITIAL: usize = 1_200;

/// The bit of a first octet that says that the header is a long one (RFC 8999 §5.1).
const LONG: u8 = 0x80;

/// For how long quinn answers packets of a handshake that is over, and some more.
const CLOSING: Duration = Duration::from_secs(5);

/// Opens a UDP socket with buffers of about the wanted size.
pub(super) fn open(address: SocketAddr, buffer: u32, dual_stack: bool) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // Smaller buffers are slower and no error.
    let _ = socket.set_recv_buffer_size(buffer as usize);
    let _ = socket.set_send_buffer_size(buffer as usize);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Which datagrams a socket listens to.
#[derive(Debug)]
pub(super) struct Guard {
    ids: Ids,
    gate: Option<Gate>,
    budgets: Budgets,
    refusals: Arc<Refusals>,
    closed: AtomicBool,
}

/// What a datagram is, as far as its first octets tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// The first one of a member, or one more like it.
    First,
    /// To an id of ours, which only those know whom we told.
    Known(&'a [u8]),
    /// Of a connection that was made, if its id is one of ours.
    Short,
    /// None that is listened to.
    Noise,
}

impl Guard {
    /// Of a socket that dials, without a gate, or one that listens, whose handshakes are over after
    /// `limit`.
    pub(super) fn new(gate: Option<Gate>, limit: Duration) -> io::Result<Arc<Self>> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Arc::new(Self {
            ids: Ids::of_key(key),
            gate,
            budgets: Budgets::new(limit + CLOSING),
            refusals: Arc::default(),
            closed: AtomicBool::new(false),
        }))
    }

    pub(super) fn ids(&self) -> Ids {
        self.ids.clone()
    }

    pub(super) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Whether what is sent to an address is held to a budget.
    pub(super) fn limits(&self, address: SocketAddr) -> bool {
        self.budgets.limit(address)
    }

    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Lets no handshake begin any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn kind<'a>(&self, datagram: &'a [u8]) -> Kind<'a> {
        self.known(datagram).unwrap_or(Kind::Noise)
    }

    fn known<'a>(&self, datagram: &'a [u8]) -> Option<Kind<'a>> {
        let (&first, rest) = datagram.split_first()?;
        if first & LONG == 0 {
            return Some(Kind::Short);
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (id, _) = connection_id(rest)?;
        if u32::from_be_bytes(*version) != VERSION {
            return None;
        }
        if id.len() == ID {
            return self.ids.made(id).then_some(Kind::Known(id));
        }
        // RFC 9000 §17.2.2: the type of a first packet is 0.
        let good = first & 0x30 == 0
            && datagram.len() >= MIN_INITIAL
            && !self.closed.load(Ordering::Relaxed)
            && self.gate.as_ref().is_some_and(|gate| gate.hears(id));
        good.then_some(Kind::First)
    }

    /// Whether a datagram is listened to; what may be sent to its address follows from it.
    fn admits(&self, datagram: &[u8], from: SocketAddr) -> bool {
        let kind = self.kind(datagram);
        match kind {
            Kind::First => self.budgets.earn(from, datagram.len()),
            Kind::Known(id) => self.budgets.free(from, id),
            Kind::Short | Kind::Noise => {}
        }
        kind != Kind::Noise
    }

    /// Whether datagrams may be sent, as far as it hangs on a budget.
    fn spend(&self, transmit: &Transmit<'_>) -> bool {
        let Some(long) = long(transmit).last() else {
            return true;
        };
        let octets = transmit.contents.len();
        let good = self
            .budgets
            .spend(transmit.destination, octets, source_id(long));
        if !good {
            let withheld = datagrams(transmit).count();
            self.refusals.withhold(withheld as u64);
        }
        good
    }

    /// What was spent was not sent.
    fn refund(&self, transmit: &Transmit<'_>) {
        if long(transmit).next().is_some() {
            let octets = transmit.contents.len();
            self.budgets.refund(transmit.destination, octets);
        }
    }

    /// Removes what is not listened to from a buffer of datagrams of `stride` octets each.
    fn sift(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        if meta.stride == 0 {
            return;
        }
        let (mut from, mut kept) = (0, 0);
        while from < meta.len {
            let to = usize::min(from + meta.stride, meta.len);
            if self.admits(&buffer[from..to], meta.addr) {
                buffer.copy_within(from..to, kept);
                kept += to - from;
            }
            from = to;
        }
        meta.len = kept;
    }
}

/// The datagrams that go out at once.
fn datagrams<'a>(transmit: &Transmit<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let contents = transmit.contents;
    let segment = transmit.segment_size.unwrap_or(contents.len());
    contents.chunks(segment.max(1))
}

/// Those of them that begin with a long header.
fn long<'a>(transmit: &Transmit<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    datagrams(transmit).filter(|datagram| datagram.first().is_some_and(|it| it & LONG != 0))
}

/// A connection id behind its length, and what follows (RFC 8999 §5.1).
fn connection_id(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = octets.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// Our connection id in a long header that we send.
fn source_id(datagram: &[u8]) -> Option<[u8; ID]> {
    // The first octet and the version.
    let (_, source) = connection_id(datagram.get(5..)?)?;
    let (id, _) = connection_id(source)?;
    id.try_into().ok()
}

/// A socket with a guard before it.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) guard: Arc<Guard>,
    /// Of the longest datagrams, so many are in 64 KiB, which is all that the system gives out as one.
    /// quinn multiplies its buffer with it.
    pub(super) segments: usize,
}

impl AsyncUdpSocket for Guarded {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.guard.spend(transmit) {
            // As if it were lost on the way.
            return Ok(());
        }
        let sent = self.socket.try_send(transmit);
        if sent.is_err() {
            self.guard.refund(transmit);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.socket.poll_recv(cx, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(received) {
            self.guard.sift(buffer, meta);
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments().min(self.segments)
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::ConnectionIdGenerator as _;
    use withy_proto::crypto::tag;

    use super::*;
    use crate::quic::tag::first;

    const LIMIT: Duration = Duration::from_secs(5);

    fn admits(guard: &Guard, datagram: &[u8]) -> bool {
        guard.admits(datagram, ([127, 0, 0, 1], 1).into())
    }

    fn initial(id: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0xc0, 0, 0, 0, 1, id.len() as u8];
        datagram.extend_from_slice(id);
        datagram.resize(MIN_INITIAL, 0);
        datagram
    }

    #[test]
    fn only_members_and_connections_of_ours_are_heard() {
        let guard = Guard::new(Some(Gate::new(&[])), LIMIT).unwrap();
        let member = initial(&first(&tag::PUBLIC));
        assert!(admits(&guard, &member));
        assert!(admits(&guard, &initial(&guard.ids().generate_cid())));
        assert!(admits(&guard, &[0x40; 30]), "quinn judges short headers");

        assert!(!admits(&guard, &[]));
        for length in 1..MIN_INITIAL {
            assert!(!admits(&guard, &member[..length]));
        }
        assert!(!admits(&guard, &initial(&first(&[1; 32]))));
        assert!(!admits(&guard, &initial(&[0; ID])));
        assert!(!admits(&guard, &initial(&[])));
        for (at, octet) in [(4, 2), (1, 0xff), (0, 0xd0), (0, 0xf0), (5, 21), (5, 255)] {
            let mut other = member.clone();
            other[at] = octet;
            assert!(!admits(&guard, &other), "octet {at} is {octet:#x}");
        }

        let dialling = Guard::new(None, LIMIT).unwrap();
        assert!(!admits(&dialling, &member));
        guard.close();
        assert!(!admits(&guard, &member));
    }

    #[test]
    fn what_is_dropped_leaves_the_others_whole() {
        let guard = Guard::new(None, LIMIT).unwrap();
        let mut buffer = b"\x40aa\x80bb\x41cc\x81dd\x42e".to_vec();
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (buffer.len(), 3);
        guard.sift(&mut buffer, &mut meta);
        assert_eq!(buffer[..meta.len], *b"\x40aa\x41cc\x42e");
    }

    /// What quinn sends from an id of ours, in datagrams of `segment` octets.
    fn sends(guard: &Guard, octets: &[u8], segment: usize) -> bool {
        guard.spend(&Transmit {
            destination: ([127, 0, 0, 1], 1).into(),
            ecn: None,
            contents: octets,
            segment_size: Some(segment),
            src_ip: None,
        })
    }

    /// A datagram with a long header from an id of ours.
    fn answer(id: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0xc0, 0, 0, 0, 1, 0, id.len() as u8];
        datagram.extend_from_slice(id);
        datagram.resize(MIN_INITIAL, 0);
        datagram
    }

    #[test]
    fn a_connection_that_was_made_is_not_held_to_a_budget() {
        let guard = Guard::new(Some(Gate::new(&[])), LIMIT).unwrap();
        let member = initial(&first(&tag::PUBLIC));
        let id = guard.ids().generate_cid();
        assert!(admits(&guard, &member) && sends(&guard, &answer(&id), MIN_INITIAL));
        assert!(admits(&guard, &initial(&id)));
        // The same first packet, twice or late.
        assert!(admits(&guard, &member));
        let short = vec![0x40; 10 * MIN_INITIAL];
        for _ in 0..10 {
            assert!(sends(&guard, &short, MIN_INITIAL));
        }
        assert_eq!(guard.refusals().take(), None);
        // One long header among short ones is enough.
        let mut mixed = short;
        mixed[3 * MIN_INITIAL] = 0xc0;
        assert!(!sends(&guard, &mixed, MIN_INITIAL));
        let refused = guard.refusals().take().unwrap();
        assert_eq!((refused.withheld, refused.newcomers), (10, 0));
    }

    #[test]
    fn an_id_that_was_learnt_elsewhere_frees_no_address() {
        let guard = Guard::new(Some(Gate::new(&[])), LIMIT).unwrap();
        let [learnt, told] = [(); 2].map(|()| guard.ids().generate_cid());
        assert!(admits(&guard, &initial(&first(&tag::PUBLIC))));
        assert!(sends(&guard, &answer(&told), MIN_INITIAL));
        let many = answer(&told).repeat(4);
        assert!(admits(&guard, &initial(&learnt)));
        assert!(!sends(&guard, &many, MIN_INITIAL));
        assert!(admits(&guard, &initial(&told)));
        assert!(sends(&guard, &many, MIN_INITIAL));
    }
}
