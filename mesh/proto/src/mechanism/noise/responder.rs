//! The side that accepted the link: WELCOME, READY.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::session::{Keys, Role, Session};
use super::{ACCEPTED, AES_GCM, Greetings, ML_KEM, REFUSED, TAG, filler};
use crate::crypto::kem;
use crate::crypto::noise::Primitives;
use crate::crypto::{Provider, Randomness};
use crate::mechanism::deciding::Deciding;
use crate::mechanism::party::{Holds, Settings, check, refusal};
use crate::mechanism::zap::{AuthRequest, Decision, User};
use crate::mechanism::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Proven, Sealer, command,
    error_command, split_command, unexpected,
};
use crate::trust;
use crate::trust::membership::Membership;
use crate::zmtp::greeting::{self, Filler};
use crate::zmtp::metadata::Metadata;
use crate::zmtp::record;

/// The responder's side of a handshake.
#[derive(Debug)]
pub struct Responder {
    local: Local,
    settings: Settings,
    provider: Provider,
    filler: Filler,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitGreeting {
        drawn: Drawn,
    },
    AwaitHello {
        greetings: Box<Greetings>,
        drawn: Drawn,
    },
    WelcomeDue {
        welcome: Vec<u8>,
        session: Session,
        realm: usize,
        post_quantum: bool,
    },
    AwaitInitiate {
        session: Session,
        realm: usize,
        post_quantum: bool,
    },
    Deciding(Deciding<(Keys, Metadata)>),
    ReadyDue(Peer),
    Complete(Peer),
    /// READY with the reason for which we refuse.
    RefusalDue {
        keys: Box<Keys>,
        reason: String,
    },
    /// ERROR in clear, while nothing is sealed.
    ErrorDue,
    Refused,
    Failed,
}

#[derive(Debug)]
struct Peer {
    keys: Keys,
    proven: Proven,
    metadata: Metadata,
    user: User,
}

/// What is drawn beforehand, so that the whole answer to HELLO is ready when it was read.
#[derive(Debug)]
struct Drawn {
    primitives: Primitives,
    encapsulation: Once,
}

/// Gives what was drawn for ML-KEM.
struct Once(Zeroizing<[u8; 32]>);

impl Randomness for Once {
    fn fill(&mut self, octets: &mut [u8]) {
        octets.copy_from_slice(&*self.0);
    }
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Once(..)")
    }
}

impl Responder {
    /// Waits for a handshake in any of the realms.
    pub fn new(
        local: Local,
        settings: Settings,
        provider: Provider,
        randomness: &mut dyn Randomness,
    ) -> Self {
        let mut encapsulation = Zeroizing::new([0; 32]);
        randomness.fill(&mut *encapsulation);
        Self {
            filler: filler(settings.has_aes, randomness),
            state: State::AwaitGreeting {
                drawn: Drawn {
                    primitives: Primitives::new(provider, randomness),
                    encapsulation: Once(encapsulation),
                },
            },
            local,
            settings,
            provider,
        }
    }

    /// The realm that a HELLO names. Each is tried, so that the time does not tell which one it was.
    fn realm_of(&self, tag: &[u8; TAG], greetings: &Greetings) -> Result<usize, HandshakeError> {
        let mut found = None;
        for (at, realm) in self.settings.realms.iter().enumerate() {
            if greetings.tag(&realm.secret).ct_eq(tag).into() {
                found.get_or_insert(at);
            }
        }
        found.ok_or(HandshakeError::Network)
    }

    fn handle_hello(
        &self,
        data: &[u8],
        greetings: &Greetings,
        drawn: Drawn,
    ) -> Result<State, HandshakeError> {
        const HELLO: &str = "HELLO";
        let malformed = |reason| HandshakeError::Malformed {
            command: HELLO,
            reason,
        };
        let short = malformed("it is cut short");
        let (&options, rest) = data.split_first().ok_or_else(|| short.clone())?;
        let (tag, message) = rest.split_first_chunk::<TAG>().ok_or(short)?;
        if options & !(AES_GCM | ML_KEM) != 0 {
            return Err(malformed("it has unknown options"));
        }
        let at = self.realm_of(tag, greetings)?;
        let post_quantum = options & ML_KEM != 0;
        if !post_quantum && !self.settings.allow_classical {
            return Err(HandshakeError::PostQuantumRequired);
        }
        let realm = &self.settings.realms[at];
        let Drawn {
            primitives,
            mut encapsulation,
        } = drawn;
        let mut session = Session::start(
            self.provider,
            Role::Responder,
            &self.settings,
            realm,
            greetings,
            options,
            primitives,
        );
        let payload = session.read(HELLO, message)?;
        let mut answer = Vec::new();
        if post_quantum {
            let key = <&[u8; kem::ENCAPSULATION_KEY]>::try_from(&payload[..]).ok();
            let (ciphertext, shared) = key
                .and_then(|key| kem::encapsulate(self.provider, key, &mut encapsulation))
                .ok_or_else(|| malformed("it has no ML-KEM key"))?;
            session.mix(&shared);
            answer.extend_from_slice(&ciphertext);
        } else if !payload.is_empty() {
            return Err(malformed("it has a key for ML-KEM and does not want it"));
        }
        answer.extend_from_slice(&realm.credentials.encode());
        Ok(State::WelcomeDue {
            welcome: session.write(&answer)?,
            session,
            realm: at,
            post_quantum,
        })
    }

