//! Messages that are values of a Rust type.
//!
//! A codec turns a value into one frame and back. [`Postcard`] is the default: a compact format
//! with a published, stable specification. What does not decode is the sender's fault and comes
//! back as [`TypedError::Decode`] with the message.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use withy_proto::Message;

use crate::error::{ReceiveError, SendError};
use crate::socket::{ReceivesAny, SendsAny};

/// Turns values into octets and back.
pub trait Codec {
    /// What the codec says when it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Encodes a value.
    ///
    /// # Errors
    /// The value cannot be told in this format.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Self::Error>;

    /// Decodes a value, from all of `octets`.
    ///
    /// # Errors
    /// The octets are not a `T` in this format.
    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Self::Error>;
}

/// The postcard wire format, version 1.
#[derive(Debug, Clone, Copy)]
pub struct Postcard;

impl Codec for Postcard {
    type Error = postcard::Error;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(value)
    }

    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, postcard::Error> {
        match postcard::take_from_bytes(octets)? {
            (value, []) => Ok(value),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }
}

/// JSON (RFC 8259), for peers that are not Rust.
#[cfg(feature = "json")]
#[derive(Debug, Clone, Copy)]
pub struct Json;

#[cfg(feature = "json")]
impl Codec for Json {
    type Error = serde_json::Error;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(value)
    }

    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(octets)
    }
}

/// A socket whose messages are values of type `T`.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Pull, Push, Typed};
///
/// let pull = Pull::bind("tcp://127.0.0.1:0").await?;
/// let push = Push::connect(&pull.endpoints()[0])?;
/// let orders: Typed<Push, (u32, String)> = Typed::new(push);
/// let work: Typed<Pull, (u32, String)> = Typed::new(pull);
/// orders.send(&(7, "screws".to_owned())).await?;
/// assert_eq!(work.recv().await?, (7, "screws".to_owned()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Typed<S, T, C = Postcard> {
    socket: S,
    of: PhantomData<fn(T) -> (T, C)>,
}

/// Why a typed message was not sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError<E: std::error::Error> {
    /// The value cannot be encoded. Local misuse; nothing was sent.
    #[error("the value cannot be encoded: {0}")]
    Encode(E),
    /// The message is no value of the type. The peer misbehaved; the next message is not
    /// affected.
    #[error("the message is no value of the type: {error}")]
    Decode {
        /// What the codec says.
        error: E,
        /// The message.
        message: Message,
    },
    /// The socket did not send.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The socket did not receive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl<S, T, C> Typed<S, T, C> {
    /// Types a socket.
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            of: PhantomData,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket by value.
    pub fn into_inner(self) -> S {
        self.socket
    }
}

impl<S: SendsAny, T: Serialize, C: Codec> Typed<S, T, C> {
    /// Sends a value once there is room.
    ///
    /// # Errors
    /// The value cannot be encoded, or the socket does not send.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not send the value.
    pub async fn send(&self, value: &T) -> Result<(), TypedError<C::Error>> {
        let octets = C::encode(value).map_err(TypedError::Encode)?;
        Ok(self.socket.owner().send(Message::from(octets)).await?)
    }
}

impl<S: ReceivesAny, T: DeserializeOwned, C: Codec> Typed<S, T, C> {
    /// Receives a value.
    ///
    /// # Errors
    /// The message is no value of the type, or the socket is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub async fn recv(&self) -> Result<T, TypedError<C::Error>> {
        let message = self.socket.owner().recv().await?;
        C::decode(message.first()).map_err(|error| TypedError::Decode { error, message })
    }
}
