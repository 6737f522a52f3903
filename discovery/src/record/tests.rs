use super::*;
use crate::testing::{NOW, content, key};

const REAL: Provider = Provider::Real;

fn signed() -> Record {
    content(1, 2).sign(&key(2)).unwrap()
}

#[test]
fn a_record_survives_the_wire_and_verifies() {
    let record = signed();
    let read = Record::decode(record.octets()).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.content(), record.content());
    assert_eq!(read.verify(REAL, NOW), Ok(()));
    assert_eq!(read.peer(), PeerTag::of(read.identity(), read.node()));
    assert_eq!(read.expires(), NOW + Record::LIFETIME + 300);
}

/// The hash was computed when the layout was written down.
#[test]
fn the_binary_form_does_not_change() {
    let octets = signed().octets().clone();
    assert_eq!(octets.len(), 331);
    assert_eq!(octets[178..187], [0, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(octets[219], 0, "networks");
    assert_eq!(octets[220], 3, "addresses");
    assert_eq!(octets[221..228], [1, 192, 168, 0, 2, 0x1b, 0xbc]);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let octets = signed().octets().to_vec();
    for at in 0..octets.len() {
        for bit in [0x01, 0x80] {
            let mut octets = octets.clone();
            octets[at] ^= bit;
            let verified = Record::decode(&octets).and_then(|it| it.verify(REAL, NOW));
            assert!(verified.is_err(), "octet {at}");
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    let mut octets = signed().octets().to_vec();
    for length in 0..octets.len() {
        assert!(Record::decode(&octets[..length]).is_err(), "{length}");
    }
    octets.push(0);
    assert!(Record::decode(&octets).is_err());
    let length = Record::MAX + 1;
    let long = Record::decode(&vec![1; length]);
    assert_eq!(long, Err(RecordError::Length { length }));
}

#[test]
fn what_does_not_keep_to_the_limits_is_not_signed() {
    let refused = |change: &dyn Fn(&mut Content)| {
        let mut content = content(1, 2);
        change(&mut content);
        content.sign(&key(2)).unwrap_err()
    };
    let public = Address::Quic("8.8.8.8:53".parse().unwrap());
    let error = refused(&|it| it.addresses[1] = public.clone());
    assert_eq!(error, RecordError::Public { at: 1 });
    let error = refused(&|it| it.addresses[2] = Address::Ipc("".into()));
    assert_eq!(error, RecordError::Address { at: 2 });
    let error = refused(&|it| it.addresses[2] = it.addresses[0].clone());
    let part = Part::Addresses;
    assert_eq!(error, RecordError::Order { part });
    let error = refused(&|it| it.services[0].addresses = 8);
    assert_eq!(error, RecordError::Service { at: 1 }, "in order");
    let error = refused(&|it| it.services[1].name = "".into());
    assert!(matches!(error, RecordError::Service { .. }));
    let error = refused(&|it| it.services.push(it.services[0].clone()));
    let part = Part::Services;
    assert_eq!(error, RecordError::Order { part });
    let many = |count: usize| move |_| Service::new(Kind::Pull, &format!("{count:03}"));
    let error = refused(&|it| it.services = (0..65).map(|at| many(at)(())).collect());
    assert_eq!(error, RecordError::Many { part, count: 65 });
    let error = content(1, 2).sign(&key(3)).unwrap_err();
    assert_eq!(error, RecordError::Forged);
    let long = |it: &mut Content| {
        let property = |at: u8| (format!("{at}").into(), vec![0; 255].into());
        for at in 0..8 {
            let mut service = Service::new(Kind::Queue, &format!("q{at}"));
            service.properties = (0..8).map(property).collect();
            it.services.push(service);
        }
    };
    assert!(matches!(refused(&long), RecordError::Length { .. }));
}

#[test]
fn a_public_record_may_have_public_addresses() {
    let mut content = content(1, 2);
    content.addresses[0] = Address::Tcp("[2001:db8::1]:53".parse().unwrap());
    content.public = true;
    let record = content.sign(&key(2)).unwrap();
    assert_eq!(Record::decode(record.octets()), Ok(record));
}

#[test]
fn it_counts_within_its_time_and_that_of_its_certificate() {
    let mut content = content(1, 2);
    let record = content.clone().sign(&key(2)).unwrap();
    assert_eq!(record.verify(REAL, record.expires()), Ok(()));
    let late = record.verify(REAL, record.expires() + 1);
    assert!(matches!(late, Err(RecordError::Validity(_))));
    let seconds = Record::MAX_LIFETIME + 1;
    content.validity = Validity::starting(NOW, seconds);
    let record = content.sign(&key(2)).unwrap();
    assert_eq!(
        record.verify(REAL, NOW),
        Err(RecordError::Lifetime { seconds })
    );
}

#[test]
fn another_signer_is_refused() {
    // The certificate of one node, and the signature of another.
    let record = signed();
    let mut octets = record.octets().to_vec();
    let body = octets.len() - SIGNATURE;
    let forged = key(3).sign(&[domain::PEER_RECORD, &octets[..body]]);
    octets[body..].copy_from_slice(&forged);
    let forged = Record::decode(&octets).unwrap();
    assert_eq!(forged.verify(REAL, NOW), Err(RecordError::Forged));
    // Signed for another purpose.
    let other = key(2).sign(&[domain::REVOCATION, &octets[..body]]);
    octets[body..].copy_from_slice(&other);
    let other = Record::decode(&octets).unwrap();
    assert_eq!(other.verify(REAL, NOW), Err(RecordError::Forged));
}

#[test]
fn a_network_tag_is_of_one_secret_and_one_node() {
    let (record, other) = (signed(), content(1, 3).sign(&key(3)).unwrap());
    let [home, work] = [1, 2].map(|it| Secret::from_octets([it; 32]));
    let of = |secret, record: &Record| NetworkTag::of(secret, record.identity(), record.node());
    assert_eq!(of(&home, &record), of(&home, &record));
    assert_ne!(of(&home, &record), of(&work, &record));
    assert_ne!(of(&home, &record), of(&home, &other));
}

#[test]
fn the_digest_of_services_changes_with_them_only() {
    let record = signed();
    let mut content = content(1, 2);
    content.sequence += 1;
    let later = content.clone().sign(&key(2)).unwrap();
    assert_eq!(later.services_digest(), record.services_digest());
    assert_ne!(later.digest(), record.digest());
    content.services[0].load = 1;
    let busy = content.sign(&key(2)).unwrap();
    assert_ne!(busy.services_digest(), record.services_digest());
}

/// What is made within the limits reads back as it was, whatever it is.
#[test]
fn made_records_read_back() {
    use withy_proto::crypto::{Randomness as _, Seeded};
    let mut random = Seeded::new(4);
    for _ in 0..200 {
        let mut made = content(1, 2);
        made.sequence = random.next_u64();
        made.public = random.next_u64().is_multiple_of(2);
        made.addresses.clear();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..random.next_u64() % 17 {
            let ip = [10, 0, 0, random.next_u64() as u8];
            let socket = (ip, 1 + random.next_u64() as u16 % 9).into();
            let address = match random.next_u64() % 4 {
                0 => Address::Quic(socket),
                1 => Address::Tcp(socket),
                2 => Address::Ipc(format!("/{}", random.next_u64()).into()),
                _ => Address::Inproc(format!("{}", random.next_u64()).into()),
            };
            if seen.insert(address.clone()) {
                made.addresses.push(address);
            }
        }
        made.services.clear();
        for at in 0..random.next_u64() % 40 {
            let kind = Kind::from_number(random.next_u64() as u8);
            let mut service = Service::new(kind, &format!("{at} \u{e9}"));
            service.load = random.next_u64() as u8;
            made.services.push(service);
        }
        let record = made.sign(&key(2)).unwrap();
        let read = Record::decode(record.octets()).unwrap();
        assert_eq!(read.content(), record.content());
    }
}
