//! Sockets of one identity with a path between them.

use std::time::Duration;

use withy::socket::Socket;
use withy::{Builder, Endpoint, Identity};
use withy_tests::path::{Path, Relay};

pub(crate) use withy_tests::deadline::soon;

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
    let address = endpoint.to_string();
    let address = address["quic://".len()..].parse().unwrap();
    let relay = Relay::to(address, path, seed).await.unwrap();
    let endpoint = format!("quic://{}", relay.address());
    (relay, endpoint)
}

/// That of sorted figures which so many of a hundred are not above.
pub(crate) fn percentile(sorted: &[Duration], of_hundred: usize) -> Duration {
    sorted[(sorted.len() - 1) * of_hundred / 100]
}
