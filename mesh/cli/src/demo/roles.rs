//! The parts of the demo, one function each: what a process of it does, until its stdin ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use withy::{
    AnySocket, EventKind, Frame, Message, Publisher, Pull, Push, Rep, Req, Request, Subscriber,
};

use super::brief::{Brief, Progress, QUIC, Report, Role, TCP, Trust};
use super::words::{self, Table};
use crate::child::Commands;
use crate::exit::{Failure, Outcome};

/// How often a process reports.
const EVERY: Duration = Duration::from_millis(200);
/// The asker's rest between questions, so that it does not take the time of those that work.
const REST: Duration = Duration::from_millis(1);
/// Latencies that the asker's quantiles are of.
const LATENCIES: usize = 1_000;
/// Messages that are taken at a time.
const BATCH: usize = 64;
/// Results that the sink adds up between two looks at the questions.
const TURN: usize = 16;
/// How often the asker says how fast the answers come.
const TELL: Duration = Duration::from_millis(100);

/// Plays a part.
pub(crate) async fn play(mut brief: Brief, commands: Commands) -> Outcome {
    let trust = Trust::of(&brief);
    let stage = Stage {
        reports: trust.connect(Push::builder(), &brief.reports)?,
        name: std::mem::take(&mut brief.name),
        trust,
        progress: Arc::default(),
    };
    match brief.role {
        Role::Ventilator { text, workers } => ventilator(stage, &text, workers, commands).await,
        Role::Worker { work, results } => worker(stage, &work, &results).await,
        Role::Sink => sink(stage).await,
        Role::Asker { questions, words } => asker(stage, &questions, &words).await,
        Role::Listener { news, topic } => listener(stage, &news, &topic).await,
    }
}

/// What all parts have.
struct Stage {
    name: String,
    trust: Trust,
    reports: Push,
    progress: Arc<Mutex<Progress>>,
}

impl Stage {
    /// Says where the part is bound, and from now on how it goes.
    fn report(&self, sockets: Vec<AnySocket>, bound: &[(&str, &str)]) {
        let bound = bound
            .iter()
            .map(|(what, endpoint)| ((*what).to_owned(), (*endpoint).to_owned()));
        let mut report = Report {
            name: self.name.clone(),
            bound: bound.collect(),
            ..Report::default()
        };
        let (reports, progress) = (self.reports.clone(), Arc::clone(&self.progress));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let stats: Vec<_> = sockets.iter().map(AnySocket::stats).collect();
                report.debug = format!("{stats:?}");
                report.peers = stats.iter().map(|stats| stats.peers).sum();
                report.sent = stats.iter().map(|stats| stats.sent).sum();
                report.received = stats.iter().map(|stats| stats.received).sum();
                report.progress = progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // A report that finds no room is followed by a newer one.
                if let Ok(text) = serde_json::to_string(&report) {
                    let _ = reports.try_send(text);
                }
            }
        });
    }

    fn progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

async fn ventilator(stage: Stage, text: &str, workers: usize, mut commands: Commands) -> Outcome {
    let (push, endpoint) = stage.trust.bind(Push::builder(), TCP).await?;
    let mut events = push.monitor();
    stage.report(vec![push.clone().into()], &[("work", &endpoint)]);
    let mut here = 0;
    while here < workers {
        match events.next().await.map(|event| event.kind) {
            Some(EventKind::Connected(_)) => here += 1,
            Some(_) => {}
            None => return Err(Failure::failed("the ventilator's socket was closed")),
        }
    }
    let frames: Vec<Frame> = words::pieces(text).into_iter().map(Frame::from).collect();
    let (mut rounds, mut rest, mut pieces, mut done) = (0, 0, 0, frames.is_empty());
    while !done {
        push.send(frames[rest].clone())
            .await
            .map_err(Failure::failed)?;
        (pieces, rest) = (pieces + 1, rest + 1);
        if rest == frames.len() {
            (rounds, rest) = (rounds + 1, 0);
        }
        // The only command is to stop.
        done = commands.try_recv().is_ok();
        if done {
            push.flush().await;
        }
        stage.progress(Progress::Ventilator {
            rounds,
            rest,
            pieces,
            done,
        });
    }
    std::future::pending().await
}

async fn worker(stage: Stage, work: &str, results: &str) -> Outcome {
    let pull = stage.trust.connect(Pull::builder(), work)?;
    let push = stage.trust.connect(Push::builder(), results)?;
    stage.report(vec![pull.clone().into(), push.clone().into()], &[]);
    let name = Frame::from(stage.name.clone());
    let mut batch = Vec::new();
    loop {
        pull.recv_many(&mut batch, BATCH)
            .await
            .map_err(Failure::failed)?;
        for piece in batch.drain(..) {
            let mut table = Table::new();
            words::count(piece.first().as_str().unwrap_or_default(), 1, &mut table);
            let lines: String = table
                .iter()
                .map(|(word, count)| format!("{word}\t{count}\n"))
                .collect();
            let mut result = Message::from(name.clone());
            result.push(lines);
            push.send(result).await.map_err(Failure::failed)?;
        }
    }
}

