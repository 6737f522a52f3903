//! PUSH and PULL: in turn, in order, blocked rather than dropped.

use std::collections::BTreeMap;

use std::time::{Duration, Instant};

use withy::options::{Balance, RateLimit};
use withy::{Frame, Message, Pull, Push, SendError};

use crate::support::{ANY, Way, each_link, each_way, number, number_of, only, soon};

#[tokio::test]
async fn messages_arrive_in_order_and_whole() {
    for way in each_way("in-order") {
        in_order(&way).await;
    }
}

async fn in_order(way: &Way) {
    let pull = way.server(Pull::builder());
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder());
    push.connect_to(endpoint).unwrap();
    let count = 200_000;
    let sender = tokio::spawn(async move {
        for n in 0..count {
            push.send(number(n)).await.unwrap();
        }
        assert_eq!(push.close().await, 0);
    });
    for n in 0..count {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
    soon(sender).await.unwrap();
}

/// What one peer sent while nobody received waits in a queue, what another sends now is read from
/// the link: both have the same share.
#[tokio::test]
async fn a_queue_has_its_share_beside_a_link() {
    // On a busy machine the queue may be empty before the link brings anything, which shows nothing.
    for _ in 0..10 {
        queue_beside_a_link().await;
    }
}

async fn queue_beside_a_link() {
    let pull = Pull::bind(ANY).await.unwrap();
    let flood = |from: u64| {
        let push = Push::connect(only(pull.endpoints())).unwrap();
        tokio::spawn(async move { while push.send(number(from)).await.is_ok() {} })
    };
    let first = flood(1);
    soon(async {
        while pull.stats().unread < 1_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let second = flood(2);
    while number_of(&soon(pull.recv()).await.unwrap()) != 2 {}
    let mut received = [0; 3];
    for _ in 0..20_000 {
        received[number_of(&soon(pull.recv()).await.unwrap()) as usize] += 1;
    }
    assert!(received[1] >= 5_000 && received[2] >= 5_000, "{received:?}");
    first.abort();
    second.abort();
}

#[tokio::test]
async fn every_size_and_shape_arrives_as_it_was() {
    for way in each_way("sizes") {
        as_it_was(&way).await;
    }
}

async fn as_it_was(way: &Way) {
    let pull = way.server(Pull::builder());
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder());
    push.connect_to(endpoint).unwrap();
    let sizes = [
        0,
        1,
        Frame::INLINE,
        Frame::INLINE + 1,
        255,
        256,
        8_191,
        32_767,
        32_768,
        65_536,
        262_143,
        1 << 20,
        16 << 20,
    ];
    let body = |size: usize| {
        (0..size)
            .map(|at| (at * 31 + size) as u8)
            .collect::<Vec<u8>>()
    };
    let sent: Vec<Message> = sizes
        .iter()
        .map(|&size| Message::from(body(size)))
        .chain(sizes.iter().map(|&size| {
            Message::from_frames(vec![
                Frame::new(),
                Frame::from(body(size)),
                Frame::from("x"),
                Frame::from(body(size / 3)),
            ])
        }))
        .collect();
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        for message in sent {
            push.send(message).await.unwrap();
        }
        push
    });
    for message in expected {
        assert!(soon(pull.recv()).await.unwrap() == message, "{message:?}");
    }
    soon(sender).await.unwrap();
}

