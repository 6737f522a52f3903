//! Without keys an authenticator is asked about the address of the peer, on both sides; over inproc
//! about nobody.

use std::sync::{Arc, Mutex};

use withy::auth::{AuthRequest, Deciding, Decision};
use withy::{Authenticator, Credentials, EventKind, Pull, Push};

use crate::support::{ANY, event, soon};

#[derive(Debug)]
struct Notes {
    accepts: bool,
    asked: Mutex<Vec<AuthRequest>>,
}

impl Notes {
    fn new(accepts: bool) -> Arc<Self> {
        Arc::new(Self {
            accepts,
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<AuthRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Authenticator for Notes {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        self.asked.lock().unwrap().push(request.clone());
        Box::pin(std::future::ready(if self.accepts {
            Decision::accept("somebody")
        } else {
            Decision::deny("nobody")
        }))
    }
}

#[tokio::test]
async fn both_sides_are_asked_about_the_address() {
    let (ours, theirs) = (Notes::new(true), Notes::new(true));
    let pull = Pull::builder()
        .authenticator(ours.clone())
        .zap_domain("home")
        .build()
        .unwrap();
    let push = Push::builder()
        .authenticator(theirs.clone())
        .build()
        .unwrap();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    push.connect_to(endpoint.clone()).unwrap();
    push.send("hello").await.unwrap();
    let (_, from) = soon(pull.recv_from()).await.unwrap();
    assert_eq!(pull.peer(from).unwrap().user.id, "somebody");
    for (notes, domain) in [(&ours, "home"), (&theirs, "")] {
        let asked = notes.asked();
        assert_eq!(asked.len(), 1, "once for each connection");
        assert_eq!(asked[0].credentials, Credentials::Null);
        assert_eq!(asked[0].domain, domain);
        assert!(asked[0].address.contains("127.0.0.1"), "{asked:?}");
    }
}

#[tokio::test]
async fn either_side_may_refuse() {
    for we_refuse in [true, false] {
        let (ours, theirs) = (Notes::new(!we_refuse), Notes::new(we_refuse));
        let pull = Pull::builder().authenticator(ours).build().unwrap();
        let push = Push::builder().authenticator(theirs).build().unwrap();
        let mut monitor = if we_refuse {
            pull.monitor()
        } else {
            push.monitor()
        };
        let endpoint = pull.bind_to(ANY).await.unwrap();
        push.connect_to(endpoint).unwrap();
        event(&mut monitor, |kind| {
            assert!(!matches!(kind, EventKind::Connected(_)));
            matches!(kind, EventKind::HandshakeFailed { .. }).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_peer_of_this_process_is_not_asked_about() {
    let notes = Notes::new(false);
    let pull = Pull::builder()
        .authenticator(notes.clone())
        .build()
        .unwrap();
    pull.bind_to("inproc://not asked about").await.unwrap();
    let push = Push::connect("inproc://not asked about").unwrap();
    push.send("hello").await.unwrap();
    soon(pull.recv()).await.unwrap();
    assert!(notes.asked().is_empty());
}