async fn sink(stage: Stage) -> Outcome {
    let (pull, results) = stage.trust.bind(Pull::builder(), TCP).await?;
    let (publisher, news) = stage.trust.bind(Publisher::builder(), QUIC).await?;
    let (rep, questions) = stage.trust.bind(Rep::builder(), QUIC).await?;
    let sockets = vec![
        pull.clone().into(),
        publisher.clone().into(),
        rep.clone().into(),
    ];
    stage.report(
        sockets,
        &[
            ("results", &results),
            ("news", &news),
            ("questions", &questions),
        ],
    );
    let mut sum = Sum::default();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            // Questions are few and somebody waits for each; results are many.
            biased;
            request = rep.recv() => sum.answer(request.map_err(Failure::failed)?).await,
            taken = pull.recv_many(&mut batch, TURN) => {
                taken.map_err(Failure::failed)?;
                for result in batch.drain(..) {
                    // A publisher without room drops and counts; the listener sees the gap.
                    let _ = publisher.try_send(sum.add(&result));
                }
                stage.progress(Progress::Sink { results: sum.results, words: sum.words });
            }
        }
    }
}

/// What the workers counted, together.
#[derive(Debug, Default)]
struct Sum {
    table: Table,
    results: u64,
    words: u64,
    /// News so far, by worker.
    news: BTreeMap<String, u64>,
}

impl Sum {
    /// Adds a result. Returns the news: the worker's topic, the number of its news, all words.
    fn add(&mut self, result: &Message) -> Message {
        let [name, lines] = result.frames() else {
            return Message::from("malformed result");
        };
        for line in lines.as_str().unwrap_or_default().lines() {
            let Some((word, Ok(count))) = line
                .split_once('\t')
                .map(|(word, count)| (word, count.parse::<u64>()))
            else {
                continue;
            };
            self.words += count;
            match self.table.get_mut(word) {
                Some(known) => *known += count,
                None => drop(self.table.insert(word.to_owned(), count)),
            }
        }
        self.results += 1;
        let name = name.as_str().unwrap_or_default();
        let number = self.news.entry(name.to_owned()).or_default();
        *number += 1;
        Message::from_iter([topic(name), number.to_string(), self.words.to_string()])
    }

    /// Answers how often a word occurred, or with the whole table.
    async fn answer(&self, request: Request) {
        let reply = match request.message().frames() {
            [what, word] if *what == "count" => {
                let word = word.as_str().unwrap_or_default();
                self.table
                    .get(word)
                    .copied()
                    .unwrap_or_default()
                    .to_string()
            }
            [what] if *what == "table" => serde_json::to_string(&self.table).unwrap_or_default(),
            _ => "expected count WORD, or table".to_owned(),
        };
        // Whoever asked may be gone.
        let _ = request.reply(reply).await;
    }
}

/// The topic of a worker's news. It ends with a mark, so that 1 is no prefix of 10.
pub(super) fn topic(worker: &str) -> String {
    format!("{worker}:")
}

async fn asker(stage: Stage, questions: &str, words: &[String]) -> Outcome {
    let req = stage.trust.connect(Req::builder(), questions)?;
    stage.report(vec![req.clone().into()], &[]);
    let mut latencies = VecDeque::new();
    let mut told = Instant::now();
    for (answers, word) in (1..).zip(words.iter().cycle()) {
        let asked = Instant::now();
        let question = Message::from_iter(["count", &word[..]]);
        req.request(question).await.map_err(Failure::failed)?;
        latencies.push_back(asked.elapsed());
        if latencies.len() > LATENCIES {
            latencies.pop_front();
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            let mut sorted: Vec<Duration> = latencies.iter().copied().collect();
            sorted.sort_unstable();
            let at = |percent: usize| {
                let latency = sorted.get(sorted.len() * percent / 100).copied();
                u64::try_from(latency.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
            };
            stage.progress(Progress::Asker {
                answers,
                p50_us: at(50),
                p99_us: at(99),
            });
        }
        tokio::time::sleep(REST).await;
    }
    std::future::pending().await
}

async fn listener(stage: Stage, news: &str, topic: &str) -> Outcome {
    let sub = stage.trust.connect(Subscriber::builder(), news)?;
    sub.subscribe(topic);
    stage.report(vec![sub.clone().into()], &[]);
    let mut last: BTreeMap<Frame, u64> = BTreeMap::new();
    let (mut missed, mut batch) = (0, Vec::new());
    loop {
        sub.recv_many(&mut batch, BATCH)
            .await
            .map_err(Failure::failed)?;
        for message in batch.drain(..) {
            let [topic, number, _] = message.frames() else {
                continue;
            };
            let number: u64 = number
                .as_str()
                .and_then(|number| number.parse().ok())
                .unwrap_or_default();
            let before = last.insert(topic.clone(), number);
            missed += before.map_or(0, |before| number.saturating_sub(before + 1));
        }
        stage.progress(Progress::Listener { missed });
    }
}
