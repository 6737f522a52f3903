//! Each queue has three nodes that would keep it, on both sides of a split: which does, their records say,
//! as those of a node do. Producers and workers follow the highest epoch that they hear of.
//!
//! Keepers have no store, and do not die: what is lost with one is for the simulation of queues alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use withy_proto::Message;
use withy_proto::crypto::Randomness as _;
use withy_proto::queue::producer::{Event, Push};
use withy_proto::queue::worker::WorkId;
use withy_proto::queue::{
    Command, ConsumerId, Epoch, Keeper, Options, PeerId, Producer, ProducerId, Queue, QueueName,
    Tag, Worker,
};
use withy_proto::trust::NodeId;

use super::{AGAIN, Heard, LOOK, World};
use crate::membership::State;
use crate::peer::PeerTag;
use crate::record::{Kind, Service};

const KEEPERS: u64 = 3;
const PRODUCERS: u64 = 2;
const WORKERS: u64 = 6;

/// Who empties the queue of a node that is no keeper any more.
const HEIR: ConsumerId = ConsumerId(u64::MAX);

/// How often a producer puts a message.
const PUT: Duration = Duration::from_millis(200);

/// How many milliseconds a worker has a job for at most.
const WORK: u64 = 1_500;

/// As nodes do: how long a claim waits, how long a keeper has to be gone, and how often one goes above
/// what clients know.
const PATIENCE: Duration = Duration::from_millis(500);
const ABSENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(5);

/// The property of the record: the number of the epoch, and whether it is held.
const EPOCH: &str = "epoch";

struct Keeping {
    queue: usize,
    at: PeerTag,
    keeper: Keeper,
    said: Option<(Epoch, bool)>,
    absent_since: Option<Duration>,
    rumour_after: Duration,
    /// What is on its way to the next keeper, by its number there.
    inherited: BTreeMap<u64, Tag>,
}

enum What {
    Puts(Producer),
    Works(Worker, Vec<Work>),
}

/// What a worker works on, and when it is done.
struct Work {
    id: WorkId,
    body: u64,
    done: Duration,
}

/// A producer, a worker, or what hands on the queue of a keeper that was.
struct Client {
    queue: usize,
    at: PeerTag,
    what: What,
    heir_of: Option<usize>,
    sent: BTreeMap<u64, u64>,
    next_put: Duration,
    next_look: Duration,
    link: Option<Link>,
}

struct Link {
    keeper: usize,
    peer: PeerId,
    heard: Heard,
    up: Way,
    down: Way,
}

/// One direction of a link.
#[derive(Default)]
struct Way(VecDeque<(Duration, Message)>);

impl Way {
    fn say(&mut self, world: &mut World, message: Message) -> u64 {
        let last = self.0.back().map_or(Duration::ZERO, |(at, _)| *at);
        let size = message.size() as u64;
        self.0.push_back((world.arrival().max(last), message));
        size
    }

    fn hear(&mut self, now: Duration) -> Option<Message> {
        let due = self.0.front().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.0.pop_front()).flatten().map(|it| it.1)
    }

    /// Nothing arrives for now.
    fn stall(&mut self, now: Duration) {
        for (at, _) in &mut self.0 {
            *at = (*at).max(now + AGAIN);
        }
    }
}

pub(super) struct Queues {
    names: Vec<QueueName>,
    keepers: Vec<Keeping>,
    clients: Vec<Client>,
    peers: u64,
    made: u64,
    next: u64,
    /// How many puts were due, with those for which a producer had no room.
    due: u64,
    /// Whether producers go on.
    pub(super) puts: bool,
    accepted: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    flagged: u64,
    claims: u64,
    pub(super) octets: u64,
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().unwrap())
}

fn push(number: u64, redelivered: bool) -> Push {
    Push {
        redelivered,
        message: Message::from(number.to_be_bytes()),
        ..Push::default()
    }
}

