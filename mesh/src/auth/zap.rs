//! A ZAP handler inside the process decides (RFC 27).

use std::net::SocketAddr;
use std::time::Duration;

use withy_proto::zmtp::metadata::Metadata;
use withy_proto::{Frame, Message};

use super::{AuthRequest, Authenticator, Credentials, Deciding, Decision, User};
use crate::Req;
use crate::error::ConnectError;

/// Where a ZAP handler is bound (RFC 27): a REP or ROUTER socket of this process.
pub const ZAP_ENDPOINT: &str = "inproc://zeromq.zap.01";

/// How long the handler may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Puts each peer to the handler at [`ZAP_ENDPOINT`] (RFC 27). Refuses it when there is no handler,
/// or when its answer is malformed or takes longer than 5 s.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::auth::{ZAP_ENDPOINT, Zap};
/// use withy::{Message, Pull, Push, Rep};
///
/// let handler = Rep::bind(ZAP_ENDPOINT).await?;
/// tokio::spawn(async move {
///     while let Ok(request) = handler.recv().await {
///         // version, id, domain, address, routing id, mechanism, credentials
///         let ada = request.message().part(6).is_some_and(|name| name == "ada");
///         let status = if ada { "200" } else { "400" };
///         let reply = ["1.0", "1", status, "", if ada { "ada" } else { "" }, ""];
///         let _ = request.reply(Message::from_iter(reply)).await;
///     }
/// });
///
/// let pull = Pull::builder().plain_server().authenticator(Zap::new()?).build()?;
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// let push = Push::builder().plain_client("ada", "secret").build()?;
/// push.connect_to(endpoint)?;
/// push.send("hello").await?;
/// assert_eq!(pull.recv().await?.first(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Zap(Req);

impl Zap {
    /// Connects to the handler, which may be bound later.
    ///
    /// # Errors
    /// There is no tokio runtime here.
    pub fn new() -> Result<Self, ConnectError> {
        Req::connect(ZAP_ENDPOINT).map(Self)
    }
}

impl Authenticator for Zap {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        Box::pin(async move {
            let error = |text: String| Decision::Deny { status: 500, text };
            match self.0.request_timeout(question(request), TIMEOUT).await {
                Ok(reply) => answer(&reply)
                    .unwrap_or_else(|reason| error(format!("the ZAP handler's reply {reason}"))),
                Err(failed) => error(format!("the ZAP handler: {failed}")),
            }
        })
    }
}

/// The request's frames; the REQ adds the delimiter in front.
fn question(request: &AuthRequest) -> Message {
    let mut message = Message::from("1.0");
    message.push("1");
    message.push(&request.domain[..]);
    message.push(ip_address(&request.address));
    message.push(&request.identity[..]);
    message.push(request.credentials.mechanism());
    match &request.credentials {
        Credentials::Plain { username, password } => {
            message.push(&username[..]);
            message.push(&password[..]);
        }
        Credentials::Curve { public_key } => message.push(&public_key[..]),
        // Of no RFC: as with CURVE, one frame with the key.
        Credentials::Noise(shown) => message.push(&shown.identity.as_octets()[..]),
        _ => {}
    }
    message
}

/// The address as RFC 27 wants it: of a TCP peer the IP address without the port.
fn ip_address(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address.to_owned(),
    }
}

fn answer(reply: &Message) -> Result<Decision, &'static str> {
    let [version, id, status, text, user_id, metadata] = reply.frames() else {
        return Err("has another number of frames than six");
    };
    if *version != *b"1.0" || *id != *b"1" {
        return Err("has another version or request id");
    }
    let read = |frame: &Frame| String::from_utf8_lossy(frame).into_owned();
    let deny = |status| {
        Ok(Decision::Deny {
            status,
            text: read(text),
        })
    };
    match status.as_slice() {
        b"200" => {
            let metadata = Metadata::decode(metadata).map_err(|_| "has malformed metadata")?;
            let id = read(user_id);
            Ok(Decision::Accept(User { id, metadata }))
        }
        b"300" => deny(300),
        b"400" => deny(400),
        b"500" => deny(500),
        _ => Err("has a status that is not 200, 300, 400 or 500"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_sees_the_address_without_the_port() {
        for (address, seen) in [
            ("127.0.0.1:5555", "127.0.0.1"),
            ("[::1]:5555", "::1"),
            ("ipc:/run/withy", "ipc:/run/withy"),
            ("ipc:@name", "ipc:@name"),
        ] {
            let request = AuthRequest {
                domain: "d".to_owned(),
                address: address.to_owned(),
                identity: b"i".to_vec(),
                credentials: Credentials::Null,
            };
            let expected: Message = ["1.0", "1", "d", seen, "i", "NULL"].into_iter().collect();
            assert_eq!(question(&request), expected);
        }
    }
}
