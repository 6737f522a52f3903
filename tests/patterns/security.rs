//! PLAIN and CURVE over real links: who may connect, and that nothing else gets through.

use withy::auth::{CurveAllowList, Metadata, PlainFile, ZAP_ENDPOINT, Zap};
use withy::trust::{Name, Terms};
use withy::{
    Dealer, EventKind, Home, Identity, Message, Monitor, Pull, Push, Rep, Req, Router, Trust,
    generate_key_pair,
};

use crate::support::{ANY, number, number_of, soon};

async fn refusal(monitor: &mut Monitor) -> String {
    soon(async {
        loop {
            if let Some(EventKind::HandshakeFailed { reason, .. }) =
                monitor.next().await.map(|event| event.kind)
            {
                return reason.to_string();
            }
        }
    })
    .await
}

#[tokio::test]
async fn curve_carries_every_size_to_those_on_the_list() {
    let (server, client) = (generate_key_pair(), generate_key_pair());
    let list = CurveAllowList::new([client.public()]);
    let pull = Pull::builder()
        .curve_server(server.clone())
        .authenticator(list)
        .build()
        .unwrap();
    let push = Push::builder()
        .curve_client(client, server.public())
        .build()
        .unwrap();
    every_size_passes("tcp://127.0.0.1:*", pull, push).await;
}

#[tokio::test]
async fn noise_and_quic_carry_every_size_within_one_identity() {
    for endpoint in ["tcp://127.0.0.1:*", "ipc://*", "quic://127.0.0.1:*"] {
        let identity = Identity::ephemeral();
        let pull = Pull::builder().identity(&identity).build().unwrap();
        let push = Push::builder().identity(&identity).build().unwrap();
        every_size_passes(endpoint, pull, push).await;
    }
}

async fn every_size_passes(endpoint: &str, pull: Pull, push: Push) {
    let endpoint = pull.bind_to(endpoint).await.unwrap();
    push.connect_to(endpoint).unwrap();
    let sizes = [
        0,
        1,
        64,
        255,
        256,
        4_000,
        32_768,
        100_000,
        300_000,
        1 << 20,
        5 << 20,
    ];
    let body = |size: usize| {
        (0..size)
            .map(|at| (at * 7 + size) as u8)
            .collect::<Vec<u8>>()
    };
    let sender = tokio::spawn(async move {
        for size in sizes {
            let mut message = Message::from(body(size));
            message.push(body(size / 2));
            push.send(message).await.unwrap();
        }
        for n in 0..50_000 {
            push.send(number(n)).await.unwrap();
        }
        push
    });
    for size in sizes {
        let message = soon(pull.recv()).await.unwrap();
        assert!(
            *message.first() == body(size) && *message.part(1).unwrap() == body(size / 2),
            "{size}"
        );
    }
    for n in 0..50_000 {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
    }
    soon(sender).await.unwrap();
}

#[tokio::test]
async fn curve_refuses_who_is_not_on_the_list_and_everybody_without_one() {
    let server = generate_key_pair();
    for listed in [true, false] {
        let mut builder = Pull::builder().curve_server(server.clone());
        if listed {
            builder = builder.authenticator(CurveAllowList::new([generate_key_pair().public()]));
        }
        let pull = builder.build().unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind_to(ANY).await.unwrap();
        let push = Push::builder()
            .curve_client(generate_key_pair(), server.public())
            .build()
            .unwrap();
        let mut theirs = push.monitor();
        push.connect_to(endpoint).unwrap();
        let reason = refusal(&mut monitor).await;
        assert!(reason.contains("400"), "{reason}");
        let reason = refusal(&mut theirs).await;
        assert!(
            reason.contains("refused") && reason.contains("400"),
            "{reason}"
        );
    }
    let pull = Pull::builder()
        .curve_server(server.clone())
        .allow_any_client()
        .build()
        .unwrap();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    let push = Push::builder()
        .curve_client(generate_key_pair(), server.public())
        .build()
        .unwrap();
    push.connect_to(endpoint).unwrap();
    push.send("any").await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap(), Message::from("any"));
}

