//! Peers that want much and read nothing.

use std::time::Duration;

use tokio::time::timeout;
use withy::options::HighWaterMark;
use withy::{Dealer, Message, Reason, Rep, SocketType};
use withy_tests::{raw, scale};

use crate::memory::{self, Growth};
use crate::victim::{Config, siege_alone, within};

/// What the greedy ask for at a time.
const LARGE: usize = 1 << 20;
/// Beyond the high-water mark of 16 MiB there is what is being written and what was read last.
const ENOUGH: usize = 80 << 20;

#[tokio::test]
async fn a_subscriber_that_does_not_read_misses_what_it_has_no_room_for() {
    let memory = Growth::alone().await;
    for kind in [SocketType::Pub, SocketType::XPub] {
        siege_alone(Config::new(kind), async |victim| {
            let before = victim.stats();
            let mut peer = victim.peer().await;
            peer.send(&raw::command("SUBSCRIBE", b"large"))
                .await
                .unwrap();
            victim.keeps(&mut peer).await;
            let body: Message = ["large".to_owned(), "x".repeat(LARGE)]
                .into_iter()
                .collect();
            for _ in 0..64 {
                victim.socket.try_send(body.clone()).unwrap();
                tokio::task::yield_now().await;
            }
            let dropped = victim.stats().dropped - before.dropped;
            assert!(dropped >= 32, "{dropped}");
            // What it missed is counted, and it stays until it goes.
            peer.finish().await.unwrap();
            assert_eq!(victim.closes(peer).await, Reason::PeerClosed);
        })
        .await;
    }
    memory.within(ENOUGH);
}

#[tokio::test]
async fn a_dealer_that_does_not_read_keeps_no_router_from_the_others() {
    let memory = Growth::alone().await;
    siege_alone(Config::new(SocketType::Router), async |victim| {
        let before = victim.unsendable();
        let mut peer = victim.peer().await;
        let large = raw::message(&[vec![7; LARGE]]);
        for _ in 0..64 {
            peer.send(&large).await.unwrap();
        }
        within(10, async {
            while victim.unsendable() - before < 32 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let address = peer.address().unwrap();
        peer.reset().unwrap();
        assert_eq!(victim.loss(&address).await, Reason::PeerClosed);
    })
    .await;
    memory.within(ENOUGH);
}

#[tokio::test]
async fn a_rep_does_not_read_who_does_not_read_its_replies() {
    let memory = Growth::alone().await;
    siege_alone(Config::new(SocketType::Rep), async |victim| {
        let mut peer = victim.peer().await;
        let request = raw::message(&[vec![], vec![7; LARGE]]);
        let mut sent = 0;
        // It goes on until the socket takes no more.
        while timeout(Duration::from_millis(200), peer.send(&request))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent < 256, "{sent} requests without a reply read");
        }
        assert!(sent >= 16, "{sent}");
        let address = peer.address().unwrap();
        peer.reset().unwrap();
        assert_eq!(victim.loss(&address).await, Reason::PeerClosed);
    })
    .await;
    memory.within(ENOUGH);
}

/// A peer that reads late gets all its replies: backing up is no loss.
#[tokio::test]
async fn replies_that_waited_for_their_reader_all_arrive() {
    let _shared = memory::shared().await;
    let count = scale::count(20_000, 200_000);
    for endpoint in ["tcp://127.0.0.1:*", "ipc://*", "inproc://late-reader"] {
        let rep = Rep::bind(endpoint).await.unwrap();
        let dealer = Dealer::builder()
            .receive_high_water_mark(HighWaterMark {
                messages: 10,
                ..HighWaterMark::default()
            })
            .build()
            .unwrap();
        dealer.connect_to(rep.endpoints().remove(0)).unwrap();
        let server = tokio::spawn({
            let rep = rep.clone();
            async move {
                while let Ok(mut request) = rep.recv().await {
                    let message = request.take_message();
                    request.reply(message).await.unwrap();
                }
            }
        });
        let number = |n: u64| -> Message {
            [&b""[..], &n.to_be_bytes(), &[7; 1_000]]
                .into_iter()
                .collect()
        };
        let mut sent = 0;
        // Until nothing moves.
        while sent < count
            && dealer
                .send_timeout(number(sent), Duration::from_millis(200))
                .await
                .is_ok()
        {
            sent += 1;
        }
        assert!(
            sent < count,
            "it took {sent} requests, and no reply was read"
        );
        let sending = tokio::spawn({
            let dealer = dealer.clone();
            async move {
                for n in sent..count {
                    dealer.send(number(n)).await.unwrap();
                }
            }
        });
        for n in 0..count {
            let reply = within(10, dealer.recv()).await.unwrap();
            assert_eq!(reply, number(n));
        }
        sending.await.unwrap();
        rep.close().await;
        server.await.unwrap();
    }
}
