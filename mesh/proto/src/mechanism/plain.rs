//! PLAIN (RFC 24): the client shows a user name and a password, in the clear.
//!
//! ```text
//!  client                          server
//!  HELLO    name, password  ---->  the authenticator is asked
//!           <----  WELCOME         or ERROR
//!  INITIATE metadata        ---->
//!           <----  READY metadata
//! ```
//!
//! Names and passwords are octets, which nothing here takes for text.
//!
//! libzmq 4.3 writes `^RROR` where RFC 24 has `\x05ERROR`, for a slip in a C string; the
//! client takes both. The server sends what the RFC says, so that libzmq 4.3 reports a refusal
//! as a protocol error; it closes all the same.

use std::fmt;

use zeroize::Zeroizing;

use super::zap::{AuthRequest, Credentials, Decision, User};
use super::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Sealer, command, error_command,
    split_command, unexpected,
};
use crate::crypto::Randomness;
use crate::zmtp::metadata::Metadata;

/// The name in the greeting.
pub const NAME: &str = "PLAIN";

/// The most octets of a user name, and of a password (RFC 24).
pub const MAX_CREDENTIAL: usize = 255;

/// The start of the ERROR command of libzmq 4.3.
const LIBZMQ_ERROR: &[u8] = b"^RROR";

/// The client's side of a PLAIN handshake.
pub struct Client {
    local: Local,
    username: Vec<u8>,
    password: Zeroizing<Vec<u8>>,
    state: ClientState,
}

#[derive(Debug)]
enum ClientState {
    HelloDue,
    AwaitWelcome,
    InitiateDue,
    AwaitReady,
    Complete { peer: Metadata },
}

impl Client {
    /// Starts a handshake.
    ///
    /// # Errors
    /// The name or the password is longer than [`MAX_CREDENTIAL`]. Local misuse.
    pub fn new(
        local: Local,
        username: impl Into<Vec<u8>>,
        password: impl Into<Vec<u8>>,
    ) -> Result<Self, CredentialTooLong> {
        let (username, password) = (username.into(), Zeroizing::new(password.into()));
        for length in [username.len(), password.len()] {
            if length > MAX_CREDENTIAL {
                return Err(CredentialTooLong { length });
            }
        }
        Ok(Self {
            local,
            username,
            password,
            state: ClientState::HelloDue,
        })
    }
}

impl Handshake for Client {
    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        match self.state {
            ClientState::HelloDue => {
                self.state = ClientState::AwaitWelcome;
                let mut data = Zeroizing::new(Vec::with_capacity(2 * (1 + MAX_CREDENTIAL)));
                for credential in [&self.username, &*self.password] {
                    data.push(credential.len() as u8);
                    data.extend_from_slice(credential);
                }
                Some(command("HELLO", &data))
            }
            ClientState::InitiateDue => {
                self.state = ClientState::AwaitReady;
                Some(command("INITIATE", &self.local.metadata.encode()))
            }
            _ => None,
        }
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        if let Some(data) = body.strip_prefix(LIBZMQ_ERROR) {
            return Err(unexpected(&command("ERROR", data), "WELCOME"));
        }
        self.state = match (&self.state, split_command(body)) {
            (ClientState::AwaitWelcome, Some((b"WELCOME", []))) => ClientState::InitiateDue,
            (ClientState::AwaitWelcome, Some((b"WELCOME", _))) => {
                return Err(HandshakeError::Malformed {
                    command: "WELCOME",
                    reason: "it is not empty",
                });
            }
            (ClientState::AwaitReady, Some((b"READY", data))) => ClientState::Complete {
                peer: Metadata::decode(data)?,
            },
            (ClientState::AwaitReady, _) => return Err(unexpected(body, "READY")),
            _ => return Err(unexpected(body, "WELCOME")),
        };
        Ok(())
    }

    fn local(&mut self) -> &mut Local {
        &mut self.local
    }

    fn auth_request(&mut self) -> Option<AuthRequest> {
        None
    }

    fn set_decision(&mut self, _: Decision) {}

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            ClientState::Complete { peer: metadata } => Some(Claims {
                metadata,
                key: None,
            }),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, ClientState::Complete { .. })
    }

    fn finish(self: Box<Self>) -> Agreed {
        let metadata = match self.state {
            ClientState::Complete { peer } => peer,
            _ => Metadata::default(),
        };
        agreed(metadata, User::default())
    }
}

