//! One node, in a process of its own: it does what it reads from stdin, and says on stdout what happens.
//!
//! Each line that it says begins with the time, in microseconds since 1970, which all processes share.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use withy::node::{BusPublisher, BusSubscriber, NodeEvent, Relay};
use withy::{Home, Node};

use crate::{serving, siege};

/// Holds the role of a process that is a node.
pub(crate) const ROLE: &str = "WITHY_SWARM_ROLE";

/// What begins each line that a node says.
pub(crate) const SAYS: &str = "node says: ";

/// What a node is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    pub(crate) number: usize,
    pub(crate) home: PathBuf,
    pub(crate) runtime: Option<PathBuf>,
    pub(crate) network: Option<String>,
    pub(crate) lan: bool,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) seed: Option<String>,
    /// It relays for others.
    pub(crate) relay: bool,
    /// How often direct ways are tried again, in milliseconds, if not as by default.
    pub(crate) again: Option<u64>,
    /// It does nothing at all.
    pub(crate) idle: bool,
    /// It opens only once it is told `go`.
    pub(crate) waits: bool,
    /// It says something first when so many others want to hear it.
    pub(crate) others: usize,
}

impl Role {
    pub(crate) fn encode(&self) -> String {
        json!({
            "number": self.number, "home": self.home, "runtime": self.runtime,
            "network": self.network, "lan": self.lan, "listen": self.listen, "seed": self.seed,
            "idle": self.idle, "relay": self.relay, "again": self.again, "waits": self.waits,
            "others": self.others,
        })
        .to_string()
    }

    /// That of this process, if it is a node.
    fn of_process() -> Option<Self> {
        let role: Value = serde_json::from_str(&std::env::var(ROLE).ok()?).unwrap();
        let text = |name: &str| role[name].as_str().map(str::to_owned);
        Some(Self {
            number: role["number"].as_u64().unwrap() as usize,
            home: text("home").unwrap().into(),
            runtime: text("runtime").map(Into::into),
            network: text("network"),
            lan: role["lan"].as_bool().unwrap(),
            listen: text("listen").map(|it| it.parse().unwrap()),
            seed: text("seed"),
            idle: role["idle"].as_bool().unwrap(),
            relay: role["relay"].as_bool().unwrap(),
            again: role["again"].as_u64(),
            waits: role["waits"].as_bool().unwrap(),
            others: role["others"].as_u64().unwrap() as usize,
        })
    }

    fn builder(&self) -> withy::node::NodeBuilder {
        let mut builder = Node::builder().home(&Home::at(&self.home));
        builder = match &self.runtime {
            Some(runtime) => builder.runtime_directory(runtime),
            None => builder.without_host(),
        };
        if let Some(network) = &self.network {
            builder = builder.network(&network.parse().unwrap());
        }
        if self.lan {
            builder = builder.lan();
        }
        if let Some(listen) = self.listen {
            builder = builder.listen(listen);
        }
        if self.relay {
            builder = builder.relay(Relay::default());
        }
        if let Some(again) = self.again {
            builder = builder.direct_again(Duration::from_millis(again));
        }
        if let Some(seed) = &self.seed {
            builder = builder.seed(seed.parse().unwrap()).unwrap();
        }
        builder
    }
}

/// Whether this process was a node, which is over now.
pub(crate) fn was_node() -> bool {
    let Some(role) = Role::of_process() else {
        return false;
    };
    tracing::subscriber::set_global_default(Log).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(live(role));
    true
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_micros() as u64
}

pub(crate) fn say(what: &str) {
    let line = format!("\n{SAYS}{} {what}\n", now());
    // Nobody listens once the test is over.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Says what is logged as a warning.
struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("withy")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        say(&format!("warns{}", text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name()).replace('\n', " ");
    }
}

/// Whom this node heard of those that said something lately.
#[derive(Debug, Default)]
struct Heard {
    /// What was said before does not count.
    since: u64,
    from: BTreeSet<String>,
}