/// Who says to keep a queue, in the highest epoch, as a node knows; itself only if `own`.
fn said_at(world: &World, at: PeerTag, name: &QueueName, own: bool) -> Option<(Epoch, bool)> {
    let discovery = &world.nodes[&at].discovery;
    let instances = discovery.table().instances(Kind::Queue, name.as_str());
    let there = instances.filter(|(tag, _)| {
        let member = discovery.membership().state(*tag);
        (own || *tag != at) && (*tag == at || !member.is_some_and(State::is_gone))
    });
    let said = there.filter_map(|(_, record)| {
        let mut services = record.content().services.iter();
        let is = |it: &&Service| it.kind == Kind::Queue && *it.name == *name.as_str();
        let (_, value) = services.find(is)?.properties.first()?;
        let (number, held) = value.split_first_chunk()?;
        let epoch = Epoch::new(u64::from_be_bytes(*number), record.node());
        Some((epoch, held == [1]))
    });
    said.max()
}

impl Keeping {
    fn is_aside(&self) -> bool {
        self.keeper.held().is_none() && !self.keeper.is_claiming()
    }

    /// Claims the queue, holds it or steps aside, as the others' records say. Whether it claimed it.
    fn rule(&mut self, world: &mut World, name: &QueueName) -> bool {
        let (now, mut claims) = (world.now, false);
        let other = said_at(world, self.at, name, false);
        if let Some((epoch, _)) = other {
            self.keeper.observe(epoch, now);
        }
        let rumour = self
            .keeper
            .rumour()
            .filter(|_| self.keeper.held().is_some());
        if let Some(rumour) = rumour.filter(|_| now >= self.rumour_after) {
            self.rumour_after = now + PAUSE;
            self.keeper.observe(rumour, now);
            claims = true;
        }
        if self.is_aside() && !claims {
            if other.is_some() {
                self.absent_since = None;
            } else {
                claims = now >= *self.absent_since.get_or_insert(now) + ABSENCE;
            }
        }
        if claims {
            self.absent_since = None;
            let clock = now.as_millis() as u64;
            self.keeper.claim_from(clock, now, PATIENCE).unwrap();
        }
        self.keeper.handle_timeout(now);
        let to_say =
            (!self.is_aside()).then(|| (self.keeper.known(), self.keeper.held().is_some()));
        if self.said != to_say {
            self.said = to_say;
            let mut service = Service::new(Kind::Queue, name.as_str());
            if let Some((epoch, held)) = to_say {
                let value = [&epoch.number().to_be_bytes()[..], &[u8::from(held)]].concat();
                service.properties.push((EPOCH.into(), value.into()));
            }
            world.offer(self.at, service, to_say.is_some());
        }
        claims
    }
}

impl Client {
    fn known(&self) -> Epoch {
        match &self.what {
            What::Puts(producer) => producer.known(),
            What::Works(worker, _) => worker.known(),
        }
    }

    fn cut(&mut self, keepers: &mut [Keeping], now: Duration) {
        let Some(link) = self.link.take() else {
            return;
        };
        keepers[link.keeper].keeper.lost(link.peer, now);
        match &mut self.what {
            What::Puts(producer) => producer.lost(),
            What::Works(worker, work) => {
                worker.lost();
                work.clear();
            }
        }
    }

    fn observe(&mut self, epoch: Epoch) {
        match &mut self.what {
            What::Puts(producer) => producer.observe(epoch),
            What::Works(worker, _) => worker.observe(epoch),
        }
    }

    fn connected(&mut self, node: NodeId) {
        match &mut self.what {
            What::Puts(producer) => producer.connected(node),
            What::Works(worker, _) => worker.connected(node),
        }
    }

    fn poll_transmit(&mut self, now: Duration) -> Option<Command> {
        match &mut self.what {
            What::Puts(producer) => producer.poll_transmit(now),
            What::Works(worker, _) => worker.poll_transmit(),
        }
    }
}