impl fmt::Debug for Client {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field(
                "username",
                &format_args!("\"{}\"", self.username.escape_ascii()),
            )
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The server's side of a PLAIN handshake.
///
/// It waits for the authenticator's answer, so that a server without one must refuse. Only with
/// [`Local::authenticate`] set to `false` does it let everybody in.
#[derive(Debug)]
pub struct Server {
    local: Local,
    user: User,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    AwaitHello,
    /// `None` once it was asked.
    Deciding(Option<AuthRequest>),
    WelcomeDue,
    AwaitInitiate,
    ReadyDue {
        peer: Metadata,
    },
    Complete {
        peer: Metadata,
    },
    ErrorDue {
        status: u16,
    },
    Refused,
}

impl Server {
    /// Starts a handshake.
    pub fn new(local: Local) -> Self {
        Self {
            local,
            user: User::default(),
            state: ServerState::AwaitHello,
        }
    }
}

impl Handshake for Server {
    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        let (next, command) = match std::mem::replace(&mut self.state, ServerState::Refused) {
            ServerState::WelcomeDue => (ServerState::AwaitInitiate, Some(command("WELCOME", &[]))),
            ServerState::ReadyDue { peer } => (
                ServerState::Complete { peer },
                Some(command("READY", &self.local.metadata.encode())),
            ),
            ServerState::ErrorDue { status } => (ServerState::Refused, error_command(status)),
            other => (other, None),
        };
        self.state = next;
        command
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        self.state = match (&self.state, split_command(body)) {
            (ServerState::AwaitHello, Some((b"HELLO", data))) => {
                let credentials = decode_hello(data)?;
                if self.local.authenticate {
                    let question = AuthRequest::new(&self.local, None, credentials);
                    ServerState::Deciding(Some(question))
                } else {
                    ServerState::WelcomeDue
                }
            }
            (ServerState::AwaitInitiate, Some((b"INITIATE", data))) => ServerState::ReadyDue {
                peer: Metadata::decode(data)?,
            },
            (ServerState::AwaitHello, _) => return Err(unexpected(body, "HELLO")),
            (ServerState::AwaitInitiate, _) => return Err(unexpected(body, "INITIATE")),
            _ => return Err(unexpected(body, "nothing")),
        };
        Ok(())
    }

    fn local(&mut self) -> &mut Local {
        &mut self.local
    }

    fn auth_request(&mut self) -> Option<AuthRequest> {
        match &mut self.state {
            ServerState::Deciding(question) => question.take(),
            _ => None,
        }
    }

    fn set_decision(&mut self, decision: Decision) {
        if !matches!(self.state, ServerState::Deciding(_)) {
            return;
        }
        self.state = match decision {
            Decision::Accept(user) => {
                self.user = user;
                ServerState::WelcomeDue
            }
            Decision::Deny { status, .. } => ServerState::ErrorDue { status },
        };
    }

    fn claims(&self) -> Option<Claims<'_>> {
        match &self.state {
            ServerState::ReadyDue { peer: metadata } | ServerState::Complete { peer: metadata } => {
                Some(Claims {
                    metadata,
                    key: None,
                })
            }
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        matches!(
            self.state,
            ServerState::ErrorDue { .. } | ServerState::Refused
        )
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, ServerState::Complete { .. })
    }

    fn finish(self: Box<Self>) -> Agreed {
        let metadata = match self.state {
            ServerState::Complete { peer } => peer,
            _ => Metadata::default(),
        };
        agreed(metadata, self.user)
    }
}

/// HELLO: two fields, each after an octet with its length, and nothing after them.
fn decode_hello(data: &[u8]) -> Result<Credentials, HandshakeError> {
    let malformed = |reason| HandshakeError::Malformed {
        command: "HELLO",
        reason,
    };
    let field = |data| split_command(data).ok_or_else(|| malformed("a field is cut short"));
    let (username, rest) = field(data)?;
    let (password, rest) = field(rest)?;
    if !rest.is_empty() {
        return Err(malformed("something stands after the password"));
    }
    Ok(Credentials::Plain {
        username: username.to_vec(),
        password: password.to_vec(),
    })
}

fn agreed(metadata: Metadata, user: User) -> Agreed {
    Agreed {
        metadata,
        user,
        peer_key: None,
        proven: None,
        sealer: Sealer::Clear,
        opener: Opener::Clear,
    }
}

/// A user name or password has more than [`MAX_CREDENTIAL`] octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name or password of {length} octets is over the limit of {MAX_CREDENTIAL}")]
pub struct CredentialTooLong {
    /// Its length in octets.
    pub length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::testing::{local, refusals, run, tampering};

    fn client() -> Client {
        Client::new(local("REQ", false), "ada", "pass word").unwrap()
    }

    fn server() -> Server {
        Server::new(local("REP", true))
    }

