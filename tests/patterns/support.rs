//! What the tests share: deadlines that fail loudly, and endpoints nobody else uses.

use std::time::Duration;

use withy::{Endpoint, Message};

/// Runs a future that must be over soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), what).await {
        Ok(value) => value,
        Err(_) => panic!("not over within 20 s"),
    }
}

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
pub(crate) fn any_of_each(name: &str) -> [String; 3] {
    [
        "tcp://127.0.0.1:*".to_owned(),
        "ipc://*".to_owned(),
        format!("inproc://{name}"),
    ]
}
