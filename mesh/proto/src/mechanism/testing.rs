//! Suites that every mechanism with two different sides runs through.

use super::zap::{AuthRequest, Decision};
use super::{Handshake, HandshakeError, Local};
use crate::crypto::Seeded;
use crate::zmtp::metadata::Metadata;

/// What passed between two sides, until they agreed or one gave up.
pub(super) struct Transcript {
    pub(super) commands: Vec<Vec<u8>>,
    pub(super) request: Option<AuthRequest>,
    pub(super) result: Result<(), HandshakeError>,
}

pub(super) fn local(socket_type: &str, authenticate: bool) -> Local {
    let mut metadata = Metadata::default();
    metadata.set("Socket-Type", socket_type).unwrap();
    metadata.set("Identity", "").unwrap();
    Local {
        metadata,
        domain: "domain".to_owned(),
        authenticate,
        accepting: authenticate,
    }
}

/// Shakes hands; `tamper` sees each command, by its number, on the way.
pub(super) fn run(
    client: &mut dyn Handshake,
    server: &mut dyn Handshake,
    decision: Decision,
    tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Transcript {
    let decide = |server: &mut dyn Handshake| server.set_decision(decision.clone());
    run_deciding(client, server, decide, tamper)
}

/// As [`run`]; `decide` answers what the server asks.
pub(super) fn run_deciding(
    client: &mut dyn Handshake,
    server: &mut dyn Handshake,
    decide: impl Fn(&mut dyn Handshake),
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Transcript {
    let mut randomness = Seeded::new(1);
    let mut transcript = Transcript {
        commands: Vec::new(),
        request: None,
        result: Ok(()),
    };
    let mut pass = |from: &mut dyn Handshake, to: &mut dyn Handshake, seen: &mut Transcript| {
        let mut moved = false;
        while seen.result.is_ok()
            && let Some(mut command) = from.next_command(&mut randomness)
        {
            moved = true;
            tamper(seen.commands.len(), &mut command);
            seen.result = to.handle_command(&command);
            seen.commands.push(command);
        }
        moved
    };
    loop {
        let mut moved = pass(client, server, &mut transcript);
        moved |= pass(server, client, &mut transcript);
        if transcript.result.is_err() {
            return transcript;
        }
        if let Some(request) = server.auth_request() {
            moved = true;
            assert!(!server.is_complete());
            transcript.request = Some(request);
            assert!(server.auth_request().is_none(), "asked once");
            decide(server);
        }
        if !moved {
            return transcript;
        }
    }
}

/// A refusal is an ERROR with the status, but for the temporary one.
pub(super) fn refusals<C: Handshake, S: Handshake>(client: fn() -> C, server: fn() -> S) {
    for status in [300, 400, 500] {
        let (mut client, mut server) = (client(), server());
        let decision = Decision::Deny {
            status,
            text: "no".to_owned(),
        };
        let transcript = run(&mut client, &mut server, decision, |_, _| ());
        assert!(server.refused() && !server.is_complete() && !client.is_complete());
        let reason = status.to_string();
        if status == 300 {
            assert_eq!(transcript.result, Ok(()));
        } else {
            let error = format!("\x05ERROR\x03{reason}");
            assert_eq!(transcript.commands.last().unwrap(), error.as_bytes());
            let refused = HandshakeError::RefusedByPeer { reason };
            assert_eq!(transcript.result, Err(refused));
        }
        assert!(server.next_command(&mut Seeded::new(1)).is_none());
    }
}

/// Changes every octet of every command, cuts every command everywhere and puts every command in
/// the place of every other; `check` is told of each change and sees whether the sides agreed.
pub(super) fn tampering<C: Handshake, S: Handshake>(
    client: impl Fn() -> C,
    server: impl Fn() -> S,
    mut check: impl FnMut(&str, bool),
) {
    let mut attempt = |what: String, tamper: &mut dyn FnMut(usize, &mut Vec<u8>)| {
        let (mut client, mut server) = (client(), server());
        let transcript = run(&mut client, &mut server, Decision::accept(""), tamper);
        let agreed = client.is_complete() && server.is_complete();
        if let Err(error) = &transcript.result {
            assert!(!agreed, "{what}: {error}");
        }
        check(&what, agreed);
        transcript.commands
    };
    let commands = attempt(String::new(), &mut |_, _| ());
    for (number, command) in commands.iter().enumerate() {
        for at in 0..command.len() {
            attempt(format!("flip in {number} at {at}"), &mut |now, body| {
                if now == number {
                    body[at] ^= 1 << (at % 8);
                }
            });
            attempt(format!("cut of {number} at {at}"), &mut |now, body| {
                if now == number {
                    body.truncate(at);
                }
            });
        }
        attempt(format!("{number} longer"), &mut |now, body| {
            if now == number {
                body.push(0);
            }
        });
        for (other, instead) in commands.iter().enumerate() {
            if other != number {
                attempt(format!("{other} instead of {number}"), &mut |now, body| {
                    if now == number {
                        body.clone_from(instead);
                    }
                });
            }
        }
    }
}
