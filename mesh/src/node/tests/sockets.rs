//! Plain sockets of each type, which bind and connect by name.

use SocketType::{Dealer, Pair, Pub, Pull, Push, Router, Sub, XPub, XSub};
use withy_proto::{Frame, Message};

use super::*;
use crate::AnySocket;

/// Who binds and who connects.
const TABLE: [(SocketType, SocketType); 13] = [
    (Pub, Sub),
    (Sub, Pub),
    (Pub, XSub),
    (XSub, Pub),
    (XPub, Sub),
    (XPub, XSub),
    (XSub, XPub),
    (Dealer, Router),
    (Router, Dealer),
    (Dealer, Dealer),
    (Push, Pull),
    (Pull, Push),
    (Pair, Pair),
];

/// One direction: what one socket sends the other receives, and what comes of it.
async fn talk(from: &AnySocket, to: &AnySocket) {
    match (from.kind(), to.kind()) {
        (Pub | XPub, _) => {
            to.subscribe("topic", true);
            soon(from.wait_subscribed(1)).await.unwrap();
            if from.kind() == XPub {
                let told = soon(from.recv()).await.unwrap();
                assert_eq!(told.first(), &b"\x01topic"[..]);
            }
            for text in ["another", "topic"] {
                soon(from.send(text)).await.unwrap();
            }
            assert_eq!(soon(to.recv()).await.unwrap().first(), "topic");
        }
        (Dealer, Router) => {
            soon(from.send("ask")).await.unwrap();
            let asked = soon(to.recv()).await.unwrap().into_frames();
            assert_eq!(asked[1..], [Frame::from("ask")]);
            let answer = vec![asked[0].clone(), Frame::from("answer")];
            soon(to.send(Message::from_frames(answer))).await.unwrap();
            assert_eq!(soon(from.recv()).await.unwrap().first(), "answer");
        }
        (Dealer | Pair, _) | (Push, Pull) => {
            soon(from.send("work")).await.unwrap();
            assert_eq!(soon(to.recv()).await.unwrap().first(), "work");
        }
        // The other direction is the one that says something.
        _ => {}
    }
}

#[tokio::test]
async fn sockets_of_each_type_bind_and_connect_by_name() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    for (binds, connects) in TABLE {
        // Somebody else has the name, whom it does not talk to.
        let name = format!("mesh://{}-{}", binds.name(), connects.name());
        let stranger = if binds == Pair { Pull } else { Pair };
        let other = AnySocket::builder(stranger).node(&two).build().unwrap();
        other.bind_to(name.as_str()).await.unwrap();
        let bound = AnySocket::builder(binds).node(&one).build().unwrap();
        bound.bind_to(name.as_str()).await.unwrap();
        let connected = AnySocket::builder(connects).node(&two).build().unwrap();
        connected.connect_to(name.as_str()).unwrap();
        for socket in [&bound, &connected] {
            soon(socket.wait_peers(1)).await.unwrap();
        }
        talk(&bound, &connected).await;
        talk(&connected, &bound).await;
        // The name ends with the socket.
        drop(bound);
        soon(async {
            while connected.stats().peers > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
