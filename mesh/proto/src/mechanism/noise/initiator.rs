//! The side that made the link: HELLO, INITIATE.

use super::session::{Keys, Role, Session};
use super::{ACCEPTED, AES_GCM, Greetings, ML_KEM, REFUSED, filler};
use crate::crypto::kem::{self, DecapsulationKey};
use crate::crypto::noise::Primitives;
use crate::crypto::{Provider, Randomness};
use crate::mechanism::deciding::Deciding;
use crate::mechanism::party::{Holds, Settings, check};
use crate::mechanism::zap::{AuthRequest, Decision, User};
use crate::mechanism::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Proven, Sealer, command, printable,
    split_command, unexpected,
};
use crate::trust;
use crate::trust::membership::Membership;
use crate::zmtp::greeting::{self, Filler};
use crate::zmtp::metadata::Metadata;
use crate::zmtp::record;

/// The initiator's side of a handshake.
#[derive(Debug)]
pub struct Initiator {
    local: Local,
    settings: Settings,
    provider: Provider,
    filler: Filler,
    post_quantum: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitGreeting {
        primitives: Primitives,
        kem: Option<DecapsulationKey>,
    },
    HelloDue {
        hello: Vec<u8>,
        session: Session,
        kem: Option<DecapsulationKey>,
    },
    AwaitWelcome {
        session: Session,
        kem: Option<DecapsulationKey>,
    },
    Deciding(Deciding<Session>),
    InitiateDue {
        session: Session,
        proven: Proven,
        user: User,
    },
    AwaitReady {
        keys: Keys,
        proven: Proven,
        user: User,
    },
    Complete {
        keys: Keys,
        proven: Proven,
        user: User,
        metadata: Metadata,
    },
    ErrorDue,
    Refused,
    Failed,
}

impl Initiator {
    /// Starts a handshake in the first of the realms.
    pub fn new(
        local: Local,
        settings: Settings,
        provider: Provider,
        randomness: &mut dyn Randomness,
    ) -> Self {
        let post_quantum = !settings.classical;
        let kem = post_quantum.then(|| DecapsulationKey::generate(provider, randomness));
        Self {
            filler: filler(settings.has_aes, randomness),
            state: State::AwaitGreeting {
                primitives: Primitives::new(provider, randomness),
                kem,
            },
            local,
            settings,
            provider,
            post_quantum,
        }
    }

    fn hello(
        &self,
        greetings: &Greetings,
        primitives: Primitives,
        kem: Option<DecapsulationKey>,
    ) -> Result<State, HandshakeError> {
        let realm = self
            .settings
            .realms
            .first()
            .ok_or(HandshakeError::Network)?;
        let options =
            if greetings.have_aes() { AES_GCM } else { 0 } | if kem.is_some() { ML_KEM } else { 0 };
        let mut session = Session::start(
            self.provider,
            Role::Initiator,
            &self.settings,
            realm,
            greetings,
            options,
            primitives,
        );
        let payload = kem.as_ref().map(|key| key.public());
        let message = session.write(payload.as_ref().map_or(&[][..], |key| &key[..]))?;
        let tag = greetings.tag(&realm.secret);
        Ok(State::HelloDue {
            hello: [&[options][..], &tag, &message].concat(),
            session,
            kem,
        })
    }

    fn handle_welcome(
        &self,
        data: &[u8],
        mut session: Session,
        kem: Option<DecapsulationKey>,
    ) -> Result<State, HandshakeError> {
        const WELCOME: &str = "WELCOME";
        let payload = session.read(WELCOME, data)?;
        let mut rest = &payload[..];
        if let Some(kem) = kem {
            let (ciphertext, others) = rest.split_first_chunk::<{ kem::CIPHERTEXT }>().ok_or(
                HandshakeError::Malformed {
                    command: WELCOME,
                    reason: "it has no ML-KEM ciphertext",
                },
            )?;
            session.mix(&kem.decapsulate(ciphertext));
            rest = others;
        }
        let (credentials, used) = trust::Credentials::decode(rest)?;
        if used != rest.len() {
            return Err(HandshakeError::Malformed {
                command: WELCOME,
                reason: "something follows its credentials",
            });
        }
        let realm = self
            .settings
            .realms
            .first()
            .ok_or(HandshakeError::Network)?;
        let shown = check(
            &self.settings,
            self.provider,
            realm,
            &credentials,
            Holds::Noise(session.peer_key()),
            WELCOME,
        )?;
        let proven = Proven {
            shown,
            suite: session.suite(),
            post_quantum: self.post_quantum,
        };
        let question = AuthRequest::new(&self.local, None, shown.into());
        let deciding = Deciding::new(question, proven, session);
        Ok(match self.local.authenticate {
            true => State::Deciding(deciding),
            false => Self::accepted(deciding, User::default()),
        })
    }

