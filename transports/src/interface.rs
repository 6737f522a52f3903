//! The network interfaces of this machine. The one place that asks the system for them.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The addresses of all interfaces; none if the system does not tell.
pub fn all() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = all.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    addresses.collect()
}

/// The addresses of an interface, with port 0, in the order of the system; empty if there is none
/// of that name.
pub(crate) fn addresses(name: &str) -> io::Result<Vec<SocketAddr>> {
    let all = nix::ifaddrs::getifaddrs()?.filter(|interface| interface.interface_name == name);
    let addresses = all.filter_map(|interface| {
        let address = interface.address?;
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(SocketAddr::new(IpAddr::V4(v4.ip()), 0));
        }
        let v6 = address.as_sockaddr_in6()?;
        Some(SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into())
    });
    Ok(addresses.collect())
}

/// The number of an interface that is given by name or number.
pub(crate) fn index(scope: &str) -> io::Result<u32> {
    match scope.parse() {
        Ok(index) => Ok(index),
        Err(_) => Ok(nix::net::if_::if_nametoindex(scope)?),
    }
}
