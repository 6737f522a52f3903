//! All that passes over the bridge.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// What of it is kept.
const MAX: usize = 256 * 1024 * 1024;

/// Listens at all ports of this namespace.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    frames: JoinHandle<Vec<u8>>,
}

/// What was heard, one frame after the other.
pub(crate) struct Frames(Vec<u8>);

impl Capture {
    pub(crate) fn start() -> Self {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).ok();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let frames = std::thread::spawn(move || hear(&socket, &stopped));
        Self { stop, frames }
    }

    /// Ends it.
    pub(crate) fn frames(self) -> Frames {
        self.stop.store(true, Ordering::Relaxed);
        Frames(self.frames.join().unwrap())
    }
}

fn hear(socket: &OwnedFd, stopped: &AtomicBool) -> Vec<u8> {
    let (mut all, mut frame) = (Vec::new(), vec![0; 70_000]);
    while !stopped.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => all.extend_from_slice(&frame[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(all.len() < MAX, "that is more than a few nodes say");
    }
    all
}

impl Frames {
    pub(crate) fn octets(&self) -> usize {
        self.0.len()
    }

    /// What of these octets was heard, by their names.
    pub(crate) fn find(&self, wanted: &[(String, Vec<u8>)]) -> Vec<String> {
        let is_there = |octets: &[u8]| {
            let first = octets[0];
            let starts = self.0.iter().enumerate().filter(|(_, it)| **it == first);
            let mut starts = starts.map(|(at, _)| at);
            starts.any(|at| self.0[at..].starts_with(octets))
        };
        let found = wanted.iter().filter(|(_, octets)| is_there(octets));
        found.map(|(name, _)| name.clone()).collect()
    }
}
