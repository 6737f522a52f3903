//! QUIC: encrypted links between nodes that prove their keys, many on one connection.
//!
//! | module | its job |
//! |---|---|
//! | `tls`, `verifier`, `hybrid` | raw node keys and the post-quantum key agreement |
//! | `tag`, `socket`, `ids`, `budget` | silence towards strangers to the network, and little said to addresses that may be another's |
//! | `endpoint` | UDP sockets and the limits of connections |
//! | `dialling` | the sockets that connections are dialled from |
//! | `pool` | one connection for all dials to a node |
//! | `back` | links to a node over a connection that it made |
//! | `listener`, `left` | handshakes side by side, links in a queue, and addresses that were left |
//! | `guests`, `refusals` | who may stay at a listener, and who may not, counted |
//! | `wire`, `lease` | links on a connection, its end, and what closed links leave behind |
//! | `link` | the halves of a link |
//! | `streams`, `sort`, `chunk` | messages of a link over several streams |
//!
//! Whom a proven key belongs to is not judged here. Invariant: a link carries octets only between
//! two sides that have proven a node key.

mod back;
mod budget;
mod chunk;
mod dialling;
mod endpoint;
mod error;
mod guests;
mod hybrid;
mod ids;
mod lease;
mod left;
mod link;
mod listener;
mod pool;
mod refusals;
mod socket;
mod sort;
mod streams;
mod tag;
#[cfg(test)]
mod tests;
mod tls;
mod verifier;
mod wire;

use std::io;

use tokio::time::timeout;
use withy_proto::Endpoint;
use withy_proto::endpoint::{Host, Quic};

use crate::options::{DialOptions, ListenOptions};
use crate::{Connected, DialError, ListenError, Listener, WRONG_ROW, resolve, tcp};

pub use error::QuicError;
pub use lease::lingered;
pub use link::{QuicReader, QuicWriter};
pub(crate) use listener::Accepting;
pub use streams::{Streams, StreamsError};

pub(crate) async fn dial(
    endpoint: &Endpoint,
    options: &DialOptions,
) -> Result<Connected, DialError> {
    let target = dialable(endpoint)?;
    let Some(key) = options.quic.node_key.clone() else {
        let endpoint = endpoint.clone();
        return Err(DialError::NoNodeKey { endpoint });
    };
    let limit = options.connect_timeout;
    let addresses = resolve::remote(&target.host, target.port, limit).await;
    let addresses = addresses.map_err(|source| DialError::Resolve {
        host: target.host.to_string(),
        source,
    })?;
    let attempt = |remote| {
        let (key, options) = (key.clone(), options.quic.clone());
        async move {
            let attempt = timeout(limit, pool::dial(key, remote, options)).await;
            attempt.unwrap_or(Err(QuicError::Timeout))
        }
    };
    let reached = tcp::race(addresses, attempt).await;
    let (_, connected) = reached.map_err(|failures| DialError::Quic {
        endpoint: endpoint.clone(),
        failures,
    })?;
    Ok(connected)
}

pub(crate) async fn listen(
    endpoint: &Endpoint,
    options: &ListenOptions,
) -> Result<Listener, ListenError> {
    let wrong = |reason| ListenError::not_bindable(endpoint, reason);
    let quic = match endpoint {
        Endpoint::Quic(quic) if quic.peer.is_some() => {
            return Err(wrong("an id before the @ is for connecting"));
        }
        Endpoint::Quic(quic) => quic,
        _ => return Err(wrong(WRONG_ROW)),
    };
    let Some(key) = &options.quic.node_key else {
        let endpoint = endpoint.clone();
        return Err(ListenError::NoNodeKey { endpoint });
    };
    let ipv6 = options.tcp.ipv6;
    let addresses = resolve::local(&quic.host, quic.port, ipv6).await?;
    let begin = |address| {
        let accepting = Accepting::begin(address, key, &options.quic, ipv6, options.backlog)?;
        Ok(Listener {
            endpoint: Endpoint::Quic(accepting.local_addr()?.into()),
            accepting: crate::Accepting::Quic(accepting),
        })
    };
    let mut failed: io::Error = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match left::begin(address, begin).await {
            Ok(listener) => return Ok(listener),
            // Another address of the same name is no substitute for one that is taken.
            Err(error) => failed = error,
        }
        if failed.kind() != io::ErrorKind::AddrNotAvailable {
            break;
        }
    }
    Err(ListenError::from_io(endpoint, failed))
}

fn dialable(endpoint: &Endpoint) -> Result<&Quic, DialError> {
    let reason = match endpoint {
        Endpoint::Quic(Quic { port: 0, .. }) => "connecting needs a port",
        Endpoint::Quic(Quic {
            host: Host::Any, ..
        }) => "* is an address to bind to",
        Endpoint::Quic(quic) => return Ok(quic),
        _ => WRONG_ROW,
    };
    Err(DialError::not_dialable(endpoint, reason))
}
