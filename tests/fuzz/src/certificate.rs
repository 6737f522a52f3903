//! Certificates, proofs of membership and the credentials of both: any octets, and credentials that
//! were changed, against the layouts in the crate's documentation. Signatures are of the null
//! provider, so that the fuzzer gets past them.

use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{
    CLOCK_SKEW, Certificate, CertificateError, Credentials, Grant, IdentityId, Invitation,
    Membership, MembershipError, NetworkId, NodeId, Proof, Roles, Validity,
};

use super::input::{Input, number};

const NULL: Provider = Provider::DangerNull;

/// Decodes the input, or credentials that are made of it.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.octet();
    let now = time(&mut input);
    let octets = match choice {
        0..=0x7f => made(choice, now, &mut input),
        _ => input.rest().to_vec(),
    };
    certificate(&octets, now);
    proof(&octets, now);
    if let Some(rest) = octets.get(Certificate::SIZE..) {
        certificate(&octets[..Certificate::SIZE], now);
        proof(rest, now);
    }
    credentials(&octets, now);
}

/// A time near an end of its range or in the middle.
fn time(input: &mut Input<'_>) -> u64 {
    let (choice, offset) = (input.octet(), input.number() as u64);
    match choice % 4 {
        0 => offset,
        1 => u64::MAX - offset,
        _ => (1 << 40) + u64::from(choice) * offset,
    }
}

fn validity(now: u64, input: &mut Input<'_>) -> Validity {
    let choice = input.octet();
    let offset = input.number() as u64 * u64::from(choice >> 4);
    let not_before = match choice % 4 {
        0 => now.saturating_add(offset),
        1 => time(input),
        _ => now.saturating_sub(offset),
    };
    match choice % 8 {
        7 => Validity {
            not_before,
            not_after: time(input),
        },
        _ => Validity::starting(not_before, 64 * input.number() as u64),
    }
}

/// Credentials of the null provider, of which some octets may be others.
fn made(choice: u8, now: u64, input: &mut Input<'_>) -> Vec<u8> {
    let key = |input: &mut Input<'_>| SigningKey::from_seed(NULL, &[input.octet() % 2; 32]);
    let identity = key(input);
    let node = NodeId::of(&key(input));
    let noise = PublicKey::from_octets([input.octet(); 32]);
    let certificate = Certificate::issue(&identity, node, noise, validity(now, input));
    let member = match choice & 0x40 {
        0 => IdentityId::of(&identity),
        _ => IdentityId::of(&key(input)),
    };
    let authority = key(input);
    let grant = Grant {
        roles: Roles::from_bits(input.number() as u32),
        serial: input.number() as u64,
        validity: validity(now, input),
    };
    let proof: Option<Proof> = match choice % 3 {
        0 => None,
        1 => Some(Membership::issue(&authority, member, grant).into()),
        _ => {
            let single_use = choice & 0x20 != 0;
            let invitation = Invitation::issue(&authority, key(input).public(), grant, single_use);
            Some(invitation.redeem(&authority, member).into())
        }
    };
    let credentials = Credentials { certificate, proof };
    let mut octets = credentials.encode();
    assert_eq!(
        Credentials::decode(&octets),
        Ok((credentials, octets.len()))
    );
    assert!(octets.len() <= Credentials::MAX_SIZE);
    input.change(&mut octets);
    octets
}

/// Whether now lies within the ends, which are two numbers of 64 bits.
fn is_valid(ends: &[u8], now: u64) -> bool {
    let (begin, end) = (number(&ends[..8]) as i128, number(&ends[8..]) as i128);
    let (now, skew) = (now as i128, CLOCK_SKEW as i128);
    // Time ends where its type does.
    begin <= end && begin <= now + skew && now <= end + skew
}

fn zeros(octets: &[u8]) -> bool {
    octets.iter().all(|octet| *octet == 0)
}

fn certificate(octets: &[u8], now: u64) {
    let decoded = Certificate::decode(octets);
    let expected = match octets.first() {
        Some(found) if *found != 1 => Err(CertificateError::Version { found: *found }),
        _ if octets.len() != 177 => Err(CertificateError::Length {
            length: octets.len(),
        }),
        _ => Ok(()),
    };
    assert_eq!(decoded.map(|_| ()), expected);
    let Ok(certificate) = decoded else {
        return;
    };
    assert_eq!(certificate.encode(), octets);
    assert_eq!(certificate.identity().as_octets(), &octets[1..33]);
    assert_eq!(certificate.node().as_octets(), &octets[33..65]);
    assert_eq!(certificate.noise().as_octets(), &octets[65..97]);
    assert_eq!(certificate.validity().not_before, number(&octets[97..105]));
    assert_eq!(certificate.validity().not_after, number(&octets[105..113]));
    let verified = certificate.verify(NULL, now);
    assert_eq!(
        verified.is_ok(),
        certificate_holds(octets, now),
        "{verified:?}"
    );
    // Nobody signs with zeros.
    if octets[113..] == [0; 64] {
        assert!(certificate.verify(Provider::Real, now).is_err());
    }
}

