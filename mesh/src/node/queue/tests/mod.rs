//! Producers, keepers and workers on nodes of one process, which reach each other as those of several
//! do.

use std::collections::BTreeMap;

mod keepers;

use super::*;
use crate::node::tests::{User, soon};
use withy_proto::queue::Command;

fn text(job: &Job) -> String {
    job.message.first().as_str().unwrap().to_owned()
}

/// Never keeps a queue itself.
fn only_puts() -> ProducerOptions {
    ProducerOptions {
        keep: None,
        ..ProducerOptions::default()
    }
}

#[tokio::test]
async fn a_queue_is_kept_by_its_first_producer() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let producer = one.producer("jobs").unwrap();
    let worker = two.worker("jobs").unwrap();
    for body in ["first", "second"] {
        soon(producer.put(body)).await.unwrap();
    }
    let keeper = producer.keeper().unwrap();
    assert_eq!(keeper.held().unwrap().holder(), one.id());
    let first = soon(worker.recv()).await.unwrap();
    let second = soon(worker.recv()).await.unwrap();
    assert_eq!([text(&first), text(&second)], ["first", "second"]);
    assert!(!first.redelivered && first.attempt == 1);
    first.ack().unwrap();
    // Without a word it comes again.
    drop(second);
    let again = soon(worker.recv()).await.unwrap();
    assert_eq!((text(&again), again.attempt), ("second".to_owned(), 2));
    assert!(again.redelivered);
    again.reject("not my job").unwrap();
    let letter = soon(keeper.next_dead()).await.unwrap();
    assert_eq!(letter.cause, Cause::Rejected);
    assert_eq!(letter.history.deaths()[0].detail, "not my job");
    // Showing it changes nothing.
    assert_eq!(keeper.dead_letters(None, 2), std::slice::from_ref(&letter));
    assert_eq!(keeper.dead_letters(None, 0), []);
    assert_eq!(keeper.dead_letters(Some(letter.id), 2), []);
    assert!(keeper.take_dead(letter.id) && !keeper.take_dead(letter.id));
    let stats = keeper.stats();
    assert_eq!((stats.messages, stats.dead, stats.open), (0, 0, 0));
    assert_eq!((stats.counts.acked, stats.counts.queued), (1, 2));
}

#[tokio::test]
async fn within_one_node_it_works_as_well() {
    let user = User::new();
    let node = user.node().await;
    let worker = node.worker_with("jobs", 1).unwrap();
    let producer = node.producer("jobs").unwrap();
    soon(producer.put("one")).await.unwrap();
    soon(worker.recv()).await.unwrap().ack().unwrap();
    // Another producer of the node finds what is there.
    let other = node.producer("jobs").unwrap();
    soon(other.put("two")).await.unwrap();
    assert!(other.keeper().is_none());
    let job = soon(worker.recv()).await.unwrap();
    job.give_back("later").unwrap();
    let job = soon(worker.recv()).await.unwrap();
    assert_eq!((text(&job), job.redelivered), ("two".to_owned(), true));
    job.ack().unwrap();
}

