//! Addresses that are configured: of seeds, through which a node finds all others.
//!
//! ```text
//!  HOST:PORT    quic://HOST:PORT    quic://ID@HOST:PORT    tcp://HOST:PORT
//! ```
//!
//! Without a scheme it is a node that listens over UDP and TCP alike, as `withy node` does: QUIC is tried
//! first, and TCP soon after, since UDP may be blocked on the way.
//!
//! HOST is an address or a DNS name, which is looked up again each time, for its A and AAAA records:
//! [`Fixed::resolve`] does so with the system's resolver, which blocks, so that the caller runs it on a
//! thread where that does no harm. SRV records are not looked up: the system's resolver cannot, and a
//! resolver of our own would read another configuration than the system's.
//!
//! Invariant: there are at most [`Fixed::MAX`] seeds, all different.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use withy_proto::endpoint::{Endpoint, EndpointError, Host};
use withy_proto::trust::{IdError, IdentityId, NodeId};

use crate::hints::{Expected, Hint, Hints};
use crate::record::Address;

/// One configured address.
///
/// # Examples
///
/// ```
/// use withy_discovery::fixed::Seed;
///
/// let seed: Seed = "mesh.example.com:7100".parse()?;
/// assert_eq!(seed.to_string(), "mesh.example.com:7100");
/// # Ok::<(), withy_discovery::fixed::SeedError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// With QUIC where no scheme is given.
    endpoint: Endpoint,
    has_scheme: bool,
    host: String,
    port: u16,
    expects: Expected,
}

/// Why a text is not a seed. Local misuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// It is not an endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It is an endpoint where nobody is dialled, or not from another host.
    #[error("{endpoint} is none of HOST:PORT, quic://[ID@]HOST:PORT and tcp://HOST:PORT")]
    Kind {
        /// What it is.
        endpoint: String,
    },
    /// The id before the `@` is damaged, or of a network.
    #[error("before the @: {0}")]
    Id(#[from] IdError),
    /// There are too many.
    #[error("more than {} seeds", Fixed::MAX)]
    Many,
}

impl Seed {
    /// Who should be there.
    pub const fn expects(&self) -> Expected {
        self.expects
    }

    /// What to dial, with the addresses that a function finds for a host and a port.
    ///
    /// # Errors
    /// It found none, or failed.
    pub fn resolve_with<I: Iterator<Item = SocketAddr>>(
        &self,
        lookup: impl FnOnce(&str, u16) -> io::Result<I>,
    ) -> io::Result<Hint> {
        let found = lookup(&self.host, self.port)?;
        let kinds: &[fn(SocketAddr) -> Address] = match self.endpoint {
            Endpoint::Tcp(_) => &[Address::Tcp],
            _ if self.has_scheme => &[Address::Quic],
            _ => &[Address::Quic, Address::Tcp],
        };
        let found = found.take(Hints::MAX_ADDRESSES / kinds.len());
        let addresses: Vec<_> = found
            .flat_map(|found| kinds.iter().map(move |kind| kind(found)))
            .collect();
        if addresses.is_empty() {
            let error = format!("{} has no address", self.host);
            return Err(io::Error::new(io::ErrorKind::NotFound, error));
        }
        Ok(Hint::Seed {
            addresses,
            expects: self.expects,
        })
    }

    /// What to dial, with the addresses that the system finds. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The name is not known, or nobody answers; later it may be otherwise.
    pub fn resolve(&self) -> io::Result<Hint> {
        self.resolve_with(|host, port| (host, port).to_socket_addrs())
    }
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        let has_scheme = text.contains("://");
        let endpoint: Endpoint = match has_scheme {
            true => text.parse()?,
            false => format!("quic://{text}").parse()?,
        };
        let (host, port, id) = match &endpoint {
            Endpoint::Tcp(tcp) if tcp.source.is_none() => (&tcp.host, tcp.port, None),
            Endpoint::Quic(quic) => (&quic.host, quic.port, quic.peer.as_ref()),
            _ => return Err(kind(&endpoint)),
        };
        let host = match host {
            _ if port == 0 => return Err(kind(&endpoint)),
            Host::Any => return Err(kind(&endpoint)),
            Host::V4(address) => address.to_string(),
            Host::V6 { address, scope } => match scope {
                Some(scope) => format!("{address}%{scope}"),
                None => address.to_string(),
            },
            Host::Name(name) => name.to_string(),
        };
        let expects = match id {
            Some(id) => expected(&id.to_string())?,
            None => Expected::Anyone,
        };
        Ok(Self {
            endpoint,
            has_scheme,
            host,
            port,
            expects,
        })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.endpoint.to_string();
        f.write_str(match text.split_once("://") {
            Some((_, bare)) if !self.has_scheme => bare,
            _ => &text,
        })
    }
}

fn kind(endpoint: &Endpoint) -> SeedError {
    let endpoint = endpoint.to_string();
    SeedError::Kind { endpoint }
}

/// Whom an id names: an identity, or a node.
fn expected(id: &str) -> Result<Expected, IdError> {
    let identity = id.parse::<IdentityId>();
    let node = || id.parse::<NodeId>().map(Expected::Node);
    identity
        .map(Expected::Identity)
        .or_else(|error| node().map_err(|_| error))
}

/// The seeds of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fixed {
    seeds: Vec<Seed>,
}

impl Fixed {
    /// The most seeds.
    pub const MAX: usize = 256;

