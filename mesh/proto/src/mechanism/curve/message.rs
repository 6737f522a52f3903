//! MESSAGE (RFC 26 §"MESSAGE Command"): one frame in one box.
//!
//! ```text
//!  0        8        16               32      33
//!  | 7MESSAGE | nonce | tag            | flags | body        the last two are encrypted
//! ```
//!
//! The nonce is a counter. Each direction has a key of its own, made of the shared key and the
//! prefix that all its nonces have.

use std::fmt;

use super::{CLIENT_NONCE, SERVER_NONCE, SHORT_NONCE};
use crate::crypto::nacl::{BoxKey, StreamKey, TAG};

/// The octets that a MESSAGE has beyond the body: name, nonce, tag and flags.
pub const OVERHEAD: usize = PLAINTEXT_AT + 1;

/// Where the plaintext starts: the flags octet, then the body.
pub const PLAINTEXT_AT: usize = NAME.len() + SHORT_NONCE + TAG;

const NAME: &[u8; 8] = b"\x07MESSAGE";

/// Which side of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// The two halves of a connection's key. Each counter goes on from the handshake: `next` is the
/// nonce of our first MESSAGE, `last` the last one of the peer.
pub(super) fn split(key: &BoxKey, side: Side, next: u64, last: u64) -> (Sealer, Opener) {
    let (ours, theirs) = match side {
        Side::Client => (CLIENT_NONCE, SERVER_NONCE),
        Side::Server => (SERVER_NONCE, CLIENT_NONCE),
    };
    let sealer = Sealer {
        key: key.with_prefix(ours),
        next,
    };
    let opener = Opener {
        key: key.with_prefix(theirs),
        last,
    };
    (sealer, opener)
}

/// Seals what we send.
pub struct Sealer {
    key: StreamKey,
    next: u64,
}

impl Sealer {
    /// Makes a MESSAGE in place. `body` is the whole body of the frame, with the flags octet and
    /// the plaintext from [`PLAINTEXT_AT`] on; what stands before is overwritten.
    ///
    /// # Errors
    /// The counter has no more values. The connection must close.
    ///
    /// # Panics
    /// `body` is shorter than [`PLAINTEXT_AT`].
    #[inline]
    pub fn seal(&mut self, body: &mut [u8]) -> Result<(), NonceExhausted> {
        let (head, text) = body.split_at_mut(PLAINTEXT_AT);
        let nonce = self.next.to_be_bytes();
        self.next = self.next.checked_add(1).ok_or(NonceExhausted)?;
        let tag = self.key.seal(nonce, text);
        head[..8].copy_from_slice(NAME);
        head[8..16].copy_from_slice(&nonce);
        head[16..].copy_from_slice(&tag);
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Opens what the peer sends.
pub struct Opener {
    key: StreamKey,
    last: u64,
}

impl Opener {
    /// Opens a MESSAGE in place and returns the flags octet and the plaintext. `body` is the whole
    /// body of the frame.
    ///
    /// The peer's nonces must rise; they may leave values out, as libzmq allows it.
    ///
    /// # Errors
    /// The frame is not a MESSAGE of the peer, or was sent before. What is left in `body` is of no
    /// use. The connection should close; the state is as before the call.
    #[inline]
    pub fn open<'a>(&mut self, body: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        if !body.starts_with(NAME) {
            return Err(OpenError::NotMessage);
        }
        if body.len() < OVERHEAD {
            return Err(OpenError::TooShort { size: body.len() });
        }
        let (head, text) = body.split_at_mut(PLAINTEXT_AT);
        let (fields, _) = head[8..].as_chunks::<8>();
        let nonce = u64::from_be_bytes(fields[0]);
        if nonce <= self.last {
            return Err(OpenError::Replayed {
                nonce,
                last: self.last,
            });
        }
        let mut tag = [0; TAG];
        tag.copy_from_slice(&head[16..]);
        if !self.key.open(fields[0], &tag, text) {
            return Err(OpenError::Forged);
        }
        self.last = nonce;
        Ok(text)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// All nonces of a connection were used. It must close; a new one has new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all nonces of this connection were used")]
pub struct NonceExhausted;

/// Why a frame does not open. The peer misbehaved, or somebody on the way did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The frame is not a MESSAGE command: a frame in the clear.
    #[error("peer sent a frame that is not a MESSAGE command")]
    NotMessage,
    /// The frame is shorter than [`OVERHEAD`].
    #[error("peer sent a MESSAGE command of {size} octets; the least is {OVERHEAD}")]
    TooShort {
        /// Its length.
        size: usize,
    },
    /// The nonce is not above that of the frame before: the frame was sent before, or later.
    #[error("peer sent a MESSAGE command with nonce {nonce} after one with {last}")]
    Replayed {
        /// The nonce.
        nonce: u64,
        /// The last one before it.
        last: u64,
    },
    /// The box does not open.
    #[error("a MESSAGE command does not authenticate: it was changed on the way")]
    Forged,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Provider, Randomness, Seeded};

