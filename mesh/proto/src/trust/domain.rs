//! The strings that begin whatever is signed or summed here, so that nothing made for one purpose
//! passes for another.
//!
//! Invariant: none is the beginning of another.

// Under signatures.
pub(super) const CERTIFICATE: &[u8] = b"withy node certificate 1";
pub(super) const MEMBERSHIP: &[u8] = b"withy network membership 1";
pub(super) const INVITATION: &[u8] = b"withy network invitation 1";
pub(super) const REDEMPTION: &[u8] = b"withy invitation redemption 1";

/// Under the signature of a peer record, by a node.
pub const PEER_RECORD: &[u8] = b"withy peer record 1";
/// Under the signature of an announcement on the local network, by a node.
pub const ANNOUNCEMENT: &[u8] = b"withy announcement 1";
/// Under the signature of a revocation, by a network.
pub const REVOCATION: &[u8] = b"withy network revocation 1";

// In checksums.
pub(super) const IDENTITY_ID: &[u8] = b"withy identity id 1";
pub(super) const NODE_ID: &[u8] = b"withy node id 1";
pub(super) const NETWORK_ID: &[u8] = b"withy network id 1";
pub(super) const TICKET: &[u8] = b"withy ticket 1";

/// In the hash that a peer is known by among its neighbours.
pub const PEER_TAG: &[u8] = b"withy peer tag 1";
/// In the code by which a record shows that its node knows a network's secret.
pub const NETWORK_TAG: &[u8] = b"withy network tag 1";

// In the codes of announcements that only members of a network can read.
/// In their name, by which members recognise them.
pub const PRIVATE_NAME: &[u8] = b"withy private name 1";
/// In what hides their content.
pub const PRIVATE_CONTENT: &[u8] = b"withy private content 1";
/// In what authenticates them.
pub const PRIVATE_CODE: &[u8] = b"withy private code 1";

/// In the hash that stands for a configured address where peers are known by theirs.
pub const SEED_TAG: &[u8] = b"withy seed tag 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_domain_is_the_beginning_of_another() {
        let all = [
            CERTIFICATE,
            MEMBERSHIP,
            INVITATION,
            REDEMPTION,
            PEER_RECORD,
            ANNOUNCEMENT,
            REVOCATION,
            PEER_TAG,
            NETWORK_TAG,
            PRIVATE_NAME,
            PRIVATE_CONTENT,
            PRIVATE_CODE,
            SEED_TAG,
            IDENTITY_ID,
            NODE_ID,
            NETWORK_ID,
            TICKET,
        ];
        for (at, domain) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert!(at == other_at || !domain.starts_with(other));
            }
        }
    }
}
