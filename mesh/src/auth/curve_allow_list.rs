//! CURVE clients by their public keys.

use std::collections::BTreeMap;
use std::path::Path;

use parking_lot::RwLock;
use withy_proto::crypto::keys::PublicKey;

use super::file::{FileError, Watched};
use super::{AuthRequest, Authenticator, Credentials, Deciding, Decision};

/// Accepts the clients whose public keys it has. A client's user id is its name here, or its key.
///
/// A file has one key a line, in Z85, and optionally a name after it. It is read again when it
/// changes; a malformed one keeps the last good content in force.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use withy::auth::CurveAllowList;
/// use withy::{Pull, Push, generate_key_pair};
///
/// let (server, ada) = (generate_key_pair(), generate_key_pair());
/// let public = server.public();
/// let list = Arc::new(CurveAllowList::new([]));
/// let pull = Pull::builder().curve_server(server).authenticator(list.clone()).build()?;
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// // The list can change while the socket is in use.
/// list.allow(ada.public(), "ada");
///
/// let push = Push::builder().curve_client(ada, public).build()?;
/// push.connect_to(endpoint)?;
/// push.send("hello").await?;
/// assert_eq!(pull.recv().await?.first(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CurveAllowList {
    keys: RwLock<BTreeMap<PublicKey, String>>,
    file: Option<Watched<(PublicKey, String)>>,
}

impl CurveAllowList {
    /// A list of the given keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let keys = keys.into_iter().map(|key| (key, key.to_string())).collect();
        Self {
            keys: RwLock::new(keys),
            file: None,
        }
    }

    /// A list from a file.
    ///
    /// # Errors
    /// It cannot be read, or a line is malformed; the error names the line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let file = Watched::open(path.as_ref(), parse)?;
        Ok(Self {
            keys: RwLock::default(),
            file: Some(file),
        })
    }

    /// Adds a key under a name.
    pub fn allow(&self, key: PublicKey, name: impl Into<String>) {
        self.keys.write().insert(key, name.into());
    }

    /// Takes a key that was added off the list again; those of a file are the file's. Connections
    /// that are open stay open.
    pub fn forbid(&self, key: &PublicKey) {
        self.keys.write().remove(key);
    }

    /// Reads the file again at once, if there is one.
    ///
    /// # Errors
    /// As [`open`](Self::open); the last good content stays in force.
    pub fn reload(&self) -> Result<(), FileError> {
        self.file.as_ref().map_or(Ok(()), Watched::reload)
    }

    fn name(&self, key: &PublicKey) -> Option<String> {
        self.keys.read().get(key).cloned().or_else(|| {
            self.file.as_ref().and_then(|file| {
                file.with(|keys| {
                    keys.iter()
                        .find(|(known, _)| known == key)
                        .map(|(_, name)| name.clone())
                })
            })
        })
    }
}

fn parse(line: &str) -> Result<(PublicKey, String), String> {
    let (key, name) = line.split_once(char::is_whitespace).unwrap_or((line, line));
    let key = key
        .parse::<PublicKey>()
        .map_err(|error| format!("{error}; a line is KEY [NAME], KEY 40 octets of Z85"))?;
    Ok((key, name.trim().to_owned()))
}

impl Authenticator for CurveAllowList {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        let decision = match &request.credentials {
            Credentials::Curve { public_key } => {
                match self.name(&PublicKey::from_octets(*public_key)) {
                    Some(name) => Decision::accept(name),
                    None => Decision::deny("the key is not on the list"),
                }
            }
            _ => Decision::deny("the mechanism is not CURVE"),
        };
        Box::pin(std::future::ready(decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(list: &CurveAllowList, key: PublicKey) -> Option<String> {
        let credentials = Credentials::Curve {
            public_key: *key.as_octets(),
        };
        let request = AuthRequest {
            domain: String::new(),
            address: String::new(),
            identity: Vec::new(),
            credentials,
        };
        match list.authenticate(&request).await {
            Decision::Accept(user) => Some(user.id),
            Decision::Deny { .. } => None,
        }
    }

    #[tokio::test]
    async fn keys_come_and_go_while_it_runs() {
        let [a, b] = [1, 2].map(|octet| PublicKey::from_octets([octet; 32]));
        let list = CurveAllowList::new([a]);
        assert_eq!(ask(&list, a).await, Some(a.to_string()));
        assert_eq!(ask(&list, b).await, None);
        list.allow(b, "bob");
        list.forbid(&a);
        assert_eq!(
            (ask(&list, a).await, ask(&list, b).await),
            (None, Some("bob".to_owned()))
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("{a} ada lovelace\n")).unwrap();
        let list = CurveAllowList::open(&path).unwrap();
        assert_eq!(ask(&list, a).await, Some("ada lovelace".to_owned()));
        std::fs::write(&path, format!("# moved\n{b}\n")).unwrap();
        assert_eq!(
            (ask(&list, a).await, ask(&list, b).await),
            (None, Some(b.to_string()))
        );
        std::fs::write(&path, "short key\n").unwrap();
        assert!(list.reload().is_err());
        assert!(ask(&list, b).await.is_some());
    }
}