impl Queues {
    pub(super) fn new(world: &mut World, count: u64, peers: &BTreeMap<u64, PeerTag>) -> Self {
        let mut queues = Self {
            names: (0..count)
                .map(|it| format!("jobs-{it}").parse().unwrap())
                .collect(),
            keepers: Vec::new(),
            clients: Vec::new(),
            peers: 0,
            made: 0,
            next: 0,
            due: 0,
            puts: true,
            accepted: BTreeSet::new(),
            seen: BTreeSet::new(),
            acked: BTreeSet::new(),
            flagged: 0,
            claims: 0,
            octets: 0,
        };
        // Neighbours by number are on different sides of a split.
        let mut peers = peers.values().copied().skip(world.seeds.len());
        for queue in 0..count as usize {
            for _ in 0..KEEPERS {
                let at = peers.next().expect("there are enough");
                let node = NodeId::of(&world.nodes[&at].key);
                let options = Options {
                    max_attempts: None,
                    ..Options::default()
                };
                let kept = Queue::new(queues.names[queue].clone(), options);
                let number = queues.keepers.len();
                queues.keepers.push(Keeping {
                    queue,
                    at,
                    keeper: Keeper::new(node, kept),
                    said: None,
                    absent_since: None,
                    rumour_after: Duration::ZERO,
                    inherited: BTreeMap::new(),
                });
                queues.client(queue, at, true, Some(number));
            }
            for number in 0..PRODUCERS + WORKERS {
                let at = peers.next().expect("there are enough");
                queues.client(queue, at, number < PRODUCERS, None);
            }
        }
        queues
    }

    fn client(&mut self, queue: usize, at: PeerTag, puts: bool, heir_of: Option<usize>) {
        self.made += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        self.clients.push(Client {
            queue,
            at,
            what: match puts {
                true => What::Puts(Producer::new(ProducerId(id), 8)),
                false => What::Works(Worker::new(2), Vec::new()),
            },
            heir_of,
            sent: BTreeMap::new(),
            next_put: Duration::ZERO,
            next_look: Duration::ZERO,
            link: None,
        });
    }

    pub(super) fn is_keeper(&self, peer: PeerTag) -> bool {
        self.keepers.iter().any(|it| it.at == peer)
    }

    /// Clients of a node that died begin anew at another one.
    pub(super) fn replace(&mut self, world: &mut World, victim: PeerTag, fresh: PeerTag) {
        let of_victim = self.clients.extract_if(.., |it| it.at == victim);
        for mut client in of_victim.collect::<Vec<_>>() {
            let puts = matches!(client.what, What::Puts(_));
            client.cut(&mut self.keepers, world.now);
            self.client(client.queue, fresh, puts, None);
        }
    }

    pub(super) fn step(&mut self, world: &mut World) {
        for keeping in &mut self.keepers {
            let name = &self.names[keeping.queue];
            self.claims += u64::from(keeping.rule(world, name));
        }
        for at in 0..self.clients.len() {
            self.look(world, at);
            self.begin(world, at);
            self.send(world, at);
            self.hear(world, at);
        }
        self.answer(world);
    }

