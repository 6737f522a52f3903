//! What a socket was given to prove who it is; the mechanism follows from it.

use std::sync::Arc;

use withy_proto::crypto::keys::{KeyPair, PublicKey};
use withy_proto::mechanism::{Handshake, Local, curve, null, plain};
use withy_proto::zmtp::metadata::Metadata;
use zeroize::Zeroizing;

use crate::auth::Authenticator;
use crate::driver::handshake::OsRandomness;

/// The mechanism of a socket and what it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) mechanism: Mechanism,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) allow_any_client: bool,
    pub(crate) domain: String,
    pub(crate) insecure: bool,
}

/// The mechanisms, with their keys.
#[derive(Debug, Clone, Default)]
pub(crate) enum Mechanism {
    #[default]
    Null,
    NullInRecords,
    PlainClient {
        username: Vec<u8>,
        password: Password,
    },
    PlainServer,
    CurveClient {
        keys: KeyPair,
        server: PublicKey,
    },
    CurveServer {
        keys: KeyPair,
    },
}

/// A password, which is never shown. At most [`plain::MAX_CREDENTIAL`] octets: the builder checks.
#[derive(Clone)]
pub(crate) struct Password(pub(crate) Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// A fresh CURVE key pair, drawn from the operating system's randomness.
pub fn generate_key_pair() -> KeyPair {
    KeyPair::generate(&mut OsRandomness)
}

impl Security {
    /// The name in the greeting.
    pub(crate) fn name(&self) -> &'static str {
        match &self.mechanism {
            Mechanism::Null => null::NAME,
            Mechanism::NullInRecords => null::RECORDS,
            Mechanism::PlainClient { .. } | Mechanism::PlainServer => plain::NAME,
            Mechanism::CurveClient { .. } | Mechanism::CurveServer { .. } => curve::NAME,
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(
            self.mechanism,
            Mechanism::PlainServer | Mechanism::CurveServer { .. }
        )
    }

    /// Whether others on the way can read what is sent.
    fn is_clear(&self) -> bool {
        !matches!(
            self.mechanism,
            Mechanism::CurveClient { .. } | Mechanism::CurveServer { .. }
        )
    }

    /// Whether this may be used with an endpoint that is, or is not, known to stay on this host:
    /// what can be read on the way stays here, unless the caller says `insecure`.
    pub(crate) fn permits(&self, is_local: bool) -> bool {
        self.insecure || !self.is_clear() || is_local
    }

    /// Starts the handshake of one connection.
    pub(crate) fn handshake(&self, metadata: Metadata, accepting: bool) -> Box<dyn Handshake> {
        // A server without an authenticator refuses all, unless it was told to accept any.
        let authenticate =
            self.authenticator.is_some() || (self.is_server() && !self.allow_any_client);
        let local = Local {
            metadata,
            domain: self.domain.clone(),
            authenticate,
            accepting,
        };
        match &self.mechanism {
            Mechanism::Null => Box::new(null::Null::new(local)),
            Mechanism::NullInRecords => Box::new(null::Null::in_records(local)),
            Mechanism::PlainClient { username, password } => {
                let client = plain::Client::new(local, &username[..], &password.0[..]);
                Box::new(client.expect("the builder checked the lengths"))
            }
            Mechanism::PlainServer => Box::new(plain::Server::new(local)),
            Mechanism::CurveClient { keys, server } => {
                Box::new(curve::Client::new(local, keys.clone(), *server))
            }
            Mechanism::CurveServer { keys } => Box::new(curve::Server::new(local, keys.clone())),
        }
    }
}
