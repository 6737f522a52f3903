//! Sockets of one identity with a path between them.

use std::net::SocketAddr;

use withy::socket::Socket;
use withy::{Builder, Endpoint, Identity};
use withy_tests::path::{Path, Relay};

pub(crate) use withy_tests::deadline::soon;
pub(crate) use withy_tests::scale::percentile;

/// The identity of all sockets here.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: std::sync::LazyLock<Identity> = std::sync::LazyLock::new(Identity::ephemeral);
    &IDENTITY
}

/// A socket of that identity.
pub(crate) fn build<S: Socket>(builder: Builder<S>) -> S {
    builder.identity(identity()).build().unwrap()
}

/// A path to what is bound to `endpoint`, and the endpoint to connect to.
pub(crate) async fn over(endpoint: &Endpoint, path: Path, seed: u64) -> (Relay, String) {
    let relay = Relay::to(address(endpoint), path, seed).await.unwrap();
    let endpoint = format!("quic://{}", relay.address());
    (relay, endpoint)
}

/// The same path once more, to what is bound to another `endpoint`: both share its bandwidth.
pub(crate) async fn beside(relay: &Relay, endpoint: &Endpoint, seed: u64) -> (Relay, String) {
    let relay = relay.beside(address(endpoint), seed).await.unwrap();
    let endpoint = format!("quic://{}", relay.address());
    (relay, endpoint)
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.to_string()["quic://".len()..].parse().unwrap()
}
