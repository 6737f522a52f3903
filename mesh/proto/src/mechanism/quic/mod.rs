//! QUIC: the mechanism of links that are sealed already, by a handshake in which both sides proved a
//! node's key. What is left to prove is whose node that is.
//!
//! ```text
//!  initiator                                    responder
//!  greeting                      <---------->   greeting
//!           <-----  WELCOME   credentials
//!  trusts the responder?
//!  INITIATE  credentials, metadata    ----->    trusts the initiator?
//!           <-----  READY     metadata
//! ```
//!
//! The side that made the link is the initiator; `as-server` in the greetings is 0 for it and 1 for
//! the responder. Both fill their greetings, of whose filler these octets are taken and the others 0:
//!
//! ```text
//!   0      1 if the processor has AES, else 0
//!   1..17  HMAC-SHA-256(secret of the network, "withy quic network 1" || as-server || binding)[..16]
//! ```
//!
//! The first one counts for the initiator only: it then offered AES-GCM before ChaCha20-Poly1305, and
//! the responder, which has both, took it. The responder shows that as the suite and has no proof of
//! it; nothing hangs on it, since either one is strong. The others show that whoever proved the node's key knows
//! the network's secret as well, which the [tag](crate::crypto::tag) of a first packet cannot show,
//! since it may be another's. Those without a network use the secret that is none, [`OPEN`]. The
//! binding has 32 octets, which both ends of this link have, and no other link: with TLS 1.3 the
//! keying material that is exported (RFC 8446 §7.5) with the label `EXPORTER-withy-link` and the
//! number of the link's stream as context (u64, big endian).
//!
//! The [credentials](crate::trust::credentials) are those of NOISE, and the node that their
//! certificate names has to be the one that the link proved. The responder shows itself first: an
//! initiator that does not trust it sends ERROR and shows nothing but its node's key, which says
//! nothing of whose it is. The metadata may confirm a membership, as in [NOISE](super::noise). Frames
//! then travel as they are.
//!
//! Invariant: nobody is taken for the holder of an identity that did not sign for the key which the
//! link proved, and whoever does not know the network's secret is shown nothing.
//!
//! [`OPEN`]: super::party::OPEN

#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq as _;

use super::deciding::Deciding;
use super::party::{Holds, Settings, check, refusal};
use super::zap::{AuthRequest, Decision, User};
use super::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Proven, Sealer, Suite, command,
    split_command, unexpected,
};
use crate::crypto::{Provider, Randomness, hash};
use crate::trust;
use crate::trust::credentials::Shown;
use crate::trust::membership::Membership;
use crate::zmtp::greeting::{self, FILLER, Filler};
use crate::zmtp::metadata::Metadata;

/// The name in the greeting.
pub const NAME: &str = "QUIC";

/// Octets of the proof that a side knows the network's secret.
const MEMBER: usize = 16;

/// Where that is in the filler of a greeting.
const MEMBER_AT: std::ops::Range<usize> = 1..1 + MEMBER;

const DOMAIN: &[u8] = b"withy quic network 1";

/// What the link proved, before the first octet of ZMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The key of the peer's node.
    pub node: [u8; 32],
    /// Whether the keys withstand quantum computers.
    pub post_quantum: bool,
    /// What both ends of this link have, and no other link. It is no secret.
    pub binding: [u8; 32],
}

/// Either side's handshake.
#[derive(Debug)]
pub struct Quic {
    local: Local,
    settings: Settings,
    provider: Provider,
    proof: Proof,
    suite: Suite,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitGreeting,
    WelcomeDue,
    AwaitWelcome,
    AwaitInitiate,
    /// With the peer's properties, where it is the initiator.
    Deciding(Deciding<Option<Metadata>>),
    InitiateDue {
        proven: Proven,
        user: User,
    },
    AwaitReady {
        proven: Proven,
        user: User,
    },
    ReadyDue(Peer),
    Complete(Peer),
    ErrorDue {
        reason: String,
    },
    Refused,
    Failed,
}

#[derive(Debug)]
struct Peer {
    proven: Proven,
    user: User,
    metadata: Metadata,
}

impl Quic {
    /// Starts a handshake in the first of the realms.
    pub fn new(local: Local, settings: Settings, provider: Provider, proof: Proof) -> Self {
        Self {
            local,
            settings,
            provider,
            proof,
            suite: Suite::ChaChaPoly,
            state: State::AwaitGreeting,
        }
    }

    /// What the side that made the link, or the other, says in its greeting if it knows the secret.
    fn member(&self, as_server: bool) -> Option<[u8; MEMBER]> {
        let secret = &self.settings.realms.first()?.secret;
        let said = [DOMAIN, &[u8::from(as_server)], &self.proof.binding];
        hash::hmac(secret, &said).first_chunk().copied()
    }

    fn shows(&self) -> Option<Vec<u8>> {
        let realm = self.settings.realms.first()?;
        Some(realm.credentials.encode())
    }

