//! What can go wrong with a QUIC connection, in a form that can be told to many dials at once.

use quinn::{ConnectError, ConnectionError};
use rustls::AlertDescription;

/// The peer's listener is gone, while older links of the same connection live on.
pub(super) const NOBODY_LISTENS: quinn::VarInt = quinn::VarInt::from_u32(1);

/// A link began with what we do not know.
pub(super) const UNKNOWN_LINK: quinn::VarInt = quinn::VarInt::from_u32(2);

/// The side that dialled has no link left.
pub(super) const DONE: quinn::VarInt = quinn::VarInt::from_u32(0);

/// Nothing more is read of a stream: its message came whole before its end did, or its link is closed.
/// quinn says it when a stream that is read is dropped.
pub(super) const ENOUGH: quinn::VarInt = quinn::VarInt::from_u32(0);

/// No link of the connection was admitted in time, or none is and others need the place.
pub(super) const NOT_ADMITTED: quinn::VarInt = quinn::VarInt::from_u32(3);

/// Why a QUIC connection or a link over it did not come about, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// No answer in time: nobody listens there, we are strangers to the network of who does, or the
    /// packets are lost. The three cannot be told apart. Retry.
    #[error("no answer in time")]
    Timeout,
    /// The peer answers, and nobody listens there any more. Retry.
    #[error("nobody listens there any more")]
    Refused,
    /// The peer has another node key than the expected one; it did not learn ours. Retry if the node
    /// may come back there.
    #[error("the peer has another node key than the expected one")]
    WrongKey,
    /// The sides share no key agreement: one of them insists on the post-quantum one, which the
    /// other lacks. Do not retry before one of them is changed.
    #[error("the sides share no key agreement: one insists on post-quantum X25519MLKEM768")]
    NoCommonKeyAgreement,
    /// The peer speaks QUIC, and something other than Withy over it. Do not retry.
    #[error("the peer does not speak Withy")]
    NoCommonProtocol,
    /// The handshake failed otherwise, or the connection was lost. Retry.
    #[error("{0}")]
    Lost(String),
    /// The system refused a socket. Retry.
    #[error("no socket: {0}")]
    Socket(String),
}

impl QuicError {
    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::NoCommonKeyAgreement | Self::NoCommonProtocol)
    }
}

impl From<ConnectionError> for QuicError {
    fn from(error: ConnectionError) -> Self {
        // RFC 9001 §4.8: a TLS alert is the low octet of a crypto error.
        let (code, ours) = match &error {
            ConnectionError::TimedOut => return Self::Timeout,
            ConnectionError::TransportError(error) => (u64::from(error.code), true),
            ConnectionError::ConnectionClosed(close) => (u64::from(close.error_code), false),
            ConnectionError::ApplicationClosed(close) if close.error_code == NOBODY_LISTENS => {
                return Self::Refused;
            }
            _ => return Self::Lost(error.to_string()),
        };
        let alert = u8::try_from(code.wrapping_sub(0x100));
        match alert.map(AlertDescription::from) {
            Ok(AlertDescription::AccessDenied) if ours => Self::WrongKey,
            Ok(AlertDescription::HandshakeFailure) => Self::NoCommonKeyAgreement,
            Ok(AlertDescription::NoApplicationProtocol) => Self::NoCommonProtocol,
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<ConnectError> for QuicError {
    fn from(error: ConnectError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<quinn::WriteError> for QuicError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => error.into(),
            quinn::WriteError::Stopped(code) => refused(code),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<quinn::ReadError> for QuicError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(error) => error.into(),
            quinn::ReadError::Reset(code) => refused(code),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<quinn::ReadExactError> for QuicError {
    fn from(error: quinn::ReadExactError) -> Self {
        match error {
            quinn::ReadExactError::ReadError(error) => error.into(),
            error => Self::Lost(error.to_string()),
        }
    }
}

fn refused(code: quinn::VarInt) -> QuicError {
    match code {
        NOBODY_LISTENS => QuicError::Refused,
        UNKNOWN_LINK => QuicError::NoCommonProtocol,
        code => QuicError::Lost(format!("the peer refused the link with code {code}")),
    }
}
