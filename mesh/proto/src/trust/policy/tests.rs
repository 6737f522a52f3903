use super::*;
use crate::crypto::keys::PublicKey;
use crate::trust::network::Secret;
use crate::trust::{By, CLOCK_SKEW, Grant, NodeId, Roles, Standing, Validity};

const NOW: u64 = 1_800_000_000;
const US: IdentityId = IdentityId::from_octets([1; 32]);
const ADA: IdentityId = IdentityId::from_octets([2; 32]);
const BOB: IdentityId = IdentityId::from_octets([3; 32]);
const HOME: NetworkId = NetworkId::from_octets([4; 32]);
const WORK: NetworkId = NetworkId::from_octets([5; 32]);

fn shown(identity: IdentityId) -> Shown {
    Shown {
        identity,
        node: NodeId::from_octets([6; 32]),
        noise: PublicKey::from_octets([7; 32]),
        certified_until: NOW + 60,
        standing: None,
    }
}

fn member(network: NetworkId, roles: Roles) -> Shown {
    Shown {
        standing: Some(Standing {
            network,
            grant: Grant {
                roles,
                serial: 9,
                validity: Validity::starting(NOW, 30),
            },
            by: By::Membership,
        }),
        ..shown(ADA)
    }
}

fn network(id: NetworkId) -> Network {
    Network {
        id,
        name: "home".parse().unwrap(),
        secret: Secret::from_octets(*id.as_octets()),
    }
}

fn with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut trust = Policy::default();
    change(&mut trust);
    trust
}

fn untrusted(reason: Reason) -> Verdict {
    Verdict::Untrusted { reason }
}

const ALL_ROLES: Roles = Roles::from_bits(31);

/// Every policy with every kind of peer, reached by the name `peer`: the verdict for messages, and
/// whether every other purpose has the same.
#[test]
fn every_policy_judges_every_kind_of_peer() {
    use Reason::{Changed, Revoked, RevokedSerial, Role, Unknown};
    use Why::{Accepted, FirstUse, Insecure, Network, Pinned, SameIdentity};

    let policies: [(&str, Policy); 9] = [
        ("default", Policy::default()),
        ("accepts", with(|it| it.accept(ADA, None).unwrap())),
        ("network", with(|it| it.join(network(HOME)).unwrap())),
        ("pins her", with(|it| it.pin("peer", ADA).unwrap())),
        ("pins him", with(|it| it.pin("peer", BOB).unwrap())),
        ("first use", with(|it| it.set_first_use(true))),
        ("insecure", with(|it| it.set_insecure(true))),
        (
            "revoked",
            with(|it| {
                it.accept(ADA, None).unwrap();
                it.join(network(HOME)).unwrap();
                it.set_insecure(true);
                it.revoke(ADA).unwrap();
            }),
        ),
        (
            "serial",
            with(|it| {
                it.accept(ADA, None).unwrap();
                it.join(network(HOME)).unwrap();
                it.revoke_serial(HOME, 9).unwrap();
            }),
        ),
    ];
    let peers = [
        shown(US),
        shown(ADA),
        member(HOME, ALL_ROLES),
        member(HOME, Roles::NONE),
        member(WORK, ALL_ROLES),
    ];
    let (same, unknown) = (Verdict::Trusted(SameIdentity), untrusted(Unknown));
    let (accepted, weak) = (Verdict::Trusted(Accepted), Verdict::Trusted);
    let home = Verdict::Trusted(Network(HOME));
    let no_member = untrusted(Role {
        network: HOME,
        role: Roles::MEMBER,
    });
    let changed = |pinned, found| untrusted(Changed { pinned, found });
    let revoked = untrusted(Revoked);
    let serial = untrusted(RevokedSerial {
        network: HOME,
        serial: 9,
    });
    let him = changed(BOB, ADA);
    let expected = [
        // us, her, home member, home without roles, work member
        [same, unknown, unknown, unknown, unknown],
        [same, accepted, accepted, accepted, accepted],
        [same, unknown, home, no_member, unknown],
        [
            changed(ADA, US),
            weak(Pinned),
            weak(Pinned),
            weak(Pinned),
            weak(Pinned),
        ],
        [changed(BOB, US), him, him, him, him],
        [
            same,
            weak(FirstUse),
            weak(FirstUse),
            weak(FirstUse),
            weak(FirstUse),
        ],
        [
            same,
            weak(Insecure),
            weak(Insecure),
            weak(Insecure),
            weak(Insecure),
        ],
        [same, revoked, revoked, revoked, revoked],
        [same, accepted, serial, serial, accepted],
    ];
    for ((policy, trust), row) in policies.iter().zip(expected) {
        for (peer, expected) in peers.iter().zip(row) {
            for purpose in Purpose::ALL {
                let verdict = trust.judge(US, peer, purpose, Some("peer"), NOW);
                let expected = match expected {
                    Verdict::Trusted(why @ (Pinned | FirstUse | Insecure))
                        if purpose != Purpose::Messages =>
                    {
                        untrusted(Reason::TooWeak { why, purpose })
                    }
                    Verdict::Untrusted {
                        reason: Role { network, .. },
                    } => untrusted(Role {
                        network,
                        role: purpose.role(),
                    }),
                    expected => expected,
                };
                assert_eq!(verdict, expected, "{policy}, {peer:?}, {purpose}");
            }
        }
    }
}

