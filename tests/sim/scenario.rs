//! Who takes part in a run, and who is linked with whom.

use std::time::Duration;

use withy_proto::SocketType::{
    self, Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub, XPub, XSub,
};
use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::KeyPair;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::mechanism::party::{Realm, Settings};
use withy_proto::pattern::outgoing::{Balance, Overflow, SendOptions};
use withy_proto::pattern::pipe::HighWaterMark;
use withy_proto::peer::Heartbeat;
use withy_proto::trust::{Certificate, NodeId, Validity};

use crate::dice::Dice;

/// What the application of a socket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends, and receives what comes.
    Sends,
    /// Receives.
    Receives,
    /// Sends requests and takes replies.
    Asks,
    /// Sends back what it receives.
    Answers,
}

/// How the links of a group are secured.
#[derive(Debug, Clone)]
pub(crate) enum Security {
    Null,
    /// Frames in records that nothing encrypts.
    NullInRecords,
    Plain,
    Curve {
        server: KeyPair,
        client: KeyPair,
    },
    /// Between nodes of one identity.
    Noise(Box<Settings>),
}

/// One peer.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) kind: SocketType,
    pub(crate) role: Role,
    pub(crate) send: SendOptions,
    pub(crate) receive: HighWaterMark,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) security: Security,
    /// Messages that it sends in each of its lives.
    pub(crate) messages: u32,
    /// A DEALER whose peers are REPs puts the delimiter itself.
    pub(crate) delimits: bool,
}

/// Peers and their links; of an edge the first node dials.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) specs: Vec<Spec>,
    pub(crate) edges: Vec<(usize, usize)>,
}

/// Socket types, what they do, and at most how many of them.
type Kinds = (&'static [SocketType], Role, u64);

/// Who talks to whom.
const GROUPS: [(Kinds, Kinds); 9] = [
    ((&[Push], Role::Sends, 4), (&[Pull], Role::Receives, 4)),
    ((&[Push], Role::Sends, 8), (&[Pull], Role::Receives, 1)),
    (
        (&[Pub, XPub], Role::Sends, 3),
        (&[Sub, XSub], Role::Receives, 5),
    ),
    ((&[Req], Role::Asks, 4), (&[Rep], Role::Answers, 3)),
    ((&[Req], Role::Asks, 3), (&[Router], Role::Answers, 2)),
    ((&[Dealer], Role::Asks, 3), (&[Rep], Role::Answers, 2)),
    ((&[Dealer], Role::Asks, 4), (&[Router], Role::Answers, 2)),
    ((&[Dealer], Role::Sends, 2), (&[Dealer], Role::Sends, 3)),
    ((&[Pair], Role::Sends, 1), (&[Pair], Role::Sends, 1)),
];

/// The world's time, for certificates: it lasts less than they do.
const NOW: u64 = 1_000_000_000;

/// The most peers of a run.
const MOST: usize = 16;

impl Scenario {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let mut scenario = Self {
            specs: Vec::new(),
            edges: Vec::new(),
        };
        for _ in 0..dice.within(1, 4) {
            scenario.group(dice);
        }
        scenario
    }

    fn group(&mut self, dice: &mut Dice) {
        let ((left, left_role, lefts), (right, right_role, rights)) = dice.one_of(&GROUPS);
        let lefts = dice.within(1, lefts + 1) as usize;
        let rights = dice.within(1, rights + 1) as usize;
        if self.specs.len() + lefts + rights > MOST {
            return;
        }
        let security = match dice.within(0, 100) {
            0..50 => Security::Null,
            50..60 => Security::NullInRecords,
            60..70 => Security::Plain,
            70..85 => Security::Curve {
                server: KeyPair::generate(dice.source()),
                client: KeyPair::generate(dice.source()),
            },
            _ => Security::Noise(Box::new(one_identity(dice))),
        };
        let heartbeat = dice.percent(60).then(|| {
            let interval = Duration::from_millis(dice.within(50, 300));
            Heartbeat {
                enabled: Some(true),
                interval,
                timeout: interval * dice.within(3, 6) as u32,
            }
        });
        let send = SendOptions {
            high_water_mark: mark(dice),
            // Only where a newer message stands for an older one.
            conflate: left == [Pub, XPub] && dice.percent(15),
            immediate: dice.percent(20),
            balance: dice.one_of(&[Balance::RoundRobin, Balance::LeastLoaded]),
            overflow: dice.one_of(&[
                Overflow::DropNewest,
                Overflow::DropOldest,
                Overflow::Block,
                Overflow::Disconnect,
            ]),
            ..SendOptions::default()
        };
        let receive = mark(dice);
        let delimits = right == [Rep];
        let first = self.specs.len();
        let side = |kinds: &[SocketType], role, dice: &mut Dice| Spec {
            kind: dice.one_of(kinds),
            role,
            send,
            receive,
            heartbeat,
            security: security.clone(),
            messages: dice.within(5, 60) as u32,
            delimits,
        };
        for _ in 0..lefts {
            let spec = side(left, left_role, dice);
            self.specs.push(spec);
        }
        for _ in 0..rights {
            let spec = side(right, right_role, dice);
            self.specs.push(spec);
        }
        // Mostly one side binds, as it is with real programs.
        let rights_bind = dice.percent(50);
        for left in first..first + lefts {
            for right in first + lefts..first + lefts + rights {
                let to_the_right = rights_bind != dice.percent(10);
                let edge = if to_the_right {
                    (left, right)
                } else {
                    (right, left)
                };
                self.edges.push(edge);
            }
        }
    }
}

/// What all nodes of an identity shake hands with; for this they may be one node.
fn one_identity(dice: &mut Dice) -> Settings {
    let identity = SigningKey::generate(Provider::Real, dice.source());
    let node = SigningKey::generate(Provider::Real, dice.source());
    let keys = KeyPair::generate(dice.source());
    let validity = Validity::starting(NOW, Certificate::LIFETIME);
    let node = NodeId::of(&node);
    let certificate = Certificate::issue(&identity, node, keys.public(), validity);
    Settings {
        has_aes: dice.percent(50),
        ..Settings::new(keys, vec![Realm::open(certificate)], NOW)
    }
}

fn mark(dice: &mut Dice) -> HighWaterMark {
    HighWaterMark {
        messages: dice.one_of(&[1, 2, 5, 20, 1_000]),
        octets: dice.one_of(&[1, 10_000, 1 << 20, 16 << 20]),
    }
}
