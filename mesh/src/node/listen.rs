//! Where a node listens: within its process, on its host, and on the networks around it.
//!
//! Invariant: without being told so, a node listens at no public address.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use withy_discovery::record::Reach;
use withy_discovery::{Address, PeerTag};
use withy_proto::Endpoint;

use super::error::NodeError;
use crate::error::{BindError, ListenError};
use crate::socket::Owner;

/// The name within the process.
fn inproc(own: PeerTag) -> Address {
    Address::Inproc(format!("withy-node-{own}").into())
}

/// Listens within the process, and in the runtime directory if there is one.
pub(super) async fn near(
    control: &Owner,
    own: PeerTag,
    runtime: Option<&Path>,
) -> Result<Vec<Address>, NodeError> {
    let mut addresses = vec![inproc(own)];
    if let Some(path) = runtime.map(|runtime| runtime.join(format!("{own}.sock"))) {
        match path.to_str() {
            Some(path) if path.len() <= Address::MAX_TEXT => {
                addresses.push(Address::Ipc(path.into()));
            }
            // Such a path fits into no socket's address.
            _ => tracing::warn!(
                ?path,
                "the runtime directory's path is too long for sockets"
            ),
        }
    }
    for address in &addresses {
        control.bind(address.to_string().parse()).await?;
    }
    Ok(addresses)
}

/// Listens at an IP address, at a free port or at this one, over QUIC and over TCP.
pub(super) async fn at(control: &Owner, ip: IpAddr, port: u16) -> Result<Vec<Address>, NodeError> {
    let text = |scheme, port| format!("{scheme}://{}", SocketAddr::new(ip, port));
    let bound = control.bind(text("quic", port).parse()).await?;
    let Some(udp) = port_of(&bound) else {
        return Ok(Vec::new());
    };
    let mut addresses = vec![Address::Quic(SocketAddr::new(ip, udp))];
    // The same port, if nobody has it; a free one else, unless one was asked for.
    let tcp = match control.bind(text("tcp", udp).parse()).await {
        Err(_) if port == 0 => control.bind(text("tcp", 0).parse()).await?,
        bound => bound?,
    };
    if let Some(tcp) = port_of(&tcp) {
        addresses.push(Address::Tcp(SocketAddr::new(ip, tcp)));
    }
    Ok(addresses)
}

/// Listens where it was told. The address that stands for all is each address of this host, and so are
/// those of the one IP version that stand for all of it.
pub(super) async fn told(control: &Owner, at: SocketAddr) -> Result<Vec<Address>, NodeError> {
    if !at.ip().is_unspecified() {
        return self::at(control, at.ip(), at.port()).await;
    }
    let mut addresses = Vec::new();
    for ip in all(|ip| ip.is_ipv4() || at.is_ipv6()) {
        addresses.extend(self::at(control, ip, at.port()).await?);
    }
    Ok(addresses)
}

/// Listens at all addresses of this host that reach no further than the site, at this port.
pub(super) async fn at_site_port(control: &Owner, port: u16) -> Result<Vec<Address>, NodeError> {
    let mut addresses = Vec::new();
    for ip in site() {
        match at(control, ip, port).await {
            Ok(bound) => addresses.extend(bound),
            // An address may be there before it can be used, as those of IPv6 are for some seconds.
            Err(NodeError::Listen(error)) if !is_taken(&error) => {
                tracing::warn!(%ip, %error, "not listening there");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(addresses)
}

fn is_taken(error: &BindError) -> bool {
    let BindError::Transport { source, .. } = error else {
        return false;
    };
    matches!(source, ListenError::AddressInUse { .. })
}

/// The UDP port that can be announced: of the first address that other hosts reach.
pub(super) fn announced(addresses: &[Address]) -> Option<u16> {
    addresses.iter().find_map(|address| match address {
        Address::Quic(at) if address.reach() == Some(Reach::Site) => Some(at.port()),
        _ => None,
    })
}

/// Listens at all addresses of this host that reach no further than the site, at free ports, and says
/// at which UDP port: one for all of them, which is what can be announced.
pub(super) async fn at_site(control: &Owner) -> (Vec<Address>, Option<u16>) {
    let (mut addresses, mut port) = (Vec::new(), None);
    for ip in site() {
        let bound = match (at(control, ip, port.unwrap_or(0)).await, port) {
            // Somebody has that port here.
            (Err(_), Some(_)) => at(control, ip, 0).await,
            (bound, _) => bound,
        };
        match bound {
            Ok(bound) => {
                let udp = bound.iter().find_map(|it| match it {
                    Address::Quic(address) => Some(address.port()),
                    _ => None,
                });
                port = port.or(udp);
                addresses.extend(bound);
            }
            Err(error) => tracing::warn!(%ip, %error, "not listening there"),
        }
    }
    (addresses, port)
}

fn port_of(endpoint: &Endpoint) -> Option<u16> {
    let text = endpoint.to_string();
    let (_, port) = text.rsplit_once(':')?;
    port.parse().ok()
}

/// The addresses of this host's interfaces that reach no further than the site, loopback ones
/// included, each once.
pub(super) fn site() -> Vec<IpAddr> {
    all(|ip| {
        let reach = Address::Quic(SocketAddr::new(*ip, 1)).reach();
        matches!(reach, Some(Reach::Host | Reach::Site))
    })
}

/// The addresses of this host's interfaces that are wanted, each once.
fn all(wanted: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in withy_transports::interface_addresses() {
        // A link-local IPv6 address needs its interface, which records do not say.
        let scoped = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if wanted(&ip) && !scoped && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}
