//! The types of sockets: which peers they have, and what these do.

use withy::SocketType;

/// The types that a peer can attack while good peers are connected.
pub(crate) const SHARED: [SocketType; 6] = [
    SocketType::Pull,
    SocketType::Rep,
    SocketType::Router,
    SocketType::Dealer,
    SocketType::Pub,
    SocketType::Sub,
];

/// The type that a peer of a type has.
pub(crate) fn counterpart(kind: SocketType) -> SocketType {
    match kind {
        SocketType::Pull => SocketType::Push,
        SocketType::Push => SocketType::Pull,
        SocketType::Rep => SocketType::Req,
        SocketType::Router => SocketType::Dealer,
        SocketType::Pub | SocketType::XPub => SocketType::Sub,
        SocketType::Sub => SocketType::Pub,
        other => other,
    }
}

pub(super) fn publishes(kind: SocketType) -> bool {
    matches!(kind, SocketType::Pub | SocketType::XPub)
}

pub(super) fn receives(kind: SocketType) -> bool {
    !matches!(kind, SocketType::Pub | SocketType::Push)
}