    /// Follows the highest epoch, to where it is held.
    fn look(&mut self, world: &World, at: usize) {
        let now = world.now;
        let client = &mut self.clients[at];
        let ends = |link: &Link| (client.at, self.keepers[link.keeper].at);
        let broken = match &mut client.link {
            None => false,
            Some(link) => {
                let ends = ends(link);
                link.heard.is_broken(world, ends)
            }
        };
        if broken {
            client.cut(&mut self.keepers, now);
        }
        if now < client.next_look {
            return;
        }
        client.next_look = now + LOOK;
        let name = &self.names[client.queue];
        let said = said_at(world, client.at, name, client.heir_of.is_none());
        let linked = client.link.as_ref().map(|it| it.keeper);
        let holder = |epoch: Epoch| {
            let holds = |it: &Keeping| NodeId::of(&world.nodes[&it.at].key) == epoch.holder();
            self.keepers.iter().position(holds)
        };
        if let Some((epoch, true)) = said
            && (linked.is_none() || linked != holder(epoch))
        {
            client.observe(epoch);
        }
        let known = client.known();
        // Who is not in the table cannot be dialled.
        let table = world.nodes[&client.at].discovery.table();
        let offers = |keeper: &usize| {
            let instances = table.instances(Kind::Queue, name.as_str());
            let mut tags = instances.map(|(tag, _)| tag);
            tags.any(|tag| tag == self.keepers[*keeper].at)
        };
        let best = holder(known).filter(offers);
        let best = best.or_else(|| holder(said?.0).filter(offers));
        let Some(keeper) = best.filter(|it| linked != Some(*it)) else {
            return;
        };
        let to = self.keepers[keeper].at;
        if !world.reaches(client.at, to) {
            return;
        }
        client.cut(&mut self.keepers, now);
        self.peers += 1;
        client.link = Some(Link {
            keeper,
            peer: PeerId(self.peers),
            heard: Heard(now),
            up: Way::default(),
            down: Way::default(),
        });
        client.connected(NodeId::of(&world.nodes[&to].key));
    }

    /// Puts something new, works on what is there, or hands on what is left.
    fn begin(&mut self, world: &World, at: usize) {
        let now = world.now;
        let client = &mut self.clients[at];
        match (&mut client.what, client.heir_of) {
            (What::Works(worker, work), _) => {
                for it in work.extract_if(.., |it| it.done <= now) {
                    if worker.ack(it.id).is_ok() {
                        self.acked.insert(it.body);
                    }
                }
            }
            (What::Puts(heir), Some(keeping)) => {
                let keeping = &mut self.keepers[keeping];
                if !keeping.is_aside() {
                    if !keeping.inherited.is_empty() {
                        // It comes twice, flagged.
                        keeping.inherited.clear();
                        keeping.keeper.queue_mut().lost(HEIR, now);
                    }
                } else if heir.has_room() {
                    let queue = keeping.keeper.queue_mut();
                    queue.grow(HEIR, 1).unwrap();
                    if let Some(delivery) = queue.poll(now) {
                        let body = number(&delivery.message);
                        let sequence = heir.push(push(body, true), now).unwrap();
                        keeping.inherited.insert(sequence, delivery.tag);
                    }
                    queue.pause(HEIR);
                }
            }
            (What::Puts(producer), None) => {
                if !self.puts || now < client.next_put {
                    return;
                }
                client.next_put = now + PUT;
                self.due += 1;
                if producer.has_room() {
                    let sequence = producer.push(push(self.next, false), now).unwrap();
                    client.sent.insert(sequence, self.next);
                    self.next += 1;
                }
            }
        }
    }

    fn send(&mut self, world: &mut World, at: usize) {
        let client = &mut self.clients[at];
        while client.link.is_some()
            && let Some(command) = client.poll_transmit(world.now)
        {
            let link = client.link.as_mut().expect("there is one");
            self.octets += link.up.say(world, command.encode());
        }
    }

    fn hear(&mut self, world: &mut World, at: usize) {
        let now = world.now;
        let client = &mut self.clients[at];
        let Some(link) = &mut client.link else {
            return;
        };
        let keeping = &mut self.keepers[link.keeper];
        if !world.reaches(client.at, keeping.at) {
            link.up.stall(now);
            link.down.stall(now);
            return;
        }
        while let Some(message) = link.up.hear(now) {
            let command = Command::decode(message).unwrap();
            keeping.keeper.handle(link.peer, command, now).unwrap();
        }
        while let Some(message) = link.down.hear(now) {
            let command = Command::decode(message).unwrap();
            match &mut client.what {
                What::Puts(producer) => producer.handle(command).unwrap(),
                What::Works(worker, work) => {
                    if let Some(it) = worker.handle(command).unwrap() {
                        let body = number(&it.message);
                        let fresh = self.seen.insert(body);
                        self.flagged += u64::from(!fresh);
                        assert!(
                            fresh || it.redelivered,
                            "{body} came again, without the flag"
                        );
                        let takes = Duration::from_millis(world.random.next_u64() % WORK);
                        work.push(Work {
                            id: it.id,
                            body,
                            done: now + takes,
                        });
                    }
                }
            }
        }
        self.events(at);
    }

