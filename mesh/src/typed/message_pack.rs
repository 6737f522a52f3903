//! MessagePack as a codec.

use rmp_serde::{Deserializer, decode, encode};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed as _};

use super::depth::Nested;
use super::{Codec, CodecError};

/// MessagePack, for peers that are not Rust: a struct is a map with its fields' names. A struct
/// that comes as an array decodes, too.
///
/// What is nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH) does not decode.
#[derive(Debug, Clone, Copy)]
pub struct MessagePack;

impl Codec for MessagePack {
    type Error = CodecError<encode::Error, decode::Error>;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Self::Error> {
        rmp_serde::to_vec_named(value).map_err(CodecError::Encode)
    }

    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Self::Error> {
        let mut input = Deserializer::new(octets);
        let value = Nested::new().deserialize(&mut input);
        let value = value.map_err(CodecError::Decode)?;
        match input.get_ref() {
            [] => Ok(value),
            _ => Err(CodecError::Trailing),
        }
    }
}
