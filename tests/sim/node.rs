//! One peer: the engines, and what the driver keeps beside them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use withy_proto::crypto::Provider;
use withy_proto::mechanism::noise::{self, Initiator, Responder};
use withy_proto::mechanism::{Handshake, Local, Sealer, curve, null, plain};
use withy_proto::pattern::pipe::Load;
use withy_proto::pattern::request::Requests;
use withy_proto::pattern::{Incoming, Outgoing, PipeKey};
use withy_proto::peer::Pulse;
use withy_proto::zmtp::Limits;
use withy_proto::zmtp::connection::{Connection, Extensions, local_metadata};
use withy_proto::{Message, SocketType};

use crate::content::Id;
use crate::dice::Dice;
use crate::link::Time;
use crate::scenario::{Role, Security, Spec};

/// A connection, as one of its ends sees it.
#[derive(Debug)]
pub(crate) enum Side {
    Shaking(Box<Connection>),
    Up(Box<Up>),
}

/// An established connection.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) key: PipeKey,
    pub(crate) sealer: Sealer,
    /// What the link did not take whole.
    pub(crate) load: Option<Load>,
    /// Reading stopped at the high-water mark.
    pub(crate) paused: bool,
    /// Whole frames may stand in the decoder's stash.
    pub(crate) undecoded: bool,
    pub(crate) pulse: Pulse,
    /// For the beat, and for the peer's TTL.
    pub(crate) heard: [bool; 2],
    /// What a publisher believes that the peer wants.
    pub(crate) wants: BTreeSet<Vec<u8>>,
}

/// What an application waits for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: Id,
    pub(crate) request: u32,
    pub(crate) deadline: Time,
}

/// One peer in one of its lives.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) spec: Spec,
    pub(crate) alive: bool,
    pub(crate) life: u32,
    pub(crate) out: Outgoing,
    pub(crate) inc: Incoming,
    /// By the number of the link.
    pub(crate) sides: BTreeMap<usize, Side>,
    /// What a SUB or XSUB subscribed to, with how often.
    pub(crate) filters: BTreeMap<Vec<u8>, u32>,
    pub(crate) next: u32,
    /// What could not be sent yet.
    pub(crate) blocked: Option<Message>,
    pub(crate) replies: VecDeque<(Option<PipeKey>, Message)>,
    /// What ended connections left.
    pub(crate) notices: VecDeque<(usize, PipeKey, Message)>,
    pub(crate) requests: Requests<u32>,
    /// By the number of the message.
    pub(crate) asked: BTreeMap<u32, Asked>,
    /// Whether the last request was answered.
    pub(crate) answered: bool,
    pub(crate) turn: usize,
    /// The application rests until then.
    pub(crate) away_until: Time,

    // For the laws, of this life.
    pub(crate) accepted: u64,
    /// The largest message that was sent, in octets.
    pub(crate) largest: usize,
    /// Dropped after they were counted as sent.
    pub(crate) dropped_later: u64,
    /// Of the links of this life that are gone: messages that left for good.
    pub(crate) gone: u64,
    /// Where each message went at first; `None` is the backlog.
    pub(crate) assigned: BTreeMap<Id, Option<usize>>,
}

impl Node {
    pub(crate) fn new(spec: Spec, life: u32, dialing: usize) -> Self {
        let mut out = Outgoing::new(spec.kind, spec.send);
        out.set_dialing(dialing);
        let inc = Incoming::new(spec.kind, spec.receive, spec.send.invert_matching);
        Self {
            spec,
            alive: true,
            life,
            out,
            inc,
            sides: BTreeMap::new(),
            filters: BTreeMap::new(),
            next: 0,
            blocked: None,
            replies: VecDeque::new(),
            notices: VecDeque::new(),
            requests: Requests::default(),
            asked: BTreeMap::new(),
            answered: false,
            turn: 0,
            away_until: 0,
            accepted: 0,
            largest: 0,
            dropped_later: 0,
            gone: 0,
            assigned: BTreeMap::new(),
        }
    }

