//! PLAIN users from a file.

use std::path::Path;

use subtle::ConstantTimeEq;

use super::file::{FileError, Watched};
use super::{AuthRequest, Authenticator, Credentials, Deciding, Decision};

/// Accepts the users of a file with one `name=password` a line, as CZMQ reads it.
///
/// Empty lines and lines that start with `#` are passed over. The file is read again when it
/// changes; a malformed one keeps the last good content in force. Passwords stand there in clear:
/// keep its mode at 0600, and remember that PLAIN sends them in clear, too.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::Rep;
/// use withy::auth::PlainFile;
///
/// let users = PlainFile::open("users")?;
/// let rep = Rep::builder().plain_server().authenticator(users).build()?;
/// rep.bind_to("ipc:///run/hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PlainFile(Watched<User>);

#[derive(Debug)]
struct User {
    name: String,
    password: Secret,
}

struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl PlainFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or a line is malformed; the error names the line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        Watched::open(path.as_ref(), parse).map(Self)
    }

    /// Reads the file again at once.
    ///
    /// # Errors
    /// As [`open`](Self::open); the last good content stays in force.
    pub fn reload(&self) -> Result<(), FileError> {
        self.0.reload()
    }
}

fn parse(line: &str) -> Result<User, String> {
    let (name, password) = line.split_once('=').ok_or("a line is NAME=PASSWORD")?;
    if name.is_empty() || name.len() > 255 || password.len() > 255 {
        return Err("a name has 1 to 255 octets, a password up to 255".to_owned());
    }
    Ok(User {
        name: name.to_owned(),
        password: Secret(password.to_owned()),
    })
}

impl Authenticator for PlainFile {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        let Credentials::Plain { username, password } = &request.credentials else {
            return Box::pin(std::future::ready(Decision::deny(
                "the mechanism is not PLAIN",
            )));
        };
        let known = self.0.with(|users| {
            users.iter().fold(false, |known, user| {
                let name = user.name.as_bytes().ct_eq(username);
                let password = user.password.0.as_bytes().ct_eq(password);
                known | bool::from(name & password)
            })
        });
        let decision = if known {
            // What equals a name of the file is text.
            Decision::accept(String::from_utf8_lossy(username))
        } else {
            Decision::deny("unknown user or password")
        };
        Box::pin(std::future::ready(decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(file: &PlainFile, username: &str, password: impl AsRef<[u8]>) -> bool {
        let credentials = Credentials::Plain {
            username: username.into(),
            password: password.as_ref().to_vec(),
        };
        let request = AuthRequest {
            domain: String::new(),
            address: String::new(),
            identity: Vec::new(),
            credentials,
        };
        matches!(file.authenticate(&request).await, Decision::Accept(user) if user.id == username)
    }

    #[tokio::test]
    async fn users_come_and_go_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, "# staff\nada=secret=1\n\nbob=\n").unwrap();
        let file = PlainFile::open(&path).unwrap();
        assert!(ask(&file, "ada", "secret=1").await);
        assert!(ask(&file, "bob", "").await);
        assert!(!ask(&file, "ada", "secret").await);
        assert!(!ask(&file, "", "").await);
        assert!(!ask(&file, "bob", b"\xff").await);
        std::fs::write(&path, "carl=new\n").unwrap();
        assert!(ask(&file, "carl", "new").await);
        assert!(!ask(&file, "ada", "secret=1").await);
        std::fs::write(&path, "no equals sign\n").unwrap();
        assert!(
            ask(&file, "carl", "new").await,
            "the last good content stays"
        );
        assert!(
            file.reload()
                .unwrap_err()
                .to_string()
                .contains(":1: a line is NAME=PASSWORD")
        );
        assert!(!format!("{file:?}").contains("new"));
    }
}
