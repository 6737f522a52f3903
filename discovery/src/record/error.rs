//! Why a record is refused.

use std::fmt;

use withy_proto::trust::{CertificateError, ValidityError};

use super::Record;

/// Why a record is refused. Whoever wrote it is to blame, unless a clock is wrong; asking for the
/// same one again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is longer than a record may be.
    #[error("a record has at most {} octets, not {length}", Record::MAX)]
    Length {
        /// Its octets.
        length: usize,
    },
    /// It is of another version.
    #[error("the record is of version {found}; this one knows version 1")]
    Version {
        /// Which.
        found: u8,
    },
    /// It is cut short, goes on after its end, or a field holds what it cannot hold.
    #[error("the record is malformed")]
    Malformed,
    /// There is too much of something.
    #[error("the record has {count} {part}")]
    Many {
        /// What there is too much of.
        part: Part,
        /// How many there are.
        count: usize,
    },
    /// Something is there twice, or not in order.
    #[error("the {part} of the record are not in their one order")]
    Order {
        /// What.
        part: Part,
    },
    /// Nobody can be dialled at an address.
    #[error("nobody can be dialled at address {} of the record", at + 1)]
    Address {
        /// Which, from 0.
        at: usize,
    },
    /// An address reaches beyond a site, and the record does not say that it means it.
    #[error("address {} of the record is public, and the record is not", at + 1)]
    Public {
        /// Which, from 0.
        at: usize,
    },
    /// A service does not keep to its limits.
    #[error("service {} of the record is not one", at + 1)]
    Service {
        /// Which, from 0.
        at: usize,
    },
    /// It does not count now.
    #[error("the record {0}")]
    Validity(#[from] ValidityError),
    /// It would count for too long.
    #[error(
        "the record counts for {seconds} s, which is more than {} s",
        Record::MAX_LIFETIME
    )]
    Lifetime {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// The certificate in it is refused.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The node that it names did not sign it.
    #[error("the record is not signed by its node")]
    Forged,
}

/// A part of a record that there can be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Tags of networks.
    Networks,
    /// Addresses.
    Addresses,
    /// Services.
    Services,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Networks => "networks",
            Self::Addresses => "addresses",
            Self::Services => "services",
        })
    }
}
