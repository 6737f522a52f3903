//! What a socket was given to prove who it is; the mechanism follows from it.

use std::sync::Arc;

use withy_proto::Endpoint;
use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::{KeyPair, PublicKey};
use withy_proto::mechanism::party::Settings;
use withy_proto::mechanism::zap::{AuthRequest, Credentials, Decision};
use withy_proto::mechanism::{Handshake, Local, MECHANISMS, curve, noise, null, plain, quic};
use withy_proto::trust::{Membership, Shown};
use withy_proto::zmtp::Peer;
use withy_proto::zmtp::metadata::Metadata;
use withy_transports::{QuicOptions, Secret};
use zeroize::Zeroizing;

use crate::auth::Authenticator;
use crate::driver::handshake::{OsRandomness, Side};
use crate::error::Unfit;
use crate::event::PeerInfo;
use crate::identity::{self, Identity};
use crate::trust::Trust;

/// The mechanism of a socket and what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    pub(crate) mechanism: Mechanism,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) allow_any_client: bool,
    /// Whom we trust, where identities are proven.
    pub(crate) trust: Trust,
    /// Peers without post-quantum key agreement are let in, where identities are proven.
    pub(crate) allow_classical: bool,
    pub(crate) domain: Box<str>,
    pub(crate) insecure: bool,
}

