//! The parts of the demo, one function each: what a node of it does, and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use tokio::task::JoinSet;
use withy::node::queue::Job;
use withy::node::service::Instance;
use withy::node::{BusPublisher, BusSubscriber, Group, History, Producer, Publication, Worker};
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
/// Values that are retained before somebody joins late.
const VALUES: usize = 5;
/// Requests to a service, at the same time.
const REQUESTS: u32 = 20;
/// Exchanges of a pair.
const EXCHANGES: u32 = 50;
/// Jobs of the queue.
const JOBS: u64 = 20;
/// How often it is looked whether a job is left.
const LOOK: Duration = Duration::from_millis(20);

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

    async fn publish(&mut self) -> Played {
        let publisher = self.node.publisher(self.named("temp")).map_err(text)?;
        publisher.wait_subscribed(2).await.map_err(text)?;
        for number in 1..=MESSAGES {
            let published = publisher.publish(number.to_string());
            published.await.map_err(text)?;
        }
        self.props.publisher = Some(publisher);
        Ok(format!("published {MESSAGES}"))
    }

    async fn subscribe(&self, level: &str) -> Played {
        let subscriber = self.node.subscriber(self.named(level)).map_err(text)?;
        for number in 1..=MESSAGES {
            expect(&subscriber, number).await?;
        }
        Ok(format!("got all by {}, in order", subscriber.filter()))
    }

    async fn retain(&mut self) -> Played {
        let publisher = self.node.publisher(self.named("state")).map_err(text)?;
        for value in 1..=VALUES {
            self.publish_retained(&publisher, value).await?;
        }
        self.props.publisher = Some(publisher);
        Ok(format!("published {VALUES} values"))
    }

    async fn publish_retained(&self, publisher: &BusPublisher, value: usize) -> Result<(), String> {
        let topic = self.named("state").parse().map_err(text)?;
        let mut publication = Publication::new(topic, value.to_string());
        publication.header.retain = true;
        publisher.send(publication).await.map_err(text)
    }

    async fn join_late(&mut self) -> Played {
        let subscriber = self.node.late_subscriber(self.named("#")).map_err(text)?;
        expect(&subscriber, VALUES).await?;
        self.props.late = Some(subscriber);
        Ok("came late and got the last".to_owned())
    }

    async fn update(&self) -> Played {
        let publisher = self.props.publisher.as_ref().ok_or("it has no publisher")?;
        publisher.wait_subscribed(1).await.map_err(text)?;
        self.publish_retained(publisher, VALUES + 1).await?;
        Ok("published one more".to_owned())
    }

    async fn follow(&self) -> Played {
        let subscriber = self.props.late.as_ref().ok_or("it did not join")?;
        expect(subscriber, VALUES + 1).await?;
        match subscriber.try_recv() {
            Ok(twice) => Err(format!("{} came, too", shown(&twice.into()))),
            Err(_) => Ok("got that once".to_owned()),
        }
    }

    fn serve(&mut self) -> Played {
        let service = self.node.service(self.named("adder")).map_err(text)?;
        let name = self.name.clone();
        self.props.tasks.spawn(async move {
            while let Ok(request) = service.recv().await {
                let number = request.message().first().as_str();
                let number: u32 = number.and_then(|it| it.parse().ok()).unwrap_or_default();
                let sum = (number + 1).to_string();
                // Who asked checks it.
                let _ = request.reply(Message::from_iter([name.clone(), sum])).await;
            }
        });
        Ok(String::new())
    }

    async fn ask(&self) -> Played {
        let client = self.node.client(self.named("adder")).map_err(text)?;
        client.wait_instances(2).await.map_err(text)?;
        let mut asked = JoinSet::new();
        for number in 1..=REQUESTS {
            let client = client.clone();
            asked.spawn(async move { (number, client.request(number.to_string()).await) });
        }
        let mut answers = BTreeMap::<String, u32>::new();
        while let Some(answered) = asked.join_next().await {
            let (number, reply) = answered.map_err(text)?;
            let (name, sum) = words(&reply.map_err(text)?)?;
            if sum != (number + 1).to_string() {
                return Err(format!("{name} says that {number} + 1 is {sum}"));
            }
            *answers.entry(name).or_default() += 1;
        }
        let shares = shares(&answers)?;
        let all = client.ask_all("1", PATIENCE).await.map_err(text)?;
        let instances: BTreeSet<Instance> = all.iter().map(|it| it.instance).collect();
        if instances.len() != 2 {
            return Err(format!("{} instances answered, not 2", instances.len()));
        }
        for answer in all {
            answer.reply.map_err(text)?;
        }
        Ok(format!(
            "asked {REQUESTS} times, of which {shares}, and then both at once"
        ))
    }

    fn take(&mut self) -> Played {
        let pieces = self.node.pull(self.named("work")).map_err(text)?;
        let results = self.node.push(self.named("results")).map_err(text)?;
        let name = self.name.clone();
        self.props.tasks.spawn(async move {
            while let Ok(mut piece) = pieces.recv().await {
                piece.push_front(name.as_str());
                if results.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(String::new())
    }

    async fn hand_out(&self) -> Played {
        let results = self.node.pull(self.named("results")).map_err(text)?;
        let work = self.node.push(self.named("work")).map_err(text)?;
        work.wait_peers(2).await.map_err(text)?;
        for piece in 1..=MESSAGES {
            work.send(piece.to_string()).await.map_err(text)?;
        }
        let (mut done, mut answers) = (BTreeSet::new(), BTreeMap::new());
        while done.len() < MESSAGES {
            let (name, piece) = words(&results.recv().await.map_err(text)?)?;
            if !done.insert(piece.clone()) {
                return Err(format!("{piece} was done twice"));
            }
            *answers.entry(name).or_default() += 1;
        }
        Ok(format!(
            "handed out {MESSAGES} pieces, of which {}",
            shares(&answers)?
        ))
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

    async fn put(&mut self) -> Played {
        let producer = self.node.producer(self.named("jobs")).map_err(text)?;
        for job in 1..=JOBS {
            producer.put(format!("job {job}")).await.map_err(text)?;
        }
        self.props.producer = Some(producer);
        Ok(format!("put {JOBS} jobs"))
    }

    async fn hold(&mut self) -> Played {
        let worker = self.node.worker_with(self.named("jobs"), 1).map_err(text)?;
        let job = worker.recv().await.map_err(text)?;
        let said = format!("took {} and was killed", shown(&job.message));
        self.props.held = Some((worker, job));
        Ok(said)
    }

    async fn work(&self) -> Played {
        let worker = self.node.worker(self.named("jobs")).map_err(text)?;
        let (mut done, mut again) = (BTreeSet::new(), Vec::new());
        while (done.len() as u64) < JOBS {
            let job = worker.recv().await.map_err(text)?;
            let name = shown(&job.message);
            if job.redelivered {
                again.push(name.clone());
            }
            done.insert(name);
            job.ack().map_err(text)?;
        }
        match &again[..] {
            [job] => Ok(format!("did all, {job} flagged as come again")),
            _ => Err(format!(
                "it did all jobs, and {again:?} had come again, not one"
            )),
        }
    }

    async fn settle(&self) -> Played {
        let producer = self.props.producer.as_ref().ok_or("it has no producer")?;
        let keeper = producer.keeper().ok_or("somebody else keeps the queue")?;
        let mut looks = tokio::time::interval(LOOK);
        while keeper.stats().messages > 0 {
            looks.tick().await;
        }
        let counts = keeper.stats().counts;
        match (counts.acked, counts.redelivered) {
            (JOBS, 1) => Ok("has none left".to_owned()),
            (acked, again) => Err(format!("{acked} were done and {again} came again")),
        }
    }
}

/// Receives what is to be this number.
async fn expect(subscriber: &BusSubscriber, number: usize) -> Result<(), String> {
    let got = subscriber.recv().await.map_err(text)?;
    match got.body.as_str() == Some(&number.to_string()) {
        true => Ok(()),
        false => Err(format!("expected {number}, got {}", shown(&got.into()))),
    }
}

/// A message as it is told of.
fn shown(message: &Message) -> String {
    let words = message.frames().iter().map(|it| it.as_str().unwrap_or("?"));
    words.collect::<Vec<_>>().join(" ")
}

/// The two words of a message.
fn words(message: &Message) -> Result<(String, String), String> {
    match message.frames() {
        [one, two] => {
            let word = |frame: &withy::Frame| frame.as_str().unwrap_or_default().to_owned();
            Ok((word(one), word(two)))
        }
        _ => Err(format!("expected two words, got {}", shown(message))),
    }
}

/// Who did how much; both are to have done some.
fn shares(done: &BTreeMap<String, u32>) -> Result<String, String> {
    let all: Vec<String> = done
        .iter()
        .map(|(who, share)| format!("{who} did {share}"))
        .collect();
    match all.len() {
        2 => Ok(all.join(" and ")),
        _ => Err(format!("all was done by one: {}", all.join(", "))),
    }
}
