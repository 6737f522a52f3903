//! A proxy: what it moves, what it does not wait for, and how it ends.

use withy::proxy::{Passed, ProxyStatistics};
use withy::{Dealer, Proxy, ProxyControl, Pull, Push, Rep, Req, Router};

use crate::support::{ANY, number, number_of, only, soon};

/// Waits until the statistics say something.
async fn until(control: &ProxyControl, holds: impl Fn(&ProxyStatistics) -> bool) {
    let waiting = async {
        while !holds(&control.statistics()) {
            tokio::task::yield_now().await;
        }
    };
    soon(waiting).await;
}

/// A streamer whose backend has no peer, and a socket that has sent `count` numbers to it.
async fn streamer(count: u64) -> (Proxy, Push, Push) {
    let (pull, backend) = (
        Pull::bind(ANY).await.unwrap(),
        Push::bind(ANY).await.unwrap(),
    );
    let push = Push::connect(only(pull.endpoints())).unwrap();
    for n in 0..count {
        push.send(number(n)).await.unwrap();
    }
    (Proxy::new(pull, backend.clone()), backend, push)
}

async fn expect(pull: &Pull, count: u64) {
    for n in 0..count {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
}

#[tokio::test]
async fn a_client_that_never_reads_stops_nobody() {
    let (clients, workers) = (
        Router::bind(ANY).await.unwrap(),
        Dealer::bind(ANY).await.unwrap(),
    );
    let front = only(clients.endpoints());
    let rep = Rep::connect(only(workers.endpoints())).unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = rep.recv().await {
            let reply = request.take_message();
            let _ = request.reply(reply).await;
        }
    });
    let mut proxy = Proxy::new(clients, workers);
    let control = proxy.control();
    let running = tokio::spawn(async move { proxy.run().await });

    let greedy = Dealer::connect(front.clone()).unwrap();
    let filling = async {
        while control.statistics().frontend_dropped.messages == 0 {
            let request = [vec![], vec![0; 60_000]]
                .into_iter()
                .collect::<withy::Message>();
            greedy.send(request).await.unwrap();
        }
    };
    soon(filling).await;
    let req = Req::connect(front).unwrap();
    for n in 0..1_000 {
        assert_eq!(number_of(&soon(req.request(number(n))).await.unwrap()), n);
    }
    control.terminate();
    soon(running).await.unwrap().unwrap();
    let counted = control.statistics();
    let back = counted.frontend_sent.messages + counted.frontend_dropped.messages;
    assert_eq!(counted.backend_received.messages, back, "{counted:?}");
}

#[tokio::test]
async fn while_it_waits_for_room_it_can_be_paused() {
    let (mut proxy, backend, _push) = streamer(3).await;
    let control = proxy.control();
    tokio::spawn(async move { proxy.run().await });
    until(&control, |counted| counted.frontend_received.messages == 3).await;
    control.pause();
    let pull = Pull::connect(only(backend.endpoints())).unwrap();
    soon(backend.ready()).await.unwrap();
    assert!(
        pull.recv_timeout(std::time::Duration::from_millis(50))
            .await
            .is_err()
    );
    assert_eq!(control.statistics().backend_sent, Passed::default());
    control.resume();
    expect(&pull, 3).await;
}

#[tokio::test]
async fn while_it_waits_for_room_it_can_be_ended_and_counts_what_it_held() {
    let (mut proxy, _backend, _push) = streamer(3).await;
    let control = proxy.control();
    let running = tokio::spawn(async move { proxy.run().await });
    until(&control, |counted| counted.frontend_received.messages == 3).await;
    control.terminate();
    soon(running).await.unwrap().unwrap();
    let counted = control.statistics();
    let three = Passed {
        messages: 3,
        octets: 24,
    };
    assert_eq!(
        (counted.backend_dropped, counted.backend_sent),
        (three, Passed::default())
    );
}

#[tokio::test]
async fn a_run_that_is_dropped_loses_nothing() {
    const COUNT: u64 = 600;
    let (mut proxy, backend, _push) = streamer(COUNT).await;
    let control = proxy.control();
    tokio::select! {
        ended = proxy.run() => panic!("{ended:?}"),
        () = until(&control, |counted| counted.frontend_received.messages > 0) => {}
    }
    let pull = Pull::connect(only(backend.endpoints())).unwrap();
    // Each run is dropped after a message or a few.
    for n in 0..COUNT {
        let message = tokio::select! {
            biased;
            message = soon(pull.recv()) => message.unwrap(),
            ended = proxy.run() => panic!("{ended:?}"),
        };
        assert_eq!(number_of(&message), n);
    }
    assert_eq!(control.statistics().backend_sent.messages, COUNT);
}

#[tokio::test]
async fn the_capture_sees_what_passes_and_what_it_misses_is_counted() {
    for peer in [true, false] {
        let (proxy, backend, _push) = streamer(3).await;
        let capture = Push::bind(ANY).await.unwrap();
        let captured = Pull::new();
        if peer {
            captured.connect_to(only(capture.endpoints())).unwrap();
            soon(capture.ready()).await.unwrap();
        }
        let mut proxy = proxy.capture(capture);
        let control = proxy.control();
        tokio::spawn(async move { proxy.run().await });
        let pull = Pull::connect(only(backend.endpoints())).unwrap();
        expect(&pull, 3).await;
        if peer {
            expect(&captured, 3).await;
        }
        let missed = control.statistics().capture_missed.messages;
        assert_eq!(missed, if peer { 0 } else { 3 });
    }
}
