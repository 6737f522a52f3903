//! The address part of `quic://` endpoints: that of `tcp`, and whom it expects there.
//!
//! The id stays a text here: whose it is, an identity's or a node's, and whether its checksum is
//! right, is for trust to say.

use core::net::SocketAddr;
use std::fmt;

use super::tcp::{parse_address, write_address};
use super::{EndpointError, Field, Host, Locality, Tcp, Text};

/// Characters of an id: base32 of 32 octets of key and 3 octets of checksum.
const ID_LEN: usize = 56;

/// The address of a `quic` endpoint: `[ID@]HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Quic {
    /// The identity or node that is expected there, as it prints: 56 characters of `a-z2-7`.
    pub peer: Option<Text>,
    /// Where to listen, or whom to dial.
    pub host: Host,
    /// The port; 0 means any free one, which only makes sense where a socket binds.
    pub port: u16,
}

impl Quic {
    pub(super) fn parse(text: &str) -> Result<Self, EndpointError> {
        let (peer, address) = match text.split_once('@') {
            Some((id, address)) => (Some(parse_id(id)?), address),
            None => (None, text),
        };
        let (host, port) = parse_address(address)?;
        Ok(Self { peer, host, port })
    }

    pub(super) fn locality(&self) -> Locality {
        match self.host.is_loopback() {
            true => Locality::Local,
            false => Locality::Remote,
        }
    }
}

impl From<SocketAddr> for Quic {
    fn from(address: SocketAddr) -> Self {
        let Tcp { host, port, .. } = address.into();
        let peer = None;
        Self { peer, host, port }
    }
}

impl fmt::Display for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = &self.peer {
            write!(f, "{peer}@")?;
        }
        write_address(f, &self.host, self.port)
    }
}

fn parse_id(text: &str) -> Result<Text, EndpointError> {
    let base32 = |octet| matches!(octet, b'a'..=b'z' | b'2'..=b'7');
    if text.len() != ID_LEN || !text.bytes().all(base32) {
        let expected = "an id of 56 characters from a to z and 2 to 7 before the @";
        return Err(EndpointError::new(Field::Id, text, expected));
    }
    Ok(Text::new(text))
}
