//! What the tests share: numbered messages, and the ways over which patterns must work.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use withy::socket::Socket;
use withy::{Builder, Endpoint, EventKind, Identity, KeyPair, Message, Monitor, generate_key_pair};
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

/// What secures a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Null,
    Curve,
    Noise,
}

/// All that a pattern must work over: a new transport or mechanism is a row. Security is for links
/// that leave the process.
const WAYS: [(&str, Security); 8] = [
    ("tcp", Security::Null),
    ("tcp", Security::Curve),
    ("tcp", Security::Noise),
    ("ipc", Security::Null),
    ("ipc", Security::Curve),
    ("ipc", Security::Noise),
    // It asks for an identity as NOISE does.
    ("quic", Security::Noise),
    ("inproc", Security::Null),
];

/// A transport, what secures it, and a name that makes its endpoints differ from those of others.
pub(crate) struct Way {
    transport: &'static str,
    security: Security,
    name: String,
    keys: KeyPair,
    identity: Identity,
    /// For links within the host: other than that of `ipc://*`, it outlives who binds there.
    folder: TempDir,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {:?}", self.name, self.transport, self.security)
    }
}

impl Way {
    /// How many there are.
    pub(crate) const COUNT: usize = WAYS.len();

    /// Each of them.
    pub(crate) fn all(name: &str) -> impl Iterator<Item = Self> {
        WAYS.into_iter().map(move |(transport, security)| Self {
            transport,
            security,
            name: name.to_owned(),
            keys: generate_key_pair(),
            identity: Identity::ephemeral(),
            folder: TempDir::new().expect("a place for sockets"),
        })
    }

    /// The name of the transport, as endpoints have it.
    pub(crate) fn transport(&self) -> &'static str {
        self.transport
    }

    /// An endpoint that is free.
    pub(crate) fn any(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match self.transport {
            "tcp" => "tcp://127.0.0.1:*".to_owned(),
            "quic" => "quic://127.0.0.1:*".to_owned(),
            "ipc" => {
                let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
                format!("ipc://{}", self.folder.path().join(name).display())
            }
            _ => format!("inproc://{}", self.name),
        }
    }

    /// The side that binds.
    pub(crate) fn server<S: Socket>(&self, builder: Builder<S>) -> S {
        let builder = match self.security {
            Security::Null => builder,
            Security::Curve => builder.curve_server(self.keys.clone()).allow_any_client(),
            Security::Noise => builder.identity(&self.identity),
        };
        builder.build().unwrap()
    }

    /// The side that connects.
    pub(crate) fn client<S: Socket>(&self, builder: Builder<S>) -> S {
        let builder = match self.security {
            Security::Null => builder,
            Security::Curve => builder.curve_client(generate_key_pair(), self.keys.public()),
            Security::Noise => builder.identity(&self.identity),
        };
        builder.build().unwrap()
    }
}

/// One way for each transport, in clear and with NOISE: CURVE is for what all ways are tried with.
pub(crate) fn each_way(name: &str) -> impl Iterator<Item = Way> {
    Way::all(name).filter(|way| way.security != Security::Curve)
}

/// Those of them that leave the process, where connections have a life of their own.
pub(crate) fn each_link(name: &str) -> impl Iterator<Item = Way> {
    each_way(name).filter(|way| way.transport != "inproc")
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
