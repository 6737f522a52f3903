//! TCP: dialling all addresses of a name, listening, accepting.
//!
//! Names are resolved when a dial or a listener begins, never later.

use std::io;
use std::net::{self, SocketAddr};
use std::panic;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use withy_proto::Endpoint;
use withy_proto::endpoint::{Host, Tcp};

use crate::options::{DialOptions, ListenOptions, TcpOptions};
use crate::{AcceptError, Connected, DialError, ListenError, Listener, Peer};
use crate::{WRONG_ROW, resolve, sockopt, socks5};

/// How long an attempt at one address runs alone before the next begins (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

pub(crate) async fn dial(
    endpoint: &Endpoint,
    options: &DialOptions,
) -> Result<Connected, DialError> {
    let target = dialable(endpoint)?;
    let Some(socks5) = &options.socks5 else {
        let (address, (stream, local)) = reach(endpoint, target, options).await?;
        return Ok(connected(stream, local, address.to_string()));
    };
    let mut proxy = dialable(&socks5.proxy)?.clone();
    proxy.source = proxy.source.or_else(|| target.source.clone());
    let (_, (mut stream, local)) = reach(&socks5.proxy, &proxy, options).await?;
    let request = socks5::request(&mut stream, target, socks5.login.as_ref());
    let done = timeout(options.connect_timeout, request).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    done.map_err(|source| DialError::Proxy {
        endpoint: endpoint.clone(),
        source,
    })?;
    let peer = format!("{}:{}", target.host, target.port);
    Ok(connected(stream, local, peer))
}

pub(crate) async fn listen(
    endpoint: &Endpoint,
    options: &ListenOptions,
) -> Result<Listener, ListenError> {
    let wrong = |reason| ListenError::not_bindable(endpoint, reason);
    let tcp = match endpoint {
        Endpoint::Tcp(tcp) if tcp.source.is_some() => {
            return Err(wrong("a source address is for connecting"));
        }
        Endpoint::Tcp(tcp) => tcp,
        _ => return Err(wrong(WRONG_ROW)),
    };
    let addresses = resolve::local(&tcp.host, tcp.port, options.tcp.ipv6).await?;
    let io = |error| ListenError::from_io(endpoint, error);
    let mut addresses = addresses.into_iter().peekable();
    loop {
        let error = match addresses.next() {
            None => io::ErrorKind::AddrNotAvailable.into(),
            Some(address) => match bind(address, options) {
                Ok(listener) => return Accepting::begin(listener, &options.tcp).map_err(io),
                Err(error) => error,
            },
        };
        // Another address of the same name is no substitute for one that is taken.
        let absent = error.kind() == io::ErrorKind::AddrNotAvailable;
        if !absent || addresses.peek().is_none() {
            return Err(io(error));
        }
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub(crate) struct Accepting {
    listener: TcpListener,
    /// At which all peers arrive, unless it is a wildcard.
    local: SocketAddr,
    options: TcpOptions,
}

impl Accepting {
    fn begin(listener: TcpListener, options: &TcpOptions) -> io::Result<Listener> {
        let local = listener.local_addr()?;
        let options = options.clone();
        let accepting = Self {
            listener,
            local,
            options,
        };
        Ok(Listener {
            endpoint: local.into(),
            accepting: crate::Accepting::Tcp(accepting),
        })
    }

    /// Takes over a socket that listens already.
    pub(crate) fn inherit(
        listener: net::TcpListener,
        options: &TcpOptions,
    ) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Self::begin(TcpListener::from_std(listener)?, options)
    }

    pub(crate) async fn accept(&mut self) -> Result<Connected, AcceptError> {
        let (stream, address) = self.listener.accept().await?;
        // Options that cannot be set say that the connection is gone already.
        sockopt::connected(&SockRef::from(&stream), &self.options)
            .map_err(AcceptError::Transient)?;
        let local = match self.local.ip().is_unspecified() {
            true => stream.local_addr().map_err(AcceptError::Transient)?,
            false => self.local,
        };
        Ok(connected(stream, local, canonical(address)))
    }
}

fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = new_socket(&address)?;
    let reference = SockRef::from(&socket);
    sockopt::prepare(&reference, address.is_ipv6(), &options.tcp)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        reference.set_only_v6(!options.tcp.ipv6)?;
    }
    // Lets a restarted program bind while connections of the last run are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(options.backlog)
}

fn dialable(endpoint: &Endpoint) -> Result<&Tcp, DialError> {
    let reason = match endpoint {
        Endpoint::Tcp(Tcp { port: 0, .. }) => "connecting needs a port",
        Endpoint::Tcp(Tcp {
            host: Host::Any, ..
        }) => "* is an address to bind to",
        Endpoint::Tcp(tcp) => return Ok(tcp),
        _ => "it is no tcp endpoint",
    };
    Err(DialError::not_dialable(endpoint, reason))
}

