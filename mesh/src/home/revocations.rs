//! What networks took back, as they signed it: those that were made here, and others of which gossip
//! told.
//!
//! A file `networks/NAME.revoked` has one revocation a line, in Z85. It is added to, and never read
//! before it was verified.

use std::io;
use std::path::PathBuf;

use withy_discovery::{Revocation, Target};
use withy_proto::trust::Name;
use withy_proto::z85;

use super::file::{self, Unreadable};
use super::networks::file_name;
use super::{Home, HomeError, append, entries};
use crate::identity::now;

/// The largest file that is read, in octets: more than all revocations that a node knows.
const MAX: u64 = 1024 * 1024;

impl Home {
    /// Takes back, for all members of a network that was made here, what an identity or a serial has
    /// there. Nodes of this home that are in the network tell others of it, and it spreads.
    ///
    /// # Errors
    /// The network is unknown or was made elsewhere, or a file cannot be read or written.
    pub fn revoke_member(&self, network: &Name, target: Target) -> Result<Revocation, HomeError> {
        let (authority, _) = self.authority(network)?;
        let revocation = Revocation::issue(authority.expose_key(), target, now());
        self.keep_revocation(network, &revocation)?;
        Ok(revocation)
    }

    /// What a network took back, as far as it is known here.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn revocations(&self, network: &Name) -> Result<Vec<Revocation>, HomeError> {
        let path = self.revocations_path(network);
        let text = read(&path)?;
        let parsed = entries(&text).map(|(number, line)| {
            let wrong = || HomeError::malformed(&path, format!("line {number} is no revocation"));
            decode(line.trim()).ok_or_else(wrong)
        });
        parsed.collect()
    }

    /// Notes what a network took back, if it is news; whether it is.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_revocation(
        &self,
        network: &Name,
        revocation: &Revocation,
    ) -> Result<bool, HomeError> {
        let path = self.revocations_path(network);
        let _lock = self.lock()?;
        let known = self.revocations(network)?;
        if known.iter().any(|it| it.digest() == revocation.digest()) {
            return Ok(false);
        }
        let mut text = read(&path)?;
        append(&mut text, encode(revocation));
        file::replace(&path, &text).map_err(|source| HomeError::Write { path, source })?;
        Ok(true)
    }

    pub(crate) fn revocations_path(&self, network: &Name) -> PathBuf {
        let file_name = format!("{}.revoked", file_name(network));
        self.path().join("networks").join(file_name)
    }
}

/// A file that is not there is empty.
fn read(path: &std::path::Path) -> Result<String, HomeError> {
    match file::read(path, MAX) {
        Ok(mut text) => Ok(std::mem::take(&mut *text)),
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(unreadable) => Err(HomeError::unreadable(path, unreadable)),
    }
}

fn encode(revocation: &Revocation) -> String {
    let mut octets = revocation.encode();
    // Z85 has characters for each four octets; how many are too many shows when it is read.
    octets.resize(octets.len().next_multiple_of(4), 0);
    z85::encode(&octets).expect("a multiple of four octets")
}

fn decode(line: &str) -> Option<Revocation> {
    let octets = z85::decode(line).ok()?;
    let lengths = (octets.len().saturating_sub(3)..=octets.len()).rev();
    lengths
        .filter(|length| octets[*length..].iter().all(|octet| *octet == 0))
        .find_map(|length| Revocation::decode(&octets[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    #[test]
    fn what_is_taken_back_is_noted_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let name: Name = "garden".parse().unwrap();
        home.create_network(&name).unwrap();
        assert_eq!(home.revocations(&name).unwrap(), []);
        let ada = Identity::ephemeral().id();
        let one = home.revoke_member(&name, Target::Identity(ada)).unwrap();
        let two = home.revoke_member(&name, Target::Serial(7)).unwrap();
        assert!(!home.keep_revocation(&name, &one).unwrap());
        home.revoke_member(&name, Target::Serial(7)).unwrap();
        let known = home.revocations(&name).unwrap();
        assert_eq!(known, [one, two]);
        assert!(
            known
                .iter()
                .all(|it| it.verify(withy_proto::crypto::Provider::Real))
        );
        let networks = home.networks().unwrap();
        assert_eq!(networks.len(), 1, "the file is not taken for a network");
        std::fs::write(home.revocations_path(&name), "nonsense\n").unwrap();
        let error = home.revocations(&name).unwrap_err().to_string();
        assert!(error.contains("line 1 is no revocation"), "{error}");
        // Who did not make the network takes nothing back.
        let other = tempfile::tempdir().unwrap();
        let member = Home::at(other.path());
        let ticket = home.invite(&name, Default::default(), None).unwrap();
        member.join(&ticket, None).unwrap();
        let refused = member.revoke_member(&name, Target::Serial(7)).unwrap_err();
        assert!(
            matches!(refused, HomeError::NoAuthority { .. }),
            "{refused}"
        );
    }
}
