//! Producers, keepers and workers on nodes of one process, which reach each other as those of several
//! do.

use std::collections::BTreeMap;

use super::*;
use crate::node::tests::{User, soon};

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
    node.close(Duration::ZERO).await;
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
async fn two_that_begin_at_once_end_with_one_keeper() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let nodes = [&one, &two];
    let keep = |node: &Node| {
        let node = node.clone();
        async move {
            node.keep_queue("jobs", QueueOptions::default(), Store::Memory)
                .await
        }
    };
    // Both claim before they can have heard of each other.
    let (first, second) = tokio::join!(keep(&one), keep(&two));
    let keepers = [first.unwrap(), second.unwrap()];
    let producers = nodes.map(|node| node.producer_with("jobs", only_puts()).unwrap());
    let worker = one.worker("jobs").unwrap();
    let mut left = Vec::new();
    for number in 0..50 {
        let body = number.to_string();
        soon(producers[number % 2].put(body.clone())).await.unwrap();
        left.push(body);
    }
    while !left.is_empty() {
        let job = soon(worker.recv()).await.unwrap();
        let body = text(&job);
        assert!(left.contains(&body) || job.redelivered, "{body}");
        left.retain(|it| *it != body);
        job.ack().unwrap();
    }
    let held: Vec<_> = keepers.iter().filter_map(QueueKeeper::held).collect();
    assert_eq!(held.len(), 1, "{held:?}");
}

#[tokio::test]
async fn what_is_in_a_store_is_there_again() {
    let user = User::new();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::folder(folder.path().join("jobs"));
    let options = QueueOptions::default();
    let keeping = user.node_apart().await;
    let client = user.node_apart().await;
    let keep = |node: &Node| {
        let (node, options, store) = (node.clone(), options.clone(), store.clone());
        async move { node.keep_queue("jobs", options, store).await }
    };
    let keeper = keep(&keeping).await.unwrap();
    let refused = keep(&client).await.unwrap_err();
    assert!(matches!(refused, KeepError::Store(_)), "{refused}");
    soon(keeper.wait_held()).await.unwrap();
    let epoch = keeper.held().unwrap();
    let producer = client.producer("jobs").unwrap();
    for number in 0..20 {
        soon(producer.put(number.to_string())).await.unwrap();
    }
    let worker = client.worker_with("jobs", 1).unwrap();
    soon(worker.recv()).await.unwrap().ack().unwrap();
    let kept = soon(worker.recv()).await.unwrap();
    assert_eq!(text(&kept), "1");
    keeper.close().await;
    keeping.close(Duration::from_secs(1)).await;
    // Its producer saw a store, and waits for it.
    let waits = producer.start(Put {
        message: "20".into(),
        ..Put::default()
    });
    let waits = soon(waits).await.unwrap();
    let again = user.node_apart().await;
    let keeper = keep(&again).await.unwrap();
    soon(waits).await.unwrap();
    assert!(producer.keeper().is_none());
    assert!(keeper.held().unwrap() > epoch);
    assert!(kept.ack().is_err(), "it was the other keeper's");
    for number in 1..=20 {
        let job = soon(worker.recv()).await.unwrap();
        assert_eq!(text(&job), number.to_string());
        assert_eq!(job.redelivered, number < 20, "{number}");
        job.ack().unwrap();
    }
}

#[tokio::test]
async fn who_takes_over_gets_what_the_other_has() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let producer = one.producer("jobs").unwrap();
    let count = 600;
    for number in 0..count {
        let put = Put {
            priority: Priority::new((number % 3) as u8),
            ttl: Some(Duration::from_secs(600)),
            message: number.to_string().into(),
            ..Put::default()
        };
        soon(producer.send(put)).await.unwrap();
    }
    let before = producer.keeper().unwrap();
    let keeper = two.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let keeper = keeper.await.unwrap();
    soon(keeper.wait_held()).await.unwrap();
    soon(async {
        while before.stats().messages > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(before.held(), None);
    assert_eq!(keeper.stats().messages, count);
    soon(producer.put("new")).await.unwrap();
    let worker = one.worker("jobs").unwrap();
    let mut last = 9;
    for _ in 0..=count {
        let job = soon(worker.recv()).await.unwrap();
        assert_eq!(job.redelivered, text(&job) != "new");
        assert!(job.priority.number() <= last || text(&job) == "new");
        last = job.priority.number();
        job.ack().unwrap();
    }
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
