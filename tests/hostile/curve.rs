//! CURVE under attack: clients without the mechanism, frames that come twice or in another order.

use withy::event::HandshakeFailure;
use withy::{Reason, SocketType, generate_key_pair};
use withy_proto::mechanism::curve::PLAINTEXT_AT;
use withy_proto::zmtp::DecodeError;
use withy_tests::raw;

use crate::client::{Client, seal};
use crate::victim::{Config, siege};

#[tokio::test]
async fn whoever_does_not_speak_curve_is_refused() {
    let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
    let hello = raw::command("HELLO", b"\x03ada\x06secret");
    let clear = [
        [&raw::greeting(1, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(0, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(1, "PLAIN", false)[..], &hello].concat(),
        [&raw::greeting(1, "GSSAPI", false)[..], &hello].concat(),
        [&raw::greeting(1, "curve", false)[..], &hello].concat(),
        [&raw::greeting(1, "CURVE", true)[..], &hello].concat(),
        [&raw::greeting(1, "CURVE", false)[..], &ready].concat(),
        [&raw::greeting(1, "CURVE", false)[..], &hello].concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::command("INITIATE", &[7; 300]),
        ]
        .concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::command("HELLO", &[0; 194]),
        ]
        .concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::message(&["clear text"]),
        ]
        .concat(),
    ];
    siege(Config::curve(SocketType::Pull), async |victim| {
        for octets in &clear {
            let mut peer = victim.link().await;
            peer.send(octets).await.unwrap();
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(failure, HandshakeFailure::Protocol(_)),
                "{failure} for {octets:02x?}"
            );
        }
        // One who knows another server's key.
        let stranger = generate_key_pair();
        let mut client = Client::curve(victim, stranger.clone(), stranger.public(), 7).await;
        client.steps(2).await;
        let failure = victim.refuses(client.peer).await;
        assert!(matches!(failure, HandshakeFailure::Protocol(_)));
    })
    .await;
}

#[tokio::test]
async fn frames_that_come_twice_or_in_another_order_close_the_connection() {
    siege(Config::curve(SocketType::Pull), async |victim| {
        let (_other, mut foreign) = Client::honest(victim, 99).await.session().await;
        let foreign = seal(&mut foreign, &raw::message(&["of another session"]));
        for (seed, offence) in (0..).zip([
            "replayed",
            "replayed later",
            "reordered",
            "flipped",
            "cut",
            "foreign",
            "clear",
            "clear command",
            "unnamed",
        ]) {
            let (mut peer, mut sealer) = Client::honest(victim, seed).await.session().await;
            let first = seal(&mut sealer, &raw::message(&["first"]));
            let second = seal(&mut sealer, &raw::message(&["second"]));
            let third = seal(&mut sealer, &raw::message(&["third"]));
            let mut flipped = second.clone();
            *flipped.last_mut().unwrap() ^= 1;
            let octets = match offence {
                "replayed" => [&first[..], &first].concat(),
                "replayed later" => [&first[..], &second, &third, &first].concat(),
                // What is left out is allowed, as libzmq does it; what comes late is not.
                "reordered" => [&first[..], &third, &second].concat(),
                "flipped" => [first, flipped].concat(),
                "cut" => [first, raw::frame(0, &second[2..2 + PLAINTEXT_AT])].concat(),
                "foreign" => [&first[..], &foreign].concat(),
                "clear" => [first, raw::message(&["clear text"])].concat(),
                "clear command" => [first, raw::command("PING", b"\0\0")].concat(),
                _ => [first, raw::frame(0, &second[3..])].concat(),
            };
            peer.send(&octets).await.unwrap();
            let reason = victim.closes(peer).await;
            assert!(
                matches!(reason, Reason::Protocol(DecodeError::NotAuthentic)),
                "{reason} for {offence}"
            );
        }
    })
    .await;
}
