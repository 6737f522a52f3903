//! The parts of the demo, one function each: what a node of it does, and checks.

mod topics;
mod work;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use tokio::task::JoinSet;
use withy::node::queue::Job;
use withy::node::{BusPublisher, BusSubscriber, Group, History, Producer, Worker};
use withy::{Identity, Message, Node, Pair, Push, Trust};

use super::brief::{Brief, Order, Report};
use super::scenes::{ADA, Part};
use crate::child::Commands;
use crate::exit::{Failure, Outcome};
use crate::node::not_joined;

/// How long a part may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same over the network: over UDP nobody hears that a worker was killed, and its jobs come again
/// once the mesh misses it, after some seconds.
const PATIENCE_ON_LAN: Duration = Duration::from_secs(12);
/// Messages on a topic, and pieces of work.
const MESSAGES: usize = 100;
/// Exchanges of a pair.
const EXCHANGES: u32 = 50;

/// What somebody did, or what went wrong.
type Played = Result<String, String>;

fn text(error: impl Display) -> String {
    error.to_string()
}

/// How long a part may take.
pub(super) const fn patience(is_lan: bool) -> Duration {
    match is_lan {
        true => PATIENCE_ON_LAN,
        false => PATIENCE,
    }
}

/// Plays what is ordered.
pub(crate) async fn play(brief: Brief, mut commands: Commands) -> Outcome {
    let (identity, patience) = (Identity::from_seed(&brief.seed), patience(brief.lan));
    let reports = Push::builder().identity(&identity).build();
    let reports = reports.map_err(Failure::failed)?;
    reports
        .connect_to(&*brief.reports)
        .map_err(Failure::failed)?;
    let builder = Node::builder()
        .identity(&identity)
        .trust(&Trust::new())
        .history(History::default());
    let builder = match brief.lan {
        true => builder.without_host().lan(),
        false => builder.runtime_directory(brief.directory.join("run")),
    };
    let mut player = Player {
        node: builder.build().await.map_err(not_joined)?,
        name: brief.name,
        round: 0,
        props: Props::default(),
    };
    send(&reports, player.report(0, Ok(String::new()))).await?;
    while let Some(line) = commands.recv().await {
        let order: Order = serde_json::from_str(&line).map_err(Failure::failed)?;
        if order.begins {
            player.props = Props::default();
        }
        player.round = order.round;
        let played = tokio::time::timeout(patience, player.play(order.part)).await;
        let late = |_| Err(format!("{:?} takes longer than {patience:?}", order.part));
        let report = player.report(order.number, played.unwrap_or_else(late));
        send(&reports, report).await?;
    }
    Ok(())
}

async fn send(reports: &Push, report: Report) -> Outcome {
    let line = serde_json::to_string(&report).map_err(Failure::failed)?;
    reports.send(line).await.map_err(Failure::failed)
}

/// A node, and what it plays with.
struct Player {
    name: String,
    node: Node,
    round: u64,
    props: Props,
}

/// What a scene leaves open until the next one begins.
#[derive(Default)]
struct Props {
    publisher: Option<BusPublisher>,
    late: Option<BusSubscriber>,
    pair: Option<Pair>,
    group: Option<Group>,
    producer: Option<Producer>,
    held: Option<(Worker, Job)>,
    tasks: JoinSet<()>,
}

impl Player {
    fn report(&self, number: u64, played: Played) -> Report {
        let peers = self.node.peers();
        let links = peers.iter().filter_map(|peer| peer.link.as_ref());
        let links: BTreeSet<String> = links
            .map(|link| format!("{} {}", link.transport, link.cipher))
            .collect();
        Report {
            name: self.name.clone(),
            number,
            tag: self.node.tag().to_string(),
            peers: self.node.stats().present,
            over: links.into_iter().collect::<Vec<_>>().join(", "),
            played,
        }
    }

    /// A name that belongs to this round alone.
    fn named(&self, what: &str) -> String {
        format!("demo/{}/{what}", self.round)
    }

    async fn play(&mut self, part: Part) -> Played {
        match part {
            Part::Meet => self.meet().await,
            Part::Publish => self.publish().await,
            Part::SubscribeLevel => self.subscribe("+").await,
            Part::SubscribeAll => self.subscribe("#").await,
            Part::Retain => self.retain().await,
            Part::JoinLate => self.join_late().await,
            Part::Update => self.update().await,
            Part::Follow => self.follow().await,
            Part::Serve => self.serve(),
            Part::Ask => self.ask().await,
            Part::Take => self.take(),
            Part::HandOut => self.hand_out().await,
            Part::Open => self.open().await,
            Part::Reply => self.reply().await,
            Part::Shout | Part::Whisper | Part::Listen => self.shout(part).await,
            Part::Put => self.put().await,
            Part::Hold => self.hold().await,
            Part::Work => self.work().await,
            Part::Settle => self.settle().await,
        }
    }

    async fn meet(&self) -> Played {
        self.node.wait_peers(2).await.map_err(text)?;
        Ok("sees two others".to_owned())
    }

    async fn open(&mut self) -> Played {
        let pair = self.node.pair(self.named("chess")).map_err(text)?;
        for number in 1..=EXCHANGES {
            pair.send(number.to_string()).await.map_err(text)?;
            let reply = pair.recv().await.map_err(text)?;
            if reply.first() != format!("{number}!").as_str() {
                return Err(format!("expected {number}!, got {}", shown(&reply)));
            }
        }
        self.props.pair = Some(pair);
        Ok(format!("had {EXCHANGES} exchanges"))
    }

    async fn reply(&mut self) -> Played {
        let pair = self.node.pair(self.named("chess")).map_err(text)?;
        for _ in 1..=EXCHANGES {
            let said = pair.recv().await.map_err(text)?;
            let said = said.first().as_str().unwrap_or_default().to_owned();
            pair.send(format!("{said}!")).await.map_err(text)?;
        }
        self.props.pair = Some(pair);
        Ok("answered each".to_owned())
    }

    async fn shout(&mut self, part: Part) -> Played {
        let group = self.node.join(self.named("chat")).map_err(text)?;
        group.wait_members(2).await.map_err(text)?;
        let reached = group.shout(self.name.as_str());
        if reached != 2 {
            return Err(format!("it reached {reached} others, not 2"));
        }
        let expected = if part == Part::Listen { 3 } else { 2 };
        let mut heard = BTreeSet::new();
        while heard.len() < expected {
            let said = group.recv().await.map_err(text)?;
            if part == Part::Whisper && said.message.first() == ADA {
                group.whisper(said.from, "psst").map_err(text)?;
            }
            let words = said.message.first().as_str().unwrap_or_default().to_owned();
            if !heard.insert(words) {
                return Err(format!("it heard {} twice", shown(&said.message)));
            }
        }
        self.props.group = Some(group);
        match part {
            Part::Whisper => Ok("heard two, and whispered to ada".to_owned()),
            Part::Listen if heard.contains("psst") => Ok("heard two, and a whisper".to_owned()),
            Part::Listen => Err(format!("it heard {heard:?}, and no whisper")),
            _ => Ok("heard two".to_owned()),
        }
    }
}

/// A message as it is told of.
fn shown(message: &Message) -> String {
    let words = message.frames().iter().map(|it| it.as_str().unwrap_or("?"));
    words.collect::<Vec<_>>().join(" ")
}
