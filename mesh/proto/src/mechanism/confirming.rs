//! How memberships are confirmed and renewed on the way, with every mechanism that proves an
//! identity: engine against engine, at times that are given.

use zeroize::Zeroizing;

use super::party::{MEMBERSHIP, Realm, Settings};
use super::zap::{Credentials as Asked, Decision};
use super::{Handshake, noise, null, quic, testing};
use crate::crypto::keys::KeyPair;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Provider, Seeded};
use crate::pattern::SocketType;
use crate::trust::testing::{authority, identity, key};
use crate::trust::{
    Authority, By, CLOCK_SKEW, Certificate, Credentials, NodeId, Proof, Terms, Ticket,
    UsedInvitations, Validity,
};
use crate::zmtp::{Connection, ConnectionError, Limits, Peer};

const NOW: u64 = 1_800_000_000;
const REAL: Provider = Provider::Real;
/// When no ticket of today counts any more.
const LATER: u64 = NOW + Ticket::LIFETIME + CLOCK_SKEW + 1;

const PROVING: [&str; 2] = [noise::NAME, quic::NAME];

/// A member, all of whose keys follow from a number.
struct Member<'a> {
    seed: u8,
    proof: Proof,
    /// What confirms others, where this is the authority.
    authority: Option<&'a Authority>,
}

impl Member<'_> {
    fn node(&self) -> SigningKey {
        key(self.seed + 100)
    }

    fn settings(&self, now: u64) -> Settings {
        let keys = KeyPair::generate(&mut Seeded::new(u64::from(self.seed)));
        let validity = Validity::starting(now, Certificate::LIFETIME);
        let certificate = Certificate::issue(
            &key(self.seed),
            NodeId::of(&self.node()),
            keys.public(),
            validity,
        );
        let realm = Realm {
            network: Some(self.proof.network()),
            secret: Zeroizing::new([4; 32]),
            credentials: Credentials {
                certificate,
                proof: Some(self.proof),
            },
        };
        let settings = Settings::new(keys, vec![realm], now);
        Settings {
            has_aes: true,
            ..settings
        }
    }

    fn engine(&self, mechanism: &'static str, to: &Self, accepting: bool, now: u64) -> Connection {
        let kind = [SocketType::Push, SocketType::Pull][usize::from(accepting)];
        let mut local = testing::local(kind.name(), true);
        local.accepting = accepting;
        let settings = self.settings(now);
        let mut randomness = Seeded::new(u64::from(self.seed));
        let randomness = &mut randomness;
        let handshake: Box<dyn Handshake> = match (mechanism, accepting) {
            (quic::NAME, _) => {
                let proof = quic::Proof {
                    node: to.node().public(),
                    post_quantum: true,
                    binding: [1; 32],
                };
                Box::new(quic::Quic::new(local, settings, REAL, proof))
            }
            (noise::NAME, true) => {
                Box::new(noise::Responder::new(local, settings, REAL, randomness))
            }
            (noise::NAME, false) => {
                Box::new(noise::Initiator::new(local, settings, REAL, randomness))
            }
            _ => {
                // What a peer says that proves nothing.
                let claim = self.proof.encode();
                local.metadata.set(MEMBERSHIP, claim).unwrap();
                Box::new(null::Null::new(local))
            }
        };
        let limits = Limits::default();
        Connection::new(kind, mechanism, accepting, accepting, handshake, limits)
    }
}

/// Connects two members; what each then knows of the other.
fn connect(
    mechanism: &'static str,
    [first, second]: [&Member<'_>; 2],
    now: u64,
) -> Result<[Peer; 2], ConnectionError> {
    let mut randomness = Seeded::new(1);
    let mut sides = [
        (first, first.engine(mechanism, second, false, now)),
        (second, second.engine(mechanism, first, true, now)),
    ];
    while !sides.iter().all(|(_, engine)| engine.is_complete()) {
        for at in [0, 1] {
            let (member, engine) = &mut sides[at];
            if let Some(request) = engine.poll_auth() {
                if let (Asked::Noise(shown), Some(authority)) =
                    (&request.credentials, member.authority)
                {
                    let confirmed = authority.confirm(shown, &mut UsedInvitations::new(), now);
                    if let Some(membership) = confirmed.unwrap() {
                        engine.confirm(&membership);
                    }
                }
                engine.set_decision(Decision::accept(""), &mut randomness)?;
            }
            if let Some(peer) = engine.poll_admission()? {
                assert!(peer.metadata.value(MEMBERSHIP).is_none());
                engine.admit(&mut randomness)?;
            }
            if let Some(octets) = engine.poll_transmit() {
                sides[1 - at].1.handle_input(&octets, &mut randomness)?;
            }
        }
    }
    let [first, second] = sides.map(|(_, engine)| engine.finish().unwrap().peer);
    for peer in [&first, &second] {
        assert!(peer.metadata.value(MEMBERSHIP).is_none(), "it is not shown");
    }
    Ok([first, second])
}

#[test]
fn an_invitation_is_confirmed_whoever_dials_and_outlasts_the_ticket() {
    let (authority, mut randomness) = authority();
    let [root, other] = [(1, Some(&authority)), (2, None)].map(|(seed, confirms)| {
        let (member, terms) = (identity(seed), Terms::default());
        let ticket = authority.invite_identity(member, terms, NOW, &mut randomness);
        Member {
            seed,
            proof: ticket.redeem(REAL, member, NOW).unwrap().proof,
            authority: confirms,
        }
    });
    let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
    let proof = ticket.redeem(REAL, identity(3), NOW).unwrap().proof;
    let invited = Member {
        seed: 3,
        proof,
        authority: None,
    };
    for mechanism in PROVING {
        for dials in [true, false] {
            let pair = |other| match dials {
                true => [&invited, other],
                false => [other, &invited],
            };
            // Who is not the authority says nothing of it.
            let peers = connect(mechanism, pair(&other), NOW).unwrap();
            assert!(peers.iter().all(|peer| peer.confirmation.is_none()));

            let mut peers = connect(mechanism, pair(&root), NOW).unwrap();
            if !dials {
                peers.reverse();
            }
            let [of_root, of_invited] = peers;
            assert!(of_invited.confirmation.is_none());
            let standing = of_invited.proven.unwrap().shown.standing.unwrap();
            assert_eq!(standing.by, By::Membership, "it is one from now on");
            let octets = of_root.confirmation.unwrap();
            let membership = proof.confirmed_by(REAL, &octets, NOW).unwrap();
            assert_eq!(standing.grant, membership.grant());

            let confirmed = Member {
                proof: membership.into(),
                ..invited
            };
            for (member, stays) in [(&invited, false), (&confirmed, true)] {
                let pair = match dials {
                    true => [member, &other],
                    false => [&other, member],
                };
                let connected = connect(mechanism, pair, LATER);
                assert_eq!(connected.is_ok(), stays, "{mechanism} {connected:?}");
            }
        }
    }
}

#[test]
fn who_proves_nothing_confirms_nothing() {
    let (authority, mut randomness) = authority();
    let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
    let [first, second] = [1, 2].map(|seed| Member {
        seed,
        proof: ticket.redeem(REAL, identity(seed), NOW).unwrap().proof,
        authority: None,
    });
    let peers = connect(null::NAME, [&first, &second], NOW).unwrap();
    assert!(peers.iter().all(|peer| peer.confirmation.is_none()));
}
