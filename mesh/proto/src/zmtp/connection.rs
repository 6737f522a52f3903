//! The engine of one connection until it is established: greeting, then the mechanism's handshake.
//!
//! It takes octets and yields octets; it knows neither the clock (the driver holds the handshake's
//! deadline) nor the patterns beyond the table of compatible socket types.
//!
//! ```text
//!  Greeting --64 octets--> Handshake --commands--> Established
//!      |                       |  ^
//!      +------> Failed <-------+  +-- set_decision (the authenticator's answer)
//! ```

#[cfg(test)]
mod tests;

use super::decoder::{DecodeError, Decoder, Limits};
use super::frame::{self, COMMAND, Header, HeaderError};
use super::greeting::{self, GreetingError};
use super::metadata::{self, Metadata};
use super::outbox::{Framing, Outbox};
use crate::crypto::Randomness;
use crate::mechanism::null;
use crate::mechanism::party::MEMBERSHIP;
use crate::mechanism::zap::{AuthRequest, Decision, User};
use crate::mechanism::{Handshake, HandshakeError, Proven, Sealer};
use crate::pattern::SocketType;
use crate::trust::Membership;

/// The longest command of a handshake in octets: the metadata limit and room for a mechanism's own.
pub const MAX_HANDSHAKE_COMMAND: usize = metadata::MAX_SIZE + 2_048;

/// The property that names the socket type (RFC 37 §3.4).
pub const SOCKET_TYPE: &str = "Socket-Type";
/// The property that carries the routing id (RFC 37 §3.4).
pub const IDENTITY: &str = "Identity";
/// The property that says which of the sockets behind an endpoint is wanted (RFC 37 §3.4).
pub const RESOURCE: &str = "Resource";
/// The property by which Withy peers know each other: a comma-separated list of extensions.
pub const EXTENSIONS: &str = "X-Withy";

/// The longest routing id in octets (RFC 37 §3.4).
pub const MAX_IDENTITY: usize = 255;

/// What Withy peers tell each other beyond ZMTP. Others ignore the property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// The peer is Withy: heartbeats are on by default.
    pub withy: bool,
    /// A REP: it answers many requests at once, matched by a request id in the envelope.
    pub correlate: bool,
}

impl Extensions {
    fn decode(value: &[u8]) -> Self {
        let mut extensions = Self {
            withy: true,
            correlate: false,
        };
        for word in value.split(|&octet| octet == b',') {
            extensions.correlate |= word == b"correlate";
        }
        extensions
    }

    fn encode(self) -> &'static [u8] {
        if self.correlate { b"1,correlate" } else { b"1" }
    }
}

/// Our properties for READY: type, routing id where the type has one, extensions.
pub fn local_metadata(kind: SocketType, identity: &[u8], extensions: Extensions) -> Metadata {
    let mut metadata = Metadata::default();
    // The names are within the RFC's alphabet, so none of these is refused.
    let _ = metadata.set(SOCKET_TYPE, kind.name().as_bytes());
    if kind.announces_identity() {
        let _ = metadata.set(IDENTITY, identity);
    }
    if extensions.withy {
        let _ = metadata.set(EXTENSIONS, extensions.encode());
    }
    metadata
}

/// The peer, as its handshake showed it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its socket type.
    pub kind: SocketType,
    /// Its routing id, empty when it announced none.
    pub identity: Vec<u8>,
    /// The minor version of ZMTP 3 that it speaks.
    pub minor: u8,
    /// What it speaks beyond ZMTP.
    pub extensions: Extensions,
    /// The mechanism of the connection, as greetings name it.
    pub mechanism: &'static str,
    /// Its properties.
    pub metadata: Metadata,
    /// Who the authenticator says it is.
    pub user: User,
    /// The public key that it proved: with CURVE its own, with NOISE its identity's.
    pub key: Option<[u8; 32]>,
    /// What NOISE proved of it.
    pub proven: Option<Box<Proven>>,
    /// What it says confirms our membership in the network in which it was met: to be looked at by
    /// [`Proof::confirmed_by`](crate::trust::Proof::confirmed_by). It is none of its properties.
    pub confirmation: Option<Vec<u8>>,
}

impl Peer {
    /// Whether SUBSCRIBE and CANCEL go to it as commands; as messages otherwise.
    pub fn takes_subscribe_commands(&self) -> bool {
        self.minor >= 1
    }
}