    /// The peer, as its credentials show it, and what follows them.
    fn look<'a>(
        &self,
        data: &'a [u8],
        command: &'static str,
    ) -> Result<(Shown, &'a [u8]), HandshakeError> {
        let (credentials, used) = trust::Credentials::decode(data)?;
        let realms = &self.settings.realms;
        let realm = realms.first().ok_or(HandshakeError::Network)?;
        let holds = Holds::Node(self.proof.node);
        let shown = check(
            &self.settings,
            self.provider,
            realm,
            &credentials,
            holds,
            command,
        )?;
        Ok((shown, &data[used..]))
    }

    fn handle_welcome(&self, data: &[u8]) -> Result<State, HandshakeError> {
        match self.look(data, "WELCOME")? {
            (shown, []) => Ok(self.next(shown, None)),
            _ => Err(HandshakeError::Malformed {
                command: "WELCOME",
                reason: "something follows its credentials",
            }),
        }
    }

    fn handle_initiate(&self, data: &[u8]) -> Result<State, HandshakeError> {
        let (shown, metadata) = self.look(data, "INITIATE")?;
        let metadata = Metadata::decode(metadata)?;
        Ok(self.next(shown, Some(metadata)))
    }

    /// Asks whether a peer is trusted, where it is to be asked.
    fn next(&self, shown: Shown, metadata: Option<Metadata>) -> State {
        let proven = Proven {
            shown,
            suite: self.suite,
            post_quantum: self.proof.post_quantum,
        };
        let question = AuthRequest::new(&self.local, metadata.as_ref(), shown.into());
        let deciding = Deciding::new(question, proven, metadata);
        match self.local.authenticate {
            true => State::Deciding(deciding),
            false => accepted(deciding, User::default()),
        }
    }
}

/// Goes on with a peer that may stay.
fn accepted(deciding: Deciding<Option<Metadata>>, user: User) -> State {
    match deciding.decided() {
        (proven, None) => State::InitiateDue { proven, user },
        (proven, Some(metadata)) => State::ReadyDue(Peer {
            proven,
            user,
            metadata,
        }),
    }
}

/// An ERROR command, which only the peer can read.
fn error(reason: &str) -> Vec<u8> {
    let reason = &reason.as_bytes()[..reason.len().min(255)];
    command("ERROR", &[&[reason.len() as u8], reason].concat())
}

impl Handshake for Quic {
    fn filler(&self) -> Filler {
        let mut filler = Filler::default();
        filler[0] = u8::from(self.settings.has_aes);
        if let Some(member) = self.member(self.local.accepting) {
            filler[MEMBER_AT].copy_from_slice(&member);
        }
        filler
    }

    fn handle_greetings(
        &mut self,
        ours: &[u8; greeting::LENGTH],
        theirs: &[u8; greeting::LENGTH],
    ) -> Result<(), HandshakeError> {
        let accepting = self.local.accepting;
        if theirs[greeting::AS_SERVER] != u8::from(!accepting) {
            return Err(HandshakeError::Malformed {
                command: "greeting",
                reason: "both sides made the link, or none",
            });
        }
        let member = self.member(!accepting).ok_or(HandshakeError::Network)?;
        if !bool::from(theirs[FILLER][MEMBER_AT].ct_eq(&member)) {
            return Err(HandshakeError::Network);
        }
        let initiator = if accepting { theirs } else { ours };
        if initiator[FILLER.start] == 1 {
            self.suite = Suite::AesGcm;
        }
        self.state = match accepting {
            true => State::WelcomeDue,
            false => State::AwaitWelcome,
        };
        Ok(())
    }

    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        let (next, command) = match std::mem::replace(&mut self.state, State::Failed) {
            State::WelcomeDue => (
                State::AwaitInitiate,
                self.shows().map(|shown| command("WELCOME", &shown)),
            ),
            State::InitiateDue { proven, user } => {
                let metadata = self.local.metadata.encode();
                let data = self.shows().map(|shown| [shown, metadata].concat());
                (
                    State::AwaitReady { proven, user },
                    data.map(|data| command("INITIATE", &data)),
                )
            }
            State::ReadyDue(peer) => (
                State::Complete(peer),
                Some(command("READY", &self.local.metadata.encode())),
            ),
            State::ErrorDue { reason } => (State::Refused, Some(error(&reason))),
            other => (other, None),
        };
        self.state = next;
        command
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let next = match (state, split_command(body)) {
            (State::AwaitWelcome, Some((b"WELCOME", data))) => self.handle_welcome(data),
            (State::AwaitInitiate, Some((b"INITIATE", data))) => self.handle_initiate(data),
            (State::AwaitReady { proven, user }, Some((b"READY", data))) => Metadata::decode(data)
                .map(|metadata| {
                    State::Complete(Peer {
                        proven,
                        user,
                        metadata,
                    })
                })
                .map_err(HandshakeError::from),
            (State::AwaitWelcome, _) => return Err(unexpected(body, "WELCOME")),
            (State::AwaitInitiate, _) => return Err(unexpected(body, "INITIATE")),
            (State::AwaitReady { .. }, _) => return Err(unexpected(body, "READY")),
            _ => return Err(unexpected(body, "nothing")),
        };
        // Both sides hear what was wrong with what one showed.
        if let Err(error @ (HandshakeError::Credentials(_) | HandshakeError::OtherPeer { .. })) =
            &next
        {
            let reason = error.to_string();
            self.state = State::ErrorDue { reason };
        }
        self.state = next?;
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
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, decision) {
            (State::Deciding(deciding), Decision::Accept(user)) => accepted(deciding, user),
            (State::Deciding(_), Decision::Deny { status, .. }) => State::ErrorDue {
                reason: refusal(status).to_owned(),
            },
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
        matches!(self.state, State::ErrorDue { .. } | State::Refused)
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
            sealer: Sealer::Clear,
            opener: Opener::Clear,
        }
    }
}
