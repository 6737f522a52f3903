//! CURVE (RFC 25, RFC 26): both sides prove their keys, and nothing can be read or changed on the
//! way.
//!
//! ```text
//!  client                                                     server
//!  HELLO     C', Box[64 zeros](C'->S)          ------------>
//!            <------------  WELCOME   Box[S', cookie](S->C')
//!  INITIATE  cookie, Box[C, vouch, metadata](C'->S')  ----->  the authenticator is asked about C
//!            <------------  READY     Box[metadata](S'->C')
//!  MESSAGE   Box[flags, body](C'->S')          <----------->  MESSAGE
//! ```
//!
//! The long-term keys are C and S, those of this one connection C' and S'. The cookie is
//! `Box[C', s'](t)` under a key t that only the server knows; between WELCOME and INITIATE the server
//! keeps no more than t. The vouch is `Box[C', S](C->S')`.
//!
//! Short nonces are counters that start at 1 and go on from command to command; long nonces are
//! random. What differs from libzmq 4.3.5, which speaks to this all the same: the server checks
//! that HELLO's box and padding are zeros and that the vouch names S, and it refuses an INITIATE
//! whose nonce is not above HELLO's.

mod client;
mod message;
mod server;

pub use client::Client;
pub use message::{NonceExhausted, OVERHEAD, OpenError, Opener, PLAINTEXT_AT, Sealer};
pub use server::Server;

use super::HandshakeError;
use crate::crypto::Randomness;
use crate::crypto::nacl::TAG;

/// The name in the greeting.
pub const NAME: &str = "CURVE";

/// The octets of a public or secret key.
const KEY: usize = 32;
/// The octets of a short nonce.
const SHORT_NONCE: usize = 8;
/// The octets of a long nonce.
const LONG_NONCE: usize = 16;

/// The version of CurveZMQ in HELLO, major and minor (RFC 26).
const VERSION: [u8; 2] = [1, 0];
/// HELLO's padding, which makes it larger than WELCOME: 72, the number of the RFC's grammar.
const PADDING: usize = 72;
/// The zeros in HELLO's box.
const SIGNATURE: usize = 64;
/// A cookie: long nonce, Box[C', s'].
const COOKIE: usize = LONG_NONCE + TAG + 2 * KEY;
/// A vouch: long nonce, Box[C', S].
const VOUCH: usize = LONG_NONCE + TAG + 2 * KEY;

/// HELLO without its name: 200 octets with it.
const HELLO: usize = VERSION.len() + PADDING + KEY + SHORT_NONCE + TAG + SIGNATURE;
/// WELCOME without its name: 168 octets with it.
const WELCOME: usize = LONG_NONCE + TAG + KEY + COOKIE;

const HELLO_NONCE: &[u8; 16] = b"CurveZMQHELLO---";
const INITIATE_NONCE: &[u8; 16] = b"CurveZMQINITIATE";
const READY_NONCE: &[u8; 16] = b"CurveZMQREADY---";
const CLIENT_NONCE: &[u8; 16] = b"CurveZMQMESSAGEC";
const SERVER_NONCE: &[u8; 16] = b"CurveZMQMESSAGES";
const WELCOME_NONCE: &[u8; 8] = b"WELCOME-";
const COOKIE_NONCE: &[u8; 8] = b"COOKIE--";
const VOUCH_NONCE: &[u8; 8] = b"VOUCH---";