async fn live(role: Role) {
    if role.waits {
        say("ready");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).unwrap();
        assert_eq!(line, "go\n");
    }
    say("opens");
    let node = role.builder().build().await.unwrap();
    say(&format!(
        "built {} {} {}",
        node.tag(),
        node.id(),
        node.identity()
    ));
    let (send, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines();
        for line in lines.map_while(Result::ok) {
            send.send(line).unwrap();
        }
    });
    tokio::spawn(tell(node.events(), node.clone()));
    if role.idle {
        while let Some(command) = commands.recv().await {
            expect(&node, &command);
        }
        std::process::exit(0);
    }
    let topic = format!("swarm/{}", role.number);
    let heard = Arc::new(Mutex::new(Heard::default()));
    let subscriber = node.subscriber("swarm/#").unwrap();
    tokio::spawn(hear(subscriber.clone(), topic.clone(), Arc::clone(&heard)));
    let late = node.subscriber("late/#").unwrap();
    tokio::spawn(async move {
        while let Ok(publication) = late.recv().await {
            say(&format!("late {}", publication.topic));
        }
    });
    let publisher = node.publisher(&topic).unwrap();
    tokio::spawn(greet(publisher.clone(), topic, role.others));
    let mut tick = None;
    let mut kept = Vec::new();
    while let Some(command) = commands.recv().await {
        let (verb, rest) = command.split_once(' ').unwrap_or((&command, ""));
        match verb {
            "expect" => expect(&node, &command),
            // Only what is said from now on counts.
            "mark" => {
                let mut heard = heard.lock().unwrap();
                heard.since = now();
                heard.from.clear();
            }
            // Says something again and again.
            "tick" => {
                let pause = Duration::from_millis(rest.parse().unwrap());
                let publisher = publisher.clone();
                tick = Some(tokio::spawn(async move {
                    let mut tick = tokio::time::interval(pause);
                    loop {
                        tick.tick().await;
                        publisher.publish(now().to_string()).await.unwrap();
                    }
                }));
            }
            "still" => drop(tick.take().map(|it| it.abort())),
            "late" => {
                let topic = format!("late/{rest}");
                let publisher = node.publisher(&topic).unwrap();
                say("offered");
                tokio::spawn(greet(publisher.clone(), topic, 0));
                kept.push(publisher);
            }
            "links" => {
                let links = node.peers().into_iter().filter_map(|peer| peer.link);
                let links: Vec<_> = links.map(|link| link.transport).collect();
                say(&format!("links {}", links.join(" ")));
            }
            // Which of them is carried by what.
            "carried" => {
                let peers = node.peers().into_iter();
                let links = peers.filter_map(|peer| Some((peer.tag, peer.link?)));
                let links = links.map(|(tag, link)| format!(" {tag}:{}", link.transport));
                say(&format!("carried{}", links.collect::<String>()));
            }
            "relayed" => {
                let relay = node.stats().relay;
                let refused: u64 = relay.refused.values().sum();
                let (now, octets) = (relay.relaying, relay.octets);
                say(&format!("relayed {now} {octets} {} {refused}", relay.lines));
            }
            "serve" => {
                tokio::spawn(serving::serve(node.clone(), rest.to_owned()));
            }
            "use" => {
                tokio::spawn(serving::use_all(node.clone(), rest.to_owned()));
            }
            "offer" => {
                tokio::spawn(siege::offer_all(node.clone(), rest.to_owned()));
            }
            "try" => {
                tokio::spawn(siege::try_all(node.clone(), rest.to_owned()));
            }
            "peers" => {
                let peers = node.peers();
                let named = |peer: &withy::node::Peer| format!("{}:{:?}", peer.tag, peer.presence);
                let peers: Vec<_> = peers.iter().map(named).collect();
                say(&format!("peers {}", peers.join(" ")));
            }
            // Says when no more others than these are connected to it.
            "only" => {
                let others: usize = rest.parse().unwrap();
                let (subscriber, publisher) = (subscriber.clone(), publisher.clone());
                let topic = format!("swarm/{}", role.number).parse().unwrap();
                let node = node.clone();
                tokio::spawn(async move {
                    let linked = || node.peers().iter().filter(|it| it.link.is_some()).count();
                    // Itself is one of them.
                    let heard = || subscriber.publishers().max(publisher.subscribers(&topic));
                    wait(|| heard() <= others + 1 && linked() <= others).await;
                    say(&format!("only {others}"));
                });
            }
            // Says when another is known to be at such an address.
            "reports" | "forgets" => {
                let (node, begin) = (node.clone(), rest.to_owned());
                let (wanted, prefix) = (
                    verb == "reports",
                    if verb == "reports" { "" } else { "not " },
                );
                tokio::spawn(async move {
                    wait(|| is_another_at(&node, &begin) == wanted).await;
                    say(&format!("{prefix}at {begin}"));
                });
            }
            "close" => {
                node.clone().close(Duration::from_secs(2)).await;
                say("closed");
            }
            _ => panic!("{command}"),
        }
    }
    std::process::exit(0);
}

/// Waits until something is so.
async fn wait(is: impl Fn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !is() {
        look.tick().await;
    }
}

/// Whether another node says that it is at an address that begins like this.
fn is_another_at(node: &Node, begin: &str) -> bool {
    let at = |address: &String| address.contains(&format!("//{begin}"));
    node.peers()
        .iter()
        .any(|peer| peer.addresses.iter().any(at))
}

/// Says when so many others are known.
fn expect(node: &Node, command: &str) {
    let count: usize = command.strip_prefix("expect ").unwrap().parse().unwrap();
    let node = node.clone();
    tokio::spawn(async move {
        if node.wait_peers(count).await.is_ok() {
            say(&format!("knows {count}"));
        }
    });
}

/// Publishes something whenever there is another subscriber, once there are so many others and itself:
/// a message for each two and way shows that they reach each other, and one for each two and each of the
/// others is none of what is measured.
async fn greet(publisher: BusPublisher, topic: String, others: usize) {
    let topic = topic.parse().unwrap();
    let mut most = others;
    while publisher.wait_subscribed(most + 1).await.is_ok() {
        most = publisher.subscribers(&topic).max(most + 1);
        if publisher.publish(now().to_string()).await.is_err() {
            return;
        }
    }
}

/// Says how many others were heard.
async fn hear(subscriber: BusSubscriber, own: String, heard: Arc<Mutex<Heard>>) {
    while let Ok(publication) = subscriber.recv().await {
        let said: u64 = std::str::from_utf8(&publication.body)
            .unwrap()
            .parse()
            .unwrap();
        let topic = publication.topic.to_string();
        let mut heard = heard.lock().unwrap();
        if topic != own && said >= heard.since && heard.from.insert(topic) {
            say(&format!("heard {}", heard.from.len()));
        }
    }
}

/// Says what happens to others.
async fn tell(mut events: tokio::sync::broadcast::Receiver<NodeEvent>, _node: Node) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        match event {
            NodeEvent::Joined(peer) => say(&format!("joined {}", peer.tag)),
            NodeEvent::Suspected(tag) => say(&format!("suspected {tag}")),
            NodeEvent::Returned(tag) => say(&format!("returned {tag}")),
            NodeEvent::Left(tag) => say(&format!("left {tag}")),
            NodeEvent::Died(tag) => say(&format!("died {tag}")),
            NodeEvent::Stranger(peer) => say(&format!("stranger {}", peer.tag)),
            _ => {}
        }
    }
}
