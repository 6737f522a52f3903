//! The networks of a home: what a member keeps of one, and what its authority does.
//!
//! What the authority confirms, and what becomes of that, is in [`confirmation`](super::confirmation).

use std::fs;
use std::io;
use std::path::PathBuf;

use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::network::Secret;
use withy_proto::trust::{
    Authority, Grant, IdentityId, Joined, Name, Network, NetworkId, Proof, Roles, Terms, Ticket,
    UsedInvitations, Validity,
};
use withy_proto::z85;
use zeroize::Zeroizing;

use super::file::{self, Unreadable};
use super::{Home, HomeError};
use crate::auth::field;
use crate::driver::handshake::OsRandomness;
use crate::identity::now;

/// The largest file of a network that is read, in octets.
const MAX_NETWORK: u64 = 64 * 1024;
/// The largest file of an authority that is read, in octets: it has the used invitations.
const MAX_AUTHORITY: u64 = 16 * 1024 * 1024;

/// A network of a home.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KnownNetwork {
    /// What it is called here.
    pub name: Name,
    /// The network and the proof of membership.
    pub joined: Joined,
    /// Whether it was made here, so that others can be invited.
    pub is_authority: bool,
}

impl Home {
    /// Makes a network, of which the identity that is kept here is a member.
    ///
    /// # Errors
    /// There is one of this name, or it cannot be written.
    pub fn create_network(&self, name: &Name) -> Result<NetworkId, HomeError> {
        let member = self.identity()?.id();
        let _lock = self.lock()?;
        let (path, authority_path) = (self.network_path(name), self.authority_path(name));
        let exists = || HomeError::NetworkExists { name: name.clone() };
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let authority = Authority::create(Provider::Real, name.clone(), &mut OsRandomness);
        let grant = Grant {
            roles: Roles::MEMBER,
            serial: withy_proto::crypto::Randomness::next_u64(&mut OsRandomness),
            validity: Validity::starting(now(), Authority::MEMBERSHIP_LIFETIME),
        };
        let joined = Joined {
            network: authority.network().clone(),
            proof: authority.membership(member, grant).into(),
        };
        let text = print_authority(&authority, &UsedInvitations::new());
        file::create(&authority_path, &text).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => HomeError::Write {
                path: authority_path,
                source,
            },
        })?;
        self.write_network(name, &joined)?;
        Ok(authority.network().id)
    }

    /// Makes a ticket for a network that was made here: for one identity, or for whoever holds it.
    ///
    /// # Errors
    /// The network is unknown or was made elsewhere, or its files cannot be read.
    pub fn invite(
        &self,
        name: &Name,
        terms: Terms,
        member: Option<IdentityId>,
    ) -> Result<Ticket, HomeError> {
        let (authority, _) = self.authority(name)?;
        let randomness = &mut OsRandomness;
        Ok(match member {
            Some(member) => authority.invite_identity(member, terms, now(), randomness),
            None => authority.invite(Provider::Real, terms, now(), randomness),
        })
    }

    /// Joins a network as the identity that is kept here, and keeps it under its own name or another
    /// one. A network that was joined before is joined anew.
    ///
    /// # Errors
    /// The ticket cannot be used, another network has the name or the same secret, the file of one is
    /// damaged, or it cannot be written.
    pub fn join(&self, ticket: &Ticket, name: Option<&Name>) -> Result<Joined, HomeError> {
        let member = self.identity()?.id();
        let mut joined = ticket.redeem(Provider::Real, member, now())?;
        if let Some(name) = name {
            joined.network.name = name.clone();
        }
        let name = joined.network.name.clone();
        let _lock = self.lock()?;
        let known = match self.network(&name) {
            Ok(known) => Some(known.network.id),
            Err(HomeError::UnknownNetwork { .. }) if self.is_authority(&name) => {
                Some(self.authority(&name)?.0.network().id)
            }
            Err(HomeError::UnknownNetwork { .. }) => None,
            Err(error) => return Err(error),
        };
        if known.is_some_and(|id| id != joined.network.id) {
            return Err(HomeError::NetworkExists { name });
        }
        for known in self.networks()? {
            joined.network.beside(&known.joined.network)?;
        }
        self.write_network(&name, &joined)?;
        Ok(joined)
    }

    /// A network that was joined: what a member knows of it, and its proof, which may have expired.
    ///
    /// # Errors
    /// There is none of this name, or its file cannot be read or is damaged.
    pub fn network(&self, name: &Name) -> Result<Joined, HomeError> {
        let path = self.network_path(name);
        match file::read_secret(&path, MAX_NETWORK) {
            Ok(text) => parse(&text).map_err(|reason| HomeError::malformed(&path, reason)),
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(HomeError::UnknownNetwork { name: name.clone() })
            }
            Err(unreadable) => Err(HomeError::unreadable(&path, unreadable)),
        }
    }

    /// The networks that were joined, by name.
    ///
    /// # Errors
    /// The files cannot be read, or one is damaged.
    pub fn networks(&self) -> Result<Vec<KnownNetwork>, HomeError> {
        let path = self.path().join("networks");
        let failed = |source| HomeError::Read {
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(failed)?.file_name();
            // What has a point is an authority, or a file that is being written.
            names.extend(file_name.to_str().and_then(name_of));
        }
        names.sort();
        let known = |name: Name| {
            Ok(KnownNetwork {
                joined: self.network(&name)?,
                is_authority: self.is_authority(&name),
                name,
            })
        };
        names.into_iter().map(known).collect()
    }

    /// Leaves a network. Sockets that are in it end their connections within a second.
    ///
    /// # Errors
    /// There is none of this name, it was made here, or its file cannot be removed.
    pub fn leave(&self, name: &Name) -> Result<(), HomeError> {
        let _lock = self.lock()?;
        if self.is_authority(name) {
            return Err(HomeError::IsAuthority {
                name: name.clone(),
                path: self.authority_path(name),
            });
        }
        let path = self.network_path(name);
        fs::remove_file(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => HomeError::UnknownNetwork { name: name.clone() },
            _ => HomeError::Write { path, source },
        })
    }

    pub(super) fn write_network(&self, name: &Name, joined: &Joined) -> Result<(), HomeError> {
        let path = self.network_path(name);
        file::replace(&path, &print(joined)).map_err(|source| HomeError::Write { path, source })
    }

    pub(super) fn authority(&self, name: &Name) -> Result<(Authority, UsedInvitations), HomeError> {
        let path = self.authority_path(name);
        match file::read_secret(&path, MAX_AUTHORITY) {
            Ok(text) => {
                parse_authority(&text).map_err(|reason| HomeError::malformed(&path, reason))
            }
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.network(name)?;
                Err(HomeError::NoAuthority { name: name.clone() })
            }
            Err(unreadable) => Err(HomeError::unreadable(&path, unreadable)),
        }
    }

    pub(super) fn is_authority(&self, name: &Name) -> bool {
        self.authority_path(name).symlink_metadata().is_ok()
    }

    pub(super) fn network_path(&self, name: &Name) -> PathBuf {
        self.path().join("networks").join(file_name(name))
    }

    pub(super) fn authority_path(&self, name: &Name) -> PathBuf {
        let file_name = format!("{}.authority", file_name(name));
        self.path().join("networks").join(file_name)
    }
}