    #[test]
    fn both_sides_agree_and_the_authenticator_sees_name_and_password() {
        let (mut client, mut server) = (client(), server());
        let transcript = run(
            &mut client,
            &mut server,
            Decision::accept("ada@x"),
            |_, _| (),
        );
        let request = transcript.request.unwrap();
        assert_eq!(
            request.credentials,
            Credentials::Plain {
                username: b"ada".to_vec(),
                password: b"pass word".to_vec(),
            }
        );
        assert!(!format!("{request:?} {client:?} {server:?}").contains("pass word"));
        assert_eq!(transcript.result, Ok(()));
        assert_eq!(transcript.commands[0], b"\x05HELLO\x03ada\x09pass word");
        assert_eq!(transcript.commands[1], b"\x07WELCOME");
        assert!(transcript.commands[2].starts_with(b"\x08INITIATE\x0bSocket-Type"));
        assert!(transcript.commands[3].starts_with(b"\x05READY\x0bSocket-Type"));
        let (client, server) = (Box::new(client).finish(), Box::new(server).finish());
        assert_eq!(client.metadata.value("Socket-Type"), Some(&b"REP"[..]));
        assert_eq!(server.metadata.value("Socket-Type"), Some(&b"REQ"[..]));
        assert_eq!(server.user.id, "ada@x");
    }

    #[test]
    fn names_and_passwords_are_octets() {
        let octets: Vec<u8> = (1..=255).collect();
        let mut client =
            Client::new(local("REQ", false), &octets[..], b"\xff\x00".as_slice()).unwrap();
        let refusal = Decision::deny("unknown");
        let transcript = run(&mut client, &mut server(), refusal, |_, _| ());
        assert_eq!(
            transcript.request.unwrap().credentials,
            Credentials::Plain {
                username: octets,
                password: b"\xff\x00".to_vec(),
            }
        );
        let refused = HandshakeError::RefusedByPeer {
            reason: "400".to_owned(),
        };
        assert_eq!(transcript.result, Err(refused));
        let mut client = Client::new(local("REQ", false), b"ad\xe9".as_slice(), "").unwrap();
        assert!(format!("{client:?}").contains(r"ad\xe9"));
        let mut open = Server::new(local("REP", false));
        let transcript = run(&mut client, &mut open, Decision::deny(""), |_, _| ());
        assert_eq!(transcript.result, Ok(()));
    }

    #[test]
    fn without_an_authenticator_the_server_lets_nobody_in_unless_told_so() {
        let (mut client, mut server) = (client(), server());
        let hello = client
            .next_command(&mut crate::crypto::Seeded::new(1))
            .unwrap();
        server.handle_command(&hello).unwrap();
        assert!(
            server
                .next_command(&mut crate::crypto::Seeded::new(1))
                .is_none()
        );

        let mut open = Server::new(local("REP", false));
        let transcript = run(
            &mut self::client(),
            &mut open,
            Decision::deny(""),
            |_, _| (),
        );
        assert_eq!(transcript.result, Ok(()));
        assert!(transcript.request.is_none());
    }

    #[test]
    fn refusals_reach_the_client_as_libzmq_sends_them() {
        refusals(client, server);
    }

    #[test]
    fn the_client_takes_the_error_of_the_rfc_and_that_of_libzmq() {
        let refused = HandshakeError::RefusedByPeer {
            reason: "400".to_owned(),
        };
        for error in [&b"\x05ERROR\x03400"[..], b"^RROR\x03400"] {
            assert_eq!(client().handle_command(error), Err(refused.clone()));
        }
        for cut in [
            &b"\x05ERROR"[..],
            b"\x05ERROR\x03",
            b"^RROR",
            b"^RROR\x0340",
        ] {
            assert_eq!(
                client().handle_command(cut),
                Err(HandshakeError::Malformed {
                    command: "ERROR",
                    reason: "its reason is cut short"
                })
            );
        }
    }

    #[test]
    fn no_change_or_cut_panics() {
        // Nothing is authenticated, so a change may pass.
        tampering(client, server, |_, _| ());
    }

    #[test]
    fn hello_and_welcome_are_held_to_their_shape() {
        for data in [
            &b""[..],
            b"\x03ab",
            b"\x03abc",
            b"\x03abc\x02x",
            b"\x03abc\x01xy",
        ] {
            let hello = command("HELLO", data);
            assert!(server().handle_command(&hello).is_err(), "{data:?}");
        }
        let mut client = client();
        client.next_command(&mut crate::crypto::Seeded::new(1));
        assert_eq!(
            client.handle_command(b"\x07WELCOME!"),
            Err(HandshakeError::Malformed {
                command: "WELCOME",
                reason: "it is not empty"
            })
        );
        let long = "x".repeat(256);
        assert!(Client::new(local("REQ", false), &long[1..], &long[1..]).is_ok());
        assert!(Client::new(local("REQ", false), long, "").is_err());
    }
}
