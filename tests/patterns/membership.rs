//! Who came by a ticket is made a lasting member by the network's authority, over real links.

use std::future::poll_fn;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::io::ReadBuf;
use withy::auth::{self, AuthRequest, Authenticator, Deciding};
use withy::trust::{By, IdentityId, Joined, Name, Proof, Terms};
use withy::{Endpoint, EventKind, Home, Monitor, Pull, Push, Reason, SocketType, Trust};
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Randomness as _, Seeded};
use withy_proto::mechanism::party::{MEMBERSHIP, Realm, Settings};
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Handshake, Local, noise, quic};
use withy_proto::trust::{
    Authority, CLOCK_SKEW, Certificate, Credentials, Grant, NodeId, Ticket, Validity,
};
use withy_proto::z85;
use withy_proto::zmtp::connection::{Extensions, local_metadata};
use withy_proto::zmtp::{Connection, Limits};
use withy_transports::{ByteReader, ByteWriter, DialOptions, Link};

use crate::support::soon;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A network, whose authority is a home, and who is to meet in it.
struct Garden {
    folder: TempDir,
    name: Name,
    ours: Home,
    authority: Authority,
}

impl Garden {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name: Name = "garden".parse().unwrap();
        let ours = Home::at(folder.path().join("ours"));
        ours.create_network(&name).unwrap();
        let text = std::fs::read_to_string(ours.path().join("networks/garden.authority")).unwrap();
        let key = text.lines().find_map(|line| line.strip_prefix("key = \""));
        let key = z85::decode_key(key.unwrap().trim_end_matches('"')).unwrap();
        let key = SigningKey::from_seed(Provider::Real, &key);
        let network = ours.network(&name).unwrap().network;
        Self {
            folder,
            authority: Authority::restore(key, network.name, network.secret),
            name,
            ours,
        }
    }

    /// The home of who joins with a ticket.
    fn joins(&self, name: &str, ticket: &Ticket) -> Home {
        let home = Home::at(self.folder.path().join(name));
        home.join(ticket, None).unwrap();
        home
    }

    /// The home of a member.
    fn member(&self, name: &str) -> Home {
        let home = Home::at(self.folder.path().join(name));
        let id = home.identity().unwrap().id();
        let terms = Terms::default();
        let ticket = self.ours.invite(&self.name, terms, Some(id)).unwrap();
        self.joins(name, &ticket)
    }

    fn proof(&self, home: &Home) -> Proof {
        home.network(&self.name).unwrap().proof
    }

    fn pull(&self, home: &Home) -> Pull {
        Pull::builder()
            .identity(&home.identity().unwrap())
            .trust(&Trust::open_in(home, &self.name).unwrap())
            .build()
            .unwrap()
    }

    fn push(&self, home: &Home) -> Push {
        Push::builder()
            .identity(&home.identity().unwrap())
            .trust(&Trust::open_in(home, &self.name).unwrap())
            .build()
            .unwrap()
    }
}

