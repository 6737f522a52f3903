//! Who a peer is, and whether it is trusted: ids, certificates, memberships and the policy over
//! them.
//!
//! An *identity* is a long-lived ed25519 key of a person, a host or a service. A *node* is one
//! running process with a fresh key of its own and a short-lived [`Certificate`] for it, signed by
//! the identity. A *network* is an ed25519 key as well: who holds its secret half, the authority,
//! signs memberships and invitations. What a node shows in a handshake is its [`Credentials`].
//!
//! ```text
//!  authority --signs--> Membership --names--> identity --signs--> Certificate --names--> node, noise key
//!            --signs--> Invitation --key signs--> identity (redeemed, until a Membership replaces it)
//! ```
//!
//! Nothing here proves that a peer holds a node's or a Noise key: that is for the handshake, which
//! compares what it proved with what [`Credentials::verify`] returns. Whoever holds an identity can
//! name any node in a certificate, so a table of peers is keyed by identity and node together.
//!
//! Invariant: every signed thing has one binary form, and its signature covers all of it under a
//! domain string that no other signed thing uses.

pub mod allow_list;
pub mod authority;
mod base32;
pub mod certificate;
pub mod credentials;
pub mod domain;
pub mod id;
pub mod membership;
pub mod name;
pub mod network;
pub mod permissions;
pub mod policy;
pub mod roles;
mod signature;
#[cfg(test)]
pub(crate) mod testing;
pub mod ticket;
pub mod used_invitations;
pub mod validity;

pub use allow_list::{AllowList, AllowListError, Full, LineError};
pub use authority::{Authority, Terms};
pub use certificate::{Certificate, CertificateError};
pub use credentials::{By, Credentials, CredentialsError, Shown, Standing};
pub use id::{IdError, IdentityId, NetworkId, NodeId};
pub use membership::{
    ConfirmationError, Grant, Invitation, Membership, MembershipError, Proof, Redeemed,
};
pub use name::{Name, NameError};
pub use network::{JoinError, Network, Secret};
pub use permissions::{Permissions, PermissionsError, Principal, RuleError, Verb, Who};
pub use policy::{PinError, Policy, Purpose, Reason, Verdict, Why};
pub use roles::Roles;
pub use ticket::{Joined, Ticket, TicketError};
pub use used_invitations::{ClaimError, UsedInvitations};
pub use validity::{CLOCK_SKEW, Validity, ValidityError};
