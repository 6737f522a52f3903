//! NULL (RFC 37 §3.4): both sides send READY, nothing is proven and nothing is hidden.
//!
//! The side that made the link sends its READY right behind its greeting; a peer that reads no
//! further than the greeting finds it there afterwards, and one with another mechanism closes as it
//! would have without it.
//!
//! An authenticator may still be asked, about the address.

use super::zap::{AuthRequest, Credentials, Decision, User};
use super::{
    Agreed, Claims, Handshake, HandshakeError, Local, Opener, Sealer, command, split_command,
    unexpected,
};
use crate::crypto::Randomness;
use crate::crypto::aead::Key;
use crate::zmtp::metadata::Metadata;
use crate::zmtp::record;

/// The name in the greeting.
pub const NAME: &str = "NULL";

/// The name in the greeting of [`Null::in_records`], which is no mechanism to use: it measures
/// what records cost.
pub const RECORDS: &str = "X-NULL-RECORDS";

/// The NULL handshake; the same on both sides.
///
/// With an authenticator our READY waits for its answer, as libzmq does it.
#[derive(Debug)]
pub struct Null {
    local: Local,
    in_records: bool,
    ready_sent: bool,
    peer: Option<Metadata>,
    auth: Auth,
    error_due: Option<Vec<u8>>,
    refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Auth {
    Due,
    Asked,
    Passed(User),
}

impl Null {
    /// Starts a handshake.
    pub fn new(local: Local) -> Self {
        let auth = if local.authenticate {
            Auth::Due
        } else {
            Auth::Passed(User::default())
        };
        Self {
            local,
            in_records: false,
            ready_sent: false,
            peer: None,
            auth,
            error_due: None,
            refused: false,
        }
    }

    /// Our READY, once, as soon as nothing stands against it.
    fn ready(&mut self) -> Option<Vec<u8>> {
        if self.refused || self.ready_sent || !matches!(self.auth, Auth::Passed { .. }) {
            return None;
        }
        if self.local.accepting && self.peer.is_none() {
            return None;
        }
        self.ready_sent = true;
        Some(command("READY", &self.local.metadata.encode()))
    }

    /// Starts a handshake after which frames travel in records that nothing encrypts.
    pub fn in_records(local: Local) -> Self {
        Self {
            in_records: true,
            ..Self::new(local)
        }
    }
}

impl Handshake for Null {
    fn opening(&mut self) -> Option<Vec<u8>> {
        self.ready()
    }

    fn next_command(&mut self, _: &mut dyn Randomness) -> Option<Vec<u8>> {
        if let Some(error) = self.error_due.take() {
            return Some(error);
        }
        self.ready()
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        match split_command(body) {
            Some((b"READY", data)) if self.peer.is_none() => {
                self.peer = Some(Metadata::decode(data)?);
                Ok(())
            }
            _ => Err(unexpected(body, "READY")),
        }
    }

    fn local(&mut self) -> &mut Local {
        &mut self.local
    }

    fn auth_request(&mut self) -> Option<AuthRequest> {
        if self.auth != Auth::Due {
            return None;
        }
        self.auth = Auth::Asked;
        Some(AuthRequest::new(&self.local, None, Credentials::Null))
    }

    fn set_decision(&mut self, decision: Decision) {
        match decision {
            Decision::Accept(user) => self.auth = Auth::Passed(user),
            Decision::Deny { status, .. } => {
                self.refused = true;
                self.error_due = super::error_command(status);
            }
        }
    }

    fn claims(&self) -> Option<Claims<'_>> {
        self.peer.as_ref().map(|metadata| Claims {
            metadata,
            key: None,
        })
    }

    fn refused(&self) -> bool {
        self.refused
    }

    fn is_complete(&self) -> bool {
        self.ready_sent && self.peer.is_some()
    }

    fn finish(self: Box<Self>) -> Agreed {
        let user = match self.auth {
            Auth::Passed(user) => user,
            Auth::Due | Auth::Asked => User::default(),
        };
        let (sealer, opener) = if self.in_records {
            (
                Sealer::Records(Box::new(record::Sealer::new(Key::none(), 0))),
                Opener::Records(Box::new(record::Opener::new(Key::none(), 0))),
            )
        } else {
            (Sealer::Clear, Opener::Clear)
        };
        Agreed {
            metadata: self.peer.unwrap_or_default(),
            user,
            peer_key: None,
            proven: None,
            sealer,
            opener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;
    use crate::mechanism::testing::local;

    fn accepting(authenticate: bool) -> Null {
        let mut local = local("PULL", authenticate);
        local.accepting = true;
        Null::new(local)
    }

    fn ready() -> Vec<u8> {
        command("READY", &local("PUSH", false).metadata.encode())
    }

    #[test]
    fn ready_is_taken_once_and_nothing_else_is() {
        let mut null = accepting(true);
        assert_eq!(null.handle_command(&ready()), Ok(()));
        for body in [&ready()[..], b"\x05HELLO", b"", b"\x05READ"] {
            assert!(null.handle_command(body).is_err(), "{body:?}");
        }
        assert!(!null.is_complete(), "nobody was asked");
    }

    #[test]
    fn the_accepting_side_waits_for_ready_and_for_the_authenticator() {
        let mut randomness = Seeded::new(1);
        let mut null = accepting(true);
        assert!(null.auth_request().is_some() && null.auth_request().is_none());
        null.set_decision(Decision::accept("ada"));
        assert!(null.next_command(&mut randomness).is_none());
        assert_eq!(null.handle_command(&ready()), Ok(()));
        let ours = null.next_command(&mut randomness);
        assert!(ours.is_some_and(|body| body.starts_with(b"\x05READY")));
        assert!(null.is_complete());
        assert_eq!(Box::new(null).finish().user.id, "ada");
    }
}
