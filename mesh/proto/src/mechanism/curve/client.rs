//! The client's side of the CURVE handshake: HELLO, INITIATE.

use std::fmt;

use super::message::{Side, split};
use super::{
    COOKIE, Fields, HELLO, HELLO_NONCE, INITIATE_NONCE, KEY, LONG_NONCE, PADDING, READY_NONCE,
    SIGNATURE, VERSION, VOUCH_NONCE, WELCOME, WELCOME_NONCE, draw, long_nonce, short_nonce,
};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::crypto::nacl::BoxKey;
use crate::crypto::{Provider, Randomness};
use crate::mechanism::zap::{AuthRequest, Decision, User};
use crate::mechanism::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Sealer, command, split_command,
    unexpected,
};
use crate::zmtp::metadata::Metadata;

/// The client's side of a CURVE handshake.
///
/// It never asks an authenticator: the server proves its key in WELCOME.
pub struct Client {
    local: Local,
    keys: KeyPair,
    server: PublicKey,
    provider: Provider,
    /// The last nonce that we used.
    nonce: u64,
    state: State,
}

enum State {
    HelloDue,
    AwaitWelcome {
        /// c', C'.
        ours: KeyPair,
        /// Between C' and S.
        key: BoxKey,
    },
    InitiateDue {
        /// C'.
        ours: PublicKey,
        /// Between C' and S'.
        key: BoxKey,
        /// Between C and S'.
        vouch_key: BoxKey,
        cookie: [u8; COOKIE],
    },
    AwaitReady {
        key: BoxKey,
    },
    Complete {
        key: BoxKey,
        metadata: Metadata,
        /// The last nonce of the server.
        peer_nonce: u64,
    },
    Failed,
}

impl Client {
    /// Starts a handshake with the server that holds the secret key of `server`.
    ///
    /// With a [weak](PublicKey::is_weak) server key no HELLO is ever sent.
    pub fn new(local: Local, keys: KeyPair, server: PublicKey) -> Self {
        Self {
            local,
            keys,
            server,
            provider: Provider::Real,
            nonce: 0,
            state: State::HelloDue,
        }
    }

    /// Turns encryption off, for fuzzers and simulators: a box becomes 16 zeros and the plaintext,
    /// which anybody can read and make.
    #[must_use]
    pub fn danger_null(mut self) -> Self {
        self.provider = Provider::DangerNull;
        self
    }

    /// Lets the next vouch name another server than the one that is spoken to.
    #[cfg(test)]
    pub(super) fn set_vouched_server(&mut self, server: PublicKey) {
        self.server = server;
    }

    fn hello(&mut self, randomness: &mut dyn Randomness) -> Option<Vec<u8>> {
        let ours = self.provider.key_pair(randomness);
        let key = self.provider.agree(ours.secret(), &self.server)?;
        self.nonce += 1;
        let mut data = Vec::with_capacity(HELLO);
        data.extend_from_slice(&VERSION);
        data.extend_from_slice(&[0; PADDING]);
        data.extend_from_slice(ours.public().as_octets());
        data.extend_from_slice(&self.nonce.to_be_bytes());
        let nonce = short_nonce(HELLO_NONCE, self.nonce);
        data.extend_from_slice(&key.seal(&nonce, &[0; SIGNATURE]));
        self.state = State::AwaitWelcome { ours, key };
        Some(command("HELLO", &data))
    }

    fn handle_welcome(
        &self,
        data: &[u8],
        ours: &KeyPair,
        key: &BoxKey,
    ) -> Result<State, HandshakeError> {
        let refused = HandshakeError::Crypto { command: "WELCOME" };
        if data.len() != WELCOME {
            return Err(HandshakeError::Malformed {
                command: "WELCOME",
                reason: "it does not have 168 octets",
            });
        }
        let mut fields = Fields {
            rest: data,
            command: "WELCOME",
        };
        let nonce = long_nonce(WELCOME_NONCE, fields.take()?);
        let plaintext = key
            .open(&nonce, fields.rest)
            .ok_or_else(|| refused.clone())?;
        fields.rest = &plaintext;
        let theirs = PublicKey::from_octets(*fields.take::<KEY>()?);
        let cookie = *fields.take()?;
        let agree = |ours: &KeyPair| self.provider.agree(ours.secret(), &theirs);
        Ok(State::InitiateDue {
            ours: ours.public(),
            key: agree(ours).ok_or_else(|| refused.clone())?,
            vouch_key: agree(&self.keys).ok_or(refused)?,
            cookie,
        })
    }

