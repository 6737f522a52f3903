//! Where a node listens, as its record says it.
//!
//! ```text
//!  octet 0   kind: 1 quic, 2 tcp over IPv4; 3 quic, 4 tcp over IPv6; 5 ipc; 6 inproc
//!        1   address (4 or 16) and port (2); or length (1) and path or name
//! ```
//!
//! The interface of a link-local address is not said: it has a meaning on its own host only.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;

use withy_proto::fields::{Fields, put_short};

/// One place where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A name within the process that the record names.
    Inproc(Box<str>),
    /// The path of a Unix domain socket on the host that the record names, absolute.
    Ipc(Box<str>),
    /// A UDP address.
    Quic(SocketAddr),
    /// A TCP address.
    Tcp(SocketAddr),
}

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Within one process.
    Process,
    /// Within one host: a loopback address, or a path.
    Host,
    /// Within a site: private (RFC 1918, RFC 4193), shared (RFC 6598) and link-local addresses.
    Site,
    /// Everywhere.
    Public,
}

impl Address {
    /// The longest path or name, in octets: what fits into a `sockaddr_un`.
    pub const MAX_TEXT: usize = 107;

    /// How far it reaches; `None` if nobody can be dialled there: no port, no address of one
    /// machine, an empty or relative path, an IPv4 address that is dressed up as IPv6.
    pub fn reach(&self) -> Option<Reach> {
        let text = |text: &str| {
            let plain = text.chars().all(|c| !c.is_control());
            plain && (1..=Self::MAX_TEXT).contains(&text.len())
        };
        match self {
            Self::Inproc(name) => text(name).then_some(Reach::Process),
            Self::Ipc(path) => (text(path) && path.starts_with('/')).then_some(Reach::Host),
            Self::Quic(address) | Self::Tcp(address) if address.port() != 0 => {
                reach(address.ip()).filter(|_| is_plain(address))
            }
            Self::Quic(_) | Self::Tcp(_) => None,
        }
    }

    /// The IP address, if it has one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Quic(address) | Self::Tcp(address) => Some(address.ip()),
            Self::Ipc(_) | Self::Inproc(_) => None,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Quic(address) => socket(out, 1, *address),
            Self::Tcp(address) => socket(out, 2, *address),
            Self::Ipc(path) => {
                out.push(5);
                put_short(out, path.as_bytes());
            }
            Self::Inproc(name) => {
                out.push(6);
                put_short(out, name.as_bytes());
            }
        }
    }

    pub(super) fn decode(reader: &mut Fields<'_>) -> Option<Self> {
        let kind = reader.octet()?;
        Some(match kind {
            1 | 2 => {
                let ip = Ipv4Addr::from(reader.array::<4>()?);
                Self::of(kind, SocketAddr::from((ip, reader.u16()?)))
            }
            3 | 4 => {
                let ip = Ipv6Addr::from(reader.array::<16>()?);
                Self::of(kind, SocketAddr::from((ip, reader.u16()?)))
            }
            5 => Self::Ipc(str::from_utf8(reader.short()?).ok()?.into()),
            6 => Self::Inproc(str::from_utf8(reader.short()?).ok()?.into()),
            _ => return None,
        })
    }

    const fn of(kind: u8, address: SocketAddr) -> Self {
        match kind % 2 {
            1 => Self::Quic(address),
            _ => Self::Tcp(address),
        }
    }
}

/// As an endpoint prints.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inproc(name) => write!(f, "inproc://{name}"),
            Self::Ipc(path) => write!(f, "ipc://{path}"),
            Self::Quic(address) => write!(f, "quic://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

fn socket(out: &mut Vec<u8>, kind: u8, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(kind);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(kind + 2);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// Whether the binary form says all of it.
fn is_plain(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(v6) => v6.scope_id() == 0 && v6.flowinfo() == 0,
    }
}

/// How far an IP address reaches, or `None`.
pub(crate) fn reach(ip: IpAddr) -> Option<Reach> {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Option<Reach> {
    let [a, b, ..] = ip.octets();
    match a {
        // "This network", multicast and what is reserved, the broadcast address included.
        0 | 224..=255 => None,
        127 => Some(Reach::Host),
        100 if (64..128).contains(&b) => Some(Reach::Site),
        _ if ip.is_private() || ip.is_link_local() => Some(Reach::Site),
        _ => Some(Reach::Public),
    }
}

fn reach_v6(ip: Ipv6Addr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some() {
        return None;
    }
    Some(match ip {
        _ if ip.is_loopback() => Reach::Host,
        _ if ip.is_unique_local() || ip.is_unicast_link_local() => Reach::Site,
        _ => Reach::Public,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_reach_as_far_as_they_do() {
        for (text, reach) in [
            ("127.0.0.1:1", Some(Reach::Host)),
            ("[::1]:1", Some(Reach::Host)),
            ("10.1.2.3:1", Some(Reach::Site)),
            ("172.16.0.1:1", Some(Reach::Site)),
            ("172.32.0.1:1", Some(Reach::Public)),
            ("192.168.0.1:65535", Some(Reach::Site)),
            ("169.254.0.1:1", Some(Reach::Site)),
            ("100.64.0.1:1", Some(Reach::Site)),
            ("100.128.0.1:1", Some(Reach::Public)),
            ("[fe80::1]:1", Some(Reach::Site)),
            ("[fe80::1%3]:1", None),
            ("[fd00::1]:1", Some(Reach::Site)),
            ("[2001:db8::1]:1", Some(Reach::Public)),
            ("192.168.0.1:0", None),
            ("0.0.0.0:1", None),
            ("255.255.255.255:1", None),
            ("224.0.0.1:1", None),
            ("[ff02::1]:1", None),
            ("[::]:1", None),
            ("[::ffff:10.0.0.1]:1", None),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::Quic(address).reach(), reach, "{text}");
            assert_eq!(Address::Tcp(address).reach(), reach, "{text}");
        }
        for (path, reach) in [("/a", Some(Reach::Host)), ("a", None), ("/\n", None)] {
            assert_eq!(Address::Ipc(path.into()).reach(), reach);
        }
        let long = "x".repeat(108);
        assert_eq!(
            Address::Inproc(long[1..].into()).reach(),
            Some(Reach::Process)
        );
        assert_eq!(Address::Inproc(long.into()).reach(), None);
    }
}
