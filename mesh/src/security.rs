//! What a socket was given to prove who it is; the mechanism follows from it.

use std::sync::Arc;

use withy_proto::mechanism::{Handshake, Local, null};
use withy_proto::zmtp::metadata::Metadata;

use crate::auth::Authenticator;

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
}

impl Security {
    /// The name in the greeting.
    pub(crate) fn name(&self) -> &'static str {
        match &self.mechanism {
            Mechanism::Null => null::NAME,
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        match &self.mechanism {
            Mechanism::Null => false,
        }
    }

    /// Whether others on the way can read what is sent.
    fn is_clear(&self) -> bool {
        match &self.mechanism {
            Mechanism::Null => true,
        }
    }

    /// Whether this may be used with an endpoint that is, or is not, known to stay on this host:
    /// what can be read on the way stays here, unless the caller says `insecure`.
    pub(crate) fn permits(&self, is_local: bool) -> bool {
        self.insecure || !self.is_clear() || is_local
    }

    /// Starts the handshake of one connection.
    pub(crate) fn handshake(&self, metadata: Metadata, accepting: bool) -> Box<dyn Handshake> {
        let authenticate = self.authenticator.is_some();
        let local = Local {
            metadata,
            domain: self.domain.clone(),
            authenticate,
            accepting,
        };
        match &self.mechanism {
            Mechanism::Null => Box::new(null::Null::new(local)),
        }
    }
}
