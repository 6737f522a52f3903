//! REQ and REP: every request ends, and the next one can go.

use std::sync::Arc;
use std::time::Duration;

use withy::options::RequestOptions;
use withy::{Message, ReceiveError, Rep, Req, RequestError, Router, SendError};

use crate::support::{ANY, Way, each_link, each_way, number, number_of, only, soon};

#[tokio::test]
async fn many_requests_are_in_flight_to_a_withy_rep() {
    for way in each_way("in-flight") {
        in_flight(&way).await;
    }
}

async fn in_flight(way: &Way) {
    let rep = way.server(Rep::builder());
    let endpoint = rep.bind_to(way.any()).await.unwrap();
    let req = way.client(Req::builder());
    req.connect_to(endpoint).unwrap();
    let clients: Vec<_> = (0..50)
        .map(|n| {
            let req = req.clone();
            tokio::spawn(async move { req.request(number(n)).await.map(|reply| number_of(&reply)) })
        })
        .collect();
    let mut requests = Vec::new();
    for _ in 0..50 {
        requests.push(soon(rep.recv()).await.unwrap());
    }
    // The last comes first.
    for request in requests.into_iter().rev() {
        let reply = number(number_of(request.message()) + 1_000);
        request.reply(reply).await.unwrap();
    }
    for (n, client) in clients.into_iter().enumerate() {
        assert_eq!(soon(client).await.unwrap().unwrap(), n as u64 + 1_000);
    }
}

#[tokio::test]
async fn a_plain_peer_has_one_request_in_flight_and_a_late_reply_is_swallowed() {
    // A ROUTER that does not announce the extension gets the plain envelope.
    let router = Router::bind(ANY).await.unwrap();
    let options = RequestOptions {
        grace: Duration::from_secs(60),
        ..RequestOptions::default()
    };
    let req = Arc::new(Req::builder().request_options(options).build().unwrap());
    req.connect_to(only(router.endpoints())).unwrap();

    let first = req
        .request_timeout("first", Duration::from_millis(50))
        .await;
    assert!(matches!(first, Err(RequestError::Timeout)), "{first:?}");
    let asked = soon(router.recv()).await.unwrap();
    assert_eq!(asked.len(), 3, "routing id, delimiter, body");

    let second = tokio::spawn({
        let req = Arc::clone(&req);
        async move { req.request("second").await }
    });
    assert!(matches!(
        router.recv_timeout(Duration::from_millis(100)).await,
        Err(ReceiveError::Timeout)
    ));
    router.send(asked).await.unwrap();
    let asked = soon(router.recv()).await.unwrap();
    assert_eq!(asked.part(2).unwrap(), "second");
    router.send(asked).await.unwrap();
    assert_eq!(
        soon(second).await.unwrap().unwrap(),
        Message::from("second")
    );
    assert_eq!(req.stats().late_replies, 1);
}

#[tokio::test]
async fn a_peer_that_never_replies_is_replaced_after_the_grace() {
    let router = Router::bind(ANY).await.unwrap();
    let options = RequestOptions {
        grace: Duration::from_millis(50),
        ..RequestOptions::default()
    };
    let req = Req::builder().request_options(options).build().unwrap();
    req.connect_to(only(router.endpoints())).unwrap();
    for round in 0..3 {
        let result = req
            .request_timeout(number(round), Duration::from_millis(300))
            .await;
        assert!(matches!(result, Err(RequestError::Timeout)), "{result:?}");
        let asked = soon(router.recv()).await.unwrap();
        assert_eq!(
            number_of(&Message::from(asked.part(2).unwrap().clone())),
            round
        );
    }
}

#[tokio::test]
async fn a_request_fails_when_its_peer_goes_and_the_next_finds_another() {
    for way in each_link("goes") {
        finds_another(&way).await;
    }
}

