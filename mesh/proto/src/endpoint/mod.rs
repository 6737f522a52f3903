//! Where a socket binds or connects: parsed once, printed back, never resolved here.
//!
//! ```text
//!  tcp://HOST:PORT              HOST = IPv4, [IPv6], [IPv6%INTERFACE], host name, interface name, *
//!  tcp://SOURCE:PORT;HOST:PORT  connect only: the local address to dial from
//!  quic://HOST:PORT  quic://ID@HOST:PORT    over UDP; ID is the identity or node expected there
//!  ipc:///path  ipc://@name  ipc://*     a path, an abstract name, a fresh path of its own
//!  inproc://name                a name within this process
//!  mesh://name                  a name on the mesh
//!  relay://TAG                  the way through a relay of the mesh, which nodes choose by themselves
//!  fd://3                       bind only: an inherited listening socket, by descriptor number
//!  systemd://name  systemd://name:1      bind only: one passed in LISTEN_FDS, by LISTEN_FDNAMES
//! ```
//!
//! Which of these make sense to bind and which to connect is for the transports to say.
//! Invariant: printing an endpoint and parsing the text gives the same endpoint.

mod error;
mod quic;
mod tcp;

use core::net::SocketAddr;
use std::fmt;
use std::str::FromStr;

pub use error::{EndpointError, Field};
pub use quic::Quic;
pub use tcp::{Host, Source, Tcp};

/// Where a socket binds or connects.
///
/// # Examples
///
/// ```
/// use withy_proto::Endpoint;
///
/// let endpoint: Endpoint = "tcp://127.0.0.1:5555".parse()?;
/// assert_eq!(endpoint.scheme(), "tcp");
/// assert!(endpoint.is_local());
/// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:5555");
///
/// let error = "tcp://127.0.0.1:http".parse::<Endpoint>().unwrap_err();
/// assert_eq!(error.text(), "http");
/// # Ok::<(), withy_proto::endpoint::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `tcp://`: a TCP address.
    Tcp(Tcp),
    /// `quic://`: a UDP address, and who is expected there.
    Quic(Quic),
    /// `ipc://`: a Unix domain socket.
    Ipc(Ipc),
    /// `inproc://`: a name within this process.
    Inproc(Text),
    /// `mesh://`: a name that nodes resolve, and encrypt the way to.
    Mesh(Text),
    /// `relay://`: the way through a relay, by the 32 hexadecimal digits that nodes know it by. Nodes take
    /// it by themselves where no other leads to a peer; no socket binds or connects there.
    Relay(Text),
    /// `fd://` and `systemd://`: a listening socket that another program opened.
    Inherited(Inherited),
}

/// The address of an `ipc` endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ipc {
    /// `*`: a fresh path, chosen when the socket binds.
    Any,
    /// A path in the file system; a relative one starts at the working directory.
    Path(Text),
    /// A name in Linux's abstract namespace, without the leading `@`; no file permissions protect it.
    Abstract(Text),
}

/// Which inherited listening socket is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Inherited {
    /// The socket with this descriptor number.
    Descriptor(u32),
    /// A socket that the service manager passed in `LISTEN_FDS`.
    Systemd {
        /// Its name in `LISTEN_FDNAMES`.
        name: Text,
        /// Which of the sockets of that name, from 0; without it there must be exactly one.
        index: Option<u32>,
    },
}

/// A name or path that was checked when its endpoint was parsed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Box<str>);

/// Whether traffic with an endpoint stays on this machine, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locality {
    /// It does: a loopback address, `localhost`, `ipc` or `inproc`.
    Local,
    /// It may not: any other address, a wildcard, a host or interface name.
    Remote,
    /// The text does not tell: an inherited socket has an address that only its holder can see, and a
    /// name may be anywhere.
    Unknown,
}

impl Endpoint {
    /// The longest endpoint text, in octets.
    pub const MAX_LEN: usize = 1024;
    /// The longest name of an `inproc` endpoint, in octets.
    pub const MAX_INPROC: usize = 255;
    /// The longest name of a `mesh` endpoint, in octets.
    pub const MAX_MESH: usize = 127;

