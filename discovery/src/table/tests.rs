use withy_proto::crypto::{Randomness as _, Seeded};

use super::*;
use crate::record::{Content, RecordError};
use crate::testing::{NOW, content, content_by, key, key_by};

const REAL: Provider = Provider::Real;
const NULL: Provider = Provider::DangerNull;

fn record(content: Content, node: u8) -> Record {
    content.sign(&key(node)).unwrap()
}

fn with(limits: Limits, secrets: Vec<Secret>) -> Table {
    let mut table = Table::new(REAL, limits, secrets, record(content(1, 1), 1));
    while table.poll_event().is_some() {}
    table
}

fn table() -> Table {
    with(Limits::default(), Vec::new())
}

fn events(table: &mut Table) -> Vec<Event> {
    std::iter::from_fn(|| table.poll_event()).collect()
}

fn learn(table: &mut Table, record: &Record) -> Result<Learnt, Refusal> {
    table.learn(record.octets(), Origin::Host, NOW)
}

#[test]
fn services_appear_change_and_vanish() {
    let mut table = table();
    let mut said = content(2, 2);
    let first = record(said.clone(), 2);
    let peer = first.peer();
    let instance = |kind, name: &str| Instance {
        peer,
        kind,
        name: name.into(),
    };
    let (adder, home) = (
        instance(Kind::Service, "adder"),
        instance(Kind::Publisher, "home/2"),
    );
    assert_eq!(learn(&mut table, &first), Ok(Learnt::New));
    let appeared = [
        Event::Known(peer),
        Event::Appeared(home.clone()),
        Event::Appeared(adder.clone()),
    ];
    assert_eq!(events(&mut table), appeared);
    assert_eq!(learn(&mut table, &first), Ok(Learnt::Known));
    said.sequence += 1;
    said.services.remove(1);
    said.services[0].load = 9;
    assert_eq!(learn(&mut table, &record(said, 2)), Ok(Learnt::Newer));
    let changed = [Event::Vanished(home), Event::Changed(adder.clone())];
    assert_eq!(events(&mut table), changed);
    assert_eq!(learn(&mut table, &first), Ok(Learnt::Stale));
    assert_eq!(
        table.instances(Kind::Service, "adder").count(),
        2,
        "ours too"
    );
    assert_eq!(table.instances(Kind::Publisher, "home/2").count(), 0);
    table.forget(peer);
    assert_eq!(
        events(&mut table),
        [Event::Vanished(adder), Event::Forgotten(peer)]
    );
    assert_eq!(table.len(), 1);
}

#[test]
fn expired_records_leave() {
    let mut table = table();
    let record = record(content(2, 2), 2);
    learn(&mut table, &record).unwrap();
    let due = table.poll_timeout().unwrap();
    assert_eq!(due, record.expires() + 1);
    table.handle_timeout(due - 1);
    assert_eq!(table.len(), 2);
    table.handle_timeout(due);
    assert_eq!((table.len(), table.counters().expired), (1, 1));
    assert_eq!(table.poll_timeout(), None, "the own record stays");
    let late = table.learn(record.octets(), Origin::Host, due);
    assert!(matches!(
        late,
        Err(Refusal::Record(RecordError::Validity(_)))
    ));
    assert_eq!(table.counters().invalid, 1);
}

#[test]
fn two_records_of_one_sequence_are_suspicious_and_one_wins_everywhere() {
    let mut one = content(2, 2);
    one.services[0].load = 1;
    let mut other = one.clone();
    other.services[0].load = 2;
    let (one, other) = (record(one, 2), record(other, 2));
    let (mut a, mut b) = (table(), table());
    for (table, first, second) in [(&mut a, &one, &other), (&mut b, &other, &one)] {
        learn(table, first).unwrap();
        learn(table, second).unwrap();
        assert_eq!(table.counters().suspicious, 1);
    }
    assert_eq!(a.record(one.peer()), b.record(one.peer()));
}

#[test]
fn forged_and_foreign_records_are_refused() {
    let home = Secret::from_octets([1; 32]);
    let mut table = with(Limits::default(), vec![home.clone()]);
    let mut octets = record(content(2, 2), 2).octets().to_vec();
    *octets.last_mut().unwrap() ^= 1;
    let forged = table.learn(&octets, Origin::Host, NOW);
    assert_eq!(forged, Err(RecordError::Forged.into()));
    let ours = record(content(1, 1), 1);
    assert_eq!(learn(&mut table, &ours), Ok(Learnt::Known));
    let mut ours = content(1, 1);
    ours.sequence = 99;
    let replayed = learn(&mut table, &record(ours, 1));
    assert_eq!(replayed, Err(Refusal::Ourselves));
    let mut member = content(2, 2);
    let (identity, node) = (member.certificate.identity(), member.certificate.node());
    let other = Secret::from_octets([2; 32]);
    member.networks = vec![NetworkTag::of(&other, identity, node)];
    let foreign = record(member.clone(), 2);
    assert_eq!(learn(&mut table, &foreign), Err(Refusal::Foreign));
    member.networks.push(NetworkTag::of(&home, identity, node));
    assert_eq!(learn(&mut table, &record(member, 2)), Ok(Learnt::New));
    // The tag of another node.
    let mut thief = content(3, 3);
    thief.networks = vec![NetworkTag::of(&home, identity, node)];
    assert_eq!(learn(&mut table, &record(thief, 3)), Err(Refusal::Foreign));
    let counters = table.counters();
    let counted = (counters.invalid, counters.ourselves, counters.foreign);
    assert_eq!(counted, (1, 1, 2));
}

