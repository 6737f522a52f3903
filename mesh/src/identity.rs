//! Who this process is on the mesh: an identity that is stored, and a node of it that is not.
//!
//! The identity is an Ed25519 key in a file that only its owner can read. Each handle that is opened
//! is a node: a process that runs, with keys of its own that are never stored, and a certificate by
//! the identity that lasts a day and is renewed meanwhile. Any number of processes may run under one
//! identity at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::KeyPair;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Certificate, IdentityId, NodeId, Validity};
use withy_proto::z85;
use zeroize::Zeroizing;

use crate::auth::field;
use crate::driver::handshake::OsRandomness;
use crate::home::file::{self, Unreadable};

/// The largest identity file that is read, in octets.
const MAX_SIZE: u64 = 4 * 1024;

/// An identity, and a node of it. A clone is the same node.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Identity, Pull, Push};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("identity");
/// // Two processes of one person: both trust each other, and nobody else.
/// let (ours, theirs) = (Identity::open(&path)?, Identity::open(&path)?);
/// assert_eq!(ours.id(), theirs.id());
///
/// let pull = Pull::builder().identity(&ours).build()?;
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// let push = Push::builder().identity(&theirs).build()?;
/// push.connect_to(endpoint)?;
/// push.send("sealed").await?;
/// assert_eq!(pull.recv().await?.first(), "sealed");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

static DEFAULT: Mutex<Option<Identity>> = Mutex::new(None);

struct Inner {
    identity: SigningKey,
    node: SigningKey,
    noise: KeyPair,
    certificate: Mutex<Certificate>,
}

impl Identity {
    /// A new identity that is not stored: it ends with the process.
    pub fn ephemeral() -> Self {
        Self::of(SigningKey::generate(Provider::Real, &mut OsRandomness))
    }

    /// The identity of an Ed25519 seed (RFC 8032 §5.1.5: the private key) that is kept elsewhere: 32
    /// random octets.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::of(SigningKey::from_seed(Provider::Real, seed))
    }

    /// The identity in a file, which is made on first use, with mode 0600.
    ///
    /// # Errors
    /// The file cannot be read or made, others than its owner may read it, or it holds no identity.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        match fs::symlink_metadata(path) {
            Ok(_) => read(path).map(Self::of),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = SigningKey::generate(Provider::Real, &mut OsRandomness);
                match write(path, &made) {
                    Ok(()) => Ok(Self::of(made)),
                    // Another process was faster.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        read(path).map(Self::of)
                    }
                    Err(source) => Err(IdentityError::Write {
                        path: path.to_owned(),
                        source,
                    }),
                }
            }
            Err(source) => Err(IdentityError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The user's identity: the file `identity` in [`home`].
    ///
    /// # Errors
    /// As [`open`](Self::open), or there is no home directory.
    pub fn open_default() -> Result<Self, IdentityError> {
        Self::open(home()?.join("identity"))
    }

    fn of(identity: SigningKey) -> Self {
        let node = SigningKey::generate(Provider::Real, &mut OsRandomness);
        let noise = KeyPair::generate(&mut OsRandomness);
        let certificate = issue(&identity, &node, &noise, now());
        Self(Arc::new(Inner {
            identity,
            node,
            noise,
            certificate: Mutex::new(certificate),
        }))
    }

    /// The seed that [`from_seed`](Self::from_seed) takes: the private key, for a place that only
    /// its owner can read.
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        self.0.identity.expose_seed()
    }

    /// The identity's id, which others trust.
    pub fn id(&self) -> IdentityId {
        IdentityId::of(&self.0.identity)
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        NodeId::of(&self.0.node)
    }

    /// Makes this the identity of sockets that need one and were given none, in place of the user's;
    /// returns whether it is. The first one stays: not so if there was one, or such a socket was
    /// used already.
    pub fn set_default(&self) -> bool {
        let mut default = DEFAULT.lock();
        default.get_or_insert_with(|| self.clone()).node() == self.node()
    }

    /// The identity of sockets that need one and were given none: one node for the whole process.
    pub(crate) fn default() -> Result<Self, IdentityError> {
        let mut default = DEFAULT.lock();
        match &*default {
            Some(identity) => Ok(identity.clone()),
            None => Ok(default.insert(Self::open_default()?).clone()),
        }
    }

    /// The node's key, for the handshake of QUIC and for what it says about itself.
    pub(crate) fn node_key(&self) -> &SigningKey {
        &self.0.node
    }

    /// The keys that the certificate names for Noise.
    pub(crate) fn noise(&self) -> &KeyPair {
        &self.0.noise
    }

    /// The node's certificate, made anew when half of its time is over.
    pub(crate) fn certificate(&self, now: u64) -> Certificate {
        let mut certificate = self.0.certificate.lock();
        let validity = certificate.validity();
        let age = now.abs_diff(validity.not_before);
        if age > validity.lifetime() / 2 {
            *certificate = issue(&self.0.identity, &self.0.node, &self.0.noise, now);
        }
        *certificate
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id())
            .field("node", &self.node())
            .finish()
    }
}

