//! Who keeps a queue: after another one, beside another one, and from a store.

use super::*;

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
async fn a_keeper_goes_above_an_epoch_that_only_clients_know() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let keeper = one.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let keeper = keeper.await.unwrap();
    soon(keeper.wait_held()).await.unwrap();
    let first = keeper.held().unwrap();
    let raw = Raw::new(&two).await;
    // One that no clock has come to is nobody's, and who says it is let go.
    let mut monitor = raw.socket.monitor();
    raw.say(subscribe(Epoch::new(u64::MAX - 1, two.id()), 1));
    soon(async {
        while !matches!(
            monitor.next().await.unwrap().kind,
            crate::EventKind::Disconnected { .. }
        ) {}
    })
    .await;
    assert_eq!(keeper.held(), Some(first));
    // A keeper is gone whose clock was ahead: this one comes after it.
    let forgotten = Epoch::new(first.number() + 60_000, two.id());
    let other = Raw::new(&two).await;
    other.say(subscribe(forgotten, 1));
    let epoch = loop {
        let Command::Moved { epoch } = other.hear().await else {
            panic!("it delivers nothing");
        };
        if epoch.holder() == one.id() && epoch > forgotten {
            break epoch;
        }
    };
    soon(keeper.wait_held()).await.unwrap();
    assert_eq!(keeper.held(), Some(epoch));
}

#[tokio::test]
async fn producers_that_begin_at_once_lose_nothing() {
    let user = User::new();
    let nodes = [user.node_apart().await, user.node_apart().await];
    let producers = [0, 1].map(|at: usize| nodes[at].producer("jobs").unwrap());
    let worker = nodes[0].worker("jobs").unwrap();
    let put = |at: usize| {
        let producer = producers[at].clone();
        async move {
            for number in 0..100 {
                let body = format!("{at}/{number}");
                soon(producer.put(body)).await.unwrap();
            }
        }
    };
    tokio::join!(put(0), put(1));
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 200 {
        let job = soon(worker.recv()).await.unwrap();
        let new = seen.insert(text(&job));
        assert!(new || job.redelivered, "{} came twice", text(&job));
        job.ack().unwrap();
    }
    let kept = producers.iter().filter_map(Producer::keeper);
    let held = kept.filter(|keeper| keeper.held().is_some()).count();
    assert_eq!(held, 1);
    let taken = nodes.map(|node| async move {
        let keeper = node.keep_queue("jobs", QueueOptions::default(), Store::Memory);
        keeper.await.is_ok()
    });
    let [one, two] = taken;
    let (one, two) = tokio::join!(one, two);
    assert!(one != two, "one of them keeps it already");
}

#[tokio::test]
async fn a_log_does_not_grow_for_ever() {
    let user = User::new();
    let folder = tempfile::tempdir().unwrap();
    let node = user.node().await;
    let store = Store::folder(folder.path());
    let keeper = node.keep_queue("jobs", QueueOptions::default(), store.clone());
    let keeper = keeper.await.unwrap();
    let producer = node.producer("jobs").unwrap();
    let worker = node.worker("jobs").unwrap();
    let log = folder.path().join("log");
    let mut longest = 0;
    for _ in 0..40 {
        soon(producer.put(vec![1; 1024 * 1024])).await.unwrap();
        soon(worker.recv()).await.unwrap().ack().unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    soon(producer.put("last")).await.unwrap();
    // Of forty mebibytes that were written.
    assert!((16 << 20..20 << 20).contains(&longest), "{longest}");
    keeper.close().await;
    let keeper = node.keep_queue("jobs", QueueOptions::default(), store);
    let keeper = keeper.await.unwrap();
    assert!(keeper.stats().messages <= 2, "{:?}", keeper.stats());
    let last = async {
        loop {
            let job = worker.recv().await.unwrap();
            if text(&job) == "last" {
                break;
            }
        }
    };
    soon(last).await;
}

#[tokio::test]
async fn putting_and_taking_are_permitted_one_by_one() {
    let (ours, theirs) = (User::new(), User::new());
    let runtime = ours.0.path().join("run");
    let trust = crate::Trust::open(&ours.home()).unwrap();
    let (mut one, mut two) = (ours.builder(), theirs.builder());
    (one.apart, two.apart) = (true, true);
    let one = one.trust(&trust).build().await.unwrap();
    let two = two.runtime_directory(&runtime).build().await.unwrap();
    let allow = |verbs: &str| {
        let rule = format!("{} {verbs} jobs", two.identity());
        trust.set_permissions(Some(rule.parse().unwrap()));
    };
    allow("push");
    ours.home().accept(two.identity(), None).unwrap();
    let serves = format!("{} serve jobs", one.identity());
    theirs.home().accept(one.identity(), None).unwrap();
    std::fs::write(theirs.home().path().join("permissions"), serves).unwrap();
    let keeper = one.keep_queue("jobs", QueueOptions::default(), Store::Memory);
    let keeper = keeper.await.unwrap();
    soon(keeper.wait_held()).await.unwrap();
    let producer = two.producer_with("jobs", only_puts()).unwrap();
    soon(producer.put("first")).await.unwrap();
    // It may put, and not take.
    let worker = two.worker("jobs").unwrap();
    let denied = async |more_than: u64| {
        soon(async {
            while keeper.stats().denied <= more_than {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    denied(0).await;
    assert_eq!(worker.open(), 0);
    soon(producer.put("second")).await.unwrap();
    // It may take, and not put; who does is let go at once.
    let so_far = keeper.stats().denied;
    allow("pull");
    denied(so_far).await;
    for body in ["first", "second"] {
        let job = soon(worker.recv()).await.unwrap();
        assert_eq!(text(&job), body);
        job.ack().unwrap();
    }
    let mut waits = std::pin::pin!(producer.put("third"));
    let so_far = keeper.stats().denied;
    tokio::select! {
        put = &mut waits => panic!("{put:?}"),
        () = denied(so_far) => {}
    }
    assert_eq!(keeper.stats().misused, 0);
    allow("push");
    soon(waits).await.unwrap();
    assert_eq!(keeper.stats().messages, 1);
}
