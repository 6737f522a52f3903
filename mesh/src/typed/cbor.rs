//! CBOR as a codec.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, MAX_DEPTH};

/// CBOR (RFC 8949), for peers that are not Rust: a struct is a map with its fields' names.
///
/// What is nested deeper than [`MAX_DEPTH`] does not decode.
#[derive(Debug, Clone, Copy)]
pub struct Cbor;

impl Codec for Cbor {
    type Error = CodecError<ciborium::ser::Error<io::Error>, ciborium::de::Error<io::Error>>;

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Self::Error> {
        let mut octets = Vec::new();
        ciborium::into_writer(value, &mut octets).map_err(CodecError::Encode)?;
        Ok(octets)
    }

    fn decode<T: DeserializeOwned>(mut octets: &[u8]) -> Result<T, Self::Error> {
        let value = ciborium::de::from_reader_with_recursion_limit(&mut octets, MAX_DEPTH)
            .map_err(CodecError::Decode)?;
        match octets {
            [] => Ok(value),
            _ => Err(CodecError::Trailing),
        }
    }
}
