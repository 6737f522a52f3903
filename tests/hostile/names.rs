//! A node's door under siege by one of the trusted, who asks for names that nobody has.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use withy::{Identity, Node, Trust};
use withy_proto::SocketType;
use withy_proto::crypto::{Provider, Randomness as _, Seeded};
use withy_proto::mechanism::Local;
use withy_proto::mechanism::noise::{self, Initiator};
use withy_proto::mechanism::zap::{Decision, User};
use withy_proto::zmtp::Connection;
use withy_proto::zmtp::Limits;
use withy_proto::zmtp::connection::{Extensions, RESOURCE, local_metadata};
use withy_tests::{by_hand, scale};

use crate::memory::Growth;
use crate::victim::{SEED, within};

/// Who asks at once.
const ASKERS: u64 = 16;

/// What the node may grow by, whoever asks for what: its tables, and handshakes that are under way.
const MEMORY: usize = 32 << 20;

/// Shakes hands as a node that is trusted, asks for a name, and says how it ended.
async fn ask(address: &str, name: &[u8], seed: u64) -> Result<(), String> {
    let randomness = &mut Seeded::new(seed);
    let extensions = Extensions {
        withy: true,
        correlate: false,
    };
    let mut metadata = local_metadata(SocketType::Dealer, b"", extensions);
    metadata.set(RESOURCE, name).unwrap();
    let local = Local {
        metadata,
        domain: String::new(),
        authenticate: false,
        accepting: false,
    };
    let settings = by_hand::settings(&SEED, withy::generate_key_pair());
    let initiator = Initiator::new(local, settings, Provider::Real, randomness);
    let mut connection = Connection::new(
        SocketType::Dealer,
        noise::NAME,
        false,
        false,
        Box::new(initiator),
        Limits::default(),
    );
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(|it| text(&it))?;
    let mut octets = vec![0; 4_096];
    loop {
        if connection.poll_auth().is_some() {
            let decision = Decision::Accept(User::default());
            let decided = connection.set_decision(decision, randomness);
            decided.map_err(|it| text(&it))?;
        }
        if connection
            .poll_admission()
            .map_err(|it| text(&it))?
            .is_some()
        {
            connection.admit(randomness).map_err(|it| text(&it))?;
        }
        while let Some(octets) = connection.poll_transmit() {
            stream.write_all(&octets).await.map_err(|it| text(&it))?;
        }
        if connection.is_complete() {
            return Ok(());
        }
        let read = stream.read(&mut octets).await.map_err(|it| text(&it))?;
        if read == 0 {
            return Err("closed".to_owned());
        }
        let taken = connection.handle_input(&octets[..read], randomness);
        taken.map_err(|it| text(&it))?;
    }
}

/// A name of any octets and length.
fn name(number: u64) -> Vec<u8> {
    let random = &mut Seeded::new(number);
    let length = 1 + random.next_u64() as usize % 4_000;
    let mut name = vec![0; length];
    random.fill(&mut name);
    // No name of ours, and not the empty one, which is the node's own.
    name[0] = b'?';
    name
}

async fn node(builder: withy::node::NodeBuilder) -> Node {
    let builder = builder.identity(&Identity::from_seed(&SEED)).without_host();
    builder.trust(&Trust::new()).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_has_are_refused_and_cost_nothing() {
    let count = scale::count(400, 20_000);
    let growth = Growth::alone().await;
    let victim = node(Node::builder().listen("127.0.0.1:0".parse().unwrap())).await;
    let adder = victim.service("adder").unwrap();
    tokio::spawn(async move {
        while let Ok(request) = adder.recv().await {
            let _ = request.reply("3").await;
        }
    });
    let addresses = victim.addresses();
    let tcp = addresses.iter().find_map(|it| it.strip_prefix("tcp://"));
    let tcp = tcp.unwrap().to_owned();
    // The name that is there is reached in the same way.
    within(20, async { ask(&tcp, b"", 0).await }).await.unwrap();
    let before = victim.stats().control.handshakes_failed;

    let mut askers = JoinSet::new();
    for asker in 0..ASKERS {
        let tcp = tcp.clone();
        askers.spawn(async move {
            for number in (asker..count).step_by(ASKERS as usize) {
                let refused = ask(&tcp, &name(number), number).await.unwrap_err();
                assert!(refused.contains("no resource"), "{refused}");
            }
        });
    }
    // Somebody who wants what there is comes meanwhile, and is served.
    let seed = format!("tcp://{tcp}").parse().unwrap();
    let guest = node(Node::builder().seed(seed).unwrap()).await;
    let client = guest.client("adder").unwrap();
    for _ in 0..20 {
        let reply = within(30, client.request("1 2")).await.unwrap();
        assert_eq!(reply.first(), "3");
    }
    within(500, async {
        while let Some(done) = askers.join_next().await {
            done.unwrap();
        }
    })
    .await;
    // Whoever is refused hears of it before it is counted.
    let failed = || victim.stats().control.handshakes_failed - before;
    within(30, async {
        while failed() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    scale::report("names that nobody has, asked for at a node's door", count);
    scale::report("octets that the node grew by", growth.so_far());
    assert_eq!(failed(), count);
    growth.within(MEMORY);
    let reply = within(30, client.request("1 2")).await.unwrap();
    assert_eq!(reply.first(), "3");
    victim.close(Duration::from_secs(1)).await;
}