    /// Starts a connection; the accepting side is the server.
    pub(crate) fn connection(&self, accepting: bool, dice: &mut Dice) -> Connection {
        let kind = self.spec.kind;
        let extensions = Extensions {
            withy: true,
            correlate: kind == SocketType::Rep,
        };
        let asks = match self.spec.security {
            Security::Null => false,
            Security::Noise(_) => true,
            _ => accepting,
        };
        let local = Local {
            metadata: local_metadata(kind, b"", extensions),
            domain: String::new(),
            authenticate: asks,
            accepting,
        };
        let (name, handshake): (_, Box<dyn Handshake>) = match (&self.spec.security, accepting) {
            (Security::Null, _) => (null::NAME, Box::new(null::Null::new(local))),
            (Security::NullInRecords, _) => {
                (null::RECORDS, Box::new(null::Null::in_records(local)))
            }
            (Security::Plain, true) => (plain::NAME, Box::new(plain::Server::new(local))),
            (Security::Plain, false) => {
                let client = plain::Client::new(local, "ada", "secret").unwrap();
                (plain::NAME, Box::new(client))
            }
            (Security::Curve { server, .. }, true) => {
                let server = curve::Server::new(local, server.clone());
                (curve::NAME, Box::new(server))
            }
            (Security::Curve { server, client }, false) => {
                let client = curve::Client::new(local, client.clone(), server.public());
                (curve::NAME, Box::new(client))
            }
            (Security::Noise(settings), accepting) => {
                let (settings, real) = ((**settings).clone(), Provider::Real);
                let handshake: Box<dyn Handshake> = match accepting {
                    true => Box::new(Responder::new(local, settings, real, dice.source())),
                    false => Box::new(Initiator::new(local, settings, real, dice.source())),
                };
                (noise::NAME, handshake)
            }
        };
        let has_servers = !matches!(self.spec.security, Security::Null | Security::NullInRecords);
        let is_server = accepting && has_servers;
        Connection::new(
            kind,
            name,
            is_server,
            accepting,
            handshake,
            Limits::default(),
        )
    }

    pub(crate) fn up(&mut self, link: usize) -> Option<&mut Up> {
        match self.sides.get_mut(&link)? {
            Side::Up(up) => Some(up),
            Side::Shaking(_) => None,
        }
    }

    /// The link of a pipe.
    pub(crate) fn link_of(&self, key: PipeKey) -> Option<usize> {
        self.ups()
            .find(|(_, up)| up.key == key)
            .map(|(link, _)| link)
    }

    /// The established connections, by link.
    pub(crate) fn ups(&self) -> impl Iterator<Item = (usize, &Up)> {
        self.sides.iter().filter_map(|(link, side)| match side {
            Side::Up(up) => Some((*link, &**up)),
            Side::Shaking(_) => None,
        })
    }

    pub(crate) fn pulse(&self, now: Time) -> Pulse {
        Pulse::new(self.spec.heartbeat, Duration::from_micros(now))
    }

    pub(crate) fn subscribes(&self) -> bool {
        matches!(self.spec.kind, SocketType::Sub | SocketType::XSub)
    }

    pub(crate) fn publishes(&self) -> bool {
        matches!(self.spec.kind, SocketType::Pub | SocketType::XPub)
    }

    /// Whether a topic is subscribed to.
    pub(crate) fn wants(&self, topic: &[u8]) -> bool {
        self.filters.keys().any(|prefix| topic.starts_with(prefix))
    }

    /// Whether the application has nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        let sends = matches!(self.spec.role, Role::Sends | Role::Asks);
        (!sends || self.next == self.spec.messages)
            && self.blocked.is_none()
            && self.replies.is_empty()
            && self.notices.is_empty()
            && self.asked.is_empty()
            && self.inc.queued() == 0
            && self.out.queued() == 0
    }
}
