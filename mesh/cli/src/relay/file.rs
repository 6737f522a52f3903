//! A node's configuration as a TOML file.
//!
//! ```text
//!  listen = ["192.0.2.7:7100"]
//!  seed = ["10.0.0.1:7100", "mesh.example.com:7100"]
//!
//!  [names]
//!  orders = "ID"        # only this identity may offer this name
//! ```
//!
//! Read as a tree of keys and values with their places, so that each error has its line. All errors of
//! a file are found at once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use withy::trust::IdentityId;

use super::keys::{Form, KEYS, Key, MAX_NODES, NAMES, STATUS, find, nearest, parse};
use super::settings::{Layer, Origin, Set};

/// The largest file that is read, in octets.
const MAX: u64 = 1024 * 1024;
/// The longest name that a service can have, in octets.
const MAX_NAME: usize = 127;

/// A file that is being read.
struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    layer: Layer,
    errors: Vec<String>,
}

/// Reads a file; the errors say line, key and what is accepted.
pub(super) fn read(path: &Path) -> Result<Layer, Vec<String>> {
    let text = text(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    let mut reading = Reading {
        path,
        text: &text,
        layer: Layer::default(),
        errors: Vec::new(),
    };
    match DeTable::parse(&text) {
        Ok(table) => table
            .get_ref()
            .iter()
            .for_each(|(name, value)| reading.take(name.get_ref(), &name.span(), value)),
        Err(error) => {
            let message = error.message().replace('\n', ": ");
            let span = error.span().unwrap_or_default();
            reading.complain(&span, format_args!("this is no TOML: {message}"));
        }
    }
    match reading.errors.is_empty() {
        true => Ok(reading.layer),
        false => Err(reading.errors),
    }
}

fn text(path: &Path) -> io::Result<String> {
    // A pipe would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut octets = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MAX {
        let error = format!("it is larger than {MAX} octets");
        return Err(io::Error::other(error));
    }
    String::from_utf8(octets).map_err(|_| io::Error::other("it is not UTF-8"))
}

impl Reading<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start);
        let before = before.unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|octet| **octet == b'\n').count()
    }

    fn complain(&mut self, span: &Range<usize>, what: impl std::fmt::Display) {
        let error = format!("{}:{}: {what}", self.path.display(), self.line(span));
        self.errors.push(error);
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line(span),
        }
    }

    fn take(&mut self, name: &str, span: &Range<usize>, value: &Spanned<DeValue<'_>>) {
        if name == NAMES {
            return self.take_names(value);
        }
        let Some(key) = find(name) else {
            let known = KEYS.iter().map(|key| key.name).chain([NAMES]);
            let meant = match nearest(name, known.clone()) {
                Some(nearest) => format!("is {nearest} meant?"),
                None => {
                    let known: Vec<_> = known.collect();
                    format!("accepted: {}", known.join(", "))
                }
            };
            return self.complain(span, format_args!("{name}: there is no such key; {meant}"));
        };
        let items = match (value.get_ref(), key.many) {
            (DeValue::Array(items), true) => {
                let items: Vec<_> = items.iter().filter_map(|it| self.item(key, it)).collect();
                items
            }
            _ => self.item(key, value).into_iter().collect(),
        };
        let origin = self.origin(span);
        self.layer.keys.insert(key.name, Set { items, origin });
    }

    /// One value of a key.
    fn item(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            // A number needs no quotes.
            DeValue::Integer(number) if matches!(key.name, STATUS | MAX_NODES) => {
                number.as_str().into()
            }
            DeValue::Boolean(value) if key.form == Form::Flag => value.to_string(),
            other => {
                let (name, found) = (key.name, other.type_str());
                let form = if key.many { "strings" } else { "a string" };
                let accepted = key.accepted;
                self.complain(
                    &value.span(),
                    format_args!("{name}: expected {form}, not {found}; accepted: {accepted}"),
                );
                return None;
            }
        };
        if let Err(error) = (key.check)(&text) {
            let (name, accepted) = (key.name, key.accepted);
            let error = format!("{name}: {error}; accepted: {accepted}");
            self.complain(&value.span(), error);
            return None;
        }
        Some(match self.path.parent() {
            Some(folder) => key.in_folder(folder, text),
            None => text,
        })
    }

    fn take_names(&mut self, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(names) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return self.complain(
                &value.span(),
                format_args!("{NAMES}: expected a table, not {found}; accepted: NAME = \"ID\""),
            );
        };
        for (name, value) in names {
            let text = name.get_ref();
            if !(1..=MAX_NAME).contains(&text.len()) || text.contains(char::is_control) {
                self.complain(
                    &name.span(),
                    format_args!("{NAMES}: a name has 1 to {MAX_NAME} octets without control characters, not {text:?}"),
                );
                continue;
            }
            let id = match value.get_ref() {
                DeValue::String(id) => parse::<IdentityId>(id),
                other => Err(format!("expected a string, not {}", other.type_str())),
            };
            match id {
                Ok(id) => {
                    let origin = self.origin(&name.span());
                    self.layer.names.insert(text.to_string(), (id, origin));
                }
                Err(error) => self.complain(
                    &value.span(),
                    format_args!(
                        "{NAMES}.{text}: {error}; accepted: an id, as `withy id` prints it"
                    ),
                ),
            }
        }
    }
}

