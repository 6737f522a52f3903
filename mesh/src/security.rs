//! What a socket was given to prove who it is; the mechanism follows from it.

use std::sync::Arc;

use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::{KeyPair, PublicKey};
use withy_proto::mechanism::zap::{AuthRequest, Credentials, Decision};
use withy_proto::mechanism::{Handshake, Local, MECHANISMS, curve, noise, null, plain};
use withy_proto::trust::Shown;
use withy_proto::zmtp::metadata::Metadata;
use zeroize::Zeroizing;

use crate::auth::Authenticator;
use crate::driver::handshake::OsRandomness;
use crate::identity::{self, Identity};
use crate::trust::Trust;

/// The mechanism of a socket and what it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) mechanism: Mechanism,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) allow_any_client: bool,
    /// Whom we trust, where identities are proven.
    pub(crate) trust: Trust,
    /// Peers without post-quantum key agreement are let in, where identities are proven.
    pub(crate) allow_classical: bool,
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
    Noise(Identity),
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
            Mechanism::Noise(_) => noise::NAME,
        }
    }

    /// What the greeting says of us (RFC 37 §3.1, as-server): with NOISE, that the peer made the
    /// link.
    pub(crate) fn is_server(&self, accepting: bool) -> bool {
        match self.mechanism {
            Mechanism::PlainServer | Mechanism::CurveServer { .. } => true,
            Mechanism::Noise(_) => accepting,
            _ => false,
        }
    }

    /// Whether others on the way can read what is sent.
    fn is_clear(&self) -> bool {
        let ours = |row: &&withy_proto::mechanism::Mechanism| row.name == self.name();
        MECHANISMS.iter().find(ours).is_none_or(|row| row.clear)
    }

    /// Whether this may be used with an endpoint that is, or is not, known to stay on this host:
    /// what can be read on the way stays here, unless the caller says `insecure`.
    pub(crate) fn permits(&self, is_local: bool) -> bool {
        self.insecure || !self.is_clear() || is_local
    }

    /// Starts the handshake of one connection.
    pub(crate) fn handshake(&self, metadata: Metadata, accepting: bool) -> Box<dyn Handshake> {
        // A server without an authenticator refuses all, unless it was told to accept any; with
        // NOISE both sides are asked.
        let refuses = self.is_server(accepting) && !self.allow_any_client;
        let is_noise = matches!(self.mechanism, Mechanism::Noise(_));
        let authenticate = self.authenticator.is_some() || refuses || is_noise;
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
            Mechanism::Noise(identity) => self.noise(identity, local),
        }
    }

    fn noise(&self, identity: &Identity, local: Local) -> Box<dyn Handshake> {
        let now = identity::now();
        let settings = noise::Settings {
            keys: identity.noise().clone(),
            realms: self.trust.realms(identity.certificate(now)),
            allow_classical: self.allow_classical,
            classical: false,
            has_aes: has_aes(),
            expected: None,
            now,
        };
        let (provider, mut randomness) = (Provider::Real, OsRandomness);
        match local.accepting {
            true => Box::new(noise::Responder::new(
                local,
                settings,
                provider,
                &mut randomness,
            )),
            false => Box::new(noise::Initiator::new(
                local,
                settings,
                provider,
                &mut randomness,
            )),
        }
    }

    /// Answers what a handshake asks about its peer; `name` is what that was reached by. A peer that
    /// is not trusted is not put to the authenticator.
    pub(crate) async fn decide(&self, request: &AuthRequest, name: Option<&str>) -> Decision {
        if let (Mechanism::Noise(identity), Credentials::Noise(shown)) =
            (&self.mechanism, &request.credentials)
        {
            let peer = shown.identity;
            if let Err(why) = self.trust.admit(identity.id(), shown, name).await {
                return Decision::deny(format!("{peer} is {why}"));
            }
            if self.authenticator.is_none() {
                return Decision::accept(peer.to_string());
            }
        }
        match &self.authenticator {
            Some(authenticator) => authenticator.authenticate(request).await,
            None => Decision::deny("no authenticator, and no allow_any_client"),
        }
    }

    /// Waits until a connected peer is trusted no longer, and says why.
    pub(crate) async fn distrusted(&self, shown: &Shown, name: Option<&str>) -> String {
        match &self.mechanism {
            Mechanism::Noise(identity) => {
                let verdict = self.trust.lost(identity.id(), shown, name).await;
                format!("{} is {verdict}", shown.identity)
            }
            _ => std::future::pending().await,
        }
    }
}

/// Whether the processor has instructions for AES-GCM: it is the faster cipher then.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
