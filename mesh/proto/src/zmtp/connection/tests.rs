use super::*;
use crate::crypto::Seeded;
use crate::mechanism::Local;
use crate::mechanism::null::{NAME, Null};

fn side(kind: SocketType, identity: &[u8], authenticate: bool) -> Connection {
    let extensions = Extensions {
        withy: true,
        correlate: kind == SocketType::Rep,
    };
    let local = Local {
        metadata: local_metadata(kind, identity, extensions),
        domain: String::new(),
        authenticate,
        accepting: false,
    };
    Connection::new(
        kind,
        NAME,
        false,
        false,
        Box::new(Null::new(local)),
        Limits::default(),
    )
}

fn shake(a: &mut Connection, b: &mut Connection, step: usize) -> Result<(), ConnectionError> {
    let mut randomness = Seeded::new(1);
    loop {
        let mut moved = false;
        for _ in 0..2 {
            if let Some(octets) = a.poll_transmit() {
                moved = true;
                for piece in octets.chunks(step) {
                    b.handle_input(piece, &mut randomness)?;
                }
            }
            std::mem::swap(a, b);
        }
        if !moved {
            return Ok(());
        }
    }
}

#[test]
fn null_sides_agree_in_pieces_of_any_size() {
    for step in [1, 3, 64, 1_000] {
        let (mut a, mut b) = (
            side(SocketType::Req, b"me", false),
            side(SocketType::Rep, b"", false),
        );
        shake(&mut a, &mut b, step).unwrap();
        let (a, b) = (a.finish().unwrap(), b.finish().unwrap());
        assert_eq!(
            (a.peer.kind, b.peer.kind),
            (SocketType::Rep, SocketType::Req)
        );
        assert_eq!(b.peer.identity, b"me");
        assert_eq!(
            a.peer.extensions,
            Extensions {
                withy: true,
                correlate: true
            }
        );
        assert!(a.peer.takes_subscribe_commands());
    }
}

#[test]
fn who_made_the_link_is_ready_right_behind_its_greeting() {
    let mut randomness = Seeded::new(1);
    let octets = side(SocketType::Push, b"", false).poll_transmit().unwrap();
    let (greeting, ready) = octets.split_at(greeting::LENGTH);
    let header = Header::decode(ready).unwrap().unwrap();
    assert_eq!(header.flags & COMMAND, COMMAND);
    assert_eq!(header.length + header.size as usize, ready.len());
    assert!(ready[header.length..].starts_with(b"\x05READY"));
    // What an authenticator says comes first.
    let asking = side(SocketType::Push, b"", true).poll_transmit().unwrap();
    assert_eq!(asking, greeting);
    // Who uses another mechanism says so, whatever comes behind the greeting.
    let local = Local {
        metadata: Metadata::default(),
        domain: String::new(),
        authenticate: false,
        accepting: true,
    };
    let null = Box::new(Null::new(local));
    let limits = Limits::default();
    let mut other = Connection::new(SocketType::Pull, "OTHER", false, true, null, limits);
    let refused = other.handle_input(&octets, &mut randomness);
    let differs = GreetingError::Mechanism {
        ours: "OTHER".to_owned(),
        theirs: NAME.to_owned(),
    };
    assert_eq!(refused, Err(differs.into()));
}

#[test]
fn the_accepting_side_is_asked_before_it_is_ready() {
    let metadata = |kind| local_metadata(kind, b"me", Extensions::default());
    let local = |kind, accepting| Local {
        metadata: metadata(kind),
        domain: String::new(),
        authenticate: false,
        accepting,
    };
    let pair = |theirs| {
        let null = |kind, accepting| Box::new(Null::new(local(kind, accepting)));
        let limits = Limits::default();
        let ours = SocketType::Router;
        let accepting = Connection::new(ours, NAME, false, true, null(ours, true), limits);
        (
            Connection::new(theirs, NAME, false, false, null(theirs, false), limits),
            accepting,
        )
    };
    let mut randomness = Seeded::new(1);

    let (mut dialing, mut accepting) = pair(SocketType::Dealer);
    shake(&mut dialing, &mut accepting, 64).unwrap();
    assert!(!dialing.is_complete() && !accepting.is_complete());
    let peer = accepting.poll_admission().unwrap().unwrap();
    assert_eq!(
        (peer.kind, &peer.identity[..]),
        (SocketType::Dealer, &b"me"[..])
    );
    assert_eq!(accepting.poll_admission().unwrap().map(|_| ()), None);
    accepting.admit(&mut randomness).unwrap();
    shake(&mut dialing, &mut accepting, 64).unwrap();
    assert!(dialing.is_complete() && accepting.is_complete());

    let (mut dialing, mut accepting) = pair(SocketType::Dealer);
    shake(&mut dialing, &mut accepting, 64).unwrap();
    accepting.poll_admission().unwrap().unwrap();
    accepting.refuse("taken");
    let error = shake(&mut dialing, &mut accepting, 64).unwrap_err();
    let reason = "taken".to_owned();
    assert_eq!(error, HandshakeError::RefusedByPeer { reason }.into());

    let (mut dialing, mut accepting) = pair(SocketType::Push);
    shake(&mut dialing, &mut accepting, 64).unwrap();
    assert!(accepting.poll_admission().is_err());
    assert!(shake(&mut dialing, &mut accepting, 64).is_err());
}

#[test]
fn octets_after_the_handshake_are_left_for_the_decoder() {
    let mut a = side(SocketType::Push, b"", false);
    let mut b = side(SocketType::Pull, b"", false);
    let mut randomness = Seeded::new(1);
    // The greeting, and READY right behind it.
    let mut octets = a.poll_transmit().unwrap();
    octets.extend_from_slice(b"\0\x02hi");
    b.handle_input(&octets, &mut randomness).unwrap();
    let items = b.finish().unwrap().decoder.decode_all(&[]).unwrap();
    assert_eq!(items, [crate::zmtp::Item::Message("hi".into())]);
}

#[test]
fn a_routing_id_is_held_to_its_limit() {
    for (length, fits) in [(MAX_IDENTITY, true), (MAX_IDENTITY + 1, false)] {
        let metadata = local_metadata(SocketType::Dealer, &vec![7; length], Extensions::default());
        let peer = Connection::peer_of(SocketType::Router, metadata);
        assert_eq!(peer.is_ok(), fits, "{length}");
    }
}

#[test]
fn incompatible_types_and_refusals_fail() {
    let (mut a, mut b) = (
        side(SocketType::Push, b"", false),
        side(SocketType::Sub, b"", false),
    );
    shake(&mut a, &mut b, 64).unwrap();
    assert!(matches!(
        a.finish(),
        Err(ConnectionError::SocketType { .. })
    ));

    let (mut a, mut b) = (
        side(SocketType::Push, b"", false),
        side(SocketType::Pull, b"", true),
    );
    shake(&mut a, &mut b, 64).unwrap();
    assert!(b.poll_auth().is_some());
    assert!(b.poll_auth().is_none());
    assert!(!a.is_complete());
    let mut randomness = Seeded::new(1);
    assert!(
        b.set_decision(Decision::deny("no"), &mut randomness)
            .is_err()
    );
    let error = a
        .handle_input(&b.poll_transmit().unwrap(), &mut randomness)
        .unwrap_err();
    assert_eq!(
        error,
        HandshakeError::RefusedByPeer {
            reason: "400".to_owned()
        }
        .into()
    );
}