/// Connects to the first address of a host that answers.
async fn reach(
    endpoint: &Endpoint,
    target: &Tcp,
    options: &DialOptions,
) -> Result<(SocketAddr, (TcpStream, SocketAddr)), DialError> {
    let resolve = |host: &Host| {
        let host = host.to_string();
        |source| DialError::Resolve { host, source }
    };
    let limit = options.connect_timeout;
    let mut addresses = resolve::remote(&target.host, target.port, limit)
        .await
        .map_err(resolve(&target.host))?;
    let mut sources = Vec::new();
    if let Some(source) = &target.source {
        sources = resolve::source(&source.host, source.port, options.tcp.ipv6)
            .map_err(resolve(&source.host))?;
        addresses.retain(|it| {
            sources
                .iter()
                .any(|source| resolve::same_family(it, source))
        });
    }
    let attempt = |address| {
        let source = sources
            .iter()
            .find(|it| resolve::same_family(it, &address))
            .copied();
        let options = options.tcp.clone();
        async move {
            let attempt = timeout(limit, connect(address, source, &options)).await;
            attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    };
    race(addresses, attempt)
        .await
        .map_err(|failures| DialError::Unreachable {
            endpoint: endpoint.clone(),
            failures,
        })
}

/// Starts one attempt after the other, each when the last one failed or let [`STAGGER`] pass, until
/// one succeeds. Dropping the future ends them all.
pub(crate) async fn race<T: Send + 'static, E: Send + 'static, F>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, T), Vec<(SocketAddr, E)>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    if let [address] = addresses[..] {
        // The rule, and it needs no task: nobody runs beside it.
        let made = attempt(address).await;
        return made
            .map(|made| (address, made))
            .map_err(|failure| vec![(address, failure)]);
    }
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            let attempt = attempt(address);
            attempts.spawn(async move { (address, attempt.await) });
        }
        let ended = match waiting.len() {
            0 => attempts.join_next().await,
            _ => match timeout(STAGGER, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            None => return Err(failures),
            Some(Ok((address, Ok(stream)))) => return Ok((address, stream)),
            Some(Ok((address, Err(error)))) => failures.push((address, error)),
            Some(Err(error)) => match error.try_into_panic() {
                Ok(payload) => panic::resume_unwind(payload),
                // The runtime is shutting down.
                Err(_) => return Err(failures),
            },
        }
    }
}

async fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    options: &TcpOptions,
) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = new_socket(&address)?;
    sockopt::prepare(&SockRef::from(&socket), address.is_ipv6(), options)?;
    if let Some(source) = source {
        socket.set_reuseaddr(source.port() != 0)?;
        socket.bind(source)?;
    }
    let stream = socket.connect(address).await?;
    // On loopback a dial to a port that nobody listens on may draw that port as its own and reach
    // itself (RFC 9293 §3.5, simultaneous open).
    let local = stream.local_addr()?;
    if local == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    sockopt::connected(&SockRef::from(&stream), options)?;
    Ok((stream, local))
}

fn new_socket(address: &SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn connected(stream: TcpStream, local: SocketAddr, address: String) -> Connected {
    Connected {
        local: canonical(local),
        peer: Peer {
            address,
            ..Peer::default()
        },
        link: stream.into(),
    }
}

/// An address as text; an IPv4 peer of a dual-stack listener looks like one.
pub(crate) fn canonical(mut address: SocketAddr) -> String {
    address.set_ip(address.ip().to_canonical());
    address.to_string()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|it| SocketAddr::from(([127, 0, 0, it], 1)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_lets_the_next_one_begin() {
        let begin = Instant::now();
        let attempt = |address: SocketAddr| async move {
            if address.ip().to_string() != "127.0.0.3" {
                pending::<()>().await;
            }
            Ok::<_, io::Error>(Instant::now())
        };
        let (address, started) = race(addresses(3), attempt).await.unwrap();
        assert_eq!(address, addresses(3)[2]);
        let waited = started - begin;
        assert!(waited >= 2 * STAGGER && waited < 3 * STAGGER, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_address_is_followed_by_the_next_at_once() {
        let begin = Instant::now();
        let attempt = |_| async { Err::<(), _>(io::ErrorKind::ConnectionRefused) };
        for many in [0, 1, 4] {
            let failures = race(addresses(many), attempt).await.unwrap_err();
            assert_eq!(failures.len(), usize::from(many));
        }
        assert!(begin.elapsed() < STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_of_two_addresses_still_counts() {
        let attempt = |address: SocketAddr| async move {
            let first = address == addresses(1)[0];
            tokio::time::sleep(if first { 2 * STAGGER } else { 60 * STAGGER }).await;
            Ok::<_, io::Error>(())
        };
        let (address, ()) = race(addresses(2), attempt).await.unwrap();
        assert_eq!(address, addresses(1)[0]);
    }

    #[test]
    fn a_mapped_address_looks_like_what_it_is() {
        let address = |text: &str| canonical(text.parse().unwrap());
        assert_eq!(address("[::ffff:127.0.0.1]:5"), "127.0.0.1:5");
        assert_eq!(address("[::1]:5"), "[::1]:5");
    }
}
