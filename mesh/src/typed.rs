//! Messages that are values of a Rust type.
//!
//! A codec turns a value into one frame and back. [`Postcard`] is the default: a compact format
//! with a published, stable specification. `Json`, `Cbor`, `MessagePack` and `Bincode` come with
//! the features `json`, `cbor`, `msgpack` and `bincode`. What does not decode is the sender's fault
//! and comes back as [`TypedError::Decode`] with the message.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed as _};
use withy_proto::Message;

use crate::error::{ReceiveError, RequestError, SendError};
use crate::event::PeerInfo;
use crate::socket::{ReceivesAny, Rep, Req, Request, SendsAny};

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "cbor")]
mod cbor;
mod depth;
#[cfg(feature = "msgpack")]
mod message_pack;

#[cfg(feature = "bincode")]
pub use bincode::Bincode;
#[cfg(feature = "cbor")]
pub use cbor::Cbor;
#[cfg(feature = "msgpack")]
pub use message_pack::MessagePack;

/// How deep a value may be nested to be decoded. JSON and CBOR count arrays, objects and maps, the
/// other formats steps into fields, elements, the content of variants, and options.
pub const MAX_DEPTH: usize = 128;

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

/// What is wrong, in the words of a format that has an error for each direction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError<E, D> {
    /// The value cannot be told in this format.
    #[error(transparent)]
    Encode(E),
    /// The octets are no such value, or break a limit.
    #[error(transparent)]
    Decode(D),
    /// The octets go on after the value.
    #[error("octets follow the value")]
    Trailing,
}

/// The postcard wire format, version 1.
///
/// What is nested deeper than [`MAX_DEPTH`] does not decode.
#[derive(Debug, Clone, Copy)]
pub struct Postcard;

