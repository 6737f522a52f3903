//! The address part of `tcp://` endpoints.
//!
//! Nothing is resolved here: a name stays a name, be it of a host or of an interface.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;

use super::{EndpointError, Field, Locality, Text};

/// Octets of a host or interface name (RFC 1035 §2.3.4, as text without the final dot).
const MAX_NAME: usize = 253;
/// Octets of an IPv6 scope, which is an interface name or number.
const MAX_SCOPE: usize = 15;

const HOST: &str = "an IPv4 address, an IPv6 address in brackets, a host or interface name, or *";
const PORT: &str = "a number from 1 to 65535, or * or 0 for any free port";
const ADDRESS: &str = "HOST:PORT";

/// The address of a `tcp` endpoint: `HOST:PORT`, or `SOURCE:PORT;HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tcp {
    /// Where to listen, or whom to dial.
    pub host: Host,
    /// The port; 0 means any free one, which only makes sense where a socket binds.
    pub port: u16,
    /// The local address to dial from; it only makes sense where a socket connects.
    pub source: Option<Source>,
}

/// The local address that a `tcp` connection is dialled from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Source {
    /// An address or an interface name.
    pub host: Host,
    /// The port; 0 means any free one.
    pub port: u16,
}

/// The host part of a `tcp` or `quic` endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*`: all interfaces.
    Any,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6 {
        /// The address.
        address: Ipv6Addr,
        /// The name or number of the interface that a link-local address belongs to.
        scope: Option<Text>,
    },
    /// The name of a host, or of an interface of this machine.
    Name(Text),
}

impl Tcp {
    pub(super) fn parse(text: &str) -> Result<Self, EndpointError> {
        let (source, rest) = match text.split_once(';') {
            Some((source, rest)) => (Some(Source::parse(source)?), rest),
            None => (None, text),
        };
        let (host, port) = parse_address(rest)?;
        Ok(Self { host, port, source })
    }

    pub(super) fn locality(&self) -> Locality {
        match self.host.is_loopback() {
            true => Locality::Local,
            false => Locality::Remote,
        }
    }
}

impl From<SocketAddr> for Tcp {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            SocketAddr::V6(v6) => Host::V6 {
                address: *v6.ip(),
                scope: match v6.scope_id() {
                    0 => None,
                    scope => Some(Text::new(&scope.to_string())),
                },
            },
        };
        Self {
            host,
            port: address.port(),
            source: None,
        }
    }
}

impl fmt::Display for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source};")?;
        }
        write_address(f, &self.host, self.port)
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self, EndpointError> {
        let wrong = |_| {
            let expected = "ADDRESS:PORT or INTERFACE:PORT; PORT may be * or 0 for any free port";
            EndpointError::new(Field::Source, text, expected)
        };
        let (host, port) = parse_address(text).map_err(wrong)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_address(f, &self.host, self.port)
    }
}

impl Host {
    /// Whether this is a loopback address, or `localhost`, which RFC 6761 §6.3 ties to loopback.
    ///
    /// Nothing is resolved, so every other name is not.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Any => false,
            Self::V4(address) => address.is_loopback(),
            Self::V6 { address, .. } => IpAddr::V6(*address).to_canonical().is_loopback(),
            Self::Name(name) => name.as_str().eq_ignore_ascii_case("localhost"),
        }
    }

    fn parse(text: &str) -> Result<Self, EndpointError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::V4(address));
        }
        if text.contains(':') {
            let expected = "an IPv6 address in brackets, as in tcp://[::1]:5555";
            return Err(EndpointError::new(Field::Host, text, expected));
        }
        // Resolvers that know inet_aton read "127.1", "0x7f.1" and "2130706433" as addresses. They
        // are refused, so that nobody disagrees on what they mean.
        let mut labels = text.split('.').filter(|label| !label.is_empty()).peekable();
        let none = labels.peek().is_none();
        if !none && labels.all(is_number) {
            let expected = "an IPv4 address of four decimal numbers from 0 to 255";
            return Err(EndpointError::new(Field::Host, text, expected));
        }
        if text.len() > MAX_NAME || !text.chars().all(is_name) || none {
            return Err(EndpointError::new(Field::Host, text, HOST));
        }
        Ok(Self::Name(Text::new(text)))
    }

    fn parse_v6(text: &str) -> Result<Self, EndpointError> {
        let wrong = || {
            let expected = "an IPv6 address, with %INTERFACE after it if it is link-local";
            EndpointError::new(Field::Host, text, expected)
        };
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (text, None),
        };
        let good = |scope: &str| {
            !scope.is_empty() && scope.len() <= MAX_SCOPE && scope.chars().all(is_name)
        };
        if !scope.is_none_or(good) {
            return Err(wrong());
        }
        Ok(Self::V6 {
            address: address.parse().map_err(|_| wrong())?,
            scope: scope.map(Text::new),
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6 {
                address,
                scope: None,
            } => write!(f, "[{address}]"),
            Self::V6 {
                address,
                scope: Some(scope),
            } => write!(f, "[{address}%{scope}]"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

pub(super) fn parse_address(text: &str) -> Result<(Host, u16), EndpointError> {
    let incomplete = || EndpointError::new(Field::Port, text, ADDRESS);
    if let Some(rest) = text.strip_prefix('[') {
        let unclosed = || EndpointError::new(Field::Host, text, "a ] after the IPv6 address");
        let (host, rest) = rest.split_once(']').ok_or_else(unclosed)?;
        let port = rest.strip_prefix(':').ok_or_else(incomplete)?;
        return Ok((Host::parse_v6(host)?, parse_port(port)?));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(incomplete)?;
    Ok((Host::parse(host)?, parse_port(port)?))
}

fn parse_port(text: &str) -> Result<u16, EndpointError> {
    if text == "*" {
        return Ok(0);
    }
    // `u16::from_str` accepts a plus sign.
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits);
    port.ok_or_else(|| EndpointError::new(Field::Port, text, PORT))
}

pub(super) fn write_address(f: &mut fmt::Formatter<'_>, host: &Host, port: u16) -> fmt::Result {
    match port {
        0 => write!(f, "{host}:*"),
        port => write!(f, "{host}:{port}"),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_number(label: &str) -> bool {
    match label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"))
    {
        Some(digits) => digits.bytes().all(|octet| octet.is_ascii_hexdigit()),
        None => label.bytes().all(|octet| octet.is_ascii_digit()),
    }
}