    fn events(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let What::Puts(producer) = &mut client.what else {
            return;
        };
        while let Some(event) = producer.poll_event() {
            let Event::Accepted { sequence } = event else {
                panic!("nothing is refused, and nothing expires: {event:?}");
            };
            let Some(keeping) = client.heir_of else {
                self.accepted.extend(client.sent.remove(&sequence));
                continue;
            };
            let keeping = &mut self.keepers[keeping];
            if let Some(tag) = keeping.inherited.remove(&sequence) {
                // It may have been too late, and gone back.
                let _ = keeping.keeper.queue_mut().ack(HEIR, tag);
            }
        }
    }

    fn answer(&mut self, world: &mut World) {
        for (number, keeping) in self.keepers.iter_mut().enumerate() {
            while let Some((receipt, _)) = keeping.keeper.poll_store() {
                keeping.keeper.stored(receipt);
            }
            while let Some((peer, command)) = keeping.keeper.poll_transmit(world.now) {
                let links = self.clients.iter_mut().filter_map(|it| it.link.as_mut());
                let mut links = links.filter(|it| it.keeper == number);
                let link = links
                    .find(|it| it.peer == peer)
                    .expect("only peers are answered");
                self.octets += link.down.say(world, command.encode());
            }
        }
    }

    /// How many keepers each queue has, if it is the same for all.
    pub(super) fn holders(&self) -> usize {
        let holds = |queue: usize| {
            let of = self.keepers.iter().filter(|it| it.queue == queue);
            of.filter(|it| it.keeper.held().is_some()).count()
        };
        let all: BTreeSet<_> = (0..self.names.len()).map(holds).collect();
        assert_eq!(all.len(), 1, "{all:?} keepers");
        all.into_iter().next().unwrap_or_default()
    }

    pub(super) fn is_done(&self) -> bool {
        let confirmed = self.clients.iter().all(|it| match &it.what {
            What::Puts(producer) => producer.unconfirmed() == 0,
            What::Works(..) => true,
        });
        confirmed && self.keepers.iter().all(|it| it.keeper.queue().is_empty())
    }

    pub(super) fn check(&self) {
        let lost: Vec<_> = self.accepted.difference(&self.acked).collect();
        assert!(lost.is_empty(), "{lost:?} were accepted, and lost");
        // Without a keeper, producers soon have no room.
        let accepted = self.accepted.len() as u64;
        assert!(
            accepted * 4 > self.due * 3,
            "{accepted} of {} were accepted",
            self.due
        );
        assert_eq!(self.holders(), 1, "of each queue");
    }

    pub(super) fn summary(&self) -> String {
        let fenced: u64 = self.keepers.iter().map(|it| it.keeper.fenced()).sum();
        format!(
            "of {} jobs {} accepted and done, {} came again, flagged; {} claims, {fenced} commands fenced",
            self.due,
            self.accepted.len(),
            self.flagged,
            self.claims
        )
    }

    /// What is left, and where.
    pub(super) fn explain(&self) -> String {
        let keepers = self.keepers.iter().map(|it| {
            let (held, known) = (it.keeper.held(), it.keeper.known());
            let left = it.keeper.queue().len();
            format!(
                "\n  keeper {}: {left} left, holds {held:?}, knows {known:?}",
                it.at
            )
        });
        let clients = self.clients.iter().map(|it| {
            let left = match &it.what {
                What::Puts(producer) => producer.unconfirmed(),
                What::Works(worker, _) => worker.open(),
            };
            let to = it.link.as_ref().map(|link| self.keepers[link.keeper].at);
            format!(
                "\n  client {} of {}: {left} left, linked to {to:?}",
                it.at, it.queue
            )
        });
        keepers.chain(clients).collect()
    }
}