#[tokio::test]
async fn the_jobs_of_a_worker_that_is_lost_come_again() {
    let user = User::new();
    let nodes = [
        user.node_apart().await,
        user.node_apart().await,
        user.node_apart().await,
    ];
    let producer = nodes[0].producer("jobs").unwrap();
    let lost = nodes[1].worker("jobs").unwrap();
    for number in 0..10 {
        soon(producer.put(number.to_string())).await.unwrap();
    }
    let mut open = vec![soon(lost.recv()).await.unwrap()];
    soon(async {
        while lost.open() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    open.push(soon(lost.recv()).await.unwrap());
    open.remove(0).ack().unwrap();
    let worker = nodes[2].worker("jobs").unwrap();
    let [_, node, _] = nodes;
    // The acknowledgement is still sent.
    node.close(Duration::from_secs(1)).await;
    let mut seen = BTreeMap::new();
    for _ in 0..9 {
        let job = soon(worker.recv()).await.unwrap();
        assert!(job.redelivered);
        assert_eq!(seen.insert(text(&job), job.attempt), None);
        job.ack().unwrap();
    }
    assert!(!seen.contains_key("0"));
    // What the lost one says now does not count.
    assert!(open.remove(0).ack().is_err());
}

#[tokio::test]
async fn puts_are_refused_with_the_reason_and_expire() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let options = QueueOptions {
        max_messages: 2,
        max_message: 1_000,
        lease: Duration::from_millis(300),
        ..QueueOptions::default()
    };
    let keeper = one
        .keep_queue("jobs", options, Store::Memory)
        .await
        .unwrap();
    let producer = two.producer("jobs").unwrap();
    let refusal = |outcome: Result<(), PutError>| match outcome {
        Err(PutError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    let large = producer.put(vec![0; 2_000]);
    assert_eq!(refusal(soon(large).await), Refusal::TooLarge);
    let ttl = Duration::from_millis(50);
    let put = Put {
        message: "short".into(),
        ttl: Some(ttl),
        ..Put::default()
    };
    soon(producer.send(put)).await.unwrap();
    let letter = soon(keeper.next_dead()).await.unwrap();
    assert_eq!(letter.cause, Cause::Expired);
    soon(producer.put("one")).await.unwrap();
    soon(producer.put("two")).await.unwrap();
    assert_eq!(refusal(soon(producer.put("three")).await), Refusal::Full);
    let huge = producer.put(vec![0; MAX_PUT + 1]).await;
    assert!(matches!(huge, Err(PutError::TooLarge { .. })));
    // One takes more time, the other does not.
    let worker = two.worker("jobs").unwrap();
    let slow = soon(worker.recv()).await.unwrap();
    let late = soon(worker.recv()).await.unwrap();
    slow.extend(Duration::from_secs(60)).unwrap();
    let again = soon(worker.recv()).await.unwrap();
    assert_eq!((text(&again), again.attempt), ("two".to_owned(), 2));
    again.ack().unwrap();
    slow.ack().unwrap();
    late.ack().unwrap();
    soon(async {
        while keeper.stats().messages > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(keeper.stats().counts.timed_out, 1);
}

#[tokio::test]
async fn who_resumes_puts_nothing_twice() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let keeper = one.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let keeper = keeper.await.unwrap();
    let producer = two.producer("jobs").unwrap();
    for number in 1..=5 {
        let putting = producer.start(Put {
            message: number.to_string().into(),
            ..Put::default()
        });
        let putting = soon(putting).await.unwrap();
        assert_eq!(putting.number(), number);
        soon(putting).await.unwrap();
    }
    let resume = Some((producer.id(), 4));
    drop(producer);
    let options = ProducerOptions {
        resume,
        ..only_puts()
    };
    let producer = two.producer_with("jobs", options).unwrap();
    for number in 4..=7 {
        soon(producer.put(number.to_string())).await.unwrap();
    }
    let counts = keeper.stats().counts;
    assert_eq!((counts.queued, counts.duplicates), (7, 2));
}

#[tokio::test]
async fn who_talks_nonsense_to_a_keeper_is_let_go() {
    use crate::node::interest::Wants;
    use withy_discovery::Kind;
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let keeper = one.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let _keeper = keeper.await.unwrap();
    let bad = two
        .shared()
        .socket(withy_proto::SocketType::Dealer, two.shared().options());
    let wants = Wants::Named(Kind::Queue, "jobs".into());
    let _interest = two.shared().want(wants, bad.core());
    let mut monitor = bad.monitor();
    soon(bad.wait_peers(1)).await.unwrap();
    bad.try_send("nonsense".into()).unwrap();
    soon(async {
        loop {
            if let crate::EventKind::Disconnected { .. } = monitor.next().await.unwrap().kind {
                break;
            }
        }
    })
    .await;
    // Others go on.
    let producer = two.producer("jobs").unwrap();
    soon(producer.put("job")).await.unwrap();
}

/// What a peer of its own making says to a keeper.
struct Raw {
    socket: crate::socket::Owner,
    _interest: crate::node::interest::Interest,
}

impl Raw {
    async fn new(node: &Node) -> Self {
        let shared = node.shared();
        let socket = shared.socket(withy_proto::SocketType::Dealer, shared.options());
        let wants = crate::node::interest::Wants::Named(crate::node::Kind::Queue, "jobs".into());
        let interest = shared.want(wants, socket.core());
        soon(socket.wait_peers(1)).await.unwrap();
        Self {
            socket,
            _interest: interest,
        }
    }

    fn say(&self, command: Command) {
        self.socket.try_send(command.encode()).unwrap();
    }

    async fn hear(&self) -> Command {
        let message = soon(self.socket.recv()).await.unwrap();
        Command::decode(message).unwrap()
    }
}

fn subscribe(epoch: Epoch, credit: u32) -> Command {
    Command::Subscribe {
        epoch,
        subscription: 1,
        credit,
    }
}

#[tokio::test]
async fn who_does_not_read_keeps_nobody_waiting() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let keeper = one.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let keeper = keeper.await.unwrap();
    soon(keeper.wait_held()).await.unwrap();
    let raw = Raw::new(&two).await;
    raw.say(subscribe(keeper.held().unwrap(), 60_000));
    let worker = two.worker("jobs").unwrap();
    let producer = two.producer("jobs").unwrap();
    // More than links hold; who does not read gets every other one.
    let mut puts = Vec::new();
    for _ in 0..8_000 {
        let put = Put {
            message: vec![7; 3_000].into(),
            ..Put::default()
        };
        puts.push(soon(producer.start(put)).await.unwrap());
        if puts.len() == 200 {
            for put in puts.drain(..) {
                soon(put).await.unwrap();
            }
            while let Ok(job) = worker.try_recv() {
                job.ack().unwrap();
            }
        }
    }
    soon(async {
        while keeper.stats().counts.delivered < 8_000 {
            soon(worker.recv()).await.unwrap().ack().unwrap();
        }
    })
    .await;
    let open = keeper.stats().open;
    assert!(open > 3_000, "{open} are with who does not read");
    // They come to others when it is gone.
    drop(raw);
    for _ in 0..100 {
        let job = soon(worker.recv()).await.unwrap();
        job.ack().unwrap();
    }
}
