//! REQ_CORRELATE and REQ_RELAXED, and a ROUTER that says it keeps envelopes.

use withy::options::RequestOptions;
use withy::{Message, Req, Router, SendError};

use crate::support::{ANY, only, soon};

fn req(correlate: bool, relaxed: bool) -> Req {
    let options = RequestOptions {
        correlate,
        relaxed,
        ..RequestOptions::default()
    };
    Req::builder().request_options(options).build().unwrap()
}

/// Takes two requests that are both open, and replies to the last first.
async fn answer_backwards(router: &Router) {
    let one = soon(router.recv()).await.unwrap();
    let two = soon(router.recv()).await.unwrap();
    for request in [&one, &two] {
        let lengths: Vec<_> = request.frames().iter().map(|frame| frame.len()).collect();
        assert_eq!(lengths, [5, 4, 0, 3], "routing id, request id, empty, body");
    }
    assert_ne!(one.part(1), two.part(1));
    router.send(two).await.unwrap();
    router.send(one).await.unwrap();
}

async fn two_at_once(router: Router, req: Req) {
    req.connect_to(only(router.endpoints())).unwrap();
    let asking = async { tokio::join!(req.request("one"), req.request("two")) };
    let (_, (one, two)) = tokio::join!(answer_backwards(&router), soon(asking));
    assert_eq!(one.unwrap(), Message::from("one"));
    assert_eq!(two.unwrap(), Message::from("two"));
}

#[tokio::test]
async fn a_req_that_correlates_has_many_requests_open_at_any_router() {
    two_at_once(Router::bind(ANY).await.unwrap(), req(true, false)).await;
}

#[tokio::test]
async fn a_router_that_keeps_envelopes_gets_many_requests_of_any_withy_req() {
    let router = Router::builder().correlate().build().unwrap();
    router.bind_to(ANY).await.unwrap();
    two_at_once(router, req(false, false)).await;
}

#[tokio::test]
async fn a_relaxed_req_asks_again_and_gets_the_reply_to_the_last() {
    let router = Router::bind(ANY).await.unwrap();
    let req = req(true, true);
    req.connect_to(only(router.endpoints())).unwrap();
    req.send("one").await.unwrap();
    req.send("two").await.unwrap();
    for _ in 0..2 {
        let request = soon(router.recv()).await.unwrap();
        router.send(request).await.unwrap();
    }
    assert_eq!(soon(req.recv()).await.unwrap(), Message::from("two"));
    assert_eq!(req.stats().late_replies, 1);
}

#[tokio::test]
async fn a_strict_req_keeps_its_turn() {
    let router = Router::bind(ANY).await.unwrap();
    let req = req(true, false);
    req.connect_to(only(router.endpoints())).unwrap();
    req.send("one").await.unwrap();
    let refused = req.send("two").await;
    assert!(
        matches!(refused, Err(SendError::NotYourTurn(message)) if message == Message::from("two"))
    );
    let request = soon(router.recv()).await.unwrap();
    router.send(request).await.unwrap();
    assert_eq!(soon(req.recv()).await.unwrap(), Message::from("one"));
}

#[test]
fn relaxed_needs_correlate() {
    let options = RequestOptions {
        relaxed: true,
        ..RequestOptions::default()
    };
    let error = Req::builder().request_options(options).build().unwrap_err();
    assert_eq!(error.field, "relaxed");
}