#[test]
fn a_member_needs_the_role_that_the_purpose_asks_for() {
    let mut trust = with(|it| it.join(network(HOME)).unwrap());
    // Switches that trust anybody do not stand in for a role.
    for weak in [false, true] {
        trust.set_insecure(weak);
        trust.set_first_use(weak);
        for bits in 0..64 {
            let peer = member(HOME, Roles::from_bits(bits << 26 | bits));
            for purpose in Purpose::ALL {
                let verdict = trust.judge(US, &peer, purpose, None, NOW);
                let trusted = bits & purpose.role().bits() != 0;
                let stranger = weak && purpose == Purpose::Messages;
                assert_eq!(verdict.is_trusted(), trusted || stranger);
            }
        }
    }
}

#[test]
fn a_name_is_pinned_on_first_use_and_a_change_is_refused_loudly() {
    let mut trust = with(|it| it.set_first_use(true));
    let mut admit = |who, purpose, name| trust.admit(US, &shown(who), purpose, name, NOW);
    let name = Some("tcp://peer:5555");
    let relay = admit(ADA, Purpose::Relay, name);
    assert!(!relay.is_trusted(), "and nothing was pinned");
    assert_eq!(
        admit(BOB, Purpose::Messages, name),
        Verdict::Trusted(Why::FirstUse)
    );
    assert_eq!(
        admit(BOB, Purpose::Messages, name),
        Verdict::Trusted(Why::Pinned)
    );
    let changed = admit(ADA, Purpose::Messages, name);
    let (pinned, found) = (BOB, ADA);
    assert_eq!(changed, untrusted(Reason::Changed { pinned, found }));
    assert!(changed.to_string().contains("THE IDENTITY CHANGED"));
    // Without a name there is nothing to pin.
    let nameless = admit(ADA, Purpose::Messages, None);
    assert_eq!(nameless, untrusted(Reason::Unknown));
    let long = "x".repeat(Policy::MAX_PINNED_NAME + 1);
    for name in ["", &long] {
        let refused = admit(ADA, Purpose::Messages, Some(name));
        assert_eq!(refused, untrusted(Reason::NotPinned));
    }
    assert_eq!(
        trust.pinned().collect::<Vec<_>>(),
        [("tcp://peer:5555", BOB)]
    );
    assert_eq!(
        trust.pin("tcp://peer:5555", ADA),
        Err(PinError::Changed { pinned: BOB })
    );
    trust.unpin("tcp://peer:5555");
    assert_eq!(trust.pin("tcp://peer:5555", ADA), Ok(()));
}

#[test]
fn expired_credentials_are_refused_whoever_shows_them() {
    let trust = with(|it| it.set_insecure(true));
    for who in [US, ADA] {
        let judge = |now| trust.judge(US, &shown(who), Purpose::Messages, None, now);
        assert!(judge(NOW + 60).is_trusted());
        assert_eq!(judge(NOW + 61), untrusted(Reason::Expired));
    }
}

#[test]
fn a_membership_that_ended_leaves_what_else_speaks_for_its_member() {
    let last = NOW + 30 + CLOCK_SKEW;
    // The certificate is another matter: whoever asks has one that lasts.
    let peer = Shown {
        certified_until: u64::MAX,
        ..member(HOME, ALL_ROLES)
    };
    let judge = |trust: &Policy, now| trust.judge(US, &peer, Purpose::Messages, None, now);
    let mut trust = with(|it| it.join(network(HOME)).unwrap());
    assert!(judge(&trust, last).is_trusted());
    let ended = untrusted(Reason::Ended { network: HOME });
    assert_eq!(judge(&trust, last + 1), ended);
    trust.set_insecure(true);
    let weak = Verdict::Trusted(Why::Insecure);
    assert_eq!(judge(&trust, last + 1), weak);
    trust.accept(ADA, None).unwrap();
    let accepted = Verdict::Trusted(Why::Accepted);
    assert_eq!(judge(&trust, last + 1), accepted);
}

#[test]
fn our_own_identity_can_be_revoked_and_reinstated() {
    let mut trust = with(|it| it.revoke(US).unwrap());
    let judge = |trust: &Policy| trust.judge(US, &shown(US), Purpose::Messages, None, NOW);
    assert_eq!(judge(&trust), untrusted(Reason::Revoked));
    assert_eq!(trust.revoked().collect::<Vec<_>>(), [US]);
    trust.reinstate(&US);
    assert!(judge(&trust).is_trusted());
    trust.revoke_serial(HOME, 1).unwrap();
    assert_eq!(trust.revoked_serials().collect::<Vec<_>>(), [(HOME, 1)]);
    trust.reinstate_serial(HOME, 1);
    assert_eq!(trust.revoked_serials().count(), 0);
}

