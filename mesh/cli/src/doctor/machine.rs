//! This machine: interfaces, ports, and what may filter packets.

use std::env;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use withy::Node;

use super::Report;
use crate::exit::Outcome;

/// Programs that make or keep a packet filter, and how what a node needs is let in with them.
const FILTERS: &[(&str, &str)] = &[
    (
        "firewall-cmd",
        "firewall-cmd --add-port=7100/udp --add-port=7100/tcp --add-service=mdns",
    ),
    ("ufw", "ufw allow 7100; ufw allow 5353/udp"),
    (
        "nft",
        "in its input chain: `udp dport { 5353, 7100 } accept` and `tcp dport 7100 accept`",
    ),
    (
        "iptables",
        "iptables -I INPUT -p udp -m multiport --dports 5353,7100 -j ACCEPT, and -p tcp --dport 7100",
    ),
];

/// Where programs for administrators are, which a user's PATH may leave out.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/local/sbin"];

pub(super) fn check(report: &mut Report, port: u16) -> Outcome {
    let addresses = Node::near_addresses();
    interfaces(report, &addresses)?;
    ports(report, &addresses, port)?;
    firewall(report)
}

fn interfaces(report: &mut Report, addresses: &[IpAddr]) -> Outcome {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    match addresses.iter().all(IpAddr::is_loopback) {
        false => report.ok("interfaces", list.join(", ")),
        true => report.warn(
            "interfaces",
            "no interface has a private or link-local address: only nodes of this host are met",
            "bring an interface up; `withy node --listen ADDRESS` listens at a public address, and \
             --seed HOST:PORT dials out",
        ),
    }
}

/// Tries to listen where a node would.
fn ports(report: &mut Report, addresses: &[IpAddr], port: u16) -> Outcome {
    let (mut taken, mut bad) = (Vec::new(), Vec::new());
    for ip in addresses {
        let udp = UdpSocket::bind((*ip, port))
            .err()
            .map(|error| ("UDP", error));
        let tcp = TcpListener::bind((*ip, port))
            .err()
            .map(|error| ("TCP", error));
        for (protocol, error) in udp.into_iter().chain(tcp) {
            let at = std::net::SocketAddr::new(*ip, port);
            match error.kind() {
                io::ErrorKind::AddrInUse => taken.push(format!("{protocol} {at}")),
                _ => bad.push(format!("{protocol} {at}: {error}")),
            }
        }
    }
    if !bad.is_empty() {
        let remedy = "`withy node --listen ADDRESS:PORT` listens elsewhere";
        report.warn("ports", bad.join(", "), remedy)?;
    }
    match taken.is_empty() {
        false => report.warn(
            "ports",
            format_args!("in use: {}", taken.join(", ")),
            "if `withy node` runs here, all is well; else `withy node --listen ADDRESS:PORT` listens \
             elsewhere",
        ),
        true if bad.is_empty() => {
            report.ok("ports", format_args!("UDP and TCP {port} are free"))
        }
        true => Ok(()),
    }
}

/// What filters packets says so to root only. That something is there is a hint, and no more.
fn firewall(report: &Report) -> Outcome {
    let found = FILTERS.iter().find(|(program, _)| is_there(program));
    match found {
        Some((program, remedy)) => report.say(
            super::Level::Ok,
            "firewall",
            format_args!(
                "{program} is installed; its rules are for root to see. Other hosts need UDP and TCP \
                 {}, and UDP 5353 for multicast DNS",
                Node::PORT
            ),
            format_args!("if they do not meet this one: {remedy}"),
        ),
        None => report.say(super::Level::Ok, "firewall", "no program for one was found", ""),
    }
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    let mut paths = folders.map(|folder| folder.join(program));
    paths.any(|path| path.is_file())
}
