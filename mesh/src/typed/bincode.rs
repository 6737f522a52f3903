//! bincode as a codec.

use bincode::config;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::depth::Nested;
use super::{Codec, CodecError};

/// How much more memory than its octets a value may claim: a varint of one octet is a `u128`.
const EXPANSION: usize = 16;
/// Sizes of messages, each with a limit of its own on what their values claim.
const SMALL: usize = 64 << 10;
const MEDIUM: usize = 4 << 20;
const LARGE: usize = 64 << 20;

/// The format of bincode 2 in its standard configuration, for peers in Rust that use it already.
///
/// A length in a message is believed before its octets are seen, so that what a value may claim is
/// limited: 1 MiB in messages of up to 64 KiB, 64 MiB up to 4 MiB, 1 GiB above. What is nested deeper
/// than [`MAX_DEPTH`](super::MAX_DEPTH) does not decode.
#[derive(Debug, Clone, Copy)]
pub struct Bincode;

impl Codec for Bincode {
    type Error = CodecError<EncodeError, DecodeError>;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Self::Error> {
        bincode::serde::encode_to_vec(value, config::standard()).map_err(CodecError::Encode)
    }

    fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Self::Error> {
        match octets.len() {
            0..=SMALL => decode_within::<T, { SMALL * EXPANSION }>(octets),
            size if size <= MEDIUM => decode_within::<T, { MEDIUM * EXPANSION }>(octets),
            _ => decode_within::<T, { LARGE * EXPANSION }>(octets),
        }
    }
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(
    octets: &[u8],
) -> Result<T, CodecError<EncodeError, DecodeError>> {
    let config = config::standard().with_limit::<LIMIT>();
    let decoded = bincode::serde::seed_decode_from_slice(Nested::<T>::new(), octets, config);
    let (value, used) = decoded.map_err(CodecError::Decode)?;
    match used == octets.len() {
        true => Ok(value),
        false => Err(CodecError::Trailing),
    }
}
