//! The Noise state of one handshake, by snow.

use snow::HandshakeState;
use snow::params::NoiseParams;
use zeroize::Zeroizing;

use super::{Greetings, ML_KEM, suite};
use crate::crypto::aead::{Key, Suite};
use crate::crypto::noise::Primitives;
use crate::crypto::{Provider, kem};
use crate::mechanism::HandshakeError;
use crate::mechanism::party::{Realm, Settings};

/// The longest Noise message (Noise §3).
const MAX_MESSAGE: usize = 65_535;

/// Which side of a handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// A handshake whose options are known.
pub(super) struct Session {
    noise: HandshakeState,
    provider: Provider,
    suite: Suite,
    role: Role,
}

/// The keys of both directions.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) initiator: Key,
    pub(super) responder: Key,
}

impl Session {
    pub(super) fn start(
        provider: Provider,
        role: Role,
        settings: &Settings,
        realm: &Realm,
        greetings: &Greetings,
        options: u8,
        primitives: Primitives,
    ) -> Self {
        let suite = suite(options);
        let pattern = if options & ML_KEM == 0 {
            "XXpsk0"
        } else {
            "XXpsk0+psk3"
        };
        let name = format!("Noise_{pattern}_25519_{}_SHA256", suite.name());
        let name: NoiseParams = name.parse().expect("the names are snow's own");
        let prologue = greetings.prologue(options);
        let build = || {
            let builder = snow::Builder::with_resolver(name, Box::new(primitives))
                .local_private_key(settings.keys.secret().expose_octets())?
                .psk(0, &realm.secret)?
                .prologue(&prologue)?;
            match role {
                Role::Initiator => builder.build_initiator(),
                Role::Responder => builder.build_responder(),
            }
        };
        Self {
            noise: build().expect("each part is given once, and has its length"),
            provider,
            suite,
            role,
        }
    }

    /// Our next message.
    ///
    /// # Errors
    /// The peer's key is of low order.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        // Keys of 32 octets and their tags: 48 each.
        let mut message = vec![0; payload.len() + 128];
        let written = self.noise.write_message(payload, &mut message);
        let size = written.map_err(|_| HandshakeError::Crypto { command: "HELLO" })?;
        message.truncate(size);
        Ok(message)
    }

    /// The payload of the peer's next message.
    pub(super) fn read(
        &mut self,
        command: &'static str,
        message: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        let mut payload = Zeroizing::new(vec![0; message.len().min(MAX_MESSAGE)]);
        let size = self
            .noise
            .read_message(message, &mut payload)
            .map_err(|error| match error {
                snow::Error::Input => HandshakeError::Malformed {
                    command,
                    reason: "it is cut short, or too long",
                },
                _ => HandshakeError::Crypto { command },
            })?;
        payload.truncate(size);
        Ok(payload)
    }

    /// Mixes in what ML-KEM agreed on.
    pub(super) fn mix(&mut self, shared: &kem::Shared) {
        let mixed = self.noise.set_psk(3, &shared[..]);
        mixed.expect("a secret of 32 octets at a place that there is");
    }

    /// The static key that the peer proves.
    pub(super) fn peer_key(&self) -> Option<[u8; 32]> {
        self.noise
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
    }

    /// The keys of the records (Noise §5.2, Split), once all three messages have passed.
    pub(super) fn split(mut self) -> Keys {
        debug_assert!(self.noise.is_handshake_finished());
        let (initiator, responder) = self.noise.dangerously_get_raw_split();
        let key = |octets| Key::new(self.provider, self.suite, &Zeroizing::new(octets));
        Keys {
            initiator: key(initiator),
            responder: key(responder),
        }
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}
