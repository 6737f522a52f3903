//! Names and passwords of PLAIN that are no text.

use serde_json::json;
use withy::auth::PlainFile;
use withy::{EventKind, Pull};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn octets_are_let_in_by_who_lets_all_in_and_refused_by_who_does_not_know_them() {
    let peer = Peer::start();
    let options = [
        ("PLAIN_USERNAME", json!("ad\u{e9}")),
        ("PLAIN_PASSWORD", json!("\u{ff}")),
    ];
    let open = Pull::builder().plain_server().allow_any_client();
    let open = open.build().unwrap();
    let theirs = peer.socket("PUSH", &options).await.unwrap();
    let endpoint = open.bind_to("tcp://127.0.0.1:*").await.unwrap();
    theirs.connect(&endpoint.to_string()).await.unwrap();
    theirs.send(&[b"hello"]).await.unwrap();
    assert_eq!(soon(open.recv()).await.unwrap().first(), "hello");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, "ad\u{e9}=\u{ff}\n").unwrap();
    let users = PlainFile::open(&path).unwrap();
    let strict = Pull::builder().plain_server().authenticator(users);
    let strict = strict.build().unwrap();
    let mut monitor = strict.monitor();
    let endpoint = strict.bind_to("tcp://127.0.0.1:*").await.unwrap();
    theirs.connect(&endpoint.to_string()).await.unwrap();
    let refused = async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::HandshakeFailed { reason, .. } = event.kind {
                return reason.to_string();
            }
        }
    };
    let reason = soon(refused).await;
    assert!(reason.contains("unknown user or password"), "{reason}");
}
