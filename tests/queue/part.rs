//! The parts of keepers, producers and workers.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use withy::node::queue::{Job, ProducerOptions, Put, PutError, Putting, QueueOptions, Refusal};
use withy::store::Store;
use withy::{Home, Node};
use withy_proto::crypto::{Randomness as _, Seeded};

use crate::checker::{Reports, check};
use crate::process::{Part, say, told};

pub(crate) const QUEUE: &str = "jobs";

/// Messages that a producer has under way.
const WINDOW: usize = 64;

/// Plays what this process is to be.
pub(crate) fn play(part: &Part) {
    if part.name == "checker" {
        return check(part);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = node(&part.folder).await;
        match part.name.as_str() {
            "keeper" => keep(part, &node).await,
            "producer" => {
                put(
                    part,
                    &node,
                    ProducerOptions {
                        keep: None,
                        ..producer()
                    },
                )
                .await
            }
            "keeping producer" => put(part, &node, producer()).await,
            _ => work(part, &node).await,
        }
    });
}

async fn node(folder: &Path) -> Node {
    Node::builder()
        .home(&Home::at(folder.join("home")))
        .runtime_directory(folder.join("run"))
        .build()
        .await
        .unwrap()
}

fn options() -> QueueOptions {
    QueueOptions {
        max_messages: 5_000,
        max_attempts: None,
        ..QueueOptions::default()
    }
}

fn producer() -> ProducerOptions {
    ProducerOptions {
        window: WINDOW,
        keep: Some(options()),
        resume: None,
    }
}

/// Keeps the queue in a store, with a limit of its files' size where it is told so.
async fn keep(part: &Part, node: &Node) {
    let store = Store::folder(part.folder.join("store"));
    let keeper = node.keep_queue(QUEUE, options(), store).await.unwrap();
    keeper.wait_held().await.unwrap();
    say("keeps");
    let told = told();
    tokio::task::spawn_blocking(move || {
        for line in told {
            let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
            let size = line.parse().unwrap_or(hard);
            setrlimit(Resource::RLIMIT_FSIZE, size, hard).unwrap();
            say("limited");
        }
    })
    .await
    .unwrap();
}

/// Puts numbered messages until it is told to stop, and says how many were accepted.
async fn put(part: &Part, node: &Node, options: ProducerOptions) {
    let mut reports = Reports::to(&part.folder);
    let producer = node.producer_with(QUEUE, options).unwrap();
    let told = told();
    let mut under_way: VecDeque<(u64, Putting)> = VecDeque::new();
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let mut next = part.number << 40;
    let (mut stops, mut was_refused) = (false, false);
    while !(stops && under_way.is_empty()) {
        stops |= told.try_recv().is_ok();
        while !stops && under_way.len() < WINDOW {
            let put = Put {
                message: next.to_be_bytes().into(),
                ..Put::default()
            };
            under_way.push_back((next, producer.start(put).await.unwrap()));
            next += 1;
        }
        let Some((number, putting)) = under_way.pop_front() else {
            continue;
        };
        match putting.await {
            Ok(()) => {
                reports.accepted(number);
                accepted += 1;
                was_refused = false;
            }
            Err(PutError::Refused { refusal, put }) => {
                let later = matches!(refusal, Refusal::Full | Refusal::Busy | Refusal::Store);
                assert!(later, "{refusal}");
                if refusal == Refusal::Store && !std::mem::replace(&mut was_refused, true) {
                    say("refused");
                }
                refused += u64::from(refusal == Refusal::Store);
                // It is full, and others are served first.
                tokio::time::sleep(Duration::from_millis(2)).await;
                under_way.push_back((number, producer.start(*put).await.unwrap()));
            }
            Err(error) => panic!("{error}"),
        }
    }
    say(&format!("{accepted} {} {refused}", producer.resent()));
    // A queue in its memory lives as long as it does.
    _ = tokio::task::spawn_blocking(move || told.recv()).await;
}

/// Works on what comes: most of it is done, some is given back, and some takes a while.
async fn work(part: &Part, node: &Node) {
    let mut reports = Reports::to(&part.folder);
    let mut random = Seeded::new(part.number);
    let worker = node.worker_with(QUEUE, 16).unwrap();
    let _told = told();
    let mut open: VecDeque<Job> = VecDeque::new();
    loop {
        let job = worker.recv().await.unwrap();
        let number = job.message.first().as_slice().try_into().unwrap();
        reports.got(u64::from_be_bytes(number), job.redelivered);
        match random.next_u64() % 32 {
            0 => drop(job),
            1 => open.push_back(job),
            // Stale ones come again.
            _ => _ = job.ack(),
        }
        if open.len() > 4
            && let Some(job) = open.pop_front()
        {
            _ = job.ack();
        }
    }
}
