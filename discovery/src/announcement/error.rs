//! What is wrong with an announcement.

/// Why an announcement does not hold, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// The TXT record is longer than one may be.
    #[error("a TXT record of {length} octets is too long")]
    Length {
        /// Its octets.
        length: usize,
    },
    /// It does not consist of strings with their lengths, none of which is empty.
    #[error("the TXT record is cut short, or has an empty string")]
    Malformed,
    /// It is in a later form.
    #[error("the TXT record has version {found}")]
    Version {
        /// Which.
        found: u64,
    },
    /// Its node speaks another version of the protocol.
    #[error("the node speaks version {found} of the protocol")]
    Protocol {
        /// Which.
        found: u64,
    },
    /// A string is missing, or another is in its place.
    #[error("the string {key}= is missing where it belongs")]
    Missing {
        /// Its key.
        key: &'static str,
    },
    /// A string has a value that is none, or not in its one form.
    #[error("the value of {key}= is none")]
    Value {
        /// Its key.
        key: &'static str,
    },
    /// Its addresses are none.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// Something follows after its end.
    #[error("the TXT record goes on after its end")]
    Trailing,
    /// The port is 0.
    #[error("port 0 is none")]
    Port,
    /// It does not count any more.
    #[error("it expired {seconds} s ago")]
    Expired {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// It would count for longer than a record may.
    #[error("it would count for another {seconds} s")]
    Lifetime {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// Another key signed it, or who made it does not know the network's secret.
    #[error("it is not by whom it says")]
    Forged,
}

/// Why addresses cannot be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacesError {
    /// There is none.
    #[error("no address is announced")]
    None,
    /// There are too many of a family.
    #[error("{count} addresses of one family are too many")]
    Many {
        /// How many.
        count: usize,
    },
    /// They are not in ascending order, or one is there twice.
    #[error("the addresses are not in order")]
    Order,
    /// One is for everybody, or for nobody.
    #[error("an address is neither of this host nor of this site")]
    Reach,
}
