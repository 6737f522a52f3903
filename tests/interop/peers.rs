//! The foreign peers themselves: libzmq against libzmq, and the hand-made peer against libzmq.
//! What fails here is the test bench, not Withy.

use std::time::Duration;

use serde_json::json;
use withy_tests::load::Load;
use withy_tests::python::{KeyPair, Peer, Socket, latin1};
use withy_tests::{raw, scale};

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(200);

async fn pair(peer: &Peer, bound: &str, connected: &str) -> (Socket, Socket) {
    let bound = peer.socket(bound, &[]).await.unwrap();
    let connected = peer.socket(connected, &[]).await.unwrap();
    let endpoint = bound.bind("tcp://127.0.0.1:*").await.unwrap();
    connected.connect(&endpoint).await.unwrap();
    (bound, connected)
}

#[tokio::test]
async fn octets_survive_the_way_in_and_out() {
    let peer = Peer::start();
    assert_eq!(peer.version().await.unwrap(), "4.3.5");
    let (one, other) = pair(&peer, "PAIR", "PAIR").await;
    let all: Vec<u8> = (0..=255).collect();
    let message = [&all[..], b"", "ü\n\"".as_bytes()];
    one.send(&message).await.unwrap();
    assert_eq!(other.recv(SOON).await.unwrap().unwrap(), message);
    assert_eq!(other.recv(QUIET).await.unwrap(), None);
}

#[tokio::test]
async fn loads_are_the_same_at_both_ends() {
    let peer = Peer::start();
    let (push, pull) = pair(&peer, "PUSH", "PULL").await;
    let count = scale::count(2_000, 1_000_000);
    let load = Load::mixed(count, 2, vec![0, 1, 8, 255, 256, 5000], scale::seed());
    let (sent, received) = tokio::join!(
        push.send_load(&load, &[], LONG),
        pull.recv_load(&load, 0, LONG)
    );
    assert_eq!(sent.unwrap(), load.count);
    assert_eq!(received.unwrap().octets, load.octets());
    scale::report("libzmq to libzmq, messages", load.count);

    let first = Load::mixed(3, 2, vec![0, 7, 9000], 5);
    push.send_load(&first, &[], SOON).await.unwrap();
    for index in 0..first.count {
        first.check(index, &pull.recv(SOON).await.unwrap().unwrap());
    }
    push.send(&[b"another"]).await.unwrap();
    let wrong = pull.recv_load(&first, 0, SOON).await.unwrap_err();
    assert_eq!(wrong.kind, "ValueError");
}

