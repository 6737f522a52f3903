//! The interfaces on which announcements are made and heard: those of this host and its site.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::net::if_::InterfaceFlags;

use crate::record::{Reach, reach_of};

/// An address of an interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    prefix: u32,
}

/// The near addresses of this host, those of loopback last.
pub(super) fn locals() -> io::Result<Vec<Local>> {
    let mut locals: Vec<_> = nix::ifaddrs::getifaddrs()?.filter_map(local).collect();
    locals.sort_by_key(|local| {
        (
            reach_of(local.ip) == Some(Reach::Host),
            local.index,
            local.ip,
        )
    });
    locals.dedup();
    Ok(locals)
}

fn local(interface: nix::ifaddrs::InterfaceAddress) -> Option<Local> {
    let flags = interface.flags;
    let speaks = flags.intersects(InterfaceFlags::IFF_MULTICAST | InterfaceFlags::IFF_LOOPBACK);
    // mdns-sd leaves those out as well.
    let direct = flags.contains(InterfaceFlags::IFF_POINTOPOINT);
    if !flags.contains(InterfaceFlags::IFF_UP) || !speaks || direct {
        return None;
    }
    let (address, index) = ip_of(interface.address.as_ref()?)?;
    let (mask, _) = ip_of(interface.netmask.as_ref()?)?;
    let index = match index {
        0 => nix::net::if_::if_nametoindex(interface.interface_name.as_str()).ok()?,
        index => index,
    };
    let prefix = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    let near = matches!(reach_of(address), Some(Reach::Host | Reach::Site));
    near.then_some(Local {
        index,
        ip: address,
        prefix,
    })
}

fn ip_of(storage: &nix::sys::socket::SockaddrStorage) -> Option<(IpAddr, u32)> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some((v4.ip().into(), 0));
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some((v6.ip().into(), v6.scope_id()))
}

impl Local {
    /// Whether an address belongs to the network of this one.
    pub(super) fn is_beside(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let differs = u32::from(own) ^ u32::from(ip);
                differs.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let differs = u128::from(own) ^ u128::from(ip);
                differs.leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Where an address that was heard on an interface leads to, if it is of a network of that interface:
/// multicast does not go further, so that what names others is a lie or a mistake.
pub(super) fn heard_on(locals: &[Local], index: u32, ip: IpAddr) -> Option<SocketAddr> {
    let beside = |local: &Local| local.index == index && local.is_beside(ip);
    if !locals.iter().any(beside) {
        return None;
    }
    Some(match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddr::V6(std::net::SocketAddrV6::new(ip, 0, 0, index))
        }
        ip => SocketAddr::new(ip, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(index: u32, ip: &str, prefix: u32) -> Local {
        let ip = ip.parse().unwrap();
        Local { index, ip, prefix }
    }

    #[test]
    fn loopback_is_there_and_last() {
        let locals = locals().unwrap();
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let at = locals.iter().position(|it| it.ip == loopback).unwrap();
        assert_eq!(locals[at].prefix, 8);
        assert!(locals[at..].iter().all(|it| it.ip.is_loopback()));
    }

    #[test]
    fn what_is_heard_is_of_the_network_that_it_is_heard_on() {
        let locals = [
            local(1, "127.0.0.1", 8),
            local(1, "::1", 128),
            local(2, "192.168.1.7", 24),
            local(2, "fe80::7", 64),
            local(3, "10.0.0.7", 8),
        ];
        for (index, ip, expected) in [
            (2, "192.168.1.9", Some("192.168.1.9:0")),
            (2, "192.168.2.9", None),
            (2, "10.0.0.9", None),
            (3, "10.200.0.9", Some("10.200.0.9:0")),
            (2, "fe80::9", Some("[fe80::9%2]:0")),
            (3, "fe80::9", None),
            (1, "127.0.0.1", Some("127.0.0.1:0")),
            (2, "127.0.0.1", None),
            (1, "::1", Some("[::1]:0")),
            (2, "::1", None),
            (4, "192.168.1.9", None),
        ] {
            let found = heard_on(&locals, index, ip.parse().unwrap());
            let found = found.map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{index} {ip}");
        }
    }
}