#[test]
fn a_list_is_replaced_and_what_was_accepted_one_by_one_stays() {
    let mut trust = with(|it| it.accept(ADA, Some("ada".parse().unwrap())).unwrap());
    trust.set_allow_list(format!("{ADA} lovelace\n{BOB} bob").parse().unwrap());
    assert_eq!(trust.name(&ADA).unwrap().as_str(), "ada");
    assert_eq!(trust.name(&BOB).unwrap().as_str(), "bob");
    trust.set_allow_list(AllowList::default());
    assert!(trust.is_accepted(&ADA) && !trust.is_accepted(&BOB));
    trust.forget(&ADA);
    assert!(!trust.is_accepted(&ADA));
}

#[test]
fn every_change_counts_and_what_changes_nothing_does_not() {
    type Change = fn(&mut Policy);
    let changes: [Change; 14] = [
        |it| it.accept(ADA, None).unwrap(),
        |it| it.forget(&ADA),
        |it| it.set_allow_list(ADA.to_string().parse().unwrap()),
        |it| it.join(network(HOME)).unwrap(),
        |it| it.leave(&HOME),
        |it| it.set_first_use(true),
        |it| it.set_insecure(true),
        |it| it.pin("peer", ADA).unwrap(),
        |it| it.unpin("peer"),
        |it| it.revoke(ADA).unwrap(),
        |it| it.revoke_serial(HOME, 1).unwrap(),
        |it| it.reinstate(&ADA),
        |it| it.reinstate_serial(HOME, 1),
        |it| {
            let _ = it.admit(US, &shown(BOB), Purpose::Messages, Some("bob"), NOW);
        },
    ];
    let mut trust = Policy::default();
    for (at, change) in changes.into_iter().enumerate() {
        let before = trust.generation();
        change(&mut trust);
        assert_eq!(trust.generation(), before + 1, "change {at}");
    }
    let before = trust.generation();
    trust.forget(&BOB);
    trust.leave(&HOME);
    trust.set_insecure(true);
    trust.pin("bob", BOB).unwrap();
    trust.reinstate(&BOB);
    let _ = trust.judge(US, &shown(BOB), Purpose::Messages, Some("new"), NOW);
    assert_eq!(trust.generation(), before);
}

/// Who made the second would be shown what is for members of the first.
#[test]
fn two_networks_with_one_secret_are_not_joined() {
    let mut trust = with(|it| it.join(network(HOME)).unwrap());
    let before = trust.generation();
    let copy = Network {
        id: WORK,
        ..network(HOME)
    };
    let same = JoinError::SameSecret { network: HOME };
    assert_eq!(trust.join(copy.clone()), Err(same));
    assert_eq!((trust.networks().count(), trust.generation()), (1, before));
    // The same network may be joined anew, with its secret or another.
    for secret in [network(HOME).secret, network(WORK).secret] {
        let again = Network {
            secret,
            ..network(HOME)
        };
        assert_eq!(trust.join(again), Ok(()));
    }
    assert_eq!(trust.join(copy), Ok(()));
    trust.leave(&HOME);
    let back = Network {
        id: HOME,
        ..network(HOME)
    };
    assert_eq!(
        trust.join(back),
        Err(JoinError::SameSecret { network: WORK })
    );
}

#[test]
fn every_table_is_bounded() {
    let id = |number: u64| {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&number.to_be_bytes());
        octets
    };
    let mut trust = Policy::default();
    for number in 0..Policy::MAX_NETWORKS as u64 {
        let network = network(NetworkId::from_octets(id(number)));
        assert_eq!(trust.join(network), Ok(()));
    }
    let most = Policy::MAX_NETWORKS;
    assert_eq!(trust.join(network(HOME)), Err(Full { most }.into()));
    let again = network(NetworkId::from_octets(id(0)));
    assert_eq!(trust.join(again), Ok(()));
    assert_eq!(trust.networks().count(), most);

    for number in 0..Policy::MAX_REVOKED as u64 {
        let identity = IdentityId::from_octets(id(number));
        assert_eq!(trust.revoke(identity), Ok(()));
        assert_eq!(trust.revoke_serial(HOME, number), Ok(()));
        assert_eq!(trust.pin(&number.to_string(), identity), Ok(()));
    }
    let most = Policy::MAX_REVOKED;
    assert_eq!(trust.revoke(US), Err(Full { most }));
    assert_eq!(trust.revoke_serial(WORK, 0), Err(Full { most }));
    assert_eq!(trust.pin("one more", US), Err(Full { most }.into()));
    trust.set_first_use(true);
    let refused = trust.admit(US, &shown(ADA), Purpose::Messages, Some("more"), NOW);
    assert_eq!(refused, untrusted(Reason::NotPinned));
}

#[test]
fn nothing_prints_the_secret_of_a_network() {
    let trust = with(|it| it.join(network(HOME)).unwrap());
    assert!(format!("{trust:?}").contains("Secret(..)"));
    assert_eq!(trust.network(&HOME).unwrap().id, HOME);
}