/// By what the next peer that connects is a member.
async fn connected(monitor: &mut Monitor) -> By {
    soon(async {
        loop {
            if let EventKind::Connected(peer) = monitor.next().await.unwrap().kind {
                assert!(peer.metadata.value(MEMBERSHIP).is_none());
                let proven = peer.proven.as_ref().unwrap();
                return proven.shown.standing.unwrap().by;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_was_invited_stays_a_member_after_the_ticket() {
    let tcp = tokio::spawn(outlasts("tcp://127.0.0.1:*"));
    outlasts("quic://127.0.0.1:*").await;
    tcp.await.unwrap();
}

async fn outlasts(endpoint: &str) {
    let garden = Garden::new();
    let other = garden.member("other");
    // A ticket that counts for some seconds more, clocks that differ included.
    let random = &mut Seeded::new(now());
    let ago = 1_000;
    let terms = Terms {
        lifetime: ago + 6 - CLOCK_SKEW,
        ..Terms::default()
    };
    let ticket = garden
        .authority
        .invite(Provider::Real, terms, now() - ago, random);
    let invited = garden.joins("invited", &ticket);

    let (theirs, root) = (garden.pull(&other), garden.pull(&garden.ours));
    let mut monitor = theirs.monitor();
    let push = garden.push(&invited);
    push.connect_to(theirs.bind_to(endpoint).await.unwrap())
        .unwrap();
    let by_invitation = By::Invitation { single_use: true };
    assert_eq!(connected(&mut monitor).await, by_invitation);
    assert!(matches!(garden.proof(&invited), Proof::Redeemed(_)));

    let to_root = garden.push(&invited);
    to_root
        .connect_to(root.bind_to(endpoint).await.unwrap())
        .unwrap();
    to_root.send("confirm me").await.unwrap();
    soon(root.recv()).await.unwrap();
    assert!(matches!(garden.proof(&invited), Proof::Membership(_)));

    // The member that knows of the ticket alone ends the connection with it, and is shown more.
    soon(async {
        loop {
            if let EventKind::Disconnected { reason, .. } = monitor.next().await.unwrap().kind {
                let Reason::Distrusted(why) = &reason else {
                    panic!("{reason}");
                };
                assert!(why.contains("ended"), "{why}");
                return;
            }
        }
    })
    .await;
    assert_eq!(connected(&mut monitor).await, By::Membership);
    push.send("still here").await.unwrap();
    let message = soon(theirs.recv()).await.unwrap();
    assert_eq!(message.first(), "still here");
    // The authority knows what it said, and had no reason to end anything.
    assert_eq!(root.stats().connections, 1);
    assert!(
        ticket
            .redeem(Provider::Real, garden.proof(&invited).member(), now())
            .is_err()
    );
}

#[tokio::test]
async fn the_authority_confirms_whom_it_dials_as_well() {
    for endpoint in ["tcp://127.0.0.1:*", "quic://127.0.0.1:*"] {
        let garden = Garden::new();
        let ticket = garden.ours.invite(&garden.name, Terms::default(), None);
        let invited = garden.joins("invited", &ticket.unwrap());
        // In memory only, and a home that is not told.
        let trust = Trust::new();
        trust.join(invited.network(&garden.name).unwrap()).unwrap();
        let pull = Pull::builder()
            .identity(&invited.identity().unwrap())
            .trust(&trust)
            .build()
            .unwrap();
        let endpoint = pull.bind_to(endpoint).await.unwrap();
        let push = garden.push(&garden.ours);
        push.connect_to(endpoint.clone()).unwrap();
        push.send("you are").await.unwrap();
        soon(pull.recv()).await.unwrap();
        assert!(matches!(garden.proof(&invited), Proof::Redeemed(_)));

        let other = garden.push(&garden.member("other"));
        let mut monitor = other.monitor();
        other.connect_to(endpoint).unwrap();
        assert_eq!(connected(&mut monitor).await, By::Membership);
    }
}

/// Lets in all but one.
#[derive(Debug)]
struct Not(IdentityId);

impl Authenticator for Not {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        Box::pin(async move {
            match &request.credentials {
                auth::Credentials::Noise(shown) if shown.identity != self.0 => {
                    Decision::accept("somebody else")
                }
                _ => Decision::deny("that one"),
            }
        })
    }
}

#[tokio::test]
async fn who_is_denied_does_not_use_up_an_invitation() {
    let garden = Garden::new();
    let ticket = garden.ours.invite(&garden.name, Terms::default(), None);
    let ticket = ticket.unwrap();
    let [denied, welcome] = ["denied", "welcome"].map(|name| garden.joins(name, &ticket));
    let pull = Pull::builder()
        .identity(&garden.ours.identity().unwrap())
        .trust(&Trust::open_in(&garden.ours, &garden.name).unwrap())
        .authenticator(Not(denied.identity().unwrap().id()))
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    for endpoint in ["tcp://127.0.0.1:*", "quic://127.0.0.1:*"] {
        let endpoint = pull.bind_to(endpoint).await.unwrap();
        let push = garden.push(&denied);
        push.connect_to(endpoint.clone()).unwrap();
        let reason = soon(async {
            loop {
                if let EventKind::HandshakeFailed { reason, .. } =
                    monitor.next().await.unwrap().kind
                {
                    return reason.to_string();
                }
            }
        });
        let reason = reason.await;
        assert!(reason.contains("that one"), "{reason}");
        push.close().await;

        let push = garden.push(&welcome);
        push.connect_to(endpoint).unwrap();
        push.send("it was mine to use").await.unwrap();
        soon(pull.recv()).await.unwrap();
        assert!(matches!(garden.proof(&denied), Proof::Redeemed(_)));
    }
    assert!(matches!(garden.proof(&welcome), Proof::Membership(_)));
}

/// Connects as a member that says something of the other's membership, until it is connected.
async fn deceive(
    garden: &Garden,
    member: &Home,
    to: &Endpoint,
    says: &[u8],
) -> (ByteReader, ByteWriter) {
    let mut randomness = Seeded::new(now());
    let mut metadata = local_metadata(SocketType::Push, b"", Extensions::default());
    metadata.set(MEMBERSHIP, says).unwrap();
    let local = Local {
        metadata,
        domain: String::new(),
        authenticate: true,
        accepting: false,
    };
    let keys = withy::generate_key_pair();
    let identity = member.identity().unwrap().expose_seed();
    let identity = SigningKey::from_seed(Provider::Real, &identity);
    let node = SigningKey::generate(Provider::Real, &mut randomness);
    let certificate = Certificate::issue(
        &identity,
        NodeId::of(&node),
        keys.public(),
        Validity::starting(now(), Certificate::LIFETIME),
    );
    let Joined { network, proof } = member.network(&garden.name).unwrap();
    let secret = *network.secret.expose_octets();
    let realm = Realm {
        network: Some(network.id),
        secret: secret.into(),
        credentials: Credentials {
            certificate,
            proof: Some(proof),
        },
    };
    let settings = Settings::new(keys, vec![realm], now());
    let mut options = DialOptions::default();
    options.quic.node_key = Some(node.clone());
    options.quic.networks.push(secret.into());
    let connected = withy_transports::dial(to, &options).await.unwrap();
    let Link::Bytes(mut reader, writer) = connected.link else {
        panic!("a link of messages");
    };
    let (name, handshake): (_, Box<dyn Handshake>) = match connected.peer.proven {
        Some(proven) => {
            let proof = quic::Proof {
                node: proven.key,
                post_quantum: proven.post_quantum,
                binding: proven.binding,
            };
            let shaking = quic::Quic::new(local, settings, Provider::Real, proof);
            (quic::NAME, Box::new(shaking))
        }
        None => {
            let random = &mut randomness;
            let shaking = noise::Initiator::new(local, settings, Provider::Real, random);
            (noise::NAME, Box::new(shaking))
        }
    };
    let limits = Limits::default();
    let mut engine = Connection::new(SocketType::Push, name, false, false, handshake, limits);
    let mut octets = [0; 4_096];
    loop {
        if engine.poll_auth().is_some() {
            let decision = Decision::accept("");
            engine.set_decision(decision, &mut randomness).unwrap();
        }
        while let Some(octets) = engine.poll_transmit() {
            // What a handshake says fits into an empty link.
            assert_eq!(writer.try_write(&octets).unwrap(), octets.len());
        }
        if engine.is_complete() {
            return (reader, writer);
        }
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut octets);
            let polled = reader.poll_read(cx, &mut buffer);
            polled.map_ok(|()| buffer.filled().len())
        });
        let read = soon(read).await.unwrap();
        assert!(read > 0, "the session stays");
        engine
            .handle_input(&octets[..read], &mut randomness)
            .unwrap();
    }
}

#[tokio::test]
async fn what_does_not_confirm_a_membership_changes_nothing_and_ends_nothing() {
    for endpoint in ["tcp://127.0.0.1:*", "quic://127.0.0.1:*"] {
        lies_change_nothing(endpoint).await;
    }
}

async fn lies_change_nothing(endpoint: &str) {
    let garden = Garden::new();
    let ticket = garden.ours.invite(&garden.name, Terms::default(), None);
    let invited = garden.joins("invited", &ticket.unwrap());
    let before = garden.proof(&invited);
    let (member, grant) = (before.member(), before.grant());
    let year = Validity::starting(now(), Authority::MEMBERSHIP_LIFETIME);
    let long = Grant {
        validity: year,
        ..grant
    };
    let expired = Grant {
        validity: Validity::starting(now() - 10_000, 1_000),
        ..grant
    };
    let random = &mut Seeded::new(now());
    let stranger = Authority::create(Provider::Real, garden.name.clone(), random);
    let liar = garden.member("liar");
    let theirs = liar.identity().unwrap().id();
    let mut forged = Proof::from(garden.authority.membership(member, long)).encode();
    let last = forged.len() - 1;
    forged[last] ^= random.next_u64() as u8 | 1;

    let pull = garden.pull(&invited);
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(endpoint).await.unwrap();
    let mut open = Vec::new();
    for says in [
        Proof::from(garden.authority.membership(theirs, long)).encode(),
        Proof::from(stranger.membership(member, long)).encode(),
        Proof::from(garden.authority.membership(member, expired)).encode(),
        forged,
        before.encode(),
        b"you are the king".to_vec(),
        Vec::new(),
    ] {
        open.push(deceive(&garden, &liar, &endpoint, &says).await);
        assert_eq!(connected(&mut monitor).await, By::Membership);
        assert_eq!(garden.proof(&invited), before);
        assert_eq!(pull.stats().connections, open.len() as u64);
        assert_eq!(pull.stats().protocol_errors, 0);
    }
    // The same way, what the authority said takes effect.
    let good = Proof::from(garden.authority.membership(member, long));
    open.push(deceive(&garden, &liar, &endpoint, &good.encode()).await);
    connected(&mut monitor).await;
    assert_eq!(garden.proof(&invited), good);
}