    /// Adds one, unless it is there.
    ///
    /// # Errors
    /// There is no more room.
    pub fn add(&mut self, seed: Seed) -> Result<(), SeedError> {
        if self.seeds.contains(&seed) {
            return Ok(());
        }
        if self.seeds.len() >= Self::MAX {
            return Err(SeedError::Many);
        }
        self.seeds.push(seed);
        Ok(())
    }

    /// All of them, in the order in which they were added.
    pub fn seeds(&self) -> &[Seed] {
        &self.seeds
    }

    /// What to dial of each, or why that is not known now. Blocks while the system looks names up.
    pub fn resolve(&self) -> impl Iterator<Item = (&Seed, io::Result<Hint>)> {
        self.seeds.iter().map(|seed| (seed, seed.resolve()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use withy_proto::trust::NetworkId;

    const KEY: [u8; 32] = [7; 32];

    fn seed(text: &str) -> Result<Seed, SeedError> {
        text.parse()
    }

    #[test]
    fn seeds_are_parsed_and_print_what_they_are() {
        for text in [
            "10.0.0.1:7100",
            "[fe80::1%lo]:7100",
            "example.com:1",
            "quic://example.com:1",
            "tcp://example.com:1",
        ] {
            let seed = seed(text).unwrap();
            assert_eq!(seed.to_string(), text);
            assert_eq!(seed.expects(), Expected::Anyone);
        }
        let (identity, node) = (IdentityId::from_octets(KEY), NodeId::from_octets(KEY));
        let of = |id: &str| seed(&format!("{id}@example.com:1")).map(|seed| seed.expects());
        assert_eq!(of(&identity.to_string()), Ok(Expected::Identity(identity)));
        assert_eq!(of(&node.to_string()), Ok(Expected::Node(node)));
        let network = NetworkId::from_octets(KEY).to_string();
        assert!(matches!(
            of(&network),
            Err(SeedError::Id(IdError::Kind { .. }))
        ));
    }

    #[test]
    fn what_nobody_can_dial_is_no_seed() {
        for text in [
            "*:7100",
            "10.0.0.1:0",
            "10.0.0.1:*",
            "ipc:///path",
            "inproc://name",
            "tcp://127.0.0.1:0;10.0.0.1:7100",
        ] {
            let seed = seed(text);
            assert!(
                matches!(seed, Err(SeedError::Kind { .. })),
                "{text}: {seed:?}"
            );
        }
        for text in [
            "",
            "example.com",
            ":1",
            "10.0.0.1:70000",
            "http://example.com:80",
        ] {
            let seed = seed(text);
            assert!(
                matches!(seed, Err(SeedError::Endpoint(_))),
                "{text}: {seed:?}"
            );
        }
    }

    #[test]
    fn names_are_looked_up_each_time() {
        let id = IdentityId::from_octets(KEY);
        let address = |last| SocketAddr::from(([10, 0, 0, last], 7_100));
        let quic = |last| Address::Quic(address(last));
        let tcp = |last| Address::Tcp(address(last));
        for (text, expected) in [
            (
                format!("quic://{id}@example.com:7100"),
                (0..16).map(quic).collect::<Vec<_>>(),
            ),
            (
                "tcp://example.com:7100".to_owned(),
                (0..16).map(tcp).collect(),
            ),
            (
                format!("{id}@example.com:7100"),
                (0..8).flat_map(|last| [quic(last), tcp(last)]).collect(),
            ),
        ] {
            let seed = seed(&text).unwrap();
            let resolve = |found: io::Result<Vec<SocketAddr>>| {
                seed.resolve_with(|host, port| {
                    assert_eq!((host, port), ("example.com", 7_100));
                    found.map(Vec::into_iter)
                })
            };
            let hint = resolve(Ok((0..20).map(address).collect())).unwrap();
            assert_eq!(
                hint,
                Hint::Seed {
                    addresses: expected,
                    expects: seed.expects(),
                }
            );
            let kind = |found| resolve(found).map_err(|error| error.kind());
            assert_eq!(kind(Ok(Vec::new())), Err(io::ErrorKind::NotFound));
            let down = io::ErrorKind::NetworkUnreachable;
            assert_eq!(kind(Err(down.into())), Err(down));
        }
    }

    #[test]
    fn addresses_and_this_host_need_no_server() {
        let mut fixed = Fixed::default();
        for text in ["127.0.0.1:1", "[::1]:1", "tcp://localhost:1", "127.0.0.1:1"] {
            fixed.add(seed(text).unwrap()).unwrap();
        }
        let hints: Vec<_> = fixed.resolve().map(|(_, hint)| hint.unwrap()).collect();
        assert_eq!(hints.len(), 3, "one was there");
        let Hint::Seed { addresses, .. } = &hints[2] else {
            panic!("{hints:?}");
        };
        assert!(
            addresses
                .iter()
                .all(|it| matches!(it, Address::Tcp(it) if it.ip().is_loopback()))
        );
    }

    #[test]
    fn there_are_only_so_many() {
        let mut fixed = Fixed::default();
        for port in 1..=Fixed::MAX {
            fixed
                .add(seed(&format!("10.0.0.1:{port}")).unwrap())
                .unwrap();
        }
        let more = fixed.add(seed("10.0.0.2:1").unwrap());
        assert_eq!(more, Err(SeedError::Many));
        assert_eq!(fixed.seeds().len(), Fixed::MAX);
    }
}