/// The file name of a network: what is neither a letter, a digit, `-` nor `_` is written as `%2F`. A
/// name from a ticket is its maker's, and must lead nowhere else.
pub(super) fn file_name(name: &Name) -> String {
    let octets = name.as_str().bytes();
    octets
        .map(|octet| match octet {
            b'-' | b'_' => char::from(octet).to_string(),
            _ if octet.is_ascii_alphanumeric() => char::from(octet).to_string(),
            _ => format!("%{octet:02X}"),
        })
        .collect()
}

/// The network that has a file name.
fn name_of(text: &str) -> Option<Name> {
    let mut parts = text.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        name.push(char::from(u8::from_str_radix(code, 16).ok()?));
        name.push_str(rest);
    }
    let name = name.parse().ok()?;
    (file_name(&name) == text).then_some(name)
}

fn print(joined: &Joined) -> Zeroizing<String> {
    let Joined { network, proof } = joined;
    let mut octets = proof.encode();
    // Z85 has characters for each four octets; a proof ends by itself.
    octets.resize(octets.len().next_multiple_of(4), 0);
    let proof = z85::encode(&octets).expect("a multiple of four octets");
    Zeroizing::new(format!(
        "# A network of Withy: its secret is in here, so keep it to yourself.\n{}proof = \"{proof}\"\n",
        *print_network(network),
    ))
}