impl Codec for Postcard {
    type Error = postcard::Error;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(value)
    }

    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, postcard::Error> {
        let mut input = postcard::Deserializer::from_bytes(octets);
        let value = depth::Nested::new().deserialize(&mut input)?;
        match input.finalize()? {
            [] => Ok(value),
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
    /// The request has no reply.
    #[error(transparent)]
    Request(#[from] RequestError),
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
        Ok(self
            .socket
            .owner()
            .send(&mut encode::<T, C>(value)?)
            .await?)
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
        decode::<T, C>(self.socket.owner().recv().await?)
    }
}

/// `T` is the type of requests.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Rep, Req, Typed};
///
/// let adder: Typed<Rep, (i32, i32)> = Typed::new(Rep::bind("tcp://127.0.0.1:*").await?);
/// let sums: Typed<Req, (i32, i32)> = Typed::new(Req::connect(&adder.socket().endpoints()[0])?);
/// tokio::spawn(async move {
///     while let Ok(((a, b), request)) = adder.recv().await {
///         let _ = request.reply(&(a + b)).await; // the client may have left
///     }
/// });
/// let sum: i32 = sums.request(&(3, 4)).await?;
/// assert_eq!(sum, 7);
/// # Ok(())
/// # }
/// ```
impl<T: Serialize, C: Codec> Typed<Req, T, C> {
    /// Sends a request and waits for its reply; see [`Req::request`].
    ///
    /// # Errors
    /// The value cannot be encoded, there is no reply, or the reply is no `R`.
    ///
    /// # Cancel safety
    /// As [`Req::request`].
    pub async fn request<R: DeserializeOwned>(&self, value: &T) -> Result<R, TypedError<C::Error>> {
        decode::<R, C>(self.socket.request(encode::<T, C>(value)?).await?)
    }
}

impl<T: DeserializeOwned, C: Codec> Typed<Rep, T, C> {
    /// Receives the next request, and the right to reply to it.
    ///
    /// # Errors
    /// The request is no value of the type (it gets no reply), or the socket is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no request.
    pub async fn recv(&self) -> Result<(T, TypedRequest<C>), TypedError<C::Error>> {
        let mut request = self.socket.recv().await?;
        let value = decode::<T, C>(request.take_message())?;
        Ok((
            value,
            TypedRequest {
                request,
                codec: PhantomData,
            },
        ))
    }
}

/// The right to reply once with a value. Dropping it sends no reply.
#[derive(Debug)]
pub struct TypedRequest<C = Postcard> {
    request: Request,
    codec: PhantomData<fn() -> C>,
}

impl<C: Codec> TypedRequest<C> {
    /// Sends the reply; see [`Request::reply`].
    ///
    /// # Errors
    /// The value cannot be encoded, the peer is gone, or the socket is closed.
    ///
    /// # Cancel safety
    /// As [`Request::reply`].
    pub async fn reply<R: Serialize>(self, value: &R) -> Result<(), TypedError<C::Error>> {
        Ok(self.request.reply(encode::<R, C>(value)?).await?)
    }

    /// Who asks; `None` once it is gone.
    pub fn peer(&self) -> Option<Arc<PeerInfo>> {
        self.request.peer()
    }
}

fn encode<T: Serialize, C: Codec>(value: &T) -> Result<Message, TypedError<C::Error>> {
    C::encode(value)
        .map(Message::from)
        .map_err(TypedError::Encode)
}

fn decode<T: DeserializeOwned, C: Codec>(message: Message) -> Result<T, TypedError<C::Error>> {
    C::decode(message.first()).map_err(|error| TypedError::Decode { error, message })
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order {
        number: u64,
        what: String,
        tags: Vec<Option<i8>>,
        note: Note,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Note {
        None,
        Text { text: String },
        In(Box<Self>),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Chain(Option<Box<Self>>);

    fn deep(levels: usize) -> Note {
        (0..levels).fold(Note::None, |note, _| Note::In(Box::new(note)))
    }

    /// What every codec does.
    fn check<C: Codec + Debug>() {
        let order = Order {
            number: u64::MAX,
            what: "screws".to_owned(),
            tags: vec![Some(-1), None],
            note: Note::Text {
                text: "ü".to_owned(),
            },
        };
        let octets = C::encode(&order).unwrap();
        assert_eq!(C::decode::<Order>(&octets).unwrap(), order);
        let longer = [&octets[..], b"0"].concat();
        assert!(C::decode::<Order>(&longer).is_err());
        for cut in 0..octets.len() {
            assert!(C::decode::<Order>(&octets[..cut]).is_err(), "{cut}");
        }
        // Whatever is changed, it ends in a value or an error.
        for at in 0..octets.len() {
            for octet in 0..=255 {
                let mut changed = octets.clone();
                changed[at] = octet;
                let _ = C::decode::<Order>(&changed);
                let _ = C::decode::<Vec<String>>(&changed[at..]);
            }
        }
        let shallow = deep(20);
        let octets = C::encode(&shallow).unwrap();
        assert_eq!(C::decode::<Note>(&octets).unwrap(), shallow);
    }

    /// A value within value after value is refused before the stack ends.
    fn check_depth<C: Codec>(level: &[u8]) {
        assert!(C::decode::<Note>(&level.repeat(1_000_000)).is_err());
    }

    #[test]
    fn postcard_holds() {
        check::<Postcard>();
        check_depth::<Postcard>(&[2]);
        assert!(Postcard::decode::<Chain>(&[1; 1_000_000]).is_err());
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_holds() {
        check::<Json>();
        check_depth::<Json>(br#"{"In":"#);
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_holds() {
        check::<Cbor>();
        check_depth::<Cbor>(b"\xa1\x62In");
        assert!(Cbor::decode::<String>(b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn message_pack_holds() {
        check::<MessagePack>();
        check_depth::<MessagePack>(b"\x81\xa2In");
        assert!(MessagePack::decode::<String>(b"\xdb\xff\xff\xff\xff").is_err());
        let as_array = (1_u64, "a", [(); 0], "None");
        let octets = rmp_serde::to_vec(&as_array).unwrap();
        assert_eq!(MessagePack::decode::<Order>(&octets).unwrap().number, 1);
    }

    #[cfg(feature = "bincode")]
    #[test]
    fn bincode_holds() {
        check::<Bincode>();
        check_depth::<Bincode>(&[2]);
        assert!(Bincode::decode::<Chain>(&[1; 1_000_000]).is_err());
        let endless = b"\xfd\xff\xff\xff\xff\xff\xff\xff\x7f";
        assert!(Bincode::decode::<String>(endless).is_err());
        assert!(Bincode::decode::<Vec<String>>(endless).is_err());
        let numbers = vec![1_u128; 4_000];
        let octets = Bincode::encode(&numbers).unwrap();
        assert_eq!(Bincode::decode::<Vec<u128>>(&octets).unwrap(), numbers);
    }
}
