//! The client side of SOCKS5 (RFC 1928), CONNECT only, with no login or user and password (RFC 1929).
//!
//! Names go to the proxy as they are. What follows the proxy's reply is never read here.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use withy_proto::endpoint::{Host, Tcp};

use crate::options::Login;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why a SOCKS5 proxy did not make a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Socks5Error {
    /// The user name or password is not 1 to 255 octets long.
    #[error("a user name and a password have 1 to 255 octets each")]
    LoginLength,
    /// SOCKS5 has no way to ask for this host: a wildcard, or an address with a scope.
    #[error("a proxy cannot be asked for this host")]
    Host,
    /// The proxy wants a login that was not offered, or none that is known here.
    #[error("the proxy accepts no method of logging in that was offered")]
    NoMethod,
    /// The proxy does not accept the user name and password.
    #[error("the proxy refuses the user name and password")]
    LoginRefused,
    /// The proxy refuses to make the connection, or cannot; the number is the reply of RFC 1928 §6.
    #[error("the proxy replied {}", reply(*.0))]
    Refused(u8),
    /// What the proxy sent is not SOCKS5.
    #[error("the proxy does not speak SOCKS5")]
    Protocol,
    /// The connection to the proxy broke, or took too long.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Socks5Error {
    /// Whether trying again cannot help, since the options or the host are wrong here. What a proxy
    /// refuses today it may grant tomorrow: its own directory of users may be down.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::LoginLength | Self::Host => true,
            Self::NoMethod
            | Self::LoginRefused
            | Self::Refused(_)
            | Self::Protocol
            | Self::Io(_) => false,
        }
    }

    /// Whether the proxy says that nobody listens at the address.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(5))
    }
}

/// Asks a proxy for a connection; afterwards `stream` is that connection.
pub(crate) async fn request<S>(
    stream: &mut S,
    target: &Tcp,
    login: Option<&Login>,
) -> Result<(), Socks5Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connect = encode_connect(target)?;
    let login = login.map(encode_login).transpose()?;
    let methods: &[u8] = match login {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    stream.write_all(methods).await?;
    match (read(stream).await?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(login)) => {
            stream.write_all(&login).await?;
            match read(stream).await? {
                [LOGIN_VERSION, 0] => {}
                [LOGIN_VERSION, _] => return Err(Socks5Error::LoginRefused),
                _ => return Err(Socks5Error::Protocol),
            }
        }
        ([VERSION, _], _) => return Err(Socks5Error::NoMethod),
        _ => return Err(Socks5Error::Protocol),
    }
    stream.write_all(&connect).await?;
    let kind = match read(stream).await? {
        [VERSION, 0, _, kind] => kind,
        [VERSION, refused, ..] => return Err(Socks5Error::Refused(refused)),
        _ => return Err(Socks5Error::Protocol),
    };
    // The address that the proxy connects from says nothing that is of use here.
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<_, 1>(stream).await?[0]),
        _ => return Err(Socks5Error::Protocol),
    };
    let mut rest = [0; 255 + 2];
    stream.read_exact(&mut rest[..address + 2]).await?;
    Ok(())
}

async fn read<S: AsyncRead + Unpin, const N: usize>(stream: &mut S) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

fn encode_connect(target: &Tcp) -> Result<Vec<u8>, Socks5Error> {
    let mut request = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::V4(address) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Host::V6 {
            address,
            scope: None,
        } => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Host::Name(name) => {
            request.push(NAME);
            push_string(&mut request, name.as_str()).ok_or(Socks5Error::Host)?;
        }
        Host::Any | Host::V6 { .. } => return Err(Socks5Error::Host),
    }
    request.extend(target.port.to_be_bytes());
    Ok(request)
}

fn encode_login(login: &Login) -> Result<Vec<u8>, Socks5Error> {
    let mut request = vec![LOGIN_VERSION];
    push_string(&mut request, &login.user).ok_or(Socks5Error::LoginLength)?;
    push_string(&mut request, &login.password).ok_or(Socks5Error::LoginLength)?;
    Ok(request)
}

/// Appends a length octet and a string of 1 to 255 octets.
fn push_string(request: &mut Vec<u8>, text: &str) -> Option<()> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length > 0)?;
    request.push(length);
    request.extend(text.as_bytes());
    Some(())
}

fn reply(code: u8) -> String {
    let meaning = match code {
        1 => "general failure",
        2 => "the ruleset does not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "the time to live expired",
        7 => "the command is not supported",
        8 => "the kind of address is not supported",
        _ => return format!("{code}"),
    };
    format!("{code}, {meaning}")
}
