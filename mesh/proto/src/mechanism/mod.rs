//! Security mechanisms: one file each, one row each in [`MECHANISMS`].
//!
//! A [`Handshake`] turns commands of the peer into commands of ours until both sides agree. It
//! then splits into a [`Sealer`] and an [`Opener`], which the two directions of a connection own
//! separately. A mechanism never sees framing, sockets or time; randomness comes in through
//! [`Randomness`].
//!
//! ```text
//!           handle_command          set_decision
//!  peer ---------------------> auth_request ---> authenticator
//!    ^                              |
//!    +---- next_command <-----------+        is_complete -> finish -> Sealer, Opener
//! ```

use crate::crypto::Randomness;
use crate::trust::credentials::{CredentialsError, Shown};
use crate::trust::id::IdentityId;
use crate::trust::membership::Membership;
use crate::zmtp::greeting::{self, Filler};
use crate::zmtp::metadata::{Metadata, MetadataError};
use crate::zmtp::record;

pub use crate::crypto::aead::Suite;

pub mod curve;
mod deciding;
pub mod noise;
pub mod null;
pub mod party;
pub mod plain;
pub mod quic;
pub mod zap;

#[cfg(test)]
mod confirming;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use zap::{AuthRequest, Decision, User};

/// What a mechanism needs to know of us to shake hands.
#[derive(Debug, Clone)]
pub struct Local {
    /// The properties that our READY (or INITIATE) command announces.
    pub metadata: Metadata,
    /// The ZAP domain that an authenticator is asked with.
    pub domain: String,
    /// Whether clients are put to the authenticator. `false` accepts every client.
    pub authenticate: bool,
    /// Whether the peer made the connection. Where both sides may speak first, this side then
    /// waits for the peer's properties, so that it can refuse them in time.
    pub accepting: bool,
}

/// One side's handshake of one connection (RFC 37 §3.3, "Security mechanisms").
pub trait Handshake: Send + std::fmt::Debug {
    /// What the mechanism says in our greeting already; zeros where it says nothing.
    fn filler(&self) -> Filler {
        Filler::default()
    }

    /// Both greetings as they travelled, before the first command.
    ///
    /// # Errors
    /// The peer's does not fit.
    fn handle_greetings(
        &mut self,
        _ours: &[u8; greeting::LENGTH],
        _theirs: &[u8; greeting::LENGTH],
    ) -> Result<(), HandshakeError> {
        Ok(())
    }

    /// The body of the command that leaves right behind our greeting, once, where it is the same
    /// whatever the peer's greeting says: who waits for that loses a round trip.
    fn opening(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The body of the next command that is ours to send (length-prefixed name, then data), or
    /// `None` while it is the peer's turn or the authenticator's.
    fn next_command(&mut self, randomness: &mut dyn Randomness) -> Option<Vec<u8>>;

    /// Takes the body of a command of the peer.
    ///
    /// # Errors
    /// The connection is to be closed: the peer broke the mechanism's rules or refused us.
    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError>;

    /// What it knows of us, which may still change until the peer is told.
    fn local(&mut self) -> &mut Local;

    /// The question for the authenticator, once; answered by [`Handshake::set_decision`].
    fn auth_request(&mut self) -> Option<AuthRequest>;

    /// What our INITIATE or READY tells a peer whose membership we confirm, where the mechanism
    /// proves identities; before [`Handshake::set_decision`].
    fn confirm(&mut self, _membership: &Membership) {}

    /// The authenticator's answer. A refusal makes `next_command` yield the ERROR command, if the
    /// mechanism has one to send, and [`Handshake::refused`] true.
    fn set_decision(&mut self, decision: Decision);

    /// What the peer says of itself, as soon as that is known and before we have said that we are
    /// ready.
    fn claims(&self) -> Option<Claims<'_>>;

    /// Whether we refused the peer; the connection closes once `next_command` is drained.
    fn refused(&self) -> bool;

    /// Whether both sides agreed and all commands of ours were taken.
    fn is_complete(&self) -> bool;

    /// The result. Called once, after [`Handshake::is_complete`].
    ///
    /// # Panics
    /// A mechanism that encrypts panics before that, rather than give out what would not.
    fn finish(self: Box<Self>) -> Agreed;
}

/// What a peer says of itself during the handshake.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// Its properties.
    pub metadata: &'a Metadata,
    /// The public key that it proved, where the mechanism does that.
    pub key: Option<[u8; 32]>,
}

/// What a finished handshake leaves behind.
#[derive(Debug)]
pub struct Agreed {
    /// The peer's properties, as it announced them.
    pub metadata: Metadata,
    /// Who the authenticator says it is.
    pub user: User,
    /// The public key of the peer, where the mechanism proves one.
    pub peer_key: Option<[u8; 32]>,
    /// What else it proves.
    pub proven: Option<Box<Proven>>,
    /// Seals what we send.
    pub sealer: Sealer,
    /// Opens what the peer sends.
    pub opener: Opener,
}

/// What NOISE or QUIC proves of a peer, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Who it is.
    pub shown: Shown,
    /// What seals the connection. Over QUIC, where TLS chooses it, that is what the side that made the
    /// link prefers: the other side has its word for it, and no proof.
    pub suite: Suite,
    /// Whether the keys withstand quantum computers.
    pub post_quantum: bool,
}

