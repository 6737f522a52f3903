//! The type and the limits of a socket under attack, and whom it lets in.

use std::time::Duration;

use withy::auth::{AuthRequest, Authenticator, Credentials, Deciding, Decision};
use withy::options::{Batching, ConnectionLimits};
use withy::socket::Socket;
use withy::{Builder, Identity, KeyPair, SocketType, generate_key_pair};

/// The handshake deadline of a socket under attack.
pub(crate) const HANDSHAKE: Duration = Duration::from_millis(500);

/// The identity of a socket with NOISE, and of its good peers.
pub(crate) const SEED: [u8; 32] = *b"the identity that is under siege";

/// The user whom a PLAIN server knows, and the password.
pub(crate) const USER: (&str, &str) = ("ada", "secret");

/// The type and the limits of a socket under attack.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) kind: SocketType,
    /// The keys of a CURVE server.
    pub(crate) keys: Option<KeyPair>,
    /// A PLAIN server, which knows one user.
    pub(crate) plain: bool,
    /// A node of the identity of [`SEED`].
    pub(crate) noise: bool,
    pub(crate) max_handshakes: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) max_parts: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_topic: usize,
}

impl Config {
    /// Whose good peers get through though the attack leaves little of the machine.
    pub(crate) fn patient(kind: SocketType) -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            ..Self::new(kind)
        }
    }

    pub(crate) fn new(kind: SocketType) -> Self {
        Self {
            kind,
            keys: None,
            plain: false,
            noise: false,
            max_handshakes: 1_024,
            handshake_timeout: HANDSHAKE,
            max_message_size: 64 << 20,
            max_parts: 1_024,
            max_subscriptions: 100_000,
            max_topic: 64 << 10,
        }
    }

    /// A CURVE server that takes every client.
    pub(crate) fn curve(kind: SocketType) -> Self {
        Self {
            keys: Some(generate_key_pair()),
            ..Self::new(kind)
        }
    }

    /// A PLAIN server that takes [`USER`].
    pub(crate) fn plain(kind: SocketType) -> Self {
        Self {
            plain: true,
            ..Self::new(kind)
        }
    }

    /// With NOISE, among nodes of one identity.
    pub(crate) fn noise(kind: SocketType) -> Self {
        Self {
            noise: true,
            ..Self::new(kind)
        }
    }

    /// The name in its greeting.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self {
            Self { keys: Some(_), .. } => "CURVE",
            Self { plain: true, .. } => "PLAIN",
            Self { noise: true, .. } => "NOISE",
            _ => "NULL",
        }
    }

    pub(super) fn apply<S: Socket>(&self, mut builder: Builder<S>) -> Builder<S> {
        if self.noise {
            builder = builder.identity(&Identity::from_seed(&SEED));
        } else if let Some(keys) = &self.keys {
            builder = builder.curve_server(keys.clone()).allow_any_client();
        } else if self.plain {
            builder = builder.plain_server().authenticator(OneUser);
        }
        builder
            .connection_limits(ConnectionLimits {
                max_handshakes: self.max_handshakes,
                handshake_timeout: self.handshake_timeout,
                ..ConnectionLimits::default()
            })
            .max_message_size(self.max_message_size)
            .max_parts(self.max_parts)
            .batching(batching())
    }
}

/// How many octets the socket reads and writes at a time, where that is not left to it: `WITHY_BATCH`.
fn octets() -> Option<usize> {
    let octets = std::env::var("WITHY_BATCH").ok()?;
    Some(octets.parse().unwrap())
}

/// How much the socket reads and writes at a time; whoever sends writes at once, where it is given.
fn batching() -> Batching {
    octets().map_or_else(Batching::default, |octets| Batching {
        read: octets,
        write: octets,
        at_once: true,
    })
}

/// What a duration becomes with a socket that makes a system call for each octet or few.
pub(crate) fn patiently(duration: Duration) -> Duration {
    match octets() {
        Some(..64) => duration * 10,
        _ => duration,
    }
}

#[derive(Debug)]
struct OneUser;

impl Authenticator for OneUser {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        Box::pin(async move {
            match &request.credentials {
                Credentials::Plain { username, password }
                    if username == USER.0.as_bytes() && password == USER.1.as_bytes() =>
                {
                    Decision::accept(USER.0)
                }
                _ => Decision::deny("another user"),
            }
        })
    }
}
