//! Who is not trusted learns nothing, is told nothing, and reaches nobody.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, SystemTime};

use withy::Home;
use withy_discovery::announcement::{Announcement, Content, Places};
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{IdentityId, NodeId};
use withy_tests::multicast::{PORT, answer};
use withy_tests::scale;

use crate::capture::Capture;
use crate::lan::{Lan, address};
use crate::meshing::{meet, swarm};
use crate::node::{Role, now};
use crate::siege::{GOT, TAKEN};
use crate::swarm::{LONG, Said, Swarm, home, inside, runtime};

/// For how long a stranger may try.
const TRIES: Duration = Duration::from_secs(5);

/// The name under which a node offers everything.
const OFFERED: &str = "treasury";

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[number; 32])
}

/// An announcement at a host that a key signed; it is about the node of the key.
fn announcement(key: &SigningKey, identity: IdentityId, sequence: u64, host: usize) -> Vec<u8> {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let content = Content {
        node: NodeId::of(key),
        identity,
        services: [1; 8],
        sequence,
        expires: unix.unwrap().as_secs() + 3_600,
        port: PORT,
        places: Places::choose([address(host)]).unwrap(),
    };
    Announcement::Public(content.sign(key).unwrap()).encode()
}

/// An announcement of a victim's node that another key signed.
fn forged(identity: IdentityId, sequence: u64, host: usize) -> Vec<u8> {
    let (victim, other) = (key(1), key(2));
    let mut forged = announcement(&other, identity, sequence, host);
    let theirs = announcement(&victim, identity, sequence, host);
    // Their ids are at the same place, and as long as each other.
    let at = forged.windows(3).position(|it| it == b"id=").unwrap();
    let length = usize::from(forged[at - 1]);
    forged[at..at + length].copy_from_slice(&theirs[at..at + length]);
    forged
}