    fn handle_initiate(
        &self,
        data: &[u8],
        mut session: Session,
        realm: usize,
        post_quantum: bool,
    ) -> Result<State, (HandshakeError, Option<Box<Keys>>)> {
        const INITIATE: &str = "INITIATE";
        let payload = session
            .read(INITIATE, data)
            .map_err(|error| (error, None))?;
        let (suite, key) = (session.suite(), session.peer_key());
        let keys = session.split();
        let look = || {
            let (credentials, used) = trust::Credentials::decode(&payload)?;
            let realm = &self.settings.realms[realm];
            let shown = check(
                &self.settings,
                self.provider,
                realm,
                &credentials,
                Holds::Noise(key),
                INITIATE,
            )?;
            Ok((shown, Metadata::decode(&payload[used..])?))
        };
        let (shown, metadata) = match look() {
            Ok(found) => found,
            Err(error) => return Err((error, Some(Box::new(keys)))),
        };
        let proven = Proven {
            shown,
            suite,
            post_quantum,
        };
        let question = AuthRequest::new(&self.local, Some(&metadata), shown.into());
        let deciding = Deciding::new(question, proven, (keys, metadata));
        Ok(match self.local.authenticate {
            true => State::Deciding(deciding),
            false => Self::accepted(deciding, User::default()),
        })
    }

    /// Goes on with a peer that may stay.
    fn accepted(deciding: Deciding<(Keys, Metadata)>, user: User) -> State {
        let (proven, (keys, metadata)) = deciding.decided();
        State::ReadyDue(Peer {
            keys,
            proven,
            metadata,
            user,
        })
    }
}

/// READY, sealed.
fn ready(keys: &Keys, says: u8, what: &[u8]) -> Vec<u8> {
    let mut data = [&[says], what].concat();
    let tag = keys.responder.seal(0, &[], &mut data);
    data.extend_from_slice(&tag);
    command("READY", &data)
}

impl Handshake for Responder {
    fn filler(&self) -> Filler {
        self.filler
    }

    fn handle_greetings(
        &mut self,
        ours: &[u8; greeting::LENGTH],
        theirs: &[u8; greeting::LENGTH],
    ) -> Result<(), HandshakeError> {
        let greetings = Box::new(Greetings::new(ours, theirs, false)?);
        if let State::AwaitGreeting { drawn } = std::mem::replace(&mut self.state, State::Failed) {
            self.state = State::AwaitHello { greetings, drawn };
        }
        Ok(())
    }

    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        let (next, command) = match std::mem::replace(&mut self.state, State::Failed) {
            State::WelcomeDue {
                welcome,
                session,
                realm,
                post_quantum,
            } => (
                State::AwaitInitiate {
                    session,
                    realm,
                    post_quantum,
                },
                Some(command("WELCOME", &welcome)),
            ),
            State::ReadyDue(peer) => {
                let ready = ready(&peer.keys, ACCEPTED, &self.local.metadata.encode());
                (State::Complete(peer), Some(ready))
            }
            State::RefusalDue { keys, reason } => (
                State::Refused,
                Some(ready(&keys, REFUSED, reason.as_bytes())),
            ),
            State::ErrorDue => (State::Refused, error_command(400)),
            other => (other, None),
        };
        self.state = next;
        command
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, split_command(body)) {
            (State::AwaitHello { greetings, drawn }, Some((b"HELLO", data))) => {
                match self.handle_hello(data, &greetings, drawn) {
                    Err(HandshakeError::PostQuantumRequired) => {
                        self.state = State::ErrorDue;
                        return Err(HandshakeError::PostQuantumRequired);
                    }
                    state => state?,
                }
            }
            (
                State::AwaitInitiate {
                    session,
                    realm,
                    post_quantum,
                },
                Some((b"INITIATE", data)),
            ) => match self.handle_initiate(data, session, realm, post_quantum) {
                Ok(state) => state,
                Err((error, keys)) => {
                    if let Some(keys) = keys {
                        let reason = error.to_string();
                        self.state = State::RefusalDue { keys, reason };
                    }
                    return Err(error);
                }
            },
            (State::AwaitHello { .. }, _) => return Err(unexpected(body, "HELLO")),
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
            State::Deciding(deciding) => deciding.ask(),
            _ => None,
        }
    }

    fn confirm(&mut self, membership: &Membership) {
        if let State::Deciding(deciding) = &mut self.state {
            deciding.confirm(&mut self.local, membership);
        }
    }

    fn set_decision(&mut self, decision: Decision) {
        self.state = match (std::mem::replace(&mut self.state, State::Failed), decision) {
            (State::Deciding(deciding), Decision::Accept(user)) => Self::accepted(deciding, user),
            (State::Deciding(deciding), Decision::Deny { status, .. }) => {
                let (_, (keys, _)) = deciding.decided();
                State::RefusalDue {
                    keys: Box::new(keys),
                    reason: refusal(status).to_owned(),
                }
            }
            (other, _) => other,
        };
    }

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            State::ReadyDue(peer) | State::Complete(peer) => Some(Claims {
                metadata: &peer.metadata,
                key: Some(*peer.proven.shown.identity.as_octets()),
            }),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        matches!(
            self.state,
            State::RefusalDue { .. } | State::ErrorDue | State::Refused
        )
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    fn finish(self: Box<Self>) -> Agreed {
        let State::Complete(peer) = self.state else {
            unreachable!("finish is called on a complete handshake only")
        };
        Agreed {
            metadata: peer.metadata,
            user: peer.user,
            peer_key: Some(*peer.proven.shown.identity.as_octets()),
            proven: Some(Box::new(peer.proven)),
            sealer: Sealer::Records(Box::new(record::Sealer::new(peer.keys.responder, 1))),
            opener: Opener::Records(Box::new(record::Opener::new(peer.keys.initiator, 0))),
        }
    }
}