    fn sides() -> ((Sealer, Opener), (Sealer, Opener)) {
        let key = Provider::Real.secret(&mut Seeded::new(1));
        let client = split(&key, Side::Client, 3, 1);
        let server = split(&key, Side::Server, 2, 2);
        (client, server)
    }

    fn sealed(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
        let mut body = [&[0; PLAINTEXT_AT][..], text].concat();
        sealer.seal(&mut body).unwrap();
        body
    }

    #[test]
    fn what_one_side_seals_the_other_opens() {
        let ((mut client, mut from_server), (mut server, mut from_client)) = sides();
        let mut randomness = Seeded::new(2);
        for size in (1..200).chain([1_000, 70_000]) {
            let mut text = vec![0; size];
            randomness.fill(&mut text);
            let mut body = sealed(&mut client, &text);
            assert_eq!(body[..8], *b"\x07MESSAGE");
            assert_eq!(from_client.open(&mut body).unwrap(), text);
            let mut body = sealed(&mut server, &text);
            assert_eq!(from_server.open(&mut body).unwrap(), text);
        }
    }

    #[test]
    fn nothing_opens_twice_or_late_or_on_the_side_that_sealed_it() {
        let ((mut client, mut from_server), (_, mut from_client)) = sides();
        let [first, second, third] = [b"1", b"2", b"3"].map(|text| sealed(&mut client, text));
        assert_eq!(from_server.open(&mut first.clone()), Err(OpenError::Forged));
        assert!(from_client.open(&mut first.clone()).is_ok());
        let replayed = OpenError::Replayed { nonce: 3, last: 3 };
        assert_eq!(from_client.open(&mut first.clone()), Err(replayed));
        assert!(
            from_client.open(&mut third.clone()).is_ok(),
            "gaps are fine"
        );
        let late = OpenError::Replayed { nonce: 4, last: 5 };
        assert_eq!(from_client.open(&mut second.clone()), Err(late));
    }

    #[test]
    fn any_change_is_noticed_and_does_not_advance_the_nonce() {
        let ((mut client, _), (_, mut from_client)) = sides();
        let body = sealed(&mut client, b"\x00the body");
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut wrong = body.clone();
                wrong[at] ^= 1 << bit;
                assert!(from_client.open(&mut wrong).is_err());
            }
        }
        for cut in 0..body.len() {
            assert!(from_client.open(&mut body.clone()[..cut]).is_err());
        }
        let mut bare = body.clone();
        bare.truncate(PLAINTEXT_AT);
        let short = OpenError::TooShort { size: PLAINTEXT_AT };
        assert_eq!(from_client.open(&mut bare), Err(short));
        assert_eq!(
            from_client.open(&mut body.clone()).unwrap(),
            b"\x00the body"
        );
    }

    #[test]
    fn the_last_nonce_is_never_used_twice() {
        let key = Provider::Real.secret(&mut Seeded::new(1));
        let (mut sealer, _) = split(&key, Side::Client, u64::MAX - 1, 0);
        assert!(sealer.seal(&mut [0; 40]).is_ok());
        for _ in 0..2 {
            assert_eq!(sealer.seal(&mut [0; 40]), Err(NonceExhausted));
        }
    }

    #[test]
    fn both_halves_are_small_and_move_between_threads() {
        fn moves<T: Send>() -> usize {
            size_of::<T>()
        }
        assert!(moves::<Sealer>() <= 88);
        assert!(moves::<Opener>() <= 88);
    }
}
