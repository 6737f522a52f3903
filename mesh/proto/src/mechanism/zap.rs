//! The question that a handshake puts to an authenticator and its answer, with the fields of
//! ZAP (RFC 27).

use std::fmt;

use super::Local;
use crate::trust::credentials::Shown;
use crate::zmtp::connection::IDENTITY;
use crate::zmtp::metadata::Metadata;

/// What a peer showed to prove who it is (RFC 27 §"Request").
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nothing.
    Null,
    /// A name and a password.
    Plain {
        /// The user name: octets, of most peers UTF-8.
        username: Vec<u8>,
        /// The password: octets, too.
        password: Vec<u8>,
    },
    /// A long-term public key, proven.
    Curve {
        /// The key.
        public_key: [u8; 32],
    },
    /// An identity and its node, proven.
    Noise(Box<Shown>),
}

impl Credentials {
    /// The name of the mechanism, as in the greeting.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Null => super::null::NAME,
            Self::Plain { .. } => super::plain::NAME,
            Self::Curve { .. } => super::curve::NAME,
            Self::Noise(_) => super::noise::NAME,
        }
    }
}

impl From<Shown> for Credentials {
    fn from(shown: Shown) -> Self {
        Self::Noise(Box::new(shown))
    }
}

impl fmt::Debug for Credentials {
    /// Never shows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Plain { username, .. } => f
                .debug_struct("Plain")
                .field("username", &format_args!("\"{}\"", username.escape_ascii()))
                .finish_non_exhaustive(),
            Self::Curve { public_key } => f
                .debug_struct("Curve")
                .field("public_key", &crate::z85::encode_key(public_key))
                .finish(),
            Self::Noise(shown) => f.debug_tuple("Noise").field(shown).finish(),
        }
    }
}

/// A question to an authenticator (RFC 27 §"Request").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// The ZAP domain of the socket.
    pub domain: String,
    /// The peer's network address; filled in by the driver.
    pub address: String,
    /// The peer's routing id, empty when it announced none (yet).
    pub identity: Vec<u8>,
    /// What the peer showed.
    pub credentials: Credentials,
}

impl AuthRequest {
    /// The question about a peer that showed credentials, and perhaps properties.
    pub(super) fn new(
        local: &Local,
        metadata: Option<&Metadata>,
        credentials: Credentials,
    ) -> Self {
        let identity = metadata.and_then(|metadata| metadata.value(IDENTITY));
        Self {
            domain: local.domain.clone(),
            address: String::new(),
            identity: identity.unwrap_or_default().to_vec(),
            credentials,
        }
    }
}

/// Who a peer is, in an authenticator's words (RFC 27 §"Reply").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Its name, the "User-Id" of libzmq; empty without an authenticator.
    pub id: String,
    /// What else is known of it.
    pub metadata: Metadata,
}

/// An authenticator's answer (RFC 27 §"Reply").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The peer may connect.
    Accept(User),
    /// The peer may not connect.
    Deny {
        /// 300 temporary, 400 refused, 500 internal error.
        status: u16,
        /// Why, for our log; never sent to the peer.
        text: String,
    },
}

impl Decision {
    /// Accepts the peer as `user_id`.
    pub fn accept(user_id: impl Into<String>) -> Self {
        Self::Accept(User {
            id: user_id.into(),
            metadata: Metadata::default(),
        })
    }

    /// Refuses the peer for good: status 400.
    pub fn deny(text: impl Into<String>) -> Self {
        Self::Deny {
            status: 400,
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_says_what_is_asked_about() {
        let local = super::super::testing::local("PULL", true);
        let mut metadata = Metadata::default();
        metadata.set(IDENTITY, "ada").unwrap();
        for (shown, identity) in [(Some(&metadata), "ada"), (None, "")] {
            let question = AuthRequest::new(&local, shown, Credentials::Null);
            assert_eq!(question.domain, local.domain);
            assert_eq!(question.identity, identity.as_bytes());
        }
    }
}