async fn finds_another(way: &Way) {
    let rep = way.server(Rep::builder());
    let endpoint = rep.bind_to(way.any()).await.unwrap();
    let req = way.client(Req::builder());
    req.connect_to(endpoint.clone()).unwrap();
    let asking = tokio::spawn({
        let req = req.clone();
        async move { req.request("lost").await }
    });
    let request = soon(rep.recv()).await.unwrap();
    rep.close().await;
    assert!(matches!(
        soon(asking).await.unwrap(),
        Err(RequestError::PeerGone)
    ));
    assert!(matches!(
        request.reply("too late").await,
        Err(SendError::Closed(_) | SendError::PeerGone(_))
    ));

    let rep = way.server(Rep::builder());
    rep.bind_to(endpoint).await.unwrap();
    let asking = tokio::spawn(async move { req.request("again").await });
    soon(rep.recv())
        .await
        .unwrap()
        .reply("found")
        .await
        .unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap(), Message::from("found"));
}

#[tokio::test]
async fn lock_step_is_kept_and_a_request_without_a_peer_comes_back() {
    let rep = Rep::bind(ANY).await.unwrap();
    let req = Req::connect(only(rep.endpoints())).unwrap();
    assert!(matches!(req.recv().await, Err(ReceiveError::NotYourTurn)));
    req.send("one").await.unwrap();
    assert!(
        matches!(req.send("two").await, Err(SendError::NotYourTurn(message)) if message == Message::from("two"))
    );
    soon(rep.recv())
        .await
        .unwrap()
        .reply("reply")
        .await
        .unwrap();
    assert_eq!(soon(req.recv()).await.unwrap(), Message::from("reply"));

    let lonely = Req::new();
    lonely.bind_to(ANY).await.unwrap();
    let result = lonely
        .request_timeout("nobody", Duration::from_millis(20))
        .await;
    assert!(
        matches!(result, Err(RequestError::NotSent(message)) if message == Message::from("nobody"))
    );
}

/// One request at a time in the lock-step, also while a call is under way; a cancelled call frees
/// the turn, or leaves the request outstanding.
#[tokio::test]
async fn lock_step_is_kept_among_calls_at_the_same_time() {
    let req = Req::new();
    let not_yet = |result| {
        assert!(
            matches!(result, Err(SendError::NotYourTurn(_))),
            "{result:?}"
        )
    };
    for _ in 0..2 {
        tokio::select! {
            biased;
            sent = req.send("nobody takes it") => panic!("{sent:?}"),
            second = soon(req.send("second")) => not_yet(second),
        }
    }
    let rep = Rep::bind(ANY).await.unwrap();
    req.connect_to(only(rep.endpoints())).unwrap();
    soon(req.send("one")).await.unwrap();
    let request = soon(rep.recv()).await.unwrap();
    tokio::select! {
        biased;
        received = req.recv() => panic!("{received:?}"),
        second = soon(req.send("second")) => not_yet(second),
    }
    not_yet(req.send("second").await);
    request.reply("reply").await.unwrap();
    assert_eq!(soon(req.recv()).await.unwrap(), Message::from("reply"));
    soon(req.send("two")).await.unwrap();
    assert_eq!(soon(rep.recv()).await.unwrap().message().first(), "two");
}

/// A peer that replies and leaves has replied: whoever reads the replies, and whoever notices
/// first that the peer is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reply_that_came_before_the_peer_left_is_not_lost() {
    for _ in 0..50 {
        let rep = Rep::bind(ANY).await.unwrap();
        let req = Req::connect(only(rep.endpoints())).unwrap();
        let asked: Vec<_> = (0..8)
            .map(|n| {
                let req = req.clone();
                tokio::spawn(async move { req.request(number(n)).await })
            })
            .collect();
        let mut requests = Vec::new();
        for _ in 0..asked.len() {
            requests.push(soon(rep.recv()).await.unwrap());
        }
        for request in requests {
            let reply = request.message().clone();
            request.reply(reply).await.unwrap();
        }
        rep.close().await;
        for (n, asked) in asked.into_iter().enumerate() {
            let reply = soon(asked).await.unwrap().unwrap();
            assert_eq!(number_of(&reply), n as u64);
        }
    }
}