#[test]
fn what_is_announced_for_others_is_refused() {
    let mut table = table();
    let record = record(content(2, 2), 2);
    let sender = IpAddrs::ELSEWHERE;
    let refused = table.learn(record.octets(), Origin::Mdns(sender), NOW);
    assert_eq!(refused, Err(Refusal::Elsewhere { sender }));
    let learnt = table.learn(record.octets(), Origin::Mdns(IpAddrs::TWO), NOW);
    assert_eq!(learnt, Ok(Learnt::New));
    assert_eq!(table.counters().elsewhere, 1);
}

struct IpAddrs;

impl IpAddrs {
    const TWO: core::net::IpAddr = core::net::IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 0, 2));
    const ELSEWHERE: core::net::IpAddr =
        core::net::IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 0, 9));
}

#[test]
fn a_pinned_name_of_another_identity_is_refused_and_told_once() {
    let mut table = table();
    let owner = record(content(2, 2), 2);
    table.pin("adder", owner.identity());
    learn(&mut table, &owner).unwrap();
    events(&mut table);
    for node in 3..40 {
        let thief = record(content(3, node), node);
        let conflict = Conflict {
            name: "adder".into(),
            pinned: owner.identity(),
            found: thief.identity(),
        };
        assert_eq!(learn(&mut table, &thief), Err(conflict.clone().into()));
        let told = events(&mut table);
        let once: &[Event] = if node == 3 {
            &[Event::Conflict(conflict)]
        } else {
            &[]
        };
        assert_eq!(told, once);
    }
    assert_eq!(table.counters().conflicts, 37);
    assert_eq!(table.instances(Kind::Service, "adder").count(), 2);
}

#[test]
fn every_limit_holds() {
    let limits = Limits {
        nodes: 12,
        per_identity: 3,
        per_sender: 2,
        instances: 20,
        octets: 3_800,
        events: 4,
    };
    let mut table = with(limits, Vec::new());
    let from = |table: &mut Table, identity, node, origin| {
        let mut content = content(identity, node);
        content.addresses[0] = Address::Quic(([192, 168, 0, 2], 1).into());
        content.services.truncate(1);
        table.learn(record(content, node).octets(), origin, NOW)
    };
    let mdns = Origin::Mdns(IpAddrs::TWO);
    assert_eq!(from(&mut table, 2, 2, mdns), Ok(Learnt::New));
    assert_eq!(from(&mut table, 2, 3, mdns), Ok(Learnt::New));
    let refused = from(&mut table, 2, 4, mdns);
    assert_eq!(refused, Err(Refusal::Origin { nodes: 2 }));
    assert_eq!(from(&mut table, 2, 4, Origin::Fixed), Ok(Learnt::New));
    let refused = from(&mut table, 2, 5, Origin::Fixed);
    assert_eq!(refused, Err(Refusal::Identity { nodes: 3 }));
    for node in 5..12 {
        let learnt = from(&mut table, 3 + node, node, Origin::File);
        assert_eq!(learnt, Ok(Learnt::New), "{node}");
    }
    let refused = from(&mut table, 30, 30, Origin::File);
    assert_eq!(refused, Err(Refusal::Full), "octets");
    table.limits.octets = 40_000;
    assert_eq!(from(&mut table, 30, 30, Origin::File), Ok(Learnt::New));
    let refused = from(&mut table, 31, 31, Origin::File);
    assert_eq!(refused, Err(Refusal::Full), "nodes");
    table.limits.instances = 12;
    table.limits.nodes = 20;
    let services = 1;
    let refused = from(&mut table, 31, 31, Origin::File);
    assert_eq!(refused, Err(Refusal::Names { services }));
    let told = events(&mut table);
    assert_eq!((told.len(), told.last()), (5, Some(&Event::Lagged)));
    assert_eq!(table.counters().events_dropped, 11 * 2 - 4);
    assert_eq!((table.counters().over_quota, table.counters().full), (2, 3));
}

#[test]
fn all_senders_of_multicast_together_have_a_quarter() {
    let limits = Limits {
        nodes: 8,
        ..Limits::default()
    };
    let mut table = with(limits, Vec::new());
    let mut announce = |node: u8| {
        let sender = core::net::IpAddr::from([192, 168, 0, node]);
        let record = record(content(node, node), node);
        table.learn(record.octets(), Origin::Mdns(sender), NOW)
    };
    assert_eq!(announce(2), Ok(Learnt::New));
    assert_eq!(announce(3), Ok(Learnt::New));
    assert_eq!(announce(4), Err(Refusal::Origin { nodes: 0 }));
}

