//! Anything at all, sent to port 5353 by another host: nobody ends or panics, memory stays within
//! limits, and who is there is found.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use withy_discovery::mdns::{Mdns, State};
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_tests::multicast::answer;
use withy_tests::scale;

use crate::namespace::{THERE, There, inside};
use crate::node::{announcing, find, node, until, works};
use crate::zeroconf::announcement;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The port in the notation of `/proc/net/udp`.
const PORT: &str = ":14E9";
/// How much the process may grow.
const GROWTH: usize = 128 * 1024 * 1024;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Whoever sends.
struct Attacker {
    socket: UdpSocket,
    random: Seeded,
    sent: u64,
}

impl Attacker {
    fn new(there: &There) -> Self {
        there.run("ip route add 224.0.0.0/4 dev right");
        let socket = there.within(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, Mdns::PORT)).unwrap();
            let interface = THERE.parse().unwrap();
            socket.join_multicast_v4(&GROUP, &interface).unwrap();
            socket
        });
        let second = Some(Duration::from_secs(1));
        socket.set_read_timeout(second).unwrap();
        Self {
            socket,
            random: Seeded::new(scale::seed()),
            sent: 0,
        }
    }

    /// What others sent until there are so many answers that name the service.
    fn record(&self, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        while packets.len() < count {
            assert!(Instant::now() < end, "nobody says anything");
            let mut packet = [0; 9_000];
            let Ok((length, _)) = self.socket.recv_from(&mut packet) else {
                continue;
            };
            let packet = &packet[..length];
            let answers = packet.len() > 12 && packet[2] & 0x80 != 0;
            if answers && packet.windows(6).any(|it| it == b"_withy") {
                packets.push(packet.to_vec());
            }
        }
        packets
    }

    /// Sends a packet. Now and then it waits until all were read, so that they are not lost.
    fn send(&mut self, packet: &[u8]) {
        self.socket.send_to(packet, (GROUP, Mdns::PORT)).unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(64) {
            until("all was read", || waiting().0 == 0);
        }
    }

    /// Octets without meaning, half of them after the header of an answer.
    fn random_packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0; self.random.next_u64() as usize % 1_400];
        self.random.fill(&mut packet);
        if packet.len() > 12 && self.random.next_u64().is_multiple_of(2) {
            packet[..4].copy_from_slice(&[0, 0, 0x84, 0]);
            for at in [4, 6, 8, 10] {
                packet[at] = 0;
                packet[at + 1] %= 8;
            }
        }
        packet
    }

    /// One of these with some octets changed, and perhaps cut.
    fn changed(&mut self, among: &[Vec<u8>]) -> Vec<u8> {
        let mut packet = among[self.random.next_u64() as usize % among.len()].clone();
        // Another node's, as far as its name says, in every place where that is.
        let (own, other) = (
            node(1).to_string(),
            node((self.sent % 100) as u8 + 2).to_string(),
        );
        for at in 0..packet.len().saturating_sub(own.len()) {
            if packet[at..].starts_with(own.as_bytes()) {
                packet[at..at + own.len()].copy_from_slice(other.as_bytes());
            }
        }
        for _ in 0..1 + self.random.next_u64() % 8 {
            let at = self.random.next_u64() as usize % packet.len();
            packet[at] = self.random.next_u64() as u8;
        }
        if self.random.next_u64().is_multiple_of(4) {
            packet.truncate(self.random.next_u64() as usize % packet.len());
        }
        packet
    }
}

/// What waits at the sockets of port 5353 here, and what they lost.
fn waiting() -> (u64, u64) {
    let all = std::fs::read_to_string("/proc/net/udp").unwrap();
    let (mut waiting, mut lost) = (0, 0);
    for line in all.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields.len() > 12 && fields[1].ends_with(PORT) {
            let (_, queue) = fields[4].split_once(':').unwrap();
            waiting += u64::from_str_radix(queue, 16).unwrap();
            lost += fields[12].parse::<u64>().unwrap();
        }
    }
    (waiting, lost)
}

/// Octets of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kibibytes * 1024
}

/// Somebody sends `packets` while a node runs; another is found afterwards.
fn besieged(test: &str, attack: impl FnOnce(&mut Attacker, &Mdns)) {
    inside(test, || {
        std::panic::set_hook(Box::new(|panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            eprintln!("{panic}");
        }));
        let there = There::new();
        let mut attacker = Attacker::new(&there);
        let one = announcing(1);
        works(&one);
        let before = resident();
        attack(&mut attacker, &one);
        let grown = resident().saturating_sub(before);
        let (_, lost) = waiting();
        println!();
        println!(
            "count: packets of {test}: {} of which {lost} lost",
            attacker.sent
        );
        println!("count: growth in {test}: {} KiB", grown / 1024);
        println!("count: counters of {test}: {:?}", one.counters());
        assert!(grown <= GROWTH, "grew by {grown} octets");
        drop(attacker);
        let two = there.within(|| announcing(2));
        find(&one, 2);
        find(&two, 1);
        works(&one);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "somebody panicked");
    });
}

#[test]
fn octets_without_meaning_change_nothing() {
    besieged(
        "flood::octets_without_meaning_change_nothing",
        |attacker, one| {
            for _ in 0..scale::count(20_000, 1_000_000) {
                let packet = attacker.random_packet();
                attacker.send(&packet);
            }
            assert_eq!(one.counters().replaced, 0);
        },
    );
}

#[test]
fn changed_packets_change_nothing() {
    besieged("flood::changed_packets_change_nothing", |attacker, one| {
        let recorded = attacker.record(2);
        for _ in 0..scale::count(10_000, 100_000) {
            let packet = attacker.changed(&recorded);
            attacker.send(&packet);
            let _ = one.poll();
            // None is lost on a source that pauses.
            until("it goes on", || one.state() != State::Flooded);
        }
        let heard = one.counters().heard;
        assert!(heard > 50, "{heard} of them were answers");
    });
}

/// All that is sent is right, only that nobody is there.
#[test]
fn instances_without_end_are_forgotten() {
    besieged(
        "flood::instances_without_end_are_forgotten",
        |attacker, one| {
            let txt = announcement(3, THERE).encode();
            let mut most = 0;
            for number in 0..scale::count(6_000, 100_000) {
                attacker.send(&answer(number, &txt, [10, 77, 0, 2]));
                if number % 1_000 == 0 {
                    most = most.max(one.poll().len());
                }
            }
            assert!(most <= 2 * Mdns::MAX_INSTANCES, "{most}");
            let replaced = one.counters().replaced;
            assert!(replaced > 0, "its daemon keeps all of it");
        },
    );
}

/// A node signs whatever addresses it likes, and sends them from the other end of the cable.
#[test]
fn addresses_of_others_are_not_believed() {
    besieged(
        "flood::addresses_of_others_are_not_believed",
        |attacker, one| {
            let lies = [
                [127, 0, 0, 1],
                [10, 99, 0, 9],
                [8, 8, 8, 8],
                [224, 0, 0, 251],
            ];
            for (number, lie) in lies.into_iter().enumerate() {
                let said = if number < 2 {
                    Ipv4Addr::from(lie).to_string()
                } else {
                    THERE.to_owned()
                };
                let txt = announcement(3, &said).encode();
                attacker.send(&answer(number as u64, &txt, lie));
            }
            until("all were heard", || {
                one.counters().elsewhere >= lies.len() as u64
            });
            assert_eq!(one.poll(), []);
            // The truth is heard over the same cable.
            attacker.send(&answer(7, &announcement(3, THERE).encode(), [10, 77, 0, 2]));
            find(one, 3);
        },
    );
}
