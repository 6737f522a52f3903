//! What carries messages: a transport, and what protects it.

use std::sync::LazyLock;

use withy::socket::Socket;
use withy::{Builder, Identity, KeyPair, SecretKey};

/// What is between the two ends of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Tcp,
    TcpNoise,
    TcpCurve,
    Quic,
    Ipc,
    Inproc,
}

impl Link {
    /// Where to bind.
    pub(crate) const fn endpoint(self) -> &'static str {
        match self {
            Self::Tcp | Self::TcpNoise | Self::TcpCurve => "tcp://127.0.0.1:0",
            Self::Quic => "quic://127.0.0.1:0",
            Self::Ipc => "ipc://*",
            Self::Inproc => "inproc://counted",
        }
    }

    /// A socket that binds.
    pub(crate) fn server<S: Socket>(self, builder: Builder<S>) -> Builder<S> {
        match self {
            Self::Tcp | Self::Ipc | Self::Inproc => builder,
            Self::TcpNoise | Self::Quic => builder.identity(identity()),
            Self::TcpCurve => builder.curve_server(keys(1)).allow_any_client(),
        }
    }

    /// A socket that connects.
    pub(crate) fn client<S: Socket>(self, builder: Builder<S>) -> Builder<S> {
        match self {
            Self::TcpCurve => builder.curve_client(keys(2), keys(1).public()),
            _ => self.server(builder),
        }
    }
}

/// The same keys in each run.
fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_octets([seed; 32]))
}

/// One identity for both ends.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed(&[0x49; 32]));
    &IDENTITY
}