/// The mechanisms, with their keys, which are boxed where few sockets have them.
#[derive(Debug, Clone, Default)]
pub(crate) enum Mechanism {
    #[default]
    Null,
    NullInRecords,
    PlainClient {
        username: Box<[u8]>,
        password: Box<Password>,
    },
    PlainServer,
    CurveClient {
        keys: Box<KeyPair>,
        server: Box<PublicKey>,
    },
    CurveServer {
        keys: Box<KeyPair>,
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

impl Default for Security {
    fn default() -> Self {
        Self {
            mechanism: Mechanism::default(),
            authenticator: None,
            allow_any_client: false,
            trust: Trust::shared(),
            allow_classical: false,
            domain: Box::default(),
            insecure: false,
        }
    }
}

impl Security {
    /// The mechanism of links that do not bring their own.
    pub(crate) fn name(&self) -> &'static str {
        match &self.mechanism {
            Mechanism::Null => null::NAME,
            Mechanism::NullInRecords => null::RECORDS,
            Mechanism::PlainClient { .. } | Mechanism::PlainServer => plain::NAME,
            Mechanism::CurveClient { .. } | Mechanism::CurveServer { .. } => curve::NAME,
            Mechanism::Noise(_) => noise::NAME,
        }
    }

    /// Whether others on the way can read what is sent.
    fn is_clear(&self) -> bool {
        let ours = |row: &&withy_proto::mechanism::Mechanism| row.name == self.name();
        MECHANISMS.iter().find(ours).is_none_or(|row| row.clear)
    }

    /// Whether an endpoint may be used that is, or is not, known to stay on this host: what can be
    /// read on the way stays here, unless the caller says `insecure`.
    pub(crate) fn permits(&self, endpoint: &Endpoint, is_local: bool) -> Result<(), Unfit> {
        if matches!(endpoint, Endpoint::Quic(_)) {
            return self.identity().map(|_| ());
        }
        if matches!(endpoint, Endpoint::Mesh(_)) {
            // The node's identity is shown, and nothing else.
            return match &self.mechanism {
                Mechanism::Null => Ok(()),
                _ => Err(Unfit::Mechanism(self.name())),
            };
        }
        match self.insecure || !self.is_clear() || is_local {
            true => Ok(()),
            false => Err(Unfit::Insecure(self.name())),
        }
    }

    /// Who we are on links that ask for an identity: by default the user.
    fn identity(&self) -> Result<Identity, Unfit> {
        match &self.mechanism {
            Mechanism::Noise(identity) => Ok(identity.clone()),
            Mechanism::Null => Identity::default().map_err(|error| Unfit::Identity(error.into())),
            _ => Err(Unfit::Mechanism(self.name())),
        }
    }

    /// What a QUIC endpoint has to know of us.
    pub(crate) fn quic(&self, options: &QuicOptions) -> Result<QuicOptions, Unfit> {
        let identity = self.identity()?;
        let mut options = options.clone();
        options.node_key = Some(identity.node_key().clone());
        options.allow_classical = self.allow_classical;
        options.networks = self.networks();
        Ok(options)
    }

    /// The secrets of the networks in which peers may be met now.
    pub(crate) fn networks(&self) -> Vec<Secret> {
        let secrets = self.trust.secrets();
        secrets.iter().map(|secret| (**secret).into()).collect()
    }

    /// The mechanism of a link and its handshake, ours to start.
    pub(crate) fn start(
        &self,
        metadata: Metadata,
        side: Side<'_>,
        peer: &withy_transports::Peer,
    ) -> Result<Started, Unfit> {
        let accepting = side.is_accepting();
        let mut local = Local {
            metadata,
            domain: self.domain.to_string(),
            authenticate: true,
            accepting,
        };
        if let Some(proven) = &peer.proven {
            let proof = quic::Proof {
                node: proven.key,
                post_quantum: proven.post_quantum,
                binding: proven.binding,
            };
            let mut settings = self.settings(&self.identity()?, side);
            // Both sides meet in one network: that which the dial named, if we are still in it.
            settings.realms.retain(|realm| match &proven.network {
                Some(secret) => realm.secret == Zeroizing::new(*secret.expose()),
                None => realm.network.is_none(),
            });
            let handshake = quic::Quic::new(local, settings, Provider::Real, proof);
            return Ok(Started {
                name: quic::NAME,
                is_server: accepting,
                handshake: Box::new(handshake),
            });
        }
        let is_server = match &self.mechanism {
            Mechanism::PlainServer | Mechanism::CurveServer { .. } => true,
            Mechanism::Noise(_) => accepting,
            _ => false,
        };
        // A server without an authenticator refuses all, unless it was told to accept any; with
        // NOISE both sides are asked.
        let is_noise = matches!(self.mechanism, Mechanism::Noise(_));
        local.authenticate =
            self.authenticator.is_some() || (is_server && !self.allow_any_client) || is_noise;
        let handshake: Box<dyn Handshake> = match &self.mechanism {
            Mechanism::Null => Box::new(null::Null::new(local)),
            Mechanism::NullInRecords => Box::new(null::Null::in_records(local)),
            Mechanism::PlainClient { username, password } => {
                let client = plain::Client::new(local, &username[..], &password.0[..]);
                Box::new(client.expect("the builder checked the lengths"))
            }
            Mechanism::PlainServer => Box::new(plain::Server::new(local)),
            Mechanism::CurveClient { keys, server } => {
                Box::new(curve::Client::new(local, (**keys).clone(), **server))
            }
            Mechanism::CurveServer { keys } => {
                Box::new(curve::Server::new(local, (**keys).clone()))
            }
            Mechanism::Noise(identity) => {
                let (settings, provider) = (self.settings(identity, side), Provider::Real);
                match accepting {
                    true => {
                        let randomness = &mut OsRandomness;
                        Box::new(noise::Responder::new(local, settings, provider, randomness))
                    }
                    false => {
                        let randomness = &mut OsRandomness;
                        Box::new(noise::Initiator::new(local, settings, provider, randomness))
                    }
                }
            }
        };
        Ok(Started {
            name: self.name(),
            is_server,
            handshake,
        })
    }

    fn settings(&self, identity: &Identity, side: Side<'_>) -> Settings {
        let now = identity::now();
        let realms = self.trust.realms(identity.certificate(now));
        Settings {
            allow_classical: self.allow_classical,
            has_aes: withy_transports::processor::has_aes(),
            expected: side.expected(),
            ..Settings::new(identity.noise().clone(), realms, now)
        }
    }

    /// Answers what a handshake asks about its peer, and says what confirms the peer's membership;
    /// `name` is what it was reached by. A peer that is not trusted is not put to the authenticator,
    /// and of one that it denies nothing is noted: no invitation is used up, and no name is pinned.
    pub(crate) async fn decide(
        &self,
        request: &AuthRequest,
        name: Option<&str>,
    ) -> (Decision, Option<Membership>) {
        let Credentials::Noise(shown) = &request.credentials else {
            let deny = || Decision::deny("no authenticator, and no allow_any_client");
            let decision = self.authenticate(request).await;
            return (decision.unwrap_or_else(deny), None);
        };
        let decided = self.decide_on(shown, request, name).await;
        decided.unwrap_or_else(|why| (Decision::deny(why), None))
    }

    /// As [`decide`](Self::decide), where the peer proved an identity; why it is denied as an error.
    async fn decide_on(
        &self,
        shown: &Shown,
        request: &AuthRequest,
        name: Option<&str>,
    ) -> Result<(Decision, Option<Membership>), String> {
        let identity = self.identity();
        let us = identity.map_err(|_| "this side has no identity")?.id();
        let peer = shown.identity;
        let untrusted = |why| format!("{peer} is {why}");
        let verdict = self.trust.judge(us, shown, name, identity::now());
        if !verdict.is_trusted() {
            return Err(untrusted(verdict.to_string()));
        }
        let decision = self.authenticate(request).await;
        let decision = decision.unwrap_or_else(|| Decision::accept(peer.to_string()));
        if matches!(decision, Decision::Deny { .. }) {
            return Ok((decision, None));
        }
        let confirmed = self.trust.admit(us, shown, name).await.map_err(untrusted)?;
        Ok((decision, confirmed))
    }

    async fn authenticate(&self, request: &AuthRequest) -> Option<Decision> {
        match &self.authenticator {
            Some(authenticator) => Some(authenticator.authenticate(request).await),
            None => None,
        }
    }

    /// Takes what a peer says confirms our membership in the network in which it was met.
    pub(crate) async fn confirmed(&self, peer: &mut Peer) {
        let proven = peer.proven.as_ref();
        let network = proven.and_then(|proven| proven.shown.network());
        if let (Some(octets), Some(network)) = (peer.confirmation.take(), network) {
            self.trust.confirmed(network, octets).await;
        }
    }

    /// Waits until a connected peer is trusted no longer, and says why.
    pub(crate) async fn distrusted(&self, peer: Arc<PeerInfo>, endpoint: &Endpoint) -> String {
        let (Ok(identity), Some(proven)) = (self.identity(), &peer.proven) else {
            return std::future::pending().await;
        };
        let (us, shown) = (identity.id(), &proven.shown);
        let name = || (!peer.accepted).then(|| endpoint.to_string());
        let verdict = self.trust.lost(us, shown, name).await;
        format!("{} is {verdict}", shown.identity)
    }
}

/// A handshake that starts, and what our greeting says of it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) name: &'static str,
    pub(crate) is_server: bool,
    pub(crate) handshake: Box<dyn Handshake>,
}
