//! Key files: what `withy keygen -o FILE` writes, which is how CZMQ and pyzmq write certificates.
//!
//! Nothing but the key is read of them: other fields, metadata and comments are passed over.

use std::fs;
use std::io;
use std::path::Path;

use withy_proto::crypto::keys::{KeyPair, PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::file::FileError;

/// The largest key file that is read, in octets.
const MAX_SIZE: u64 = 64 * 1024;

/// Reads a key pair from a file with a line `secret-key = "KEY"`, or with nothing but the secret
/// key in Z85. Keep its mode at 0600.
///
/// # Errors
/// It cannot be read, is larger than 64 KiB, or has no such key.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = withy::auth::read_key_pair("server.key")?;
/// let rep = withy::Rep::builder().curve_server(keys).allow_any_client().build()?;
/// # Ok(())
/// # }
/// ```
pub fn read_key_pair(path: impl AsRef<Path>) -> Result<KeyPair, FileError> {
    let key = |text: &str| text.parse::<SecretKey>().map_err(|error| error.to_string());
    read(path.as_ref(), "secret-key", key).map(KeyPair::from_secret)
}

/// Reads a public key from a file with a line `public-key = "KEY"`, or with nothing but the key in
/// Z85.
///
/// # Errors
/// It cannot be read, is larger than 64 KiB, or has no such key.
pub fn read_public_key(path: impl AsRef<Path>) -> Result<PublicKey, FileError> {
    let key = |text: &str| text.parse::<PublicKey>().map_err(|error| error.to_string());
    read(path.as_ref(), "public-key", key)
}

fn read<K>(
    path: &Path,
    field: &str,
    parse: impl Fn(&str) -> Result<K, String>,
) -> Result<K, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_SIZE {
        let too_large = format!("it is larger than {MAX_SIZE} octets");
        return Err(failed(io::Error::other(too_large)));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    find(&text, field)
        .and_then(parse)
        .map_err(|reason| failed(io::Error::new(io::ErrorKind::InvalidData, reason)))
}

/// The value of a field of a certificate, or the whole text where it is one bare key.
fn find<'a>(text: &'a str, field: &str) -> Result<&'a str, String> {
    let bare = text.trim();
    if bare.len() == 40 && !bare.contains(char::is_whitespace) {
        return Ok(bare);
    }
    let value = super::field(text, field);
    value.ok_or_else(|| {
        format!("no line {field} = \"KEY\"; `withy keygen -o FILE` writes such a file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server keys of zmq_curve(7), "Test key values".
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn certificates_and_bare_keys_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let pyzmq = format!(
            "#   ****  Generated on 2026-01-01 by pyzmq  ****\n#   ZeroMQ CURVE **Secret** \
             Certificate\n\nmetadata\ncurve\n    public-key = \"{PUBLIC}\"\n    \
             secret-key = \"{SECRET}\"\n"
        );
        for (text, has_public) in [(pyzmq, true), (format!("{SECRET}\n"), false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_key_pair(&path).unwrap().public().to_string(), PUBLIC);
            if has_public {
                assert_eq!(read_public_key(&path).unwrap().to_string(), PUBLIC);
            }
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_the_accepted_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read_key_pair(&path).is_err());
        for text in [
            "",
            "curve\n    public-key = \"short\"\n",
            "secret-key = \"short\"",
        ] {
            fs::write(&path, text).unwrap();
            assert!(read_key_pair(&path).is_err(), "{text}");
        }
        fs::write(&path, "").unwrap();
        let error = read_key_pair(&path).unwrap_err().to_string();
        assert!(error.contains("withy keygen -o FILE"), "{error}");
        fs::write(&path, vec![b' '; MAX_SIZE as usize + 1]).unwrap();
        assert!(read_key_pair(&path).is_err());
    }
}
