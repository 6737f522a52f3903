//! Requests, work that is handed out, and jobs of an acked queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;
use withy::Message;
use withy::node::service::Instance;

use super::{MESSAGES, PATIENCE, Played, Player, shown, text};

/// Requests to a service, at the same time.
const REQUESTS: u32 = 20;
/// Jobs of the queue.
const JOBS: u64 = 20;
/// How often it is looked whether a job is left.
const LOOK: Duration = Duration::from_millis(20);

impl Player {
    pub(super) fn serve(&mut self) -> Played {
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

    pub(super) async fn ask(&self) -> Played {
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

    pub(super) fn take(&mut self) -> Played {
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

    pub(super) async fn hand_out(&self) -> Played {
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

    pub(super) async fn put(&mut self) -> Played {
        let producer = self.node.producer(self.named("jobs")).map_err(text)?;
        for job in 1..=JOBS {
            producer.put(format!("job {job}")).await.map_err(text)?;
        }
        self.props.producer = Some(producer);
        Ok(format!("put {JOBS} jobs"))
    }

    pub(super) async fn hold(&mut self) -> Played {
        let worker = self.node.worker_with(self.named("jobs"), 1).map_err(text)?;
        let job = worker.recv().await.map_err(text)?;
        let said = format!("took {} and was killed", shown(&job.message));
        self.props.held = Some((worker, job));
        Ok(said)
    }

    pub(super) async fn work(&self) -> Played {
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

    pub(super) async fn settle(&self) -> Played {
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