#[tokio::test]
async fn an_echo_and_a_proxy_pass_requests_along() {
    let peer = Peer::start();
    let (front, req) = pair(&peer, "ROUTER", "REQ").await;
    let (back, rep) = pair(&peer, "DEALER", "REP").await;
    let (capture, tap) = pair(&peer, "PUSH", "PULL").await;
    front.proxy(&back, Some(&capture)).await.unwrap();
    let client = async {
        for request in 0..20_u8 {
            req.send(&[[request]]).await.unwrap();
            let reply = req.recv(SOON).await.unwrap();
            assert_eq!(reply, Some(vec![vec![request]]));
        }
    };
    let (echoed, ()) = tokio::join!(rep.echo(20, LONG), client);
    assert_eq!(echoed.unwrap(), 20);
    // A request and a reply, with the ROUTER's name for the client.
    for _ in 0..40 {
        assert_eq!(tap.recv(SOON).await.unwrap().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn an_endless_wait_can_be_stopped() {
    let peer = Peer::start();
    let pull = peer.socket("PULL", &[]).await.unwrap();
    let (received, stopped) = tokio::join!(pull.recv(LONG), pull.stop());
    assert_eq!(received.unwrap(), None);
    stopped.unwrap();
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let peer = Peer::start();
    let (xpub, sub) = pair(&peer, "XPUB", "SUB").await;
    sub.subscribe(b"a").await.unwrap();
    assert_eq!(xpub.recv(SOON).await.unwrap().unwrap(), [b"\x01a"]);
    xpub.send(&[b"b"]).await.unwrap();
    xpub.send(&[b"ab"]).await.unwrap();
    assert_eq!(sub.recv(SOON).await.unwrap().unwrap(), [b"ab"]);
    sub.unsubscribe(b"a").await.unwrap();
    assert_eq!(xpub.recv(SOON).await.unwrap().unwrap(), [b"\x00a"]);
}

#[tokio::test]
async fn curve_and_zap_let_in_whom_they_should() {
    let peer = Peer::start();
    let [server, good, bad] = [
        peer.key_pair().await.unwrap(),
        peer.key_pair().await.unwrap(),
        peer.key_pair().await.unwrap(),
    ];
    let options = |own: &KeyPair| {
        [
            ("CURVE_PUBLICKEY", json!(own.public)),
            ("CURVE_SECRETKEY", json!(own.secret)),
            ("CURVE_SERVERKEY", json!(server.public)),
        ]
    };
    let stranger = peer.socket("PUSH", &options(&bad)).await.unwrap();
    let friend = peer.socket("PUSH", &options(&good)).await.unwrap();
    peer.zap(json!({"CURVE": [[good.credential]]}))
        .await
        .unwrap();
    let server_options = [
        ("CURVE_SERVER", json!(1)),
        ("CURVE_SECRETKEY", json!(server.secret)),
        ("ZAP_DOMAIN", json!("test")),
    ];
    let pull = peer.socket("PULL", &server_options).await.unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:*").await.unwrap();
    let monitor = stranger.monitor().await.unwrap();
    stranger.connect(&endpoint).await.unwrap();
    let refused = monitor.expect_event("HANDSHAKE_FAILED_AUTH", SOON).await;
    assert_eq!(refused.unwrap().value, 400);
    friend.connect(&endpoint).await.unwrap();
    friend.send(&[b"hello"]).await.unwrap();
    assert_eq!(pull.recv(SOON).await.unwrap().unwrap(), [b"hello"]);
    let requests = peer.zap_requests().await.unwrap();
    assert!(requests.iter().all(|request| request["domain"] == "test"));
    assert!(requests.len() >= 2);
}

#[tokio::test]
async fn plain_credentials_are_compared() {
    let peer = Peer::start();
    peer.zap(json!({"PLAIN": [["admin", "secret"]]}))
        .await
        .unwrap();
    let options = [("PLAIN_SERVER", json!(1))];
    let pull = peer.socket("PULL", &options).await.unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:*").await.unwrap();
    for (password, event) in [
        ("secret", "HANDSHAKE_SUCCEEDED"),
        ("guess", "HANDSHAKE_FAILED_AUTH"),
    ] {
        let options = [
            ("PLAIN_USERNAME", json!("admin")),
            ("PLAIN_PASSWORD", json!(password)),
        ];
        let push = peer.socket("PUSH", &options).await.unwrap();
        let monitor = push.monitor().await.unwrap();
        push.connect(&endpoint).await.unwrap();
        monitor.expect_event(event, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn faults_come_back_as_errors() {
    let peer = Peer::start();
    let one = peer.socket("PULL", &[]).await.unwrap();
    let two = peer.socket("PULL", &[]).await.unwrap();
    let endpoint = one.bind("tcp://127.0.0.1:*").await.unwrap();
    assert_eq!(two.bind(&endpoint).await.unwrap_err().kind, "EADDRINUSE");
    let push = peer.socket("PUSH", &[]).await.unwrap();
    let full = push.send_within(&[b"nobody"], QUIET).await.unwrap_err();
    assert_eq!(full.kind, "EAGAIN");
    let unknown = peer.socket("PUSHER", &[]).await.unwrap_err();
    assert_eq!(unknown.kind, "AttributeError");
    let copy = push.clone();
    push.close().await.unwrap();
    assert_eq!(copy.recv(QUIET).await.unwrap_err().kind, "closed");
}

#[tokio::test]
async fn the_hand_made_peer_speaks_with_libzmq() {
    let peer = Peer::start();
    let options = [("SUBSCRIBE", json!(latin1(b"t\xff")))];
    let sub = peer.socket("SUB", &options).await.unwrap();
    let endpoint = sub.bind("tcp://127.0.0.1:*").await.unwrap();

    let mut publisher = raw::Peer::connect(&endpoint).await.unwrap();
    let ready = publisher.handshake("PUB").await.unwrap();
    let (_, properties) = ready.command().unwrap();
    assert_eq!(properties, raw::metadata(&[("Socket-Type", b"SUB")]));
    // libzmq subscribes when its application next asks for something.
    assert_eq!(sub.recv(QUIET).await.unwrap(), None);
    let subscribe = raw::command("SUBSCRIBE", b"t\xff");
    publisher.expect(&subscribe).await.unwrap();
    let body = vec![7; 300];
    let message = raw::message(&[&b"t\xff"[..], &body]);
    publisher.dribble(&message).await.unwrap();
    let came = sub.recv(SOON).await.unwrap().unwrap();
    assert_eq!(came, [&b"t\xff"[..], &body]);
    publisher.expect_silence(QUIET).await.unwrap();
    drop(publisher);

    let mut wrong = raw::Peer::connect(&endpoint).await.unwrap();
    wrong.handshake("PUSH").await.unwrap();
    wrong.expect_close(SOON).await.unwrap();
}

#[tokio::test]
async fn the_hand_made_listener_takes_connections() {
    let peer = Peer::start();
    let listener = raw::Listener::bind().await.unwrap();
    let push = peer.socket("PUSH", &[]).await.unwrap();
    push.connect(&listener.endpoint().unwrap()).await.unwrap();
    let mut pull = listener.accept().await.unwrap();
    pull.handshake("PULL").await.unwrap();
    push.send(&[b"one", &[1; 256][..]]).await.unwrap();
    let first = pull.frame().await.unwrap();
    assert_eq!((first.flags, &first.body[..]), (raw::MORE, &b"one"[..]));
    assert_eq!(pull.frame().await.unwrap().flags, raw::LONG);
    pull.reset().unwrap();
    // The other side heals by itself.
    listener.accept().await.unwrap();
}
