//! NOISE: the mechanism of Withy nodes. Both sides prove who they are, with keys that need no
//! certificates of others, and what is recorded today stays secret when quantum computers come.
//!
//! The handshake is `Noise_XXpsk0+psk3_25519_SUITE_SHA256`, revision 34 of the Noise framework, in
//! commands of ZMTP (RFC 37 §3.2). The side that made the link is the initiator.
//!
//! ```text
//!  initiator                                                     responder
//!  greeting  challenge                     <---------->          greeting  challenge
//!  HELLO     options, tag, e [ML-KEM key]         ----->         finds the network by the tag
//!         <-----   WELCOME   e, ee, s, es [ML-KEM ciphertext, credentials]
//!  trusts the responder?
//!  INITIATE  s, se [credentials, metadata]        ----->         trusts the initiator?
//!         <-----   READY     [metadata, or why not]
//!  records                                 <---------->          records
//! ```
//!
//! # On the wire
//!
//! **Greeting** (RFC 37 §3.1). The mechanism is `NOISE`; `as-server` is 0 for the initiator and 1 for
//! the responder. The filler is
//!
//! | octets | |
//! |---|---|
//! | 1 | version of this description: 1 |
//! | 1 | bit 0: this side's processor has AES; the others are 0 and ignored |
//! | 16 | challenge: random, new with each connection |
//! | 13 | zeros, ignored |
//!
//! **Secrets.** A network has a secret of 32 octets, which is psk0. Without a network it is
//! [`OPEN`](super::party::OPEN), which everybody knows. psk3 is the shared secret of ML-KEM-768 (FIPS 203).
//!
//! **HELLO** is `options tag message`. Options: bit 0 for AES-GCM (AES-256) and not ChaCha20-Poly1305,
//! which the initiator chooses if both greetings say AES; bit 1 for ML-KEM, without which the pattern
//! is `XXpsk0`; the others are 0. The tag is the first 16 octets of
//! `HMAC-SHA-256(secret, "withy noise tag 1" || initiator's greeting || responder's greeting)`: who
//! does not know the secret learns nothing from it and cannot make it, and a recorded one fits no
//! other connection. A responder that knows no secret that fits closes the connection without an
//! answer. The message is Noise's first, its payload the encapsulation key (1,184 octets) or empty.
//!
//! **Prologue**: `"withy noise 1" || initiator's greeting || responder's greeting || options`. Whoever
//! changes any of it on the way ends the handshake.
//!
//! **WELCOME** is Noise's second message. Its payload is the ciphertext (1,088 octets), if ML-KEM is
//! used, and the responder's [credentials](crate::trust::credentials). The X25519 key that its node
//! certificate names must be the static key of the message; so for INITIATE.
//!
//! **INITIATE** is Noise's third message. Its payload is the initiator's credentials and then its
//! metadata, as in NULL's READY (RFC 37 §3.4). From here on, all is sealed with keys in which psk3 has
//! its part.
//!
//! **READY** is a transport message of the responder, its first: an octet 0 and its metadata, or 1 and
//! the reason for which it refuses, in text. An initiator that does not trust the responder sends
//! ERROR instead of INITIATE and shows nothing of itself.
//!
//! **Confirmation.** The side that has the network's signing key answers a peer that showed an
//! invitation, or a membership of which more than half is over, with a lasting membership: a property
//! `X-Membership` of its INITIATE or READY, which are both sent after the peer's credentials were
//! read. Its value is a [proof](crate::trust::membership) of kind 1. Whoever receives one keeps it if it
//! is of this network and its own identity, holds now, has the serial of the proof that it showed, all
//! of its roles and a later end; else it is ignored.
//!
//! **Records** follow, in both directions: [`crate::zmtp::record`]. The responder's counter goes on
//! from READY, the initiator's starts at 0.

mod initiator;
mod responder;
mod session;

#[cfg(test)]
mod tests;

pub use initiator::Initiator;
pub use responder::Responder;

use super::HandshakeError;
use crate::crypto::Randomness;
use crate::crypto::aead::Suite;
use crate::crypto::hash::hmac;
use crate::zmtp::greeting::{self, FILLER, Filler};

/// The name in the greeting.
pub const NAME: &str = "NOISE";

/// The version of the description above.
const VERSION: u8 = 1;

/// In the filler: the processor has AES.
const HAS_AES: u8 = 1;

/// In the options: AES-GCM.
const AES_GCM: u8 = 1;
/// In the options: ML-KEM.
const ML_KEM: u8 = 2;

const CHALLENGE: usize = 16;
const TAG: usize = 16;

/// READY's first octet: the responder is ready.
const ACCEPTED: u8 = 0;
/// READY's first octet: the responder refuses.
const REFUSED: u8 = 1;

/// What both sides know when the greetings have passed.
#[derive(Debug, Clone)]
struct Greetings {
    initiator: [u8; greeting::LENGTH],
    responder: [u8; greeting::LENGTH],
}

impl Greetings {
    /// Puts both in their order, if the peer's fits.
    fn new(
        ours: &[u8; greeting::LENGTH],
        theirs: &[u8; greeting::LENGTH],
        we_initiate: bool,
    ) -> Result<Self, HandshakeError> {
        let malformed = |reason| HandshakeError::Malformed {
            command: "greeting",
            reason,
        };
        if theirs[FILLER.start] != VERSION {
            return Err(malformed("its version of NOISE is not 1"));
        }
        if theirs[greeting::AS_SERVER] != u8::from(we_initiate) {
            return Err(malformed("both sides made the link, or none"));
        }
        let (initiator, responder) = match we_initiate {
            true => (*ours, *theirs),
            false => (*theirs, *ours),
        };
        Ok(Self {
            initiator,
            responder,
        })
    }

    /// What names the network of `secret` in this connection only.
    fn tag(&self, secret: &[u8; 32]) -> [u8; TAG] {
        let parts = [&b"withy noise tag 1"[..], &self.initiator, &self.responder];
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hmac(secret, &parts)[..TAG]);
        tag
    }

    fn prologue(&self, options: u8) -> Vec<u8> {
        let parts = [
            &b"withy noise 1"[..],
            &self.initiator,
            &self.responder,
            &[options],
        ];
        parts.concat()
    }

    /// Whether both processors have AES.
    fn have_aes(&self) -> bool {
        let says = |greeting: &[u8]| greeting[FILLER.start + 1] & HAS_AES != 0;
        says(&self.initiator) && says(&self.responder)
    }
}

/// Draws what our greeting says.
fn filler(has_aes: bool, randomness: &mut dyn Randomness) -> Filler {
    let mut filler = Filler::default();
    filler[0] = VERSION;
    filler[1] = if has_aes { HAS_AES } else { 0 };
    randomness.fill(&mut filler[2..2 + CHALLENGE]);
    filler
}

const fn suite(options: u8) -> Suite {
    match options & AES_GCM {
        0 => Suite::ChaChaPoly,
        _ => Suite::AesGcm,
    }
}