/// The file that is read if none is named, if it is there.
pub(super) fn default_path(home: &Path) -> Option<PathBuf> {
    let path = home.join("node.toml");
    // One that cannot be looked at is an error when it is read.
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Layer, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, text).unwrap();
        let stripped = |error: String| {
            let start = format!("{}:", path.display());
            error.strip_prefix(&start).unwrap_or(&error).to_owned()
        };
        read(&path).map_err(|errors| errors.into_iter().map(stripped).collect())
    }

    #[test]
    fn each_error_has_its_line_and_what_is_accepted() {
        for (text, says) in [
            (
                "\nlisen = []",
                "2: lisen: there is no such key; is listen meant?",
            ),
            (
                "colour = 1",
                "1: colour: there is no such key; accepted: listen, seed,",
            ),
            (
                "listen = [\n \"x\"]",
                "2: listen: \"x\" is no IP address with or without a port; accepted: IP:PORT",
            ),
            (
                "listen = 7",
                "1: listen: expected strings, not integer; accepted: IP:PORT",
            ),
            (
                "discovery = \"lan\"",
                "1: discovery: \"lan\" is no way to find nodes; accepted: \"host\", \"mdns\" or \"off\"",
            ),
            (
                "discovery = [\"host\"]",
                "1: discovery: expected a string, not array",
            ),
            ("a = ", "1: this is no TOML: "),
            ("seed = []\nseed = []", "2: this is no TOML: duplicate key"),
            ("[names]\n\norders = \"x\"", "3: names.orders: "),
            ("names = 1", "1: names: expected a table, not integer"),
            ("[listen]\nx = 1", "listen: expected strings, not table"),
        ] {
            let errors = read_text(text).unwrap_err();
            assert!(errors.first().unwrap().contains(says), "{text}: {errors:?}");
        }
        let errors = read_text("a = 1\nb = 2\nnetwork = \"\"").unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn paths_are_from_the_folder_of_the_file() {
        let text =
            "seed-file = \"seeds\"\nidentity = \"/x\"\nstatus = 9100\nkeep = [\"a=b\", \"c\"]";
        let layer = read_text(text).unwrap();
        let [stored, kept] = &layer.keys["keep"].items[..] else {
            panic!("{layer:?}")
        };
        assert!(
            stored.starts_with("a=/") && stored.ends_with("/b"),
            "{stored}"
        );
        assert_eq!(kept, "c");
        assert!(layer.keys["seed-file"].items[0].ends_with("/seeds"));
        assert_eq!(layer.keys["identity"].items, ["/x"]);
        assert_eq!(layer.keys["status"].items, ["9100"]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err()[0].contains("no file"));
        assert!(read(&folder.path().join("gone")).is_err());
        let path = folder.path().join("long");
        fs::write(&path, vec![b'#'; MAX as usize + 1]).unwrap();
        assert!(read(&path).unwrap_err()[0].contains("larger"));
        fs::write(&path, b"\xff").unwrap();
        assert!(read(&path).unwrap_err()[0].contains("UTF-8"));
    }
}
