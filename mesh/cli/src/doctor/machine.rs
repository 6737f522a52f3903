//! This machine: interfaces and ports.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};

use withy::Node;

use super::Report;
use crate::exit::Outcome;

pub(super) fn check(report: &mut Report, port: u16) -> Outcome {
    let addresses = Node::near_addresses();
    interfaces(report, &addresses)?;
    ports(report, &addresses, port)
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
