//! Keys and passwords: from options and files to a socket's builder, and `withy keygen`.
//!
//! A key file looks as CZMQ and pyzmq write certificates, so that they read ours and we theirs.
//! Secrets come from files only: what stands on a command line, everybody on the machine can read.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use withy::auth::{CurveAllowList, PlainFile, read_key_pair, read_public_key};
use withy::socket::Socket;
use withy::{Builder, KeyPair, PublicKey, generate_key_pair};

use crate::args::{Keygen, Keys};
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::identity::home;
use crate::place::Endpoints;

/// The largest password file that is read, in octets.
const MAX_FILE: u64 = 64 * 1024;

impl Keys {
    /// Gives a socket what it proves who it is with at these endpoints.
    pub(crate) fn apply<S: Socket>(
        &self,
        mut builder: Builder<S>,
        endpoints: &Endpoints,
    ) -> Outcome<Builder<S>> {
        if self.proves_identity() {
            return self.prove(builder);
        }
        if endpoints.ask_for_identity() {
            // The user's, unless there are keys, which the endpoint refuses then.
            builder = builder.trust(&self.trust(&home()?)?);
        }
        if self.insecure {
            builder = builder.insecure();
        }
        let own = self.secret_key_file.as_deref().map(read_pair).transpose()?;
        let server = match &self.server_key_file {
            Some(path) => Some(read_public_key(path).map_err(Failure::usage)?),
            None => self.server_key,
        };
        if let Some(server) = server {
            let own = own.unwrap_or_else(generate_key_pair);
            return Ok(builder.curve_client(own, server));
        }
        if let Some(own) = own {
            builder = builder.curve_server(own);
            return match (&self.authorized_keys, self.allow_any_client) {
                (Some(path), _) => {
                    let list = CurveAllowList::open(path).map_err(Failure::usage)?;
                    Ok(builder.authenticator(list))
                }
                (None, true) => Ok(builder.allow_any_client()),
                (None, false) => Err(Failure::usage(
                    "with --secret-key-file alone this side is a CURVE server, and whom it lets in must be said: \
                     --authorized-keys FILE or --allow-any-client; a client gives --server-key KEY as well",
                )),
            };
        }
        if let (Some(name), Some(path)) = (&self.plain_user, &self.plain_password_file) {
            let text = read(path)?;
            let password = text.lines().next().unwrap_or_default();
            return Ok(builder.plain_client(name.clone(), password));
        }
        if let Some(path) = &self.plain_users {
            let users = PlainFile::open(path).map_err(Failure::usage)?;
            return Ok(builder.plain_server().authenticator(users));
        }
        Ok(builder)
    }
}

/// Prints a new key pair, or writes it to a file.
pub(crate) fn keygen(options: &Keygen) -> Outcome {
    let pair = fresh_pair();
    let secret = pair.secret().expose_z85();
    match &options.output {
        Some(path) => {
            let public = with_suffix(path, ".pub");
            // Both are checked first, so that none is left alone.
            for path in [path, &public] {
                if path.symlink_metadata().is_ok() {
                    return Err(exists(path));
                }
            }
            write_new(path, 0o600, &certificate(&pair.public(), Some(&secret)))?;
            write_new(&public, 0o644, &certificate(&pair.public(), None))?;
            write_out(format!("{}\n", pair.public()))
        }
        None if options.json => {
            let object = json!({ "public": pair.public().to_string(), "secret": &**secret });
            write_out(format!("{object}\n"))
        }
        None => write_out(certificate(&pair.public(), Some(&secret))),
    }
}

/// Draws a pair whose public key can start a line of an authorized-keys file, where `#` starts a
/// comment, and an argument, where `-` starts an option.
fn fresh_pair() -> KeyPair {
    loop {
        let pair = generate_key_pair();
        if !pair.public().to_string().starts_with(['#', '-']) {
            return pair;
        }
    }
}

fn certificate(public: &PublicKey, secret: Option<&str>) -> String {
    let (what, secret) = match secret {
        Some(secret) => (
            "key pair: keep it to yourself",
            format!("    secret-key = \"{secret}\"\n"),
        ),
        None => ("public key: for those who connect", String::new()),
    };
    format!("#   CURVE {what}\ncurve\n    public-key = \"{public}\"\n{secret}")
}

fn exists(path: &Path) -> Failure {
    Failure::Failed(format!("{} exists, and is not overwritten", path.display()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> Outcome {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::Failed(format!("cannot write {}: {error}", path.display())),
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read(path: &Path) -> Outcome<String> {
    let failed =
        |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(failed(io::Error::other(format!(
            "it is larger than {MAX_FILE} octets"
        ))));
    }
    fs::read_to_string(path).map_err(failed)
}

fn read_pair(path: &Path) -> Outcome<KeyPair> {
    let open = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open {
        complain(format_args!(
            "warning: {} can be read by others than its owner; chmod 600 it",
            path.display()
        ));
    }
    read_key_pair(path).map_err(Failure::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let pair = fresh_pair();
        let secret = pair.secret().expose_z85();
        write_new(&path, 0o600, &certificate(&pair.public(), Some(&secret))).unwrap();
        let read = read_key_pair(&path).unwrap();
        assert_eq!(*read.secret().expose_z85(), *secret);
        assert_eq!(read_public_key(&path).unwrap(), pair.public());
        let public = folder.path().join("key.pub");
        write_new(&public, 0o644, &certificate(&pair.public(), None)).unwrap();
        assert!(read_key_pair(&public).is_err());
        assert_eq!(read_public_key(&public).unwrap(), pair.public());
    }
}