fn print_network(network: &Network) -> Zeroizing<String> {
    let Network { id, name, secret } = network;
    let secret = Zeroizing::new(z85::encode_key(secret.expose_octets()));
    Zeroizing::new(format!(
        "network = \"{id}\"\nname = \"{name}\"\nsecret = \"{}\"\n",
        *secret
    ))
}

pub(super) fn print_authority(authority: &Authority, used: &UsedInvitations) -> Zeroizing<String> {
    let key = Zeroizing::new(z85::encode_key(&authority.expose_key().expose_seed()));
    let now = now();
    let used: String = used
        .entries()
        .filter(|(_, _, expires)| *expires >= now)
        .map(|(serial, by, expires)| format!("used = \"{serial} {by} {expires}\"\n"))
        .collect();
    Zeroizing::new(format!(
        "# The signing key of a network of Withy: who has it decides who is a member.\n{}key = \"{}\"\n{used}",
        *print_network(authority.network()),
        *key,
    ))
}

/// A field, or that it is missing.
fn value<'a>(text: &'a str, name: &str) -> Result<&'a str, String> {
    field(text, name).ok_or_else(|| format!("it has no line {name} = \"…\""))
}

fn key(text: &str, name: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let key = z85::decode_key(value(text, name)?);
    let key = key.map_err(|_| format!("its {name} is not 40 characters of Z85"))?;
    Ok(Zeroizing::new(key))
}

fn parse_network(text: &str) -> Result<Network, String> {
    let id = value(text, "network")?;
    let name = value(text, "name")?;
    Ok(Network {
        id: id
            .parse()
            .map_err(|error| format!("its network: {error}"))?,
        name: name.parse().map_err(|error| format!("its name: {error}"))?,
        secret: Secret::from_octets(*key(text, "secret")?),
    })
}

fn parse(text: &str) -> Result<Joined, String> {
    let network = parse_network(text)?;
    let damaged = |_| "its proof is damaged".to_owned();
    let octets = z85::decode(value(text, "proof")?).map_err(|_| "its proof is not Z85")?;
    let (proof, _) = Proof::decode(&octets).map_err(damaged)?;
    match proof.network() == network.id {
        true => Ok(Joined { network, proof }),
        false => Err("its proof is for another network: it is damaged".to_owned()),
    }
}

fn parse_authority(text: &str) -> Result<(Authority, UsedInvitations), String> {
    let Network { id, name, secret } = parse_network(text)?;
    let seed = key(text, "key")?;
    let key = SigningKey::from_seed(Provider::Real, &seed);
    if NetworkId::of(&key) != id {
        return Err("its key does not belong to its network: it is damaged".to_owned());
    }
    let mut used = UsedInvitations::new();
    for line in text.lines().filter(|line| line.starts_with("used")) {
        let mut entry = || {
            let mut words = field(line, "used")?.split(' ');
            let serial = words.next()?.parse().ok()?;
            let by = words.next()?.parse().ok()?;
            let expires = words.next()?.parse().ok()?;
            used.claim(serial, by, expires, 0).ok()
        };
        let form = "a line of it is not used = \"SERIAL ID EXPIRES\"";
        entry().ok_or(form)?;
    }
    Ok((Authority::restore(key, name, secret), used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files_in_the_folder_and_come_back() {
        for (name, file) in [
            ("home", "home"),
            ("my net", "my%20net"),
            ("../identity", "%2E%2E%2Fidentity"),
            ("a.authority", "a%2Eauthority"),
            ("50%", "50%25"),
        ] {
            let name: Name = name.parse().unwrap();
            assert_eq!(file_name(&name), file);
            assert_eq!(name_of(file), Some(name));
        }
        for none in [
            "home.authority",
            "home.0123",
            "",
            "a%2",
            "a%zz",
            "%41",
            "a%E9",
        ] {
            assert_eq!(name_of(none), None, "{none}");
        }
    }
}