/// An established connection, split into what each direction owns.
#[derive(Debug)]
pub struct Established {
    /// Who is there.
    pub peer: Peer,
    /// Decodes what it sends; what came right behind the handshake is stashed there, undecoded.
    pub decoder: Decoder,
    /// Encodes what is sent to it.
    pub outbox: Outbox,
    /// Encrypts what is sent to it.
    pub sealer: Sealer,
}

/// A socket that takes a connection over while it shakes hands.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its type.
    pub kind: SocketType,
    /// Its properties.
    pub metadata: Metadata,
    /// What it lets a peer send.
    pub limits: Limits,
}

/// The engine.
#[derive(Debug)]
pub struct Connection {
    kind: SocketType,
    mechanism: &'static str,
    handshake: Box<dyn Handshake>,
    greeting: [u8; greeting::LENGTH],
    limits: Limits,
    state: State,
    admission: Admission,
    /// Whether the peer may be for another socket than ours.
    is_shared: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Whether the pattern has a place for the peer, which the accepting side says before it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Due,
    Asked,
    Granted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Handshake { minor: u8 },
    Complete { minor: u8 },
}

impl Connection {
    /// Starts a connection; our greeting is ready to leave, and what may follow it at once. The side that
    /// `accepts` is asked whether there is a place for the peer, by [`Connection::poll_admission`].
    pub fn new(
        kind: SocketType,
        mechanism: &'static str,
        as_server: bool,
        accepts: bool,
        mut handshake: Box<dyn Handshake>,
        limits: Limits,
    ) -> Self {
        let greeting = greeting::encode(mechanism, as_server, handshake.filler());
        let mut output = greeting.to_vec();
        if let Some(body) = handshake.opening() {
            frame::encode(COMMAND, body.len(), &mut output);
            output.extend_from_slice(&body);
        }
        Self {
            kind,
            mechanism,
            handshake,
            greeting,
            limits,
            state: State::Greeting,
            admission: if accepts {
                Admission::Due
            } else {
                Admission::Granted
            },
            is_shared: false,
            input: Vec::new(),
            output,
        }
    }

