//! Workers and keepers that are killed at random moments, under load.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use withy::Home;
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_tests::scale;

use crate::part::play;
use crate::process::{Part, Process};

const WORKERS: usize = 3;
const PRODUCERS: u64 = 2;

/// The processes of one queue.
pub(crate) struct Mesh {
    test: &'static str,
    started: u64,
    // In this order they end: the checker outlives those who report to it.
    pub(crate) workers: Vec<Process>,
    producers: Vec<Process>,
    checker: Process,
    folder: TempDir,
}

impl Mesh {
    pub(crate) fn new(test: &'static str) -> Self {
        let folder = TempDir::new().unwrap();
        // Before several make it at once.
        Home::at(folder.path().join("home")).identity().unwrap();
        let checker = Process::start(test, "checker", 0, folder.path());
        assert_eq!(checker.hear(), "checks");
        Self {
            test,
            folder,
            checker,
            producers: Vec::new(),
            workers: Vec::new(),
            started: 0,
        }
    }

    pub(crate) fn start(&mut self, part: &str) -> Process {
        self.started += 1;
        Process::start(self.test, part, self.started, self.folder.path())
    }

    pub(crate) fn start_producers(&mut self, parts: &[&str]) {
        let producers: Vec<_> = parts.iter().map(|part| self.start(part)).collect();
        self.producers = producers;
    }

    pub(crate) fn producer(&self) -> &Process {
        &self.producers[0]
    }

    pub(crate) fn start_workers(&mut self, count: usize) {
        let workers: Vec<_> = (0..count).map(|_| self.start("worker")).collect();
        self.workers.extend(workers);
    }

    /// Waits until workers got so many more messages.
    pub(crate) fn go_on(&mut self, more: u64) {
        self.checker.tell(&format!("more {more}"));
        let heard = self.checker.hear();
        assert_eq!(heard, "got", "nothing comes any more");
    }

    /// Stops the producers, and waits until all is accepted and has come.
    pub(crate) fn finish(mut self) -> Verdict {
        self.producers.iter_mut().for_each(|it| it.tell("stop"));
        let mut numbers = [0; 3];
        for producer in &self.producers {
            for (sum, number) in numbers.iter_mut().zip(read(&last(producer))) {
                *sum += number;
            }
        }
        let [total, resent, refused] = numbers;
        self.checker.tell(&format!("finish {total}"));
        let said = read(&self.checker.hear());
        let [accepted, got, lost, again, unflagged] = said[..] else {
            panic!("{said:?}");
        };
        let verdict = Verdict {
            accepted,
            got,
            lost,
            again,
            resent,
            refused,
        };
        if accepted != total || lost > 0 || unflagged > 0 {
            let kept = self.folder.keep();
            panic!("{verdict:?}, {unflagged} without the flag, of {total}: see {kept:?}");
        }
        verdict
    }
}

/// The last thing that a producer says: its numbers.
fn last(producer: &Process) -> String {
    loop {
        let said = producer.hear();
        if said != "refused" {
            return said;
        }
    }
}

fn read(line: &str) -> Vec<u64> {
    line.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// What the checker and the producers say in the end.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) accepted: u64,
    /// With those that came again.
    pub(crate) got: u64,
    /// Accepted, and never got.
    lost: u64,
    /// Receipts beyond the first of each.
    pub(crate) again: u64,
    pub(crate) resent: u64,
    pub(crate) refused: u64,
}

fn dice() -> Seeded {
    let seed = scale::seed();
    println!("seed: {seed}");
    Seeded::new(seed)
}

#[test]
fn workers_that_are_killed_lose_nothing() {
    if let Some(part) = Part::of_this_process() {
        return play(&part);
    }
    let kills = scale::count(30, 1_000);
    let mut random = dice();
    let mut mesh = Mesh::new("crash::workers_that_are_killed_lose_nothing");
    mesh.start_producers(&["keeping producer", "producer"]);
    mesh.start_workers(WORKERS);
    for _ in 0..kills {
        mesh.go_on(1 + random.next_u64() % 500);
        let at = random.next_u64() as usize % WORKERS;
        mesh.workers.swap_remove(at).kill();
        mesh.start_workers(1);
    }
    let verdict = mesh.finish();
    assert!(verdict.again > 0, "{verdict:?}");
    scale::report("workers killed", kills);
    scale::report("messages accepted, workers killed", verdict.accepted);
    scale::report(
        "deliveries beyond the first, workers killed, all flagged",
        verdict.again,
    );
    scale::report("accepted messages lost, workers killed", verdict.lost);
}

#[test]
fn keepers_that_are_killed_lose_nothing() {
    if let Some(part) = Part::of_this_process() {
        return play(&part);
    }
    let kills = scale::count(30, 1_000);
    let mut random = dice();
    let mut mesh = Mesh::new("crash::keepers_that_are_killed_lose_nothing");
    let mut keeper = mesh.start("keeper");
    mesh.start_producers(&["producer"; PRODUCERS as usize]);
    mesh.start_workers(WORKERS);
    let mut longest = Duration::ZERO;
    for kill in 0..kills {
        mesh.go_on(1 + random.next_u64() % 500);
        // What was written a moment ago is on its way to the disk, or to a peer.
        std::thread::sleep(Duration::from_micros(random.next_u64() % 20_000));
        keeper.kill();
        let since = Instant::now();
        if kill.is_multiple_of(4) {
            let at = random.next_u64() as usize % WORKERS;
            mesh.workers.swap_remove(at).kill();
            mesh.start_workers(1);
        }
        keeper = mesh.start("keeper");
        // More than workers had when the keeper was killed.
        mesh.go_on(100);
        longest = longest.max(since.elapsed());
    }
    let verdict = mesh.finish();
    assert!(verdict.again > 0 && verdict.resent > 0, "{verdict:?}");
    scale::report("keepers killed", kills);
    scale::report("messages accepted, keepers killed", verdict.accepted);
    scale::report(
        "deliveries beyond the first, keepers killed, all flagged",
        verdict.again,
    );
    scale::report("messages put again, keepers killed", verdict.resent);
    scale::report("accepted messages lost, keepers killed", verdict.lost);
    scale::report(
        "longest pause until a keeper is back, ms",
        longest.as_millis(),
    );
}
