//! What comes of a link whose peer keeps it waiting, refuses, leaves or does not read.

use std::collections::BTreeMap;
use std::pin::pin;

use tokio::task::JoinSet;
use withy_proto::Frame;
use withy_proto::quic::MAX_LARGE;

use super::*;
use crate::quic::error;

/// quinn opens streams by the first packet of any later one, however long theirs are on their way.
#[tokio::test]
async fn a_stream_may_wait_its_turn() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, raw) = between.raw().await;
    let mut large = raw.open().await;
    let mut lane = raw.begin(Carries::Lane(0)).await;
    lane.write_all(&encoded([item(1), mark(0), item(3)]))
        .await
        .unwrap();
    assert_eq!(receive(&ours).await.unwrap(), [1]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    large
        .write_all(&raw.header(true, Carries::Large(0)))
        .await
        .unwrap();
    large.write_all(&encoded([item(2)])).await.unwrap();
    assert_eq!(receive(&ours).await.unwrap(), [2, 3]);
}

/// It was written whole, and lingers.
#[tokio::test]
async fn a_link_whose_stream_is_refused_is_lost() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, mut raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    assert!(ours.is_drained());
    while let mut arrived = raw.arrived().await
        && (arrived.header.carries == Carries::Lane(0)
            || arrived.stream.stop(9_u32.into()).is_err())
    {}
    let (messages, error) = receive_all(&ours).await;
    assert!(matches!(error, StreamsError::Lost(_)), "{error}");
    assert!(messages.is_empty());
    assert_eq!(ours.take_back().1, 1, "one is uncertain");
}

/// Its message came whole, the end of the stream was still on its way.
#[tokio::test]
async fn a_stream_that_was_read_enough_ends_no_link() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, mut raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    while let mut arrived = raw.arrived().await
        && (arrived.header.carries == Carries::Lane(0)
            || arrived.stream.stop(error::ENOUGH).is_err())
    {}
    let mut lane = raw.begin(Carries::Lane(0)).await;
    for octet in 0..50 {
        lane.write_all(&encoded([item(octet)])).await.unwrap();
        assert_eq!(receive(&ours).await.unwrap(), [octet]);
    }
}

/// The peer gave the link up, or the connection is gone.
#[tokio::test]
async fn what_arrived_is_given_out_before_the_loss() {
    for (reset, commands) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut between = Between::new(QuicOptions::default());
        let (ours, raw) = between.raw().await;
        let mut lane = raw.begin(Carries::Lane(0)).await;
        let sent = [item(1), mark(0), item(2), mark(1), item(4)];
        lane.write_all(&encoded(sent)).await.unwrap();
        let more: Vec<Item> = (0..2_000).map(|_| item(6)).collect();
        lane.write_all(&encoded(more)).await.unwrap();
        Raw::finish(lane).await;
        for (number, octet) in [(1, 3), (2, 5)] {
            let mut large = raw.begin(Carries::Large(number)).await;
            large.write_all(&encoded([item(octet)])).await.unwrap();
            Raw::finish(large).await;
        }
        if reset {
            raw.writer.reset();
        } else {
            raw.more.connection.close(9_u32.into(), b"");
        }
        if commands {
            let mut read = VecDeque::new();
            let poll = |cx: &mut Context<'_>| match ours.poll_commands(cx, &mut read) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(error),
            };
            let error = soon(poll_fn(poll)).await;
            assert!(matches!(error, StreamsError::Lost(_)), "{error}");
        }
        let (mut messages, error) = receive_all(&ours).await;
        assert!(matches!(error, StreamsError::Lost(_)), "{error}");
        let early = messages.iter().position(|&octet| octet == 5).unwrap();
        messages.remove(early);
        assert_eq!(messages[..4], [1, 2, 3, 4]);
        assert_eq!(messages[4..], [6; 2_000]);
    }
}

/// Nobody reads what fills all their streams.
#[tokio::test]
async fn links_that_are_not_read_leave_others_their_room() {
    const WINDOW: usize = 128 << 10;
    let mut between = Between::new(QuicOptions {
        stream_receive_window: WINDOW as u32,
        ..QuicOptions::default()
    });
    let mut unread = Vec::new();
    for _ in 0..12 {
        let (ours, raw) = between.raw().await;
        let mut filled = Vec::new();
        let lanes = (0..LANES).map(Carries::Lane);
        let larges = (0..MAX_LARGE as u64).map(Carries::Large);
        for carries in lanes.chain(larges) {
            let mut stream = raw.open().await;
            let mut octets = raw.header(false, carries).to_vec();
            octets.resize(WINDOW, 0);
            soon(stream.write_all(&octets)).await.unwrap();
            filled.push(stream);
        }
        unread.push((ours, raw, filled));
    }
    let (ours, theirs) = between.admitted().await;
    let (ours, theirs) = (streams(ours), streams(theirs));
    let ping = Command::Ping {
        ttl: Duration::ZERO,
        context: Frame::new(),
    };
    let mut batch = VecDeque::from([
        Item::Command(Box::new(ping)),
        Item::Message(message(1, LONG)),
    ]);
    let sending = async {
        while !batch.is_empty() || !theirs.is_drained() {
            theirs.try_send_batch(&mut batch).unwrap();
            if !theirs.is_drained() {
                poll_fn(|cx| theirs.poll_writable(cx)).await.unwrap();
            }
        }
    };
    let receiving = async {
        let mut items = VecDeque::new();
        while items.len() < 2 {
            poll_fn(|cx| ours.poll_recv_batch(cx, &mut items))
                .await
                .unwrap();
        }
        items
    };
    let ((), items) = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(matches!(&items[0], Item::Command(_)));
    assert!(matches!(&items[1], Item::Message(message) if message.size() == LONG));
}

