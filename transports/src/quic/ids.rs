//! Our connection ids, which can be told from those that others make up.

use std::time::Duration;

use quinn::ConnectionId;
use quinn_proto::{ConnectionIdGenerator, InvalidCid};
use withy_proto::crypto::tag::{self, NONCE};

use crate::options::Secret;

/// Octets of our connection ids: 4 random ones, and 4 that prove that they are ours.
pub(super) const ID: usize = 8;

/// Makes connection ids, and knows its own again.
#[derive(Debug, Clone)]
pub(super) struct Ids(Secret);

impl Ids {
    pub(super) fn of_key(key: [u8; 32]) -> Self {
        Self(Secret::from(key))
    }

    pub(super) fn made(&self, id: &[u8]) -> bool {
        let nonce = id.first_chunk::<4>();
        nonce.is_some_and(|nonce| self.of(*nonce)[..] == *id)
    }

    fn of(&self, nonce: [u8; 4]) -> [u8; ID] {
        let [a, b, c, d] = nonce;
        let tag = tag::make(self.0.expose(), 0, [a, b, c, d, 0, 0, 0, 0]);
        let [e, f, g, h] = [tag[NONCE], tag[NONCE + 1], tag[NONCE + 2], tag[NONCE + 3]];
        [a, b, c, d, e, f, g, h]
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; 4];
        // Without random numbers rustls ends the handshake before anything is sent.
        let _ = getrandom::fill(&mut nonce);
        ConnectionId::new(&self.of(nonce))
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match self.made(id) {
            true => Ok(()),
            false => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_by_its_maker_alone() {
        let [mut one, other] = [1, 2].map(|octet| Ids::of_key([octet; 32]));
        let id = one.generate_cid();
        assert_eq!(id.len(), one.cid_len());
        assert!(one.validate(&id).is_ok());
        assert!(other.validate(&id).is_err());
        assert!(one.validate(&ConnectionId::new(&id[..7])).is_err());
    }
}