    fn initiate(
        &mut self,
        randomness: &mut dyn Randomness,
        ours: &PublicKey,
        key: &BoxKey,
        vouch_key: &BoxKey,
        cookie: &[u8; COOKIE],
    ) -> Vec<u8> {
        let vouch_nonce: [u8; LONG_NONCE] = draw(randomness);
        let vouched = [*ours.as_octets(), *self.server.as_octets()];
        let vouch = vouch_key.seal(
            &long_nonce(VOUCH_NONCE, &vouch_nonce),
            vouched.as_flattened(),
        );
        let plaintext = [
            &self.keys.public().as_octets()[..],
            &vouch_nonce,
            &vouch,
            &self.local.metadata.encode(),
        ]
        .concat();
        self.nonce += 1;
        let data = [
            &cookie[..],
            &self.nonce.to_be_bytes(),
            &key.seal(&short_nonce(INITIATE_NONCE, self.nonce), &plaintext),
        ]
        .concat();
        command("INITIATE", &data)
    }
}

/// The end of the handshake.
fn handle_ready(data: &[u8], key: BoxKey) -> Result<State, HandshakeError> {
    let mut fields = Fields {
        rest: data,
        command: "READY",
    };
    let peer_nonce = fields.counter()?;
    let plaintext = key
        .open(&short_nonce(READY_NONCE, peer_nonce), fields.rest)
        .ok_or(HandshakeError::Crypto { command: "READY" })?;
    Ok(State::Complete {
        key,
        metadata: Metadata::decode(&plaintext)?,
        peer_nonce,
    })
}

impl Handshake for Client {
    fn next_command(&mut self, randomness: &mut dyn Randomness) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::HelloDue => self.hello(randomness),
            State::InitiateDue {
                ours,
                key,
                vouch_key,
                cookie,
            } => {
                let initiate = self.initiate(randomness, &ours, &key, &vouch_key, &cookie);
                self.state = State::AwaitReady { key };
                Some(initiate)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, split_command(body)) {
            (State::AwaitWelcome { ours, key }, Some((b"WELCOME", data))) => {
                self.handle_welcome(data, &ours, &key)?
            }
            (State::AwaitReady { key }, Some((b"READY", data))) => handle_ready(data, key)?,
            (State::AwaitReady { .. }, _) => return Err(unexpected(body, "READY")),
            _ => return Err(unexpected(body, "WELCOME")),
        };
        Ok(())
    }

    fn local(&mut self) -> &mut Local {
        &mut self.local
    }

    fn auth_request(&mut self) -> Option<AuthRequest> {
        None
    }

    fn set_decision(&mut self, _: Decision) {}

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            State::Complete { metadata, .. } => Some(Claims {
                metadata,
                key: Some(*self.server.as_octets()),
            }),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    fn finish(self: Box<Self>) -> Agreed {
        let State::Complete {
            key,
            metadata,
            peer_nonce,
        } = self.state
        else {
            unreachable!("finish is called on a complete handshake only")
        };
        let (sealer, opener) = split(&key, Side::Client, self.nonce + 1, peer_nonce);
        Agreed {
            metadata,
            user: User::default(),
            peer_key: Some(self.server.into()),
            proven: None,
            sealer: Sealer::Curve(Box::new(sealer)),
            opener: Opener::Curve(Box::new(opener)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::HelloDue => "HelloDue",
            State::AwaitWelcome { .. } => "AwaitWelcome",
            State::InitiateDue { .. } => "InitiateDue",
            State::AwaitReady { .. } => "AwaitReady",
            State::Complete { .. } => "Complete",
            State::Failed => "Failed",
        };
        f.debug_struct("Client")
            .field("public", &self.keys.public())
            .field("server", &self.server)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
