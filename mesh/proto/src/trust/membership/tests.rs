use super::*;
use crate::trust::CLOCK_SKEW;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[seed; 32])
}

fn network() -> NetworkId {
    NetworkId::of(&key(1))
}

fn member() -> IdentityId {
    IdentityId::of(&key(2))
}

fn grant() -> Grant {
    Grant {
        roles: Roles::MEMBER | Roles::RELAY,
        serial: 77,
        validity: Validity::starting(NOW, DAY),
    }
}

fn invitation() -> Invitation {
    Invitation::issue(&key(1), key(3).public(), grant(), true)
}

fn proofs() -> [Proof; 2] {
    [
        Membership::issue(&key(1), member(), grant()).into(),
        invitation().redeem(&key(3), member()).into(),
    ]
}

fn verify(proof: &Proof) -> Result<Roles, MembershipError> {
    proof.verify(Provider::Real, network(), member(), NOW)
}

#[test]
fn both_proofs_grant_their_roles_and_survive_the_wire() {
    for (proof, size) in proofs().into_iter().zip([157, 254]) {
        let mut octets = proof.encode();
        assert_eq!(octets.len(), size);
        assert!(size <= Proof::MAX_SIZE);
        octets.push(0);
        assert_eq!(Proof::decode(&octets), Ok((proof, size)));
        assert_eq!(verify(&proof), Ok(grant().roles));
        assert_eq!(proof.network(), network());
        assert_eq!(proof.member(), member());
        assert_eq!(proof.grant(), grant());
    }
}

/// The hashes were computed by another implementation, from the layout in the documentation.
#[test]
fn the_binary_forms_do_not_change() {
    let [membership, redeemed] = proofs().map(|proof| {
        let sum = crate::crypto::hash::sha256(&[&proof.encode()]);
        u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]])
    });
    assert_eq!(membership, 0x58f2_005b);
    assert_eq!(redeemed, 0xbd70_2238);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    for proof in proofs() {
        let octets = proof.encode();
        for at in 0..octets.len() {
            for bit in [0x01, 0x80] {
                let mut octets = octets.clone();
                octets[at] ^= bit;
                let verified = Proof::decode(&octets).and_then(|(proof, _)| verify(&proof));
                assert!(verified.is_err(), "octet {at}");
            }
        }
    }
}

#[test]
fn what_is_cut_short_or_newer_is_refused() {
    for proof in proofs() {
        let octets = proof.encode();
        for length in 0..octets.len() {
            let cut = Proof::decode(&octets[..length]);
            assert_eq!(cut, Err(MembershipError::CutShort));
        }
    }
    for found in [0, 3, 255] {
        let error = MembershipError::Tag { found };
        assert_eq!(Proof::decode(&[found; 300]), Err(error));
    }
    let mut octets = proofs()[1].encode();
    octets[1 + 92] = 3;
    let error = MembershipError::Flags { found: 3 };
    assert_eq!(Proof::decode(&octets), Err(error));
}

#[test]
fn another_network_or_identity_is_named() {
    for proof in proofs() {
        let other = NetworkId::of(&key(9));
        let verified = proof.verify(Provider::Real, other, member(), NOW);
        let found = network();
        assert_eq!(verified, Err(MembershipError::Network { found }));

        let other = IdentityId::of(&key(9));
        let verified = proof.verify(Provider::Real, network(), other, NOW);
        let found = member();
        assert_eq!(verified, Err(MembershipError::Member { found }));
    }
}

#[test]
fn another_signer_is_refused() {
    let mut membership = Membership::issue(&key(2), member(), grant());
    membership.network = network();
    let body = membership.body();
    membership.signature = Signature::new(&key(2), domain::MEMBERSHIP, &body);
    let refused = verify(&membership.into());
    assert_eq!(refused, Err(MembershipError::SelfSigned));
    membership.signature = Signature::new(&key(9), domain::MEMBERSHIP, &body);
    assert_eq!(verify(&membership.into()), Err(MembershipError::Forged));
    membership.signature = Signature::new(&key(1), domain::INVITATION, &body);
    assert_eq!(verify(&membership.into()), Err(MembershipError::Forged));

    // Not the key of the invitation; signed over to somebody else.
    let stolen = invitation().redeem(&key(2), member());
    assert_eq!(verify(&stolen.into()), Err(MembershipError::Redemption));
    let other = invitation().redeem(&key(3), IdentityId::of(&key(9)));
    let stolen = patched(other, 157, member().as_octets());
    assert_eq!(verify(&stolen), Err(MembershipError::Redemption));

    // An invitation that somebody else made, or gave more roles.
    let forged = Invitation::issue(&key(9), key(3).public(), grant(), false);
    let forged = forged.redeem(&key(3), member());
    let found = NetworkId::of(&key(9));
    let refused = verify(&forged.into());
    assert_eq!(refused, Err(MembershipError::Network { found }));
    let forged = patched(forged, 0, network().as_octets());
    assert_eq!(verify(&forged), Err(MembershipError::Forged));
    let more = patched(invitation().redeem(&key(3), member()), 64, &[0xff; 4]);
    assert_eq!(verify(&more), Err(MembershipError::Forged));
}

/// With other octets in its binary form.
fn patched(redeemed: Redeemed, at: usize, octets: &[u8]) -> Proof {
    let mut encoded = Proof::from(redeemed).encode();
    encoded[1 + at..][..octets.len()].copy_from_slice(octets);
    Proof::decode(&encoded).unwrap().0
}

#[test]
fn they_are_valid_between_their_ends_give_or_take_the_skew() {
    for proof in proofs() {
        let verify = |now| proof.verify(Provider::Real, network(), member(), now);
        assert!(verify(NOW - CLOCK_SKEW).is_ok());
        assert!(verify(NOW + DAY + CLOCK_SKEW).is_ok());
        let early = ValidityError::NotYet { seconds: 301 };
        assert_eq!(verify(NOW - CLOCK_SKEW - 1), Err(early.into()));
        let late = ValidityError::Expired { seconds: 301 };
        assert_eq!(verify(NOW + DAY + CLOCK_SKEW + 1), Err(late.into()));
    }
}