fn issue(identity: &SigningKey, node: &SigningKey, noise: &KeyPair, now: u64) -> Certificate {
    let validity = Validity::starting(now, Certificate::LIFETIME);
    Certificate::issue(identity, NodeId::of(node), noise.public(), validity)
}

/// Where a user's identity, networks and trusted peers are kept: `$WITHY_HOME`, else
/// `$XDG_CONFIG_HOME/withy`, else `$HOME/.config/withy`.
///
/// # Errors
/// None of the variables is set.
pub fn home() -> Result<PathBuf, IdentityError> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    from("WITHY_HOME")
        .map(PathBuf::from)
        .or_else(|| from("XDG_CONFIG_HOME").map(|path| PathBuf::from(path).join("withy")))
        .or_else(|| from("HOME").map(|path| PathBuf::from(path).join(".config/withy")))
        .ok_or(IdentityError::NoHome)
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    since_epoch().as_secs()
}

/// The time since the Unix epoch, to the tick of the clock.
pub(crate) fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn read(path: &Path) -> Result<SigningKey, IdentityError> {
    let malformed = |reason| IdentityError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let text = file::read_secret(path, MAX_SIZE).map_err(|unreadable| match unreadable {
        Unreadable::Io(source) => IdentityError::Read {
            path: path.to_owned(),
            source,
        },
        Unreadable::TooOpen(mode) => IdentityError::TooOpen {
            path: path.to_owned(),
            mode,
        },
        Unreadable::TooLarge => malformed("it is larger than 4 KiB"),
    })?;
    let value = |name, missing| field(&text, name).ok_or_else(|| malformed(missing));
    let secret = value("secret", "it has no line secret = \"…\"")?;
    let id = value("identity", "it has no line identity = \"…\"")?;
    let seed =
        z85::decode_key(secret).map_err(|_| malformed("its secret is not 40 characters of Z85"))?;
    let key = SigningKey::from_seed(Provider::Real, &Zeroizing::new(seed));
    if id != IdentityId::of(&key).to_string() {
        return Err(malformed(
            "its secret does not belong to its identity: it is damaged",
        ));
    }
    Ok(key)
}

/// Writes a new file whole, or none.
fn write(path: &Path, key: &SigningKey) -> io::Result<()> {
    let text = Zeroizing::new(format!(
        "# A Withy identity: keep it to yourself.\nidentity = \"{}\"\nsecret = \"{}\"\n",
        IdentityId::of(key),
        *Zeroizing::new(z85::encode_key(&key.expose_seed())),
    ));
    file::create(path, &text)
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read the identity in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot make an identity in {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read the secret.
    #[error("{} has mode {mode:04o}: others may read the identity in it; chmod 600 it, or make a new one if somebody did", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds no identity.
    #[error("{} holds no identity: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no place for it.
    #[error("there is no home directory: set WITHY_HOME, or give the identity's file")]
    NoHome,
}

#[cfg(test)]
mod secrets;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_each_handle_is_a_node() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity");
        let all: Vec<Identity> = std::thread::scope(|scope| {
            let open = || Identity::open(&path).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let first = &all[0];
        assert!(all.iter().all(|other| other.id() == first.id()));
        assert!(all[1..].iter().all(|other| other.node() != first.node()));
        assert_eq!(first.clone().node(), first.node());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_can_read_or_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let identity = Identity::open(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&identity.id().to_string()));
        assert!(!format!("{identity:?}").contains(field(&text, "secret").unwrap()));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::open(&path).unwrap_err();
        assert!(matches!(error, IdentityError::TooOpen { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        let other = Identity::ephemeral().id().to_string();
        for damaged in [
            String::new(),
            text.replace("secret", "public"),
            text.replace(&identity.id().to_string(), &other),
            text.replace("secret = \"", "secret = \"x"),
            text.repeat(40),
        ] {
            fs::write(&path, damaged).unwrap();
            let error = Identity::open(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn certificates_are_renewed_before_they_end() {
        let identity = Identity::ephemeral();
        let now = now();
        let first = identity.certificate(now);
        assert_eq!(identity.certificate(now + Certificate::LIFETIME / 2), first);
        let later = now + Certificate::LIFETIME / 2 + 10;
        let second = identity.certificate(later);
        assert!(second.validity().not_after >= later + Certificate::LIFETIME);
        assert!(second.verify(Provider::Real, later).is_ok());
    }
}