#[tokio::test]
async fn other_mechanisms_and_wrong_keys_do_not_connect() {
    let server = generate_key_pair();
    let pull = Pull::builder()
        .curve_server(server.clone())
        .allow_any_client()
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    for push in [
        Push::new(),
        Push::builder()
            .plain_client("ada", "secret")
            .build()
            .unwrap(),
        Push::builder()
            .curve_client(generate_key_pair(), generate_key_pair().public())
            .build()
            .unwrap(),
    ] {
        push.connect_to(endpoint.clone()).unwrap();
        refusal(&mut monitor).await;
        assert_eq!(push.stats().peers, 0);
    }
    assert_eq!(pull.stats().connections, 0);
}

#[tokio::test]
async fn plain_users_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, "ada=secret\n").unwrap();
    let rep = Rep::builder()
        .plain_server()
        .authenticator(PlainFile::open(&path).unwrap())
        .build()
        .unwrap();
    let mut monitor = rep.monitor();
    let endpoint = rep.bind_to(ANY).await.unwrap();
    let client = |password: &str| {
        Req::builder()
            .plain_client("ada", password)
            .build()
            .unwrap()
    };
    let wrong = client("guess");
    wrong.connect_to(endpoint.clone()).unwrap();
    assert!(
        refusal(&mut monitor)
            .await
            .contains("unknown user or password")
    );
    let right = client("secret");
    right.connect_to(endpoint).unwrap();
    let asking = tokio::spawn(async move { right.request("who am I?").await });
    let request = soon(rep.recv()).await.unwrap();
    request.reply("ada").await.unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap(), Message::from("ada"));
    soon(async {
        loop {
            if let Some(EventKind::Connected(peer)) = monitor.next().await.map(|event| event.kind) {
                assert_eq!((peer.user.id.as_str(), peer.mechanism), ("ada", "PLAIN"));
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_zap_handler_in_the_process_decides() {
    let handler = Rep::bind(ZAP_ENDPOINT).await.unwrap();
    tokio::spawn(async move {
        while let Ok(request) = handler.recv().await {
            let frames: Vec<_> = request.message().frames().to_vec();
            assert_eq!(frames[0], *b"1.0");
            assert_eq!(frames[2], *b"domain");
            assert_eq!(frames[5], *b"PLAIN");
            let (status, text) = if frames[7] == *b"good" {
                ("200", "OK")
            } else {
                ("400", "no")
            };
            let id = frames[1].as_str().unwrap_or_default().to_owned();
            let user = frames[6].as_str().unwrap_or_default().to_owned();
            let mut rank = Metadata::default();
            rank.set("rank", "admiral").unwrap();
            let mut reply: Message = ["1.0", &id, status, text, &user].into_iter().collect();
            reply.push(rank.encode());
            request.reply(reply).await.unwrap();
        }
    });
    let server = Router::builder()
        .plain_server()
        .zap_domain("domain")
        .authenticator(Zap::new().unwrap())
        .build()
        .unwrap();
    let mut monitor = server.monitor();
    let endpoint = server.bind_to(ANY).await.unwrap();
    let dealer = |password: &str| {
        Dealer::builder()
            .plain_client("bob", password)
            .build()
            .unwrap()
    };
    let bad = dealer("bad");
    bad.connect_to(endpoint.clone()).unwrap();
    assert!(refusal(&mut monitor).await.contains("no"));
    let good = dealer("good");
    good.connect_to(endpoint).unwrap();
    good.send("in").await.unwrap();
    let (message, peer) = soon(server.recv_from()).await.unwrap();
    assert_eq!(message.part(1).unwrap(), "in");
    let peer = server.peer(peer).unwrap();
    assert_eq!(peer.user.id, "bob");
    assert_eq!(peer.user.metadata.value("Rank"), Some(&b"admiral"[..]));
    assert_eq!(peer.metadata.value("Socket-Type"), Some(&b"DEALER"[..]));
    assert!(bad.stats().peers == 0);
}

#[tokio::test]
async fn noise_lets_an_identity_in_that_both_sides_accepted() {
    let (ours, theirs) = (Identity::ephemeral(), Identity::ephemeral());
    let (trust, their_trust) = (Trust::new(), Trust::new());
    let pull = Pull::builder()
        .identity(&ours)
        .trust(&trust)
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to(ANY).await.unwrap();
    let push = Push::builder()
        .identity(&theirs)
        .trust(&their_trust)
        .build()
        .unwrap();
    let mut their_monitor = push.monitor();
    push.connect_to(endpoint).unwrap();
    // The side that dials does not trust, and says nothing of itself.
    let reason = refusal(&mut their_monitor).await;
    assert!(reason.contains(&ours.id().to_string()), "{reason}");
    assert!(refusal(&mut monitor).await.contains("400"));
    their_trust.accept(ours.id()).unwrap();
    let reason = refusal(&mut monitor).await;
    assert!(reason.contains(&theirs.id().to_string()), "{reason}");
    soon(async {
        while !refusal(&mut their_monitor)
            .await
            .contains("not trusted here")
        {}
    })
    .await;
    trust.accept(theirs.id()).unwrap();
    push.send("trusted").await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap(), Message::from("trusted"));
    soon(async {
        loop {
            if let Some(EventKind::Connected(peer)) = monitor.next().await.map(|event| event.kind) {
                let proven = peer.proven.as_ref().unwrap();
                assert_eq!(proven.shown.identity, theirs.id());
                assert_eq!(proven.shown.node, theirs.node());
                assert!(proven.post_quantum && peer.mechanism == "NOISE");
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_socket_in_two_networks_meets_the_members_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let home = |name: &str| Home::at(folder.path().join(name));
    let ours = home("ours");
    let networks = ["garden", "house"].map(|name| name.parse::<Name>().unwrap());
    let trust = Trust::new();
    for network in &networks {
        ours.create_network(network).unwrap();
        trust.join(ours.network(network).unwrap()).unwrap();
    }
    for (number, endpoint) in ["tcp://127.0.0.1:*", "quic://127.0.0.1:*"]
        .into_iter()
        .enumerate()
    {
        let pull = Pull::builder()
            .identity(&ours.identity().unwrap())
            .trust(&trust)
            .build()
            .unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind_to(endpoint).await.unwrap();
        for network in &networks {
            let theirs = home(&format!("{network}{number}"));
            let ticket = ours.invite(network, Terms::default(), None).unwrap();
            theirs.join(&ticket, None).unwrap();
            let push = Push::builder()
                .identity(&theirs.identity().unwrap())
                .trust(&Trust::open_in(&theirs, network).unwrap())
                .build()
                .unwrap();
            push.connect_to(endpoint.clone()).unwrap();
            push.send(network.as_str()).await.unwrap();
            let message = soon(pull.recv()).await.unwrap();
            assert_eq!(message.first(), network.as_str());
            let peer = soon(async {
                loop {
                    let event = monitor.next().await.unwrap();
                    if let EventKind::Connected(peer) = event.kind {
                        return peer;
                    }
                }
            })
            .await;
            let found = peer.proven.as_ref().unwrap().shown.network();
            assert_eq!(found, Some(ours.network(network).unwrap().network.id));
        }
        // Who is in none gets no answer.
        let stranger = Push::builder()
            .identity(&Identity::ephemeral())
            .build()
            .unwrap();
        let mut theirs = stranger.monitor();
        stranger.connect_to(endpoint).unwrap();
        soon(async {
            loop {
                if let EventKind::DialFailed { .. } = theirs.next().await.unwrap().kind {
                    return;
                }
            }
        })
        .await;
        assert_eq!(stranger.stats().peers, 0);
    }
}
