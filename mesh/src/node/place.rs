//! Which process and which host a node is in, by octets that tell nobody else where that is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::LazyLock;

use withy_discovery::Place;
use withy_proto::crypto::{Randomness as _, hash};

use crate::driver::handshake::OsRandomness;

const DOMAIN: &[u8] = b"withy host place 1";

/// This process.
pub(super) fn process() -> Place {
    static PROCESS: LazyLock<Place> = LazyLock::new(random);
    *PROCESS
}

/// The host, as two nodes share it that reach each other by loopback addresses and by paths: one boot,
/// one network namespace, one runtime directory.
pub(super) fn host(runtime: &Path) -> Place {
    let boot = fs::read("/proc/sys/kernel/random/boot_id");
    let network = fs::metadata("/proc/self/ns/net").map(|it| it.ino());
    let directory = fs::metadata(runtime).map(|it| (it.dev(), it.ino()));
    let (Ok(boot), Ok(network), Ok((device, inode))) = (boot, network, directory) else {
        // Nobody shares it, as far as can be told.
        return random();
    };
    let numbers = [network, device, inode].map(u64::to_be_bytes).concat();
    let hash = hash::sha256(&[DOMAIN, &boot, &numbers]);
    let mut place = Place::default();
    let length = place.len();
    place.copy_from_slice(&hash[..length]);
    place
}

pub(super) fn random() -> Place {
    let mut place = Place::default();
    OsRandomness.fill(&mut place);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_for_those_that_share_a_runtime_directory() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(host(one.path()), host(one.path()));
        assert_ne!(host(one.path()), host(two.path()));
        let gone = one.path().join("gone");
        assert_ne!(host(&gone), host(&gone));
        assert_eq!(process(), process());
    }
}