#[tokio::test]
async fn work_goes_to_each_peer_in_turn() {
    let push = Push::bind(ANY).await.unwrap();
    let endpoint = only(push.endpoints());
    let pulls: Vec<Pull> = (0..4)
        .map(|_| Pull::connect(endpoint.clone()).unwrap())
        .collect();
    for pull in &pulls {
        soon(pull.ready()).await.unwrap();
    }
    soon(async {
        while push.stats().peers < 4 {
            tokio::task::yield_now().await
        }
    })
    .await;
    for n in 0..400 {
        push.send(number(n)).await.unwrap();
    }
    for pull in &pulls {
        let mut last = None;
        for _ in 0..100 {
            let n = number_of(&soon(pull.recv()).await.unwrap());
            assert!(last.is_none_or(|last| n > last));
            last = Some(n);
        }
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_blocks_the_sender_and_loses_nothing() {
    let pull = Pull::bind(ANY).await.unwrap();
    let push = Push::builder().send_high_water_mark(10).build().unwrap();
    push.connect_to(only(pull.endpoints())).unwrap();
    soon(pull.ready()).await.unwrap();
    soon(push.ready()).await.unwrap();
    let body = vec![1; 100_000];
    let mut sent = 0;
    let mut full = 0;
    while full < 200 {
        match push.try_send(body.clone()) {
            Ok(()) => {
                sent += 1;
                full = 0;
            }
            Err(SendError::Full(message)) => {
                assert_eq!(message.size(), body.len(), "the message comes back");
                full += 1;
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent >= 10);
    for _ in 0..sent {
        assert_eq!(soon(pull.recv()).await.unwrap().size(), body.len());
    }
    soon(push.send("after")).await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap(), Message::from("after"));
    assert_eq!(push.stats().dropped, 0);
}

#[tokio::test]
async fn what_was_sent_before_a_peer_came_waits_for_it() {
    for way in each_link("waits") {
        let reserved = way.server(Pull::builder());
        let endpoint = reserved.bind_to(way.any()).await.unwrap();
        reserved.close().await;
        let push = way.client(Push::builder());
        push.connect_to(endpoint.clone()).unwrap();
        for n in 0..500 {
            push.send(number(n)).await.unwrap();
        }
        let pull = way.server(Pull::builder());
        pull.bind_to(endpoint).await.unwrap();
        for n in 0..500 {
            assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n, "{way}");
        }
    }
}

#[tokio::test]
async fn a_push_without_a_peer_is_full_and_with_immediate_also_while_it_connects() {
    let push = Push::new();
    push.bind_to(ANY).await.unwrap();
    assert!(matches!(push.try_send("x"), Err(SendError::Full(_))));
    let push = Push::builder().immediate().build().unwrap();
    push.connect_to("tcp://127.0.0.1:1").unwrap();
    assert!(matches!(push.try_send("x"), Err(SendError::Full(_))));
}

#[tokio::test]
async fn what_a_lost_peer_did_not_get_goes_to_another() {
    for way in each_link("lost") {
        goes_to_another(&way).await;
    }
}

async fn goes_to_another(way: &Way) {
    let push = way.server(Push::builder());
    let endpoint = push.bind_to(way.any()).await.unwrap();
    let dead = way.client(Pull::builder());
    dead.connect_to(endpoint.clone()).unwrap();
    soon(dead.ready()).await.unwrap();
    soon(push.ready()).await.unwrap();
    // More than the kernel takes, so that some of it waits on our side.
    let body = vec![0; 64 * 1024];
    let mut sent = 0;
    while push
        .try_send(Message::from_frames(vec![
            Frame::from(u64::to_be_bytes(sent)),
            body.clone().into(),
        ]))
        .is_ok()
    {
        sent += 1;
    }
    drop(dead);
    let alive = way.client(Pull::builder());
    alive.connect_to(endpoint).unwrap();
    let mut seen = BTreeMap::new();
    let last = sent - 1;
    while !seen.contains_key(&last) {
        let message = soon(alive.recv()).await.unwrap();
        *seen.entry(number_of(&message)).or_insert(0) += 1;
    }
    assert!(seen.values().all(|&count| count == 1));
    let numbers: Vec<u64> = seen.into_keys().collect();
    assert!(numbers.is_sorted());
    assert!(!numbers.is_empty());
}

#[tokio::test]
async fn the_least_loaded_peer_gets_the_work() {
    let push = Push::builder()
        .balance(Balance::LeastLoaded)
        .build()
        .unwrap();
    let endpoint = push.bind_to(ANY).await.unwrap();
    let (busy, idle) = (
        Pull::connect(endpoint.clone()).unwrap(),
        Pull::connect(endpoint).unwrap(),
    );
    soon(async {
        while push.stats().peers < 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    let body = vec![0; 100_000];
    let worker = tokio::spawn(async move {
        let mut taken = 0;
        while let Ok(message) = idle.recv().await {
            taken += 1;
            if message.size() == 4 {
                return taken;
            }
        }
        taken
    });
    for _ in 0..2_000 {
        soon(push.send(body.clone())).await.unwrap();
    }
    let stuck = push.stats().queued;
    drop(busy);
    soon(async {
        while push.stats().peers > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
    push.send("last").await.unwrap();
    let taken = soon(worker).await.unwrap();
    assert!(
        taken > 1_500,
        "the peer that works got {taken}, {stuck} waited"
    );
}

#[tokio::test]
async fn a_peer_over_its_rate_limit_waits_and_loses_nothing() {
    for way in each_way("rate") {
        over_its_rate(&way).await;
    }
}

async fn over_its_rate(way: &Way) {
    let limit = RateLimit {
        messages: Some(2_000),
        octets: None,
    };
    let pull = way.server(Pull::builder().rate_limit(limit));
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let push = way.client(Push::builder());
    push.connect_to(endpoint).unwrap();
    let started = Instant::now();
    let sender = tokio::spawn(async move {
        for n in 0..1_500 {
            let mut message = number(n);
            message.push(vec![0; 1_000]);
            push.send(message).await.unwrap();
        }
        push
    });
    for n in 0..1_500 {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
    // What one read brings is free; the rest comes at the limit.
    assert!(
        started.elapsed() > Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
    soon(sender).await.unwrap();
}

/// CONFLATE keeps the newest of each peer, not of all: one does not hide another's, however the
/// application receives.
#[tokio::test]
async fn a_receiver_that_conflates_has_the_newest_of_each_peer() {
    for by in ["recv", "recv_from", "try_recv", "recv_many", "select"] {
        for way in each_way(&format!("newest-by-{by}")) {
            newest_of_each(&way, by).await;
        }
    }
}

async fn newest_of_each(way: &Way, by: &str) {
    let pull = way.server(Pull::builder().conflate());
    let endpoint = pull.bind_to(way.any()).await.unwrap();
    let pushes = [1, 2].map(|peer| (peer, way.client(Push::builder())));
    for (_, push) in &pushes {
        push.connect_to(endpoint.clone()).unwrap();
    }
    for (peer, push) in &pushes {
        for n in 0..10 {
            push.send(number(peer * 100 + n)).await.unwrap();
        }
    }
    soon(async {
        while pull.stats().received < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut received = Vec::new();
    while received.len() < 2 {
        match by {
            "recv" => received.push(soon(pull.recv()).await.unwrap()),
            "recv_from" => received.push(soon(pull.recv_from()).await.unwrap().0),
            "try_recv" => received.push(pull.try_recv().unwrap()),
            "recv_many" => assert_eq!(soon(pull.recv_many(&mut received, 9)).await, Ok(2)),
            _ => {
                let mut select = withy::Select::new().with(&pull);
                received.push(soon(select.recv()).await.unwrap().1);
            }
        }
    }
    let mut numbers: Vec<u64> = received.iter().map(number_of).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [109, 209], "{by} over {way}");
    assert_eq!(pull.try_recv(), Err(withy::ReceiveError::Empty), "{by}");
    let stats = pull.stats();
    assert_eq!(stats.received, stats.discarded + 2, "{by} over {way}");
}

/// CONFLATE replaces what waits, before the first connection and on one that takes no more.
#[tokio::test]
async fn a_sender_that_conflates_never_waits() {
    let push = Push::builder()
        .conflate()
        .send_high_water_mark(1)
        .send_high_water_octets(1)
        .build()
        .unwrap();
    let pull = Pull::bind(ANY).await.unwrap();
    let endpoint = only(pull.endpoints());
    push.connect_to(endpoint).unwrap();
    let body = vec![7; 1024 * 1024];
    for n in 0..200_u64 {
        let message = [&n.to_be_bytes()[..], &body].concat();
        push.try_send(message).unwrap();
    }
    let last = async {
        loop {
            let message = pull.recv().await.unwrap();
            if message.first()[..8] == 199_u64.to_be_bytes() {
                return;
            }
        }
    };
    soon(last).await;
    let stats = push.stats();
    assert_eq!(pull.stats().received + stats.dropped, 200);
}