#[test]
fn candidates_reach_and_are_nobody_elses() {
    let mut table = table();
    let mut liar = content(3, 3);
    liar.addresses = content(2, 2).addresses;
    liar.addresses.push(Address::Inproc("x".into()));
    let (honest, liar) = (record(content(2, 2), 2), record(liar, 3));
    learn(&mut table, &honest).unwrap();
    learn(&mut table, &liar).unwrap();
    let [quic, tcp, ipc] = &content(2, 2).addresses[..] else {
        panic!("three addresses");
    };
    let at = |table: &Table, peer, host, process| -> Vec<Address> {
        let candidates = table.candidates(peer, host, process);
        candidates.into_iter().cloned().collect()
    };
    let [all, far] =
        [vec![ipc, tcp, quic], vec![quic]].map(|it| it.into_iter().cloned().collect::<Vec<_>>());
    assert_eq!(at(&table, honest.peer(), [1; 8], [9; 8]), all);
    assert_eq!(at(&table, honest.peer(), [2; 8], [9; 8]), far);
    assert_eq!(at(&table, liar.peer(), [1; 8], [3; 8]).len(), 4);
    table.meet(honest.peer(), quic);
    assert_eq!(at(&table, honest.peer(), [2; 8], [9; 8]), far);
    assert_eq!(at(&table, liar.peer(), [2; 8], [9; 8]), []);
    // It moved: who has the address now is not known.
    table.forget(honest.peer());
    assert_eq!(at(&table, liar.peer(), [2; 8], [9; 8]), far);
}

/// The indices against a look at every record, after operations chosen by a seed.
#[test]
fn the_table_says_what_a_plain_list_says() {
    for seed in 0..20 {
        let mut random = Seeded::new(seed);
        let own = content_by(NULL, 1, 1).sign(&key_by(NULL, 1)).unwrap();
        let mut table = Table::new(NULL, Limits::default(), Vec::new(), own.clone());
        let mut model = BTreeMap::from([(own.peer(), own)]);
        let mut alive = BTreeSet::new();
        for step in 0..300 {
            let node = 2 + random.next_u64() as u8 % 12;
            let now = NOW + step;
            let mut said = content_by(NULL, node, node);
            said.sequence = random.next_u64() % 8;
            said.validity.not_after = now + random.next_u64() % 20;
            said.services.truncate(random.next_u64() as usize % 3);
            let said = said.sign(&key_by(NULL, node)).unwrap();
            match random.next_u64() % 8 {
                0 => {
                    table.forget(said.peer());
                    model.remove(&said.peer());
                }
                1 => {
                    let now = now + 300;
                    table.handle_timeout(now);
                    model.retain(|peer, record| *peer == table.own() || record.expires() >= now);
                }
                _ => {
                    let learnt = table.learn(said.octets(), Origin::Host, now);
                    let newer = model
                        .get(&said.peer())
                        .is_none_or(|it| rank(it) < rank(&said));
                    assert_eq!(learnt.unwrap().is_news(), newer);
                    if newer {
                        model.insert(said.peer(), said);
                    }
                }
            }
            follow(&mut table, &mut alive);
            compare(&table, &model, &alive);
        }
    }
}

/// Keeps a set of instances by events alone.
fn follow(table: &mut Table, alive: &mut BTreeSet<Instance>) {
    for event in events(table) {
        match event {
            Event::Appeared(it) => assert!(alive.insert(it)),
            Event::Vanished(it) => assert!(alive.remove(&it)),
            Event::Changed(it) => assert!(alive.contains(&it)),
            _ => {}
        }
    }
}

fn compare(table: &Table, model: &BTreeMap<PeerTag, Record>, alive: &BTreeSet<Instance>) {
    assert!(
        table
            .peers()
            .eq(model.iter().map(|(peer, record)| (*peer, record)))
    );
    let octets = model.values().map(|it| it.octets().len()).sum::<usize>();
    assert_eq!(table.octets(), octets);
    let mut instances = BTreeSet::new();
    for (peer, record) in model {
        for service in &record.content().services {
            let (kind, name) = (service.kind, service.name.clone());
            assert!(table.instances(kind, &name).any(|(it, _)| it == *peer));
            let peer = *peer;
            instances.insert(Instance { peer, kind, name });
        }
    }
    assert_eq!(&instances, alive);
    assert_eq!(table.instances, instances.len());
    let mut indexed = 0;
    for names in table.names.values() {
        indexed += names.values().map(BTreeSet::len).sum::<usize>();
    }
    assert_eq!(indexed, instances.len());
    assert_eq!(table.origins.values().sum::<usize>(), model.len());
    assert_eq!(table.identities.values().sum::<usize>(), model.len());
    assert_eq!(table.expiries.len() + 1, model.len());
}
