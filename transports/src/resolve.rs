//! From the host of a `tcp` endpoint to socket addresses.
//!
//! `localhost` always means loopback (RFC 6761 §6.3): it is never asked for, so that an endpoint that
//! counts as local is local whatever a resolver or an interface of that name would say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use withy_proto::endpoint::{Host, Text};

use crate::{ListenError, interface};

/// Addresses of one name that are used; the rest is ignored.
pub(crate) const MAX_ADDRESSES: usize = 32;

/// How long a name to listen on may take to resolve.
const LISTEN_LOOKUP: Duration = Duration::from_secs(5);

/// The addresses at which a host can be dialled, the families taking turns (RFC 8305 §4).
pub(crate) async fn remote(host: &Host, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    match literal(host, port) {
        Some(addresses) => addresses,
        None => {
            let addresses = lookup(host, port, limit).await?;
            Ok(take_turns(addresses))
        }
    }
}

/// The addresses of this machine that a host to listen on stands for, the preferred ones first.
pub(crate) async fn local(
    host: &Host,
    port: u16,
    ipv6: bool,
) -> Result<Vec<SocketAddr>, ListenError> {
    let failed = |source| ListenError::Resolve {
        host: host.to_string(),
        source,
    };
    let mut addresses = own(host, port, ipv6).map_err(failed)?;
    if addresses.is_empty() {
        addresses = lookup(host, port, LISTEN_LOOKUP).await.map_err(failed)?;
        addresses.sort_by_key(|address| address.is_ipv6() != ipv6);
    }
    Ok(addresses)
}

/// The addresses of this machine that a host to dial from stands for, the preferred ones first.
pub(crate) fn source(host: &Host, port: u16, ipv6: bool) -> io::Result<Vec<SocketAddr>> {
    let addresses = own(host, port, ipv6)?;
    if addresses.is_empty() {
        let error = "there is no interface of that name, or it has no address";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    Ok(addresses)
}

/// What needs no resolver: literals, wildcards and interface names. Empty if it is something else.
fn own(host: &Host, port: u16, ipv6: bool) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = match (host, literal(host, port)) {
        (Host::Any, _) => match ipv6 {
            true => return Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]),
            false => return Ok(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]),
        },
        (_, Some(addresses)) => addresses?,
        (Host::Name(name), None) => interface::addresses(name.as_str())?,
        (Host::V4(_) | Host::V6 { .. }, None) => Vec::new(),
    };
    for address in &mut addresses {
        address.set_port(port);
    }
    addresses.sort_by_key(|address| address.is_ipv6() != ipv6);
    Ok(addresses)
}

fn literal(host: &Host, port: u16) -> Option<io::Result<Vec<SocketAddr>>> {
    match host {
        Host::Any => None,
        Host::V4(address) => Some(Ok(vec![(*address, port).into()])),
        Host::V6 { address, scope } => {
            let index = scope
                .as_ref()
                .map_or(Ok(0), |scope| interface::index(scope.as_str()));
            let address = |index| vec![SocketAddrV6::new(*address, port, 0, index).into()];
            Some(index.map(address))
        }
        Host::Name(_) if host.is_loopback() => Some(Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ])),
        Host::Name(_) => None,
    }
}

async fn lookup(host: &Host, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let Host::Name(name) = host else {
        let error = "it is not the name of a host";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    };
    let addresses = timeout(limit, lookup_host((Text::as_str(name), port))).await;
    let addresses = addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        let error = "the name has no address";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    Ok(addresses)
}

/// Alternates the families, beginning with that of the first address, and drops repetitions.
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let first = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = seen.iter().partition(|it| it.is_ipv6() == first);
    let mut second = second.into_iter();
    let mut turns = Vec::with_capacity(seen.len());
    for address in first {
        turns.push(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns
}

/// Whether both are of one family, so that one can be dialled from the other.
pub(crate) fn same_family(one: &SocketAddr, other: &SocketAddr) -> bool {
    matches!(
        (one.ip(), other.ip()),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses = [
            "[::1]:1",
            "[::2]:1",
            "[::2]:1",
            "[::3]:1",
            "1.1.1.1:1",
            "[::1]:1",
        ];
        let turns = take_turns(addresses.map(address).to_vec());
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"];
        assert_eq!(turns, expected.map(address));
        let turns = take_turns(["1.1.1.1:1", "[::1]:1", "[::2]:1"].map(address).to_vec());
        assert_eq!(turns, ["1.1.1.1:1", "[::1]:1", "[::2]:1"].map(address));
        assert!(take_turns(Vec::new()).is_empty());
    }
}