#[test]
fn announcements_of_others_lead_nowhere() {
    const TEST: &str = "strangers::announcements_of_others_lead_nowhere";
    inside(TEST, || {
        const COUNT: u64 = 1_000;
        let lan = Lan::new(2);
        let mut swarm = swarm(TEST, &lan, 1, |role| role);
        swarm.built(LONG);
        let identity: IdentityId = swarm.names(0)[2].parse().unwrap();
        let attacker = lan.host(1);
        attacker.run("ip route add 224.0.0.0/4 dev eth0");
        // Where the announcements lead to.
        let (multicast, udp, tcp) = attacker.within(|| {
            let udp = UdpSocket::bind((address(1), PORT)).unwrap();
            let tcp = TcpListener::bind((address(1), PORT)).unwrap();
            udp.set_nonblocking(true).unwrap();
            tcp.set_nonblocking(true).unwrap();
            (
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap(),
                udp,
                tcp,
            )
        });
        let group = (Ipv4Addr::new(224, 0, 0, 251), 5353);
        let octets = || {
            let (mut octets, mut packet) = (0, [0; 2_000]);
            while let Ok(length) = udp.recv(&mut packet) {
                octets += length;
            }
            octets
        };
        for number in 0..COUNT {
            let packet = answer(number, &forged(identity, number, 1), [10, 77, 0, 2]);
            multicast.send_to(&packet, group).unwrap();
            // No faster than they are read.
            std::thread::sleep(Duration::from_millis(3));
        }
        let warns = |what: &str| what.starts_with("warns") && what.contains("forged");
        swarm.say_all(&[0], LONG, 0, warns);
        std::thread::sleep(TRIES);
        let (to_attacker, sessions) = (octets(), tcp.accept().is_ok());
        let warnings = swarm.log().iter().filter(|said| warns(&said.what)).count();
        scale::report("octets to who forged 1,000 announcements", to_attacker);
        scale::report("warnings of 1,000 forged announcements", warnings);
        assert_eq!((to_attacker, sessions, warnings), (0, false, 1));
        // One that its node signed is looked after, which shows that they arrive: nobody proves that it
        // is of this identity.
        let honest = answer(
            COUNT,
            &announcement(&key(3), identity, 1, 1),
            [10, 77, 0, 2],
        );
        let end = now() + LONG.as_micros() as u64;
        while octets() == 0 {
            assert!(now() < end, "announcements do not arrive");
            multicast.send_to(&honest, group).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Tries of a stranger to find the nodes, to hear them, to be heard, and to use what they offer.
fn besiege(lan: &Lan, swarm: &mut Swarm, seed: &str) {
    let count = swarm.numbers().len();
    let stranger = Role {
        number: count,
        home: home("stranger"),
        runtime: runtime("stranger"),
        lan: true,
        seed: Some(seed.to_owned()),
        ..Role::default()
    };
    swarm.start(Some(lan.host(count)), &stranger);
    swarm.built(LONG);
    let tag = swarm.tag(count);
    swarm.tell_all("mark");
    swarm.tell_all("tick 100");
    swarm.tell(1, &format!("offer {OFFERED}"));
    swarm.say_all(&[1], LONG, 0, |what| what == "offers");
    let since = now();
    swarm.tell(count, &format!("try {OFFERED}"));
    swarm.say_all(&[count], LONG, since, |what| what == "tries");
    knock(lan, count, seed);
    std::thread::sleep(TRIES);
    swarm.tell(count, "peers");
    swarm.say_all(&[count], LONG, since, |what| what.starts_with("peers"));
    let all = format!("heard {count}");
    let used = format!("from {tag}");
    let met = |what: &str| what == all || what == format!("joined {tag}") || what.ends_with(&used);
    for said in swarm.log() {
        let by_stranger = said.node == count && said.at >= since;
        assert!(!(by_stranger && said.what.starts_with("heard")), "{said:?}");
        assert!(!(by_stranger && said.what.contains(":Present")), "{said:?}");
        assert!(!(by_stranger && said.what.starts_with("got")), "{said:?}");
        assert!(!met(&said.what), "{said:?}");
    }
}

#[test]
fn a_stranger_meets_nobody_until_both_accept() {
    const TEST: &str = "strangers::a_stranger_meets_nobody_until_both_accept";
    inside(TEST, || {
        let lan = Lan::new(4);
        let seed = std::net::SocketAddr::new(address(0), PORT);
        let mut swarm = swarm(TEST, &lan, 3, |role| match role.number {
            0 => Role {
                listen: Some(seed),
                ..role
            },
            _ => role,
        });
        meet(&mut swarm);
        besiege(&lan, &mut swarm, &seed.to_string());
        // It is not the network that keeps them apart.
        let (ours, theirs) = (Home::at(home("home")), Home::at(home("stranger")));
        ours.accept(theirs.identity().unwrap().id(), None).unwrap();
        theirs.accept(ours.identity().unwrap().id(), None).unwrap();
        let since = now();
        swarm.all_say(LONG, since, |what| what == "heard 3");
        for what in GOT {
            swarm.say_all(&[3], LONG, since, |said| said == format!("got {what}"));
        }
        let from = format!("from {}", swarm.tag(3));
        for what in TAKEN {
            let taken = |said: &str| said == format!("took {what} {from}");
            swarm.say_all(&[1], LONG, since, taken);
        }
    });
}

/// Dials the port of a node by hand, as a ZeroMQ socket does; what is answered is captured.
fn knock(lan: &Lan, host: usize, seed: &str) {
    lan.host(host).within(|| {
        let mut stream = TcpStream::connect(seed).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut greeting = [0; 64];
        greeting[0] = 0xff;
        greeting[9] = 0x7f;
        greeting[10..12].copy_from_slice(&[3, 1]);
        greeting[12..16].copy_from_slice(b"NULL");
        stream.write_all(&greeting).unwrap();
        // It may be silent, or close.
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

/// What of a network must not be seen by others: the octets, and what they are.
fn secrets(swarm: &Swarm, network: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let mut secrets = Vec::new();
    for number in swarm.numbers() {
        let names = swarm.names(number);
        let node: NodeId = names[1].parse().unwrap();
        let identity: IdentityId = names[2].parse().unwrap();
        for name in names {
            secrets.push((name.clone(), name.clone().into_bytes()));
        }
        secrets.push(("a tag".to_owned(), from_hex(&names[0])));
        for octets in [node.as_octets(), identity.as_octets()] {
            secrets.push(("an id".to_owned(), octets.to_vec()));
            let text = data_encoding::BASE64URL_NOPAD.encode(octets);
            secrets.push(("an id as text".to_owned(), text.into_bytes()));
        }
        let topic = format!("swarm/{number}");
        secrets.push((topic.clone(), topic.into_bytes()));
    }
    secrets.push((OFFERED.to_owned(), OFFERED.as_bytes().to_vec()));
    secrets.extend(network.map(|name| (name.to_owned(), name.as_bytes().to_vec())));
    secrets.sort_unstable();
    secrets.dedup();
    secrets
}

fn from_hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn neighbours_of_a_network_learn_nothing() {
    const TEST: &str = "strangers::neighbours_of_a_network_learn_nothing";
    const NAME: &str = "housemates";
    inside(TEST, || {
        let lan = Lan::new(4);
        Home::at(home("home"))
            .create_network(&NAME.parse().unwrap())
            .unwrap();
        let capture = Capture::start();
        let seed = std::net::SocketAddr::new(address(0), PORT);
        let mut swarm = swarm(TEST, &lan, 3, |role| Role {
            network: Some(NAME.to_owned()),
            listen: (role.number == 0).then_some(seed),
            ..role
        });
        meet(&mut swarm);
        let secrets = secrets(&swarm, Some(NAME));
        let tags: Vec<_> = (0..3).map(|number| swarm.tag(number)).collect();
        besiege(&lan, &mut swarm, &seed.to_string());
        // Not even that somebody is there whom it does not trust.
        let named = |what: &str| tags.iter().any(|tag| what.contains(tag));
        let learned = |said: &&Said| said.node == 3 && named(&said.what);
        assert!(swarm.log().iter().find(learned).is_none());
        // Members use it.
        let since = now();
        swarm.tell(2, &format!("try {OFFERED}"));
        for what in GOT {
            swarm.say_all(&[2], LONG, since, |said| said == format!("got {what}"));
        }
        let frames = capture.frames();
        let found = frames.find(&secrets);
        scale::report("octets of members on the bridge", frames.octets());
        assert!(frames.octets() > 10_000, "nothing was captured");
        assert_eq!(found, Vec::<String>::new());
    });
}

/// What the last test looks for is seen where everybody may see it.
#[test]
fn who_announces_himself_to_everybody_is_seen() {
    const TEST: &str = "strangers::who_announces_himself_to_everybody_is_seen";
    inside(TEST, || {
        let lan = Lan::new(2);
        let capture = Capture::start();
        let mut swarm = swarm(TEST, &lan, 2, |role| role);
        meet(&mut swarm);
        let found = capture.frames().find(&secrets(&swarm, None));
        assert!(found.contains(&"an id as text".to_owned()), "{found:?}");
    });
}
