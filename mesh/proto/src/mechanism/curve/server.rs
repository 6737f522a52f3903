//! The server's side of the CURVE handshake: WELCOME, READY.

use std::fmt;

use super::message::{Side, split};
use super::{
    COOKIE, COOKIE_NONCE, Fields, HELLO, HELLO_NONCE, INITIATE_NONCE, KEY, PADDING, READY_NONCE,
    VERSION, VOUCH, VOUCH_NONCE, WELCOME, WELCOME_NONCE, draw, long_nonce, short_nonce,
};
use crate::crypto::keys::{KeyPair, PublicKey, SecretKey};
use crate::crypto::nacl::BoxKey;
use crate::crypto::{Provider, Randomness};
use crate::mechanism::zap::{AuthRequest, Credentials, Decision, User};
use crate::mechanism::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Sealer, command, error_command,
    split_command, unexpected,
};
use crate::zmtp::metadata::Metadata;

/// The server's side of a CURVE handshake.
///
/// Without an authenticator ([`Local::authenticate`] is `false`) it accepts every client that knows
/// the server's public key: encryption without authentication.
pub struct Server {
    local: Local,
    keys: KeyPair,
    provider: Provider,
    /// The last nonce of the client.
    peer_nonce: u64,
    state: State,
}

enum State {
    AwaitHello,
    WelcomeDue {
        /// C'.
        theirs: PublicKey,
        /// Between C' and S.
        key: BoxKey,
    },
    AwaitInitiate {
        /// t.
        cookie_key: BoxKey,
    },
    Deciding {
        peer: Peer,
        /// `None` once it was asked.
        question: Option<AuthRequest>,
    },
    ReadyDue {
        peer: Peer,
        user: User,
    },
    Complete {
        peer: Peer,
        user: User,
    },
    ErrorDue {
        status: u16,
    },
    Refused,
    Failed,
}

/// A client that proved its key.
struct Peer {
    /// C.
    public: PublicKey,
    /// Between C' and S'.
    key: BoxKey,
    metadata: Metadata,
}

/// The nonce of READY, the first command with a short nonce that the server sends.
const READY_COUNTER: u64 = 1;

impl Server {
    /// Starts a handshake of a server with the long-term `keys`.
    pub fn new(local: Local, keys: KeyPair) -> Self {
        Self {
            local,
            keys,
            provider: Provider::Real,
            peer_nonce: 0,
            state: State::AwaitHello,
        }
    }

    /// Turns encryption off, for fuzzers and simulators: a box becomes 16 zeros and the plaintext,
    /// which anybody can read and make.
    #[must_use]
    pub fn danger_null(mut self) -> Self {
        self.provider = Provider::DangerNull;
        self
    }

    fn handle_hello(&mut self, data: &[u8]) -> Result<State, HandshakeError> {
        let malformed = |reason| HandshakeError::Malformed {
            command: "HELLO",
            reason,
        };
        let refused = HandshakeError::Crypto { command: "HELLO" };
        if data.len() != HELLO {
            return Err(malformed("it does not have 200 octets"));
        }
        let mut fields = Fields {
            rest: data,
            command: "HELLO",
        };
        if *fields.take()? != VERSION {
            return Err(malformed("its version is not 1.0"));
        }
        if *fields.take()? != [0; PADDING] {
            return Err(malformed("its padding is not zeros"));
        }
        let theirs = PublicKey::from_octets(*fields.take()?);
        let nonce = fields.counter()?;
        let key = self
            .provider
            .agree(self.keys.secret(), &theirs)
            .ok_or_else(|| refused.clone())?;
        let signature = key
            .open(&short_nonce(HELLO_NONCE, nonce), fields.rest)
            .ok_or(refused)?;
        if signature.iter().any(|&octet| octet != 0) {
            return Err(malformed("its box does not hold zeros"));
        }
        self.peer_nonce = nonce;
        Ok(State::WelcomeDue { theirs, key })
    }

    /// WELCOME, and the key of its cookie.
    fn welcome(
        &self,
        randomness: &mut dyn Randomness,
        theirs: &PublicKey,
        key: &BoxKey,
    ) -> (Vec<u8>, BoxKey) {
        let ours = self.provider.key_pair(randomness);
        let cookie_key = self.provider.secret(randomness);
        let (cookie_nonce, nonce) = (draw(randomness), draw(randomness));
        let kept = zeroize::Zeroizing::new([*theirs.as_octets(), *ours.secret().expose_octets()]);
        let cookie = cookie_key.seal(
            &long_nonce(COOKIE_NONCE, &cookie_nonce),
            kept.as_flattened(),
        );
        let plaintext = [&ours.public().as_octets()[..], &cookie_nonce, &cookie].concat();
        let mut data = Vec::with_capacity(WELCOME);
        data.extend_from_slice(&nonce);
        data.extend_from_slice(&key.seal(&long_nonce(WELCOME_NONCE, &nonce), &plaintext));
        (command("WELCOME", &data), cookie_key)
    }