    /// Goes on with a peer that may stay.
    fn accepted(deciding: Deciding<Session>, user: User) -> State {
        let (proven, session) = deciding.decided();
        State::InitiateDue {
            session,
            proven,
            user,
        }
    }

    fn initiate(&self, session: &mut Session) -> Option<Vec<u8>> {
        let realm = self.settings.realms.first()?;
        let mut payload = realm.credentials.encode();
        payload.extend_from_slice(&self.local.metadata.encode());
        Some(command("INITIATE", &session.write(&payload).ok()?))
    }

    fn handle_ready(
        data: &[u8],
        keys: Keys,
        proven: Proven,
        user: User,
    ) -> Result<State, HandshakeError> {
        const READY: &str = "READY";
        let mut octets = data.to_vec();
        let size = keys.responder.open(0, &[], &mut octets, 0);
        let size = size.ok_or(HandshakeError::Crypto { command: READY })?;
        match octets[..size].split_first() {
            Some((&ACCEPTED, metadata)) => Ok(State::Complete {
                keys,
                proven,
                user,
                metadata: Metadata::decode(metadata)?,
            }),
            Some((&REFUSED, reason)) => Err(HandshakeError::RefusedByPeer {
                reason: printable(reason, 255),
            }),
            _ => Err(HandshakeError::Malformed {
                command: READY,
                reason: "it starts with neither 0 nor 1",
            }),
        }
    }
}

impl Handshake for Initiator {
    fn filler(&self) -> Filler {
        self.filler
    }

    fn handle_greetings(
        &mut self,
        ours: &[u8; greeting::LENGTH],
        theirs: &[u8; greeting::LENGTH],
    ) -> Result<(), HandshakeError> {
        let greetings = Greetings::new(ours, theirs, true)?;
        if let State::AwaitGreeting { primitives, kem } =
            std::mem::replace(&mut self.state, State::Failed)
        {
            self.state = self.hello(&greetings, primitives, kem)?;
        }
        Ok(())
    }

    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        let (next, command) = match std::mem::replace(&mut self.state, State::Failed) {
            State::HelloDue {
                hello,
                session,
                kem,
            } => (
                State::AwaitWelcome { session, kem },
                Some(command("HELLO", &hello)),
            ),
            State::InitiateDue {
                mut session,
                proven,
                user,
            } => match self.initiate(&mut session) {
                Some(initiate) => {
                    let keys = session.split();
                    (State::AwaitReady { keys, proven, user }, Some(initiate))
                }
                None => (State::Failed, None),
            },
            State::ErrorDue => (State::Refused, super::super::error_command(400)),
            other => (other, None),
        };
        self.state = next;
        command
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, split_command(body)) {
            (State::AwaitWelcome { session, kem }, Some((b"WELCOME", data))) => {
                match self.handle_welcome(data, session, kem) {
                    Err(
                        error @ (HandshakeError::Credentials(_) | HandshakeError::OtherPeer { .. }),
                    ) => {
                        self.state = State::ErrorDue;
                        return Err(error);
                    }
                    state => state?,
                }
            }
            (State::AwaitReady { keys, proven, user }, Some((b"READY", data))) => {
                Self::handle_ready(data, keys, proven, user)?
            }
            (State::AwaitWelcome { .. }, _) => return Err(unexpected(body, "WELCOME")),
            (State::AwaitReady { .. }, _) => return Err(unexpected(body, "READY")),
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
            (State::Deciding(_), Decision::Deny { .. }) => State::ErrorDue,
            (other, _) => other,
        };
    }

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            State::Complete {
                metadata, proven, ..
            } => Some(Claims {
                metadata,
                key: Some(*proven.shown.identity.as_octets()),
            }),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        matches!(self.state, State::ErrorDue | State::Refused)
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    fn finish(self: Box<Self>) -> Agreed {
        let State::Complete {
            keys,
            proven,
            user,
            metadata,
        } = self.state
        else {
            unreachable!("finish is called on a complete handshake only")
        };
        Agreed {
            metadata,
            user,
            peer_key: Some(*proven.shown.identity.as_octets()),
            proven: Some(Box::new(proven)),
            sealer: Sealer::Records(Box::new(record::Sealer::new(keys.initiator, 0))),
            opener: Opener::Records(Box::new(record::Opener::new(keys.responder, 1))),
        }
    }
}
