//! What the tests share: numbered messages, and endpoints nobody else uses.

use withy::{Endpoint, EventKind, Identity, Message, Monitor};
pub(crate) use withy_tests::deadline::soon;

/// A numbered message.
pub(crate) fn number(n: u64) -> Message {
    Message::from(n.to_be_bytes())
}

/// The number of a message.
pub(crate) fn number_of(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().expect("eight octets"))
}

/// Any free port on loopback.
pub(crate) const ANY: &str = "tcp://127.0.0.1:0";

/// The only endpoint of a socket that is bound once.
pub(crate) fn only(endpoints: Vec<Endpoint>) -> Endpoint {
    let [endpoint] = <[Endpoint; 1]>::try_from(endpoints).expect("one endpoint");
    endpoint
}

/// One endpoint for each transport that a pattern must work over.
pub(crate) fn any_of_each(name: &str) -> [String; 4] {
    // The sockets are of one process; the user's identity is none of its business.
    Identity::ephemeral().set_default();
    [
        "tcp://127.0.0.1:*".to_owned(),
        "quic://127.0.0.1:*".to_owned(),
        "ipc://*".to_owned(),
        format!("inproc://{name}"),
    ]
}

/// What `pick` makes of the next event that it wants.
pub(crate) async fn event<T>(
    monitor: &mut Monitor,
    mut pick: impl FnMut(EventKind) -> Option<T>,
) -> T {
    soon(async {
        loop {
            let event = monitor.next().await.expect("the socket lives");
            if let Some(picked) = pick(event.kind) {
                return picked;
            }
        }
    })
    .await
}
