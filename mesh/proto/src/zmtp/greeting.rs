//! The 64 octets that open every connection (RFC 37 §3.2).
//!
//! Reading is staged: each octet is judged as soon as it is there, so that another protocol, or a
//! ZMTP 1 or 2 peer that will never send 64 octets, is refused at once and not by a timeout.

use crate::mechanism::printable;

/// The length of a greeting in octets.
pub const LENGTH: usize = 64;

const SIGNATURE_END: usize = 9;
const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: std::ops::Range<usize> = 12..32;
/// Where a greeting says `as-server`.
pub(crate) const AS_SERVER: usize = 32;
/// What a mechanism may fill with its own; zeros where it does not.
pub const FILLER: std::ops::Range<usize> = 33..LENGTH;

/// Octets of [`FILLER`].
pub type Filler = [u8; FILLER.end - FILLER.start];

/// Our greeting: version 3.1, the mechanism, and what it says at once.
pub fn encode(mechanism: &str, as_server: bool, filler: Filler) -> [u8; LENGTH] {
    let mut octets = [0; LENGTH];
    octets[0] = 0xff;
    octets[SIGNATURE_END] = 0x7f;
    octets[MAJOR] = 3;
    octets[MINOR] = 1;
    let name = mechanism.as_bytes();
    let len = name.len().min(MECHANISM.len());
    octets[MECHANISM][..len].copy_from_slice(&name[..len]);
    octets[AS_SERVER] = u8::from(as_server);
    octets[FILLER].copy_from_slice(&filler);
    octets
}

/// What the peer's greeting says that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The minor version of ZMTP 3; 1 or above takes SUBSCRIBE and CANCEL as commands.
    pub minor: u8,
}

/// Reads as much of a greeting as there is: `None` while octets are missing and all so far are
/// right.
///
/// # Errors
/// Not ZMTP, ZMTP 1 or 2, or another mechanism than `mechanism`.
pub fn decode(octets: &[u8], mechanism: &str) -> Result<Option<Greeting>, GreetingError> {
    if octets.first().is_some_and(|&first| first != 0xff) {
        return Err(foreign(octets));
    }
    // A ZMTP 1 peer starts with a long frame header, whose last octet has other low bits.
    if octets.get(SIGNATURE_END).is_some_and(|last| last & 1 == 0) {
        return Err(GreetingError::Version { major: 1 });
    }
    if let Some(&major) = octets.get(MAJOR)
        && major < 3
    {
        return Err(GreetingError::Version {
            major: if major == 0 { 1 } else { 2 },
        });
    }
    let expected = mechanism.as_bytes();
    for (at, &octet) in octets
        .iter()
        .enumerate()
        .take(MECHANISM.end)
        .skip(MECHANISM.start)
    {
        if octet != expected.get(at - MECHANISM.start).copied().unwrap_or(0) {
            let name = &octets[MECHANISM.start..octets.len().min(MECHANISM.end)];
            let name = name.split(|&octet| octet == 0).next().unwrap_or(name);
            return Err(GreetingError::Mechanism {
                ours: mechanism.to_owned(),
                theirs: printable(name, 20),
            });
        }
    }
    Ok((octets.len() >= LENGTH).then(|| Greeting {
        minor: octets[MINOR],
    }))
}

/// Names what came instead of a greeting, where it can be told from the first octets.
fn foreign(octets: &[u8]) -> GreetingError {
    let guess = match octets {
        // The identity frame of an unversioned ZMTP 1 peer: length octet, then the flags 0.
        [1..=0xfe, 0, ..] => return GreetingError::Version { major: 1 },
        [0x16, ..] => "a TLS ClientHello",
        [b'G' | b'P' | b'H' | b'D' | b'O', b'A'..=b'Z', ..] => "an HTTP request",
        [b'S', ..] => "an SSH banner",
        [0x10, ..] => "an MQTT CONNECT",
        _ => "unknown octets",
    };
    GreetingError::NotZmtp { guess }
}

/// Why a greeting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// The peer speaks another protocol.
    #[error("peer does not speak ZMTP: {guess}")]
    NotZmtp {
        /// What the first octets look like.
        guess: &'static str,
    },
    /// The peer speaks ZMTP 1 or 2, which have no security and are not spoken.
    #[error("peer speaks ZMTP {major}; only ZMTP 3.0 and later are accepted")]
    Version {
        /// 1 or 2.
        major: u8,
    },
    /// The peer was given another security mechanism than we were.
    #[error("peer uses mechanism {theirs:?}, we use {ours}: give both sides the same keys")]
    Mechanism {
        /// Our mechanism.
        ours: String,
        /// The peer's, as far as it was read.
        theirs: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_octet_by_octet() {
        let octets = encode("NULL", false, Filler::default());
        for cut in 0..LENGTH {
            assert_eq!(decode(&octets[..cut], "NULL"), Ok(None), "at {cut}");
        }
        assert_eq!(decode(&octets, "NULL"), Ok(Some(Greeting { minor: 1 })));
        // libzmq puts the length of an identity into the padding.
        let mut libzmq = octets;
        libzmq[8] = 1;
        assert!(decode(&libzmq, "NULL").unwrap().is_some());
    }

    #[test]
    fn others_are_refused_at_the_first_octet_that_tells() {
        assert!(matches!(
            decode(b"G", "NULL"),
            Err(GreetingError::NotZmtp { .. })
        ));
        assert!(matches!(
            decode(b"\x01\x00", "NULL"),
            Err(GreetingError::Version { major: 1 })
        ));
        // With its first message right behind.
        assert!(matches!(
            decode(b"\x01\x00\x06\x00hello", "NULL"),
            Err(GreetingError::Version { major: 1 })
        ));
        assert!(matches!(
            decode(b"\x06\x00alice", "NULL"),
            Err(GreetingError::Version { major: 1 })
        ));
        let mut old = encode("NULL", false, Filler::default());
        old[10] = 1;
        assert_eq!(
            decode(&old[..11], "NULL"),
            Err(GreetingError::Version { major: 2 })
        );
        old[9] = 0;
        assert_eq!(
            decode(&old[..10], "NULL"),
            Err(GreetingError::Version { major: 1 })
        );
        let curve = encode("CURVE", true, Filler::default());
        assert!(matches!(
            decode(&curve[..13], "NULL"),
            Err(GreetingError::Mechanism { .. })
        ));
        let longer = encode("NULLX", false, Filler::default());
        assert!(decode(&longer[..16], "NULL").is_ok());
        assert!(decode(&longer[..17], "NULL").is_err());
    }
}