    fn handle_initiate(
        &mut self,
        data: &[u8],
        cookie_key: &BoxKey,
    ) -> Result<State, HandshakeError> {
        let refused = || HandshakeError::Crypto {
            command: "INITIATE",
        };
        let mut fields = Fields {
            rest: data,
            command: "INITIATE",
        };
        let (theirs, ours) = open_cookie(fields.take()?, cookie_key)?;
        let nonce = fields.counter()?;
        if nonce <= self.peer_nonce {
            return Err(HandshakeError::Malformed {
                command: "INITIATE",
                reason: "its nonce is not above that of HELLO",
            });
        }
        let key = self.provider.agree(&ours, &theirs).ok_or_else(refused)?;
        let plaintext = key
            .open(&short_nonce(INITIATE_NONCE, nonce), fields.rest)
            .ok_or_else(refused)?;
        fields.rest = &plaintext;
        let public = PublicKey::from_octets(*fields.take()?);
        let vouch: &[u8; VOUCH] = fields.take()?;
        let metadata = fields.rest;

        let vouch_key = self.provider.agree(&ours, &public).ok_or_else(refused)?;
        let mut fields = Fields {
            rest: vouch,
            command: "INITIATE",
        };
        let vouch_nonce = long_nonce(VOUCH_NONCE, fields.take()?);
        let vouched = vouch_key
            .open(&vouch_nonce, fields.rest)
            .ok_or_else(refused)?;
        // RFC 26, "Vouch": the long-term key answers for C', and only to S.
        if vouched[..] != *[*theirs.as_octets(), *self.keys.public().as_octets()].as_flattened() {
            return Err(HandshakeError::Malformed {
                command: "INITIATE",
                reason: "its vouch is for other keys",
            });
        }

        self.peer_nonce = nonce;
        let peer = Peer {
            public,
            key,
            metadata: Metadata::decode(metadata)?,
        };
        Ok(if self.local.authenticate {
            let credentials = Credentials::Curve {
                public_key: peer.public.into(),
            };
            let question = AuthRequest::new(&self.local, Some(&peer.metadata), credentials);
            let question = Some(question);
            State::Deciding { peer, question }
        } else {
            State::ReadyDue {
                peer,
                user: User::default(),
            }
        })
    }

    fn ready(&self, peer: &Peer) -> Vec<u8> {
        let nonce = short_nonce(READY_NONCE, READY_COUNTER);
        let boxed = peer.key.seal(&nonce, &self.local.metadata.encode());
        command(
            "READY",
            &[&READY_COUNTER.to_be_bytes()[..], &boxed].concat(),
        )
    }
}

/// C' and s', which the cookie kept for us.
fn open_cookie(
    cookie: &[u8; COOKIE],
    cookie_key: &BoxKey,
) -> Result<(PublicKey, SecretKey), HandshakeError> {
    let mut fields = Fields {
        rest: cookie,
        command: "INITIATE",
    };
    let nonce = long_nonce(COOKIE_NONCE, fields.take()?);
    let kept = cookie_key
        .open(&nonce, fields.rest)
        .ok_or(HandshakeError::Crypto {
            command: "INITIATE",
        })?;
    fields.rest = &kept;
    let theirs = PublicKey::from_octets(*fields.take::<KEY>()?);
    let ours = SecretKey::from_octets(*fields.take()?);
    Ok((theirs, ours))
}

impl Handshake for Server {
    fn next_command(&mut self, randomness: &mut dyn Randomness) -> Option<Vec<u8>> {
        let (next, command) = match std::mem::replace(&mut self.state, State::Failed) {
            State::WelcomeDue { theirs, key } => {
                let (welcome, cookie_key) = self.welcome(randomness, &theirs, &key);
                (State::AwaitInitiate { cookie_key }, Some(welcome))
            }
            State::ReadyDue { peer, user } => {
                let ready = self.ready(&peer);
                (State::Complete { peer, user }, Some(ready))
            }
            State::ErrorDue { status } => (State::Refused, error_command(status)),
            other => (other, None),
        };
        self.state = next;
        command
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, split_command(body)) {
            (State::AwaitHello, Some((b"HELLO", data))) => self.handle_hello(data)?,
            (State::AwaitInitiate { cookie_key }, Some((b"INITIATE", data))) => {
                self.handle_initiate(data, &cookie_key)?
            }
            (State::AwaitHello, _) => return Err(unexpected(body, "HELLO")),
            (State::AwaitInitiate { .. }, _) => return Err(unexpected(body, "INITIATE")),
            _ => return Err(unexpected(body, "nothing")),
        };
        Ok(())
    }

    fn local(&mut self) -> &mut Local {
        &mut self.local
    }

    fn auth_request(&mut self) -> Option<AuthRequest> {
        match &mut self.state {
            State::Deciding { question, .. } => question.take(),
            _ => None,
        }
    }

    fn set_decision(&mut self, decision: Decision) {
        self.state = match (std::mem::replace(&mut self.state, State::Failed), decision) {
            (State::Deciding { peer, .. }, Decision::Accept(user)) => {
                State::ReadyDue { peer, user }
            }
            (State::Deciding { .. }, Decision::Deny { status, .. }) => State::ErrorDue { status },
            (other, _) => other,
        };
    }

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            State::ReadyDue { peer, .. } | State::Complete { peer, .. } => Some(Claims {
                metadata: &peer.metadata,
                key: Some(*peer.public.as_octets()),
            }),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        matches!(self.state, State::ErrorDue { .. } | State::Refused)
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    fn finish(self: Box<Self>) -> Agreed {
        let State::Complete { peer, user } = self.state else {
            unreachable!("finish is called on a complete handshake only")
        };
        let (sealer, opener) = split(&peer.key, Side::Server, READY_COUNTER + 1, self.peer_nonce);
        Agreed {
            metadata: peer.metadata,
            user,
            peer_key: Some(peer.public.into()),
            proven: None,
            sealer: Sealer::Curve(Box::new(sealer)),
            opener: Opener::Curve(Box::new(opener)),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::AwaitHello => "AwaitHello",
            State::WelcomeDue { .. } => "WelcomeDue",
            State::AwaitInitiate { .. } => "AwaitInitiate",
            State::Deciding { .. } => "Deciding",
            State::ReadyDue { .. } => "ReadyDue",
            State::Complete { .. } => "Complete",
            State::ErrorDue { .. } => "ErrorDue",
            State::Refused => "Refused",
            State::Failed => "Failed",
        };
        f.debug_struct("Server")
            .field("public", &self.keys.public())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
