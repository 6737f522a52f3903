//! A peer that has proven who it is, and waits for the application's answer, if that is asked: what the
//! handshakes that prove an identity share between the peer's credentials and what they do next.
//!
//! ```text
//!  credentials ---> Deciding --- ask ---> authenticator
//!                      |                      |
//!                      |<----- confirm -------+
//!                      +------ decided -------> goes on, or refuses
//! ```

use super::party::MEMBERSHIP;
use super::zap::AuthRequest;
use super::{Local, Proven};
use crate::trust::credentials::Standing;
use crate::trust::membership::{Membership, Proof};

/// A peer that is being decided on, and what the handshake goes on with.
#[derive(Debug)]
pub(super) struct Deciding<T> {
    proven: Proven,
    rest: T,
    /// `None` once it was asked.
    question: Option<AuthRequest>,
}

impl<T> Deciding<T> {
    /// A peer that is asked about; `rest` is what the handshake goes on with.
    pub(super) fn new(question: AuthRequest, proven: Proven, rest: T) -> Self {
        Self {
            proven,
            rest,
            question: Some(question),
        }
    }

    /// The question, once.
    pub(super) fn ask(&mut self) -> Option<AuthRequest> {
        self.question.take()
    }

    /// Lets the peer know that it is a member from now on, which it then is here, too.
    pub(super) fn confirm(&mut self, local: &mut Local, membership: &Membership) {
        let proof = Proof::from(*membership);
        self.proven.shown.standing = Some(Standing::from(&proof));
        let set = local.metadata.set(MEMBERSHIP, proof.encode());
        set.expect("the name is within the RFC's alphabet");
    }

    /// What the peer proved, and the rest.
    pub(super) fn decided(self) -> (Proven, T) {
        (self.proven, self.rest)
    }
}