fn certificate_holds(octets: &[u8], now: u64) -> bool {
    let ends = &octets[97..113];
    let lifetime = number(&ends[8..]).checked_sub(number(&ends[..8]));
    is_valid(ends, now) && lifetime.is_some_and(|it| it <= 7 * 86_400) && zeros(&octets[113..177])
}

/// How many octets the proof at the beginning has.
fn proof_size(octets: &[u8]) -> Result<usize, MembershipError> {
    let flags = octets.get(93).copied().unwrap_or_default();
    match octets.first() {
        None => Err(MembershipError::CutShort),
        Some(1) if octets.len() >= 157 => Ok(157),
        Some(2) if octets.len() >= 158 && flags > 1 => Err(MembershipError::Flags { found: flags }),
        Some(2) if octets.len() >= 254 => Ok(254),
        Some(1 | 2) => Err(MembershipError::CutShort),
        Some(found) => Err(MembershipError::Tag { found: *found }),
    }
}

fn proof(octets: &[u8], now: u64) {
    let decoded = Proof::decode(octets);
    assert_eq!(decoded.map(|(_, used)| used), proof_size(octets));
    let Ok((proof, used)) = decoded else {
        return;
    };
    let octets = &octets[..used];
    assert_eq!(proof.encode(), octets);
    let member = if octets[0] == 1 { 33..65 } else { 158..190 };
    assert_eq!(proof.network().as_octets(), &octets[1..33]);
    assert_eq!(proof.member().as_octets(), &octets[member.clone()]);
    let roles = Roles::from_bits(number(&octets[65..69]) as u32);
    assert_eq!(proof.grant().roles, roles);
    assert_eq!(proof.grant().serial, number(&octets[69..77]));
    let verified = proof.verify(NULL, proof.network(), proof.member(), now);
    assert_eq!(verified.is_ok(), proof_holds(octets, now), "{verified:?}");
    assert!(verified.is_err() || verified == Ok(roles));
    let other = NetworkId::from_octets([0xaa; 32]);
    if proof.network() != other {
        let found = proof.network();
        let verified = proof.verify(NULL, other, proof.member(), now);
        assert_eq!(verified, Err(MembershipError::Network { found }));
    }
    let other = IdentityId::from_octets([0xaa; 32]);
    if proof.member() != other {
        let found = proof.member();
        let verified = proof.verify(NULL, proof.network(), other, now);
        assert_eq!(verified, Err(MembershipError::Member { found }));
    }
}

fn proof_holds(octets: &[u8], now: u64) -> bool {
    let signed = match octets[0] {
        1 => zeros(&octets[93..157]),
        _ => zeros(&octets[94..158]) && zeros(&octets[190..254]),
    };
    signed && is_valid(&octets[77..93], now)
}

fn credentials(octets: &[u8], now: u64) {
    let decoded = Credentials::decode(octets);
    let after = octets.get(177..).unwrap_or_default();
    let size = match after.first() {
        None => None,
        Some(0) => Some(178),
        Some(_) => proof_size(after).ok().map(|size| 177 + size),
    };
    let size = size.filter(|_| octets[0] == 1);
    assert_eq!(decoded.map(|(_, used)| used).ok(), size, "{decoded:?}");
    let Ok((credentials, used)) = decoded else {
        return;
    };
    assert_eq!(credentials.encode(), octets[..used]);
    let holds = certificate_holds(octets, now);
    let outside = credentials.verify(NULL, None, now);
    assert_eq!(outside.is_ok(), holds);
    let network = credentials.proof.map(|proof| proof.network());
    let asked = network.unwrap_or(NetworkId::from_octets([0; 32]));
    let proven = credentials.proof.is_some_and(|proof| {
        proof.member() == credentials.certificate.identity() && proof_holds(after, now)
    });
    let inside = credentials.verify(NULL, Some(asked), now);
    assert_eq!(inside.is_ok(), holds && proven, "{inside:?}");
    for shown in [outside.ok(), inside.ok()].into_iter().flatten() {
        assert_eq!(shown.identity.as_octets(), &octets[1..33]);
        let last = shown.expires();
        assert!(last >= now && shown.roles() == Roles::NONE || shown.network().is_some());
        // It verifies to its last second, and not a second longer.
        let network = shown.network();
        assert_eq!(credentials.verify(NULL, network, last), Ok(shown));
        if let Some(late) = last.checked_add(1) {
            assert!(credentials.verify(NULL, network, late).is_err());
        }
    }
}