fn short_nonce(prefix: &[u8; 16], counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn long_nonce(prefix: &[u8; 8], random: &[u8; LONG_NONCE]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(random);
    nonce
}

fn draw(randomness: &mut dyn Randomness) -> [u8; LONG_NONCE] {
    let mut octets = [0; LONG_NONCE];
    randomness.fill(&mut octets);
    octets
}

/// Reads fields of fixed size off the front of a command.
struct Fields<'a> {
    rest: &'a [u8],
    command: &'static str,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], HandshakeError> {
        let (field, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(HandshakeError::Malformed {
                command: self.command,
                reason: "it is too short",
            })?;
        self.rest = rest;
        Ok(field)
    }

    fn counter(&mut self) -> Result<u64, HandshakeError> {
        self.take().copied().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;
    use crate::crypto::keys::{KeyPair, PublicKey};
    use crate::mechanism::testing::{local, refusals, run, tampering};
    use crate::mechanism::zap::{Credentials, Decision};
    use crate::mechanism::{self, Agreed, Handshake};

    fn keys(seed: u64) -> KeyPair {
        KeyPair::generate(&mut Seeded::new(seed))
    }

    fn client() -> Client {
        Client::new(local("REQ", false), keys(10), keys(20).public())
    }

    fn server() -> Server {
        Server::new(local("REP", true), keys(20))
    }

    fn halves(agreed: Agreed) -> (Sealer, Opener) {
        match (agreed.sealer, agreed.opener) {
            (mechanism::Sealer::Curve(sealer), mechanism::Opener::Curve(opener)) => {
                (*sealer, *opener)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_sides_agree_prove_their_keys_and_then_understand_each_other() {
        let (mut client, mut server) = (client(), server());
        let transcript = run(&mut client, &mut server, Decision::accept("ada"), |_, _| ());
        assert_eq!(transcript.result, Ok(()));
        let sizes: Vec<usize> = transcript.commands.iter().map(Vec::len).collect();
        let metadata = local("REQ", true).metadata.encode().len();
        assert_eq!(sizes, [200, 168, 257 + metadata, 30 + metadata]);
        let request = transcript.request.unwrap();
        assert_eq!(request.domain, "domain");
        assert_eq!(
            request.credentials,
            Credentials::Curve {
                public_key: keys(10).public().into()
            }
        );

        let (client, server) = (Box::new(client).finish(), Box::new(server).finish());
        assert_eq!(client.metadata.value("Socket-Type"), Some(&b"REP"[..]));
        assert_eq!(server.metadata.value("Socket-Type"), Some(&b"REQ"[..]));
        assert_eq!(client.peer_key, Some(keys(20).public().into()));
        assert_eq!(server.peer_key, Some(keys(10).public().into()));
        assert_eq!(server.user.id, "ada");
        let ((mut seal, mut open), (mut seal_back, mut open_back)) =
            (halves(client), halves(server));
        for size in [1, 2, 66, 1_000] {
            let mut body = vec![7; PLAINTEXT_AT + size];
            seal.seal(&mut body).unwrap();
            assert_eq!(open_back.open(&mut body).unwrap(), vec![7; size]);
            seal_back.seal(&mut body).unwrap();
            assert_eq!(open.open(&mut body).unwrap(), vec![7; size]);
        }
    }

    /// RFC 26: the counter goes on from the handshake; libzmq refuses what does not.
    #[test]
    fn the_first_message_has_the_nonce_after_the_handshakes_last() {
        let (mut client, mut server) = (client(), server());
        run(&mut client, &mut server, Decision::accept(""), |_, _| ());
        for (side, nonce) in [
            (Box::new(client) as Box<dyn Handshake>, 3),
            (Box::new(server), 2),
        ] {
            let (mut sealer, _) = halves(side.finish());
            let mut body = [0; OVERHEAD];
            sealer.seal(&mut body).unwrap();
            assert_eq!(body[8..16], u64::to_be_bytes(nonce));
        }
    }

    #[test]
    fn a_wrong_server_key_is_noticed_by_the_server() {
        let mut client = Client::new(local("REQ", false), keys(10), keys(30).public());
        let transcript = run(&mut client, &mut server(), Decision::accept(""), |_, _| ());
        assert_eq!(
            transcript.result,
            Err(HandshakeError::Crypto { command: "HELLO" })
        );
    }

    #[test]
    fn a_server_without_the_secret_key_is_noticed_by_the_client() {
        let mut other = Server::new(local("REP", true), keys(30));
        let mut towards_other = Client::new(local("REQ", false), keys(10), keys(30).public());
        let recorded = run(
            &mut towards_other,
            &mut other,
            Decision::accept(""),
            |_, _| (),
        );
        let mut client = client();
        client.next_command(&mut Seeded::new(1)).unwrap();
        assert_eq!(
            client.handle_command(&recorded.commands[1]),
            Err(HandshakeError::Crypto { command: "WELCOME" })
        );
    }

    #[test]
    fn a_weak_key_gets_no_answer() {
        let weak = PublicKey::from_octets([0; KEY]);
        let mut client = Client::new(local("REQ", false), keys(10), weak);
        assert!(client.next_command(&mut Seeded::new(1)).is_none());
        let transcript = run(
            &mut self::client(),
            &mut server(),
            Decision::accept(""),
            |number, body| {
                if number == 0 {
                    body[80..112].fill(0);
                }
            },
        );
        assert_eq!(
            transcript.result,
            Err(HandshakeError::Crypto { command: "HELLO" })
        );
    }

    /// Somebody who knows a client's C' and has a vouch for another server gets nowhere.
    #[test]
    fn a_vouch_for_another_server_is_refused() {
        let mut client = Client::new(local("REQ", false), keys(10), keys(20).public());
        let mut server = server();
        let mut randomness = Seeded::new(1);
        let hello = client.next_command(&mut randomness).unwrap();
        server.handle_command(&hello).unwrap();
        let welcome = server.next_command(&mut randomness).unwrap();
        client.handle_command(&welcome).unwrap();
        client.set_vouched_server(keys(30).public());
        let initiate = client.next_command(&mut randomness).unwrap();
        assert!(matches!(
            server.handle_command(&initiate),
            Err(HandshakeError::Malformed {
                command: "INITIATE",
                ..
            })
        ));
    }

    #[test]
    fn without_an_authenticator_every_client_is_accepted() {
        let mut open = Server::new(local("REP", false), keys(20));
        let transcript = run(&mut client(), &mut open, Decision::deny(""), |_, _| ());
        assert_eq!(transcript.result, Ok(()));
        assert!(transcript.request.is_none() && open.is_complete());
    }

    #[test]
    fn refusals_reach_the_client_as_libzmq_sends_them() {
        refusals(client, server);
    }

    #[test]
    fn every_change_and_every_cut_ends_the_handshake() {
        tampering(client, server, |what, agreed| {
            assert_eq!(agreed, what.is_empty(), "{what}");
        });
    }

    #[test]
    fn a_replayed_initiate_meets_another_cookie_key() {
        let recorded = run(
            &mut client(),
            &mut server(),
            Decision::accept(""),
            |_, _| (),
        );
        let mut server = server();
        let mut randomness = Seeded::new(2);
        server.handle_command(&recorded.commands[0]).unwrap();
        server.next_command(&mut randomness).unwrap();
        assert_eq!(
            server.handle_command(&recorded.commands[2]),
            Err(HandshakeError::Crypto {
                command: "INITIATE"
            })
        );
    }

    #[test]
    fn the_null_cipher_agrees_with_itself_and_with_nothing_else() {
        let (mut client, mut server) = (client().danger_null(), server().danger_null());
        let transcript = run(&mut client, &mut server, Decision::accept(""), |_, _| ());
        assert_eq!(transcript.result, Ok(()));
        let (mut sealer, _) = halves(Box::new(client).finish());
        let (_, mut opener) = halves(Box::new(server).finish());
        let mut body = [&[0; PLAINTEXT_AT][..], b"\0in the clear"].concat();
        sealer.seal(&mut body).unwrap();
        assert!(body.ends_with(b"\0in the clear"));
        assert_eq!(opener.open(&mut body).unwrap(), b"\0in the clear");

        let mut real = self::server();
        let transcript = run(
            &mut self::client().danger_null(),
            &mut real,
            Decision::accept(""),
            |_, _| (),
        );
        assert!(transcript.result.is_err());
    }
}