#[tokio::test]
async fn whoever_waits_for_a_stream_is_woken_although_others_wrote_meanwhile() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, theirs) = between.link().await;
    let connection = ours.0.more.as_ref().unwrap().connection.clone();
    let ours = Arc::new(streams(ours));
    // All that there are until the link is admitted.
    let mut taken = Vec::new();
    loop {
        let mut opening = pin!(connection.open_uni());
        match poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await {
            Poll::Ready(opened) => taken.push(opened.unwrap()),
            Poll::Pending => break,
        }
    }
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    assert!(batch.is_empty() && !ours.is_drained());
    let waiter = Arc::clone(&ours);
    let waiting = tokio::spawn(async move { poll_fn(|cx| waiter.poll_writable(cx)).await });
    tokio::task::yield_now().await;
    ours.try_send_batch(&mut batch).unwrap();
    // They say nothing and end, so that the peer allows others.
    taken.truncate(taken.len() - 3);
    soon(waiting).await.unwrap().unwrap();
    drop(theirs);
}

#[tokio::test]
async fn a_lost_link_has_not_written_all() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, 3 << 20))]);
    ours.try_send_batch(&mut batch).unwrap();
    raw.more.connection.close(9_u32.into(), b"");
    let lost = async {
        while ours.try_send_batch(&mut batch).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(lost).await;
    assert!(!ours.is_drained());
    let (back, uncertain) = ours.take_back();
    assert_eq!((back.len(), uncertain), (1, 0));
}

/// One link has more streams than it may have, and nobody takes them.
#[tokio::test]
async fn a_link_that_nobody_reads_does_not_hold_up_the_end_of_others() {
    let mut between = Between::new(QuicOptions::default());
    let (_unread, raw) = between.raw().await;
    let (ours, _other) = between.raw().await;
    let mut refused = JoinSet::new();
    for number in 0..2 * MAX_LARGE + LANES {
        let stream = raw.begin(Carries::Large(number as u64)).await;
        refused.spawn(async move { stream.stopped().await });
    }
    let first = soon(refused.join_next()).await.unwrap().unwrap();
    assert!(first.unwrap().is_some(), "what is over is refused");
    raw.more.connection.close(9_u32.into(), b"");
    let (_, error) = receive_all(&ours).await;
    assert!(matches!(error, StreamsError::Lost(_)), "{error}");
}

/// Else a peer that has read lane 0 to its end would believe that nothing else comes.
#[tokio::test]
async fn all_lanes_are_announced_on_the_first() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, theirs) = between.admitted().await;
    let ours = streams_of(ours, false);
    let mut raw = Raw::new(theirs);
    let mut lanes = BTreeMap::new();
    let arriving = async {
        while lanes.len() < LANES {
            let arrived = raw.arrived().await;
            let Carries::Lane(number) = arrived.header.carries else {
                panic!("{:?}", arrived.header);
            };
            lanes.insert(number, arrived.stream);
        }
    };
    let sending = async {
        loop {
            let mut batch = VecDeque::from([item(1)]);
            ours.try_send_batch(&mut batch).unwrap();
            poll_fn(|cx| ours.poll_writable(cx)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    soon(async {
        tokio::select! {
            () = arriving => {}
            () = sending => {}
        }
    })
    .await;
    while !ours.is_drained() {
        ours.try_send_batch(&mut VecDeque::new()).unwrap();
        soon(poll_fn(|cx| ours.poll_writable(cx))).await.unwrap();
    }
    ours.close();
    let mut first = lanes.remove(&0).unwrap();
    let octets = soon(first.read_to_end(1 << 20)).await.unwrap();
    let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
    let items = decoder.decode_all(&octets).unwrap();
    let announced = items.into_iter().filter_map(|item| match item {
        Item::Command(command) => Some(*command),
        Item::Message(_) => None,
    });
    assert!(announced.eq((1..LANES as u64).map(Command::Lane)));
}
