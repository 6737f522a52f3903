//! Where a node listens: within its process, on its host, and on the networks around it.
//!
//! Invariant: without being told so, a node listens at no public address.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use withy_discovery::record::Reach;
use withy_discovery::{Address, PeerTag};
use withy_proto::Endpoint;

use super::error::NodeError;
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

/// Listens at all addresses of this host that reach no further than the site, and says at which UDP
/// port: one for all of them, which is what can be announced.
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
fn site() -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in withy_transports::interface_addresses() {
        let address = Address::Quic(SocketAddr::new(ip, 1));
        let near = matches!(address.reach(), Some(Reach::Host | Reach::Site));
        // A link-local IPv6 address needs its interface, which records do not say.
        let scoped = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if near && !scoped && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}