    /// The scheme, without `://`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Quic(_) => "quic",
            Self::Ipc(_) => "ipc",
            Self::Inproc(_) => "inproc",
            Self::Mesh(_) => "mesh",
            Self::Relay(_) => "relay",
            Self::Inherited(Inherited::Descriptor(_)) => "fd",
            Self::Inherited(Inherited::Systemd { .. }) => "systemd",
        }
    }

    /// Whether traffic with this endpoint stays on this machine.
    ///
    /// Decided from the text alone, without resolving anything. A proxy, if one is set, is not
    /// taken into account.
    pub fn locality(&self) -> Locality {
        match self {
            Self::Tcp(tcp) => tcp.locality(),
            Self::Quic(quic) => quic.locality(),
            Self::Ipc(_) | Self::Inproc(_) => Locality::Local,
            Self::Relay(_) => Locality::Remote,
            Self::Inherited(_) | Self::Mesh(_) => Locality::Unknown,
        }
    }

    /// Whether the traffic is known to stay on this machine: [`Locality::Local`].
    pub fn is_local(&self) -> bool {
        self.locality() == Locality::Local
    }

    fn parse(text: &str) -> Result<Self, EndpointError> {
        if text.len() > Self::MAX_LEN {
            return Err(EndpointError::new(
                Field::Length,
                text,
                "at most 1024 octets",
            ));
        }
        let wrong = |scheme| {
            let expected = "tcp://, quic://, ipc://, inproc://, mesh://, fd:// or systemd://";
            EndpointError::new(Field::Scheme, scheme, expected)
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(text))?;
        match scheme {
            "tcp" => Tcp::parse(rest).map(Self::Tcp),
            "quic" => Quic::parse(rest).map(Self::Quic),
            "ipc" => Ipc::parse(rest).map(Self::Ipc),
            "inproc" => parse_inproc(rest).map(Self::Inproc),
            "mesh" => parse_mesh(rest).map(Self::Mesh),
            "relay" => parse_relay(rest).map(Self::Relay),
            "fd" => Inherited::parse_descriptor(rest).map(Self::Inherited),
            "systemd" => Inherited::parse_systemd(rest).map(Self::Inherited),
            _ => Err(wrong(scheme)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        match self {
            Self::Tcp(tcp) => write!(f, "{tcp}"),
            Self::Quic(quic) => write!(f, "{quic}"),
            Self::Ipc(Ipc::Any) => f.write_str("*"),
            Self::Ipc(Ipc::Path(path)) => write!(f, "{path}"),
            Self::Ipc(Ipc::Abstract(name)) => write!(f, "@{name}"),
            Self::Inproc(name) | Self::Mesh(name) | Self::Relay(name) => write!(f, "{name}"),
            Self::Inherited(Inherited::Descriptor(number)) => write!(f, "{number}"),
            Self::Inherited(Inherited::Systemd { name, index: None }) => write!(f, "{name}"),
            Self::Inherited(Inherited::Systemd {
                name,
                index: Some(index),
            }) => write!(f, "{name}:{index}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text).map_err(|error| error.of(text))
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<&Self> for Endpoint {
    fn from(endpoint: &Self) -> Self {
        endpoint.clone()
    }
}

/// The `tcp` endpoint of an address.
impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.into())
    }
}

impl Ipc {
    fn parse(text: &str) -> Result<Self, EndpointError> {
        let bad = |text: &str| text.is_empty() || text.contains('\0');
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix('@') {
            let expected = "a name after the @, without NUL";
            return match bad(name) {
                true => Err(EndpointError::new(Field::Name, name, expected)),
                false => Ok(Self::Abstract(Text::new(name))),
            };
        }
        let expected = "a path without NUL, @NAME, or * for a fresh path";
        match bad(text) {
            true => Err(EndpointError::new(Field::Path, text, expected)),
            false => Ok(Self::Path(Text::new(text))),
        }
    }
}

impl Inherited {
    /// The longest name of a `systemd` endpoint, in octets (`sd_listen_fds_with_names(3)`).
    const MAX_NAME: usize = 255;

    fn parse_descriptor(text: &str) -> Result<Self, EndpointError> {
        parse_number(text).map(Self::Descriptor)
    }

    fn parse_systemd(text: &str) -> Result<Self, EndpointError> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(parse_number(index)?)),
            None => (text, None),
        };
        let printable = name.bytes().all(|octet| (b' '..0x7f).contains(&octet));
        if name.is_empty() || name.len() > Self::MAX_NAME || !printable {
            let expected = "1 to 255 printable ASCII characters, as in LISTEN_FDNAMES";
            return Err(EndpointError::new(Field::Name, name, expected));
        }
        let name = Text::new(name);
        Ok(Self::Systemd { name, index })
    }
}

impl Text {
    fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_inproc(text: &str) -> Result<Text, EndpointError> {
    if text.is_empty() || text.len() > Endpoint::MAX_INPROC {
        let expected = "a name of 1 to 255 octets";
        return Err(EndpointError::new(Field::Name, text, expected));
    }
    Ok(Text::new(text))
}

fn parse_mesh(text: &str) -> Result<Text, EndpointError> {
    let fits = (1..=Endpoint::MAX_MESH).contains(&text.len());
    if !fits || text.chars().any(char::is_control) {
        let expected = "a name of 1 to 127 octets without control characters";
        return Err(EndpointError::new(Field::Name, text, expected));
    }
    Ok(Text::new(text))
}

fn parse_relay(text: &str) -> Result<Text, EndpointError> {
    let digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 32 || !text.bytes().all(digit) {
        let expected = "the 32 hexadecimal digits of a relay";
        return Err(EndpointError::new(Field::Name, text, expected));
    }
    Ok(Text::new(text))
}

/// Parses a descriptor number or index: a C `int` that is not negative.
fn parse_number(text: &str) -> Result<u32, EndpointError> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let number = text.parse().ok();
    let number = number.filter(|number| digits && *number <= i32::MAX as u32);
    let wrong = || EndpointError::new(Field::Number, text, "a number from 0 to 2147483647");
    number.ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
