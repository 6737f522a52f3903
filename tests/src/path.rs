//! A UDP path that loses, doubles, reorders and delays datagrams, has a bandwidth and a queue, goes
//! dark and changes the address by which one side knows the other; all of it from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use withy_proto::crypto::{Randomness as _, Seeded};

/// What a path is like, the same in both directions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path {
    /// Of ten thousand datagrams, those that are lost.
    pub lost: u64,
    /// Of ten thousand datagrams, those that come twice.
    pub doubled: u64,
    /// How long a datagram is on its way at least.
    pub delay: Duration,
    /// How much longer it may be, which reorders datagrams.
    pub jitter: Duration,
    /// Octets a second; 0 is no limit.
    pub bandwidth: u64,
    /// Octets that wait for the bandwidth; more are lost.
    pub queue: u64,
}

/// A path to an address, while it lives.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    path: Path,
    free: Arc<Free>,
    moves: Arc<AtomicUsize>,
    dark: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// When the bandwidth of each direction is free again.
type Free = Mutex<[Instant; 2]>;

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Starts a path to `peer`.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub async fn to(peer: SocketAddr, path: Path, seed: u64) -> io::Result<Self> {
        let free = Arc::new(Mutex::new([Instant::now(); 2]));
        Self::with(peer, path, seed, free).await
    }

    /// Starts a path to another `peer` that shares the bandwidth and the queue of this one.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub async fn beside(&self, peer: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::with(peer, self.path, seed, Arc::clone(&self.free)).await
    }

    async fn with(peer: SocketAddr, path: Path, seed: u64, free: Arc<Free>) -> io::Result<Self> {
        let near = UdpSocket::bind("127.0.0.1:0").await?;
        let address = near.local_addr()?;
        let (moves, dark) = (Arc::default(), Arc::default());
        let relaying = Relaying {
            far: UdpSocket::bind("127.0.0.1:0").await?,
            near,
            peer,
            client: address,
            path,
            random: Seeded::new(seed),
            moves: Arc::clone(&moves),
            moved: 0,
            dark: Arc::clone(&dark),
            free: Arc::clone(&free),
            number: 0,
            way: BinaryHeap::new(),
        };
        let task = tokio::spawn(async move {
            // It fails when no socket is to be had for a new address.
            let _ = relaying.run().await;
        });
        Ok(Self {
            address,
            path,
            free,
            moves,
            dark,
            task,
        })
    }

    /// What to connect to instead of the peer's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the address by which the peer knows the other side.
    pub fn move_on(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Loses everything, or no longer.
    pub fn set_dark(&self, dark: bool) {
        self.dark.store(dark, Ordering::Relaxed);
    }
}

/// When it arrives, its number, whether it goes to the peer, and the datagram.
type UnderWay = (Instant, u64, bool, Vec<u8>);

struct Relaying {
    near: UdpSocket,
    far: UdpSocket,
    peer: SocketAddr,
    client: SocketAddr,
    path: Path,
    random: Seeded,
    moves: Arc<AtomicUsize>,
    moved: usize,
    dark: Arc<AtomicBool>,
    free: Arc<Free>,
    number: u64,
    /// What is on its way, by when it arrives.
    way: BinaryHeap<Reverse<UnderWay>>,
}

impl Relaying {
    async fn run(mut self) -> io::Result<()> {
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            let next = self.way.peek().map(|Reverse((due, ..))| *due);
            tokio::select! {
                received = self.near.recv_from(&mut there) => {
                    let Ok((size, from)) = received else { continue };
                    self.client = from;
                    self.set_out(&there[..size], true);
                }
                received = self.far.recv_from(&mut back) => {
                    let Ok((size, _)) = received else { continue };
                    self.set_out(&back[..size], false);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            if self.moves.load(Ordering::Relaxed) != self.moved {
                self.moved += 1;
                self.far = UdpSocket::bind("127.0.0.1:0").await?;
            }
            let now = Instant::now();
            while let Some(Reverse((due, ..))) = self.way.peek()
                && *due <= now
            {
                if let Some(Reverse((_, _, forth, datagram))) = self.way.pop() {
                    let (socket, to) = match forth {
                        true => (&self.far, self.peer),
                        false => (&self.near, self.client),
                    };
                    // A side that is gone refuses datagrams.
                    let _ = socket.try_send_to(&datagram, to);
                }
            }
        }
    }

    fn set_out(&mut self, datagram: &[u8], forth: bool) {
        let dice = self.random.next_u64() % 10_000;
        if self.dark.load(Ordering::Relaxed) || dice < self.path.lost {
            return;
        }
        let now = Instant::now();
        let mut left = now;
        if self.path.bandwidth > 0 {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let free = &mut free[usize::from(forth)];
            let waits = free.saturating_duration_since(now).as_secs_f64();
            if waits * self.path.bandwidth as f64 > self.path.queue as f64 {
                return;
            }
            let takes = datagram.len() as f64 / self.path.bandwidth as f64;
            *free = (*free).max(now) + Duration::from_secs_f64(takes);
            left = *free;
        }
        let copies = if dice < self.path.lost + self.path.doubled {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let jitter = match self.path.jitter.as_micros() as u64 {
                0 => 0,
                most => self.random.next_u64() % most,
            };
            let due = left + self.path.delay + Duration::from_micros(jitter);
            self.number += 1;
            self.way
                .push(Reverse((due, self.number, forth, datagram.to_vec())));
        }
    }
}