    /// Says that the endpoint is shared by several sockets: the one that the peer asks for takes it
    /// over by [`Connection::admit_to`], and its type is held against that one's.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Takes octets of the peer. What comes after the handshake is kept for the [`Decoder`].
    ///
    /// # Errors
    /// The connection must close, after what [`Connection::poll_transmit`] still has was sent.
    pub fn handle_input(
        &mut self,
        octets: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<(), ConnectionError> {
        self.input.extend_from_slice(octets);
        self.proceed(randomness)
    }

    /// Takes what is whole of the input, until it is the driver's turn to answer.
    fn proceed(&mut self, randomness: &mut dyn Randomness) -> Result<(), ConnectionError> {
        let mut at = 0;
        while !self.is_held() {
            let used = self.step(at, randomness)?;
            if used == 0 {
                break;
            }
            at += used;
        }
        self.input.drain(..at);
        Ok(())
    }

    /// Whether the peer has shown itself and was not admitted yet.
    fn is_held(&self) -> bool {
        self.admission != Admission::Granted
            && !self.handshake.refused()
            && self.handshake.claims().is_some()
    }

    /// Octets for the peer.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// The question for the authenticator, once. The handshake waits for
    /// [`Connection::set_decision`].
    #[must_use]
    pub fn poll_auth(&mut self) -> Option<AuthRequest> {
        match self.state {
            State::Handshake { .. } => self.handshake.auth_request(),
            _ => None,
        }
    }

    /// What confirms the peer's membership, before [`Connection::set_decision`] accepts it.
    pub fn confirm(&mut self, membership: &Membership) {
        self.handshake.confirm(membership);
    }

    /// The authenticator's answer.
    ///
    /// # Errors
    /// The peer was refused; the connection must close after [`Connection::poll_transmit`].
    pub fn set_decision(
        &mut self,
        decision: Decision,
        randomness: &mut dyn Randomness,
    ) -> Result<(), ConnectionError> {
        let refusal = match &decision {
            Decision::Deny { status, text } => Some(HandshakeError::RefusedByUs {
                status: *status,
                text: text.clone(),
            }),
            Decision::Accept { .. } => None,
        };
        self.handshake.set_decision(decision);
        self.advance(randomness);
        refusal.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The peer, once, as soon as it has shown itself. The handshake waits for
    /// [`Connection::admit`] or [`Connection::refuse`].
    ///
    /// # Errors
    /// The peer's socket type or routing id does not fit; the connection must close after
    /// [`Connection::poll_transmit`].
    pub fn poll_admission(&mut self) -> Result<Option<Peer>, ConnectionError> {
        let State::Handshake { minor } = self.state else {
            return Ok(None);
        };
        if self.admission != Admission::Due {
            return Ok(None);
        }
        let Some(claims) = self.handshake.claims() else {
            return Ok(None);
        };
        self.admission = Admission::Asked;
        let key = claims.key;
        let metadata = claims.metadata.clone();
        let peer = match self.is_shared {
            true => Self::claimed(self.kind, metadata),
            false => Self::peer_of(self.kind, metadata),
        };
        match peer {
            Ok(peer) => Ok(Some(Peer { minor, key, ..peer })),
            Err(error) => {
                self.refuse("Invalid socket type");
                Err(error)
            }
        }
    }

    /// There is a place for the peer.
    ///
    /// # Errors
    /// As [`Connection::handle_input`], for what came meanwhile.
    pub fn admit(&mut self, randomness: &mut dyn Randomness) -> Result<(), ConnectionError> {
        self.admission = Admission::Granted;
        self.advance(randomness);
        self.proceed(randomness)
    }

    /// As [`Connection::admit`], with a place at another socket than ours, from which the peer hears
    /// from now on.
    ///
    /// # Errors
    /// As [`Connection::admit`], or the peer's socket type does not talk to that one's.
    pub fn admit_to(
        &mut self,
        host: Host,
        randomness: &mut dyn Randomness,
    ) -> Result<(), ConnectionError> {
        let Host {
            kind,
            metadata,
            limits,
        } = host;
        let claims = self.handshake.claims();
        let claimed = claims.map(|claims| claims.metadata.clone());
        if let Err(error) = Self::peer_of(kind, claimed.unwrap_or_default()) {
            self.refuse("Invalid socket type");
            return Err(error);
        }
        (self.kind, self.limits) = (kind, limits);
        let ours = &mut self.handshake.local().metadata;
        let confirmation = ours.remove(MEMBERSHIP);
        *ours = metadata;
        if let Some(confirmation) = confirmation {
            let set = ours.set(MEMBERSHIP, confirmation);
            set.expect("the name is within the RFC's alphabet");
        }
        self.admit(randomness)
    }

    /// There is no place for the peer: an ERROR command is ready to leave. A libzmq peer must not
    /// get it if it shall try again; it gives a connection up for good on ERROR.
    pub fn refuse(&mut self, reason: &str) {
        let reason = &reason.as_bytes()[..reason.len().min(255)];
        let body = crate::mechanism::command("ERROR", &[&[reason.len() as u8], reason].concat());
        frame::encode(COMMAND, body.len(), &mut self.output);
        self.output.extend_from_slice(&body);
    }

    /// Whether [`Connection::finish`] can be called: the handshake is complete.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    /// The established connection.
    ///
    /// # Errors
    /// The peer's socket type or routing id does not fit; the connection must close.
    pub fn finish(self) -> Result<Established, ConnectionError> {
        let State::Complete { minor } = self.state else {
            return Err(ConnectionError::Unfinished);
        };
        let Self { kind, limits, .. } = self;
        let mut agreed = self.handshake.finish();
        // Where nobody proves anything, nobody is a member.
        let confirmation = agreed.metadata.remove(MEMBERSHIP);
        let confirmation = confirmation.filter(|_| agreed.proven.is_some());
        let peer = Peer {
            minor,
            user: agreed.user,
            key: agreed.peer_key,
            proven: agreed.proven,
            mechanism: self.mechanism,
            confirmation,
            ..Self::peer_of(kind, agreed.metadata)?
        };
        let framing = match agreed.sealer {
            Sealer::Clear | Sealer::Records(_) => Framing::Clear,
            Sealer::Curve(_) => Framing::Curve,
        };
        let mut decoder = Decoder::new(limits, agreed.opener);
        decoder.stash_unopened(self.input)?;
        Ok(Established {
            peer,
            decoder,
            outbox: Outbox::new(framing),
            sealer: agreed.sealer,
        })
    }

    /// The peer that its properties show, held against our type: for links without a greeting.
    ///
    /// # Errors
    /// The peer's socket type or routing id does not fit.
    pub fn peer_of(ours: SocketType, metadata: Metadata) -> Result<Peer, ConnectionError> {
        let peer = Self::claimed(ours, metadata)?;
        match ours.accepts(peer.kind) {
            true => Ok(peer),
            false => Err(ConnectionError::SocketType {
                ours,
                theirs: peer.kind.name().to_owned(),
            }),
        }
    }

    /// The peer that its properties show, whatever its type.
    ///
    /// # Errors
    /// Its type is none, or its routing id does not fit.
    pub fn claimed(ours: SocketType, mut metadata: Metadata) -> Result<Peer, ConnectionError> {
        let name = metadata.value(SOCKET_TYPE).unwrap_or_default();
        let kind = SocketType::from_name(name).ok_or_else(|| ConnectionError::SocketType {
            ours,
            theirs: crate::mechanism::printable(name, 20),
        })?;
        let identity = metadata.value(IDENTITY).unwrap_or_default().to_vec();
        if identity.len() > MAX_IDENTITY {
            return Err(ConnectionError::IdentityTooLong {
                len: identity.len(),
            });
        }
        let extensions = metadata
            .value(EXTENSIONS)
            .map(Extensions::decode)
            .unwrap_or_default();
        metadata.remove(MEMBERSHIP);
        Ok(Peer {
            kind,
            identity,
            minor: 1,
            extensions,
            mechanism: null::NAME,
            metadata,
            user: User::default(),
            key: None,
            proven: None,
            confirmation: None,
        })
    }

    /// Takes one greeting or one command from `input[at..]`; zero when it is not whole yet.
    fn step(
        &mut self,
        at: usize,
        randomness: &mut dyn Randomness,
    ) -> Result<usize, ConnectionError> {
        let input = &self.input[at..];
        match self.state {
            State::Greeting => {
                let octets = &input[..input.len().min(greeting::LENGTH)];
                let Some(greeting) = greeting::decode(octets, self.mechanism)? else {
                    return Ok(0);
                };
                if let Ok(theirs) = octets.try_into() {
                    self.handshake.handle_greetings(&self.greeting, theirs)?;
                }
                self.state = State::Handshake {
                    minor: greeting.minor,
                };
                self.advance(randomness);
                Ok(greeting::LENGTH)
            }
            State::Handshake { .. } => {
                let Some(header) = Header::decode(input)? else {
                    return Ok(0);
                };
                if header.flags & COMMAND == 0 {
                    return Err(ConnectionError::MessageBeforeReady);
                }
                if header.size > MAX_HANDSHAKE_COMMAND as u64 {
                    return Err(ConnectionError::CommandTooLarge { size: header.size });
                }
                let used = header.length + header.size as usize;
                let Some(body) = input.get(header.length..used) else {
                    return Ok(0);
                };
                let result = self.handshake.handle_command(body);
                self.advance(randomness);
                result?;
                Ok(used)
            }
            State::Complete { .. } => Ok(0),
        }
    }

    /// Lets the mechanism speak, and notes when it is done.
    fn advance(&mut self, randomness: &mut dyn Randomness) {
        let State::Handshake { minor } = self.state else {
            return;
        };
        if self.is_held() {
            return;
        }
        while let Some(body) = self.handshake.next_command(randomness) {
            frame::encode(COMMAND, body.len(), &mut self.output);
            self.output.extend_from_slice(&body);
        }
        if self.handshake.is_complete() {
            self.state = State::Complete { minor };
        }
    }
}

/// Why a connection was not established.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The greeting: the peer speaks something else, or another mechanism.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// A frame header broke the protocol. The peer misbehaved.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The mechanism failed or refused.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A message came where a command was due. The peer misbehaved.
    #[error("peer sent a message before the handshake was over")]
    MessageBeforeReady,
    /// A handshake command is over [`MAX_HANDSHAKE_COMMAND`]. The peer misbehaved.
    #[error("peer sent a handshake command of {size} octets; the limit is {MAX_HANDSHAKE_COMMAND}")]
    CommandTooLarge {
        /// What its header announced.
        size: u64,
    },
    /// The peer's socket type does not talk to ours. The peers are incompatible.
    #[error("peer is a {theirs:?} socket, which does not talk to {ours}")]
    SocketType {
        /// Our type.
        ours: SocketType,
        /// What the peer announced.
        theirs: String,
    },
    /// The routing id is over [`MAX_IDENTITY`]. The peer misbehaved.
    #[error("peer announced a routing id of {len} octets; the limit is {MAX_IDENTITY}")]
    IdentityTooLong {
        /// Its length.
        len: usize,
    },
    /// What came right behind the handshake is not what the mechanism seals. The peer misbehaved.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// [`Connection::finish`] was called too early. Local misuse.
    #[error("the handshake is not complete")]
    Unfinished,
}