/// The sending half of a mechanism after the handshake.
#[derive(Debug, Default)]
pub enum Sealer {
    /// NULL and PLAIN: frames travel as they are.
    #[default]
    Clear,
    /// CURVE: each frame is a MESSAGE command (RFC 26 §"MESSAGE").
    Curve(Box<curve::Sealer>),
    /// Runs of frames travel as records.
    Records(Box<record::Sealer>),
}

/// The receiving half of a mechanism after the handshake.
#[derive(Debug, Default)]
pub enum Opener {
    /// NULL and PLAIN: frames travel as they are.
    #[default]
    Clear,
    /// CURVE: each frame is a MESSAGE command (RFC 26 §"MESSAGE").
    Curve(Box<curve::Opener>),
    /// Runs of frames travel as records.
    Records(Box<record::Opener>),
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer sent a command that is not the one due now. The peer misbehaved.
    #[error("peer sent {got} where {expected} was due")]
    UnexpectedCommand {
        /// The name that the peer sent, escaped and cut to 32 characters.
        got: String,
        /// The name that was due.
        expected: &'static str,
    },
    /// A command had the wrong shape. The peer misbehaved.
    #[error("peer sent a malformed {command} command: {reason}")]
    Malformed {
        /// The command.
        command: &'static str,
        /// What was wrong.
        reason: &'static str,
    },
    /// A box did not open: wrong keys, or somebody changed it on the way.
    #[error("the {command} command does not authenticate: wrong key, or changed on the way")]
    Crypto {
        /// The command.
        command: &'static str,
    },
    /// The peer sent an ERROR command: it refused us.
    #[error("peer refused the connection: {reason}")]
    RefusedByPeer {
        /// The reason that the peer gave, escaped; ZAP status codes as text, e.g. `400`.
        reason: String,
    },
    /// The metadata in a command broke its rules. The peer misbehaved.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The peer is of no network that we are of: its HELLO names none of ours. It gets no answer.
    #[error("peer is not in the same network")]
    Network,
    /// The peer does without ML-KEM, and we may not.
    #[error(
        "peer has no post-quantum key agreement, and this side does not allow it to do without"
    )]
    PostQuantumRequired,
    /// What the peer shows of itself does not hold.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The peer proved to be another than the one that was asked for.
    #[error("peer is {found}, not the one that was asked for")]
    OtherPeer {
        /// Its identity.
        found: IdentityId,
    },
    /// Our authenticator refused the peer.
    #[error("authenticator refused the peer with status {status}: {text}")]
    RefusedByUs {
        /// The ZAP status code: 300, 400 or 500.
        status: u16,
        /// The authenticator's words.
        text: String,
    },
}

/// One mechanism in the table.
#[derive(Debug)]
pub struct Mechanism {
    /// The name in the greeting (RFC 37 §3.1), at most 20 octets.
    pub name: &'static str,
    /// Whether what it carries can be read on the way.
    pub clear: bool,
}

/// Every mechanism that Withy speaks.
pub const MECHANISMS: &[Mechanism] = &[
    Mechanism {
        name: null::NAME,
        clear: true,
    },
    Mechanism {
        name: plain::NAME,
        clear: true,
    },
    Mechanism {
        name: curve::NAME,
        clear: false,
    },
    Mechanism {
        name: noise::NAME,
        clear: false,
    },
    Mechanism {
        name: quic::NAME,
        clear: false,
    },
];

/// Splits a command body into its name and its data (RFC 37 §3.2).
pub(crate) fn split_command(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = body.split_first()?;
    rest.split_at_checked(usize::from(len))
}

/// Builds a command body from its name and its data.
pub(crate) fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + name.len() + data.len());
    body.push(name.len() as u8);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    body
}

/// The ERROR command for a refusal: libzmq sends the status code as the reason, and nothing for
/// the temporary status 300.
pub(crate) fn error_command(status: u16) -> Option<Vec<u8>> {
    let reason = status.to_string();
    let data = [&[reason.len() as u8], reason.as_bytes()].concat();
    (status != 300).then(|| command("ERROR", &data))
}

/// The error for a command that is not `expected`: an ERROR of the peer, or a breach.
pub(crate) fn unexpected(body: &[u8], expected: &'static str) -> HandshakeError {
    match split_command(body) {
        // Its data is shaped as a command's name is: an octet with a length, then so much text.
        Some((b"ERROR", data)) => match split_command(data) {
            Some((reason, _)) => HandshakeError::RefusedByPeer {
                reason: printable(reason, 255),
            },
            None => HandshakeError::Malformed {
                command: "ERROR",
                reason: "its reason is cut short",
            },
        },
        Some((name, _)) => HandshakeError::UnexpectedCommand {
            got: printable(name, 32),
            expected,
        },
        None => HandshakeError::UnexpectedCommand {
            got: "a malformed command".to_owned(),
            expected,
        },
    }
}

/// Octets of a peer as text that is safe in a log line.
pub(crate) fn printable(octets: &[u8], max: usize) -> String {
    octets.escape_ascii().take(max).map(char::from).collect()
}
