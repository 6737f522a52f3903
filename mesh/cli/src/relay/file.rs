//! A node's configuration as a TOML file.
//!
//! ```text
//!  listen = ["192.0.2.7:7100"]
//!  seed = ["10.0.0.1:7100", "mesh.example.com:7100"]
//!
//!  [names]
//!  orders = "ID"        # only this identity may offer this name
//!
//!  [queue.jobs]
//!  ttl = "7d"           # of a queue that is kept
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
use withy::node::queue::QueueName;
use withy::trust::IdentityId;

use super::keys::{Form, KEYS, Key, MAX_NODES, NAMES, STATUS, find, nearest, parse};
use super::queues::{self, QUEUE, Setting};
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
        if name == QUEUE {
            return self.take_queues(value);
        }
        let Some(key) = find(name) else {
            let known = KEYS.iter().map(|key| key.name).chain([NAMES, QUEUE]);
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
        let Some(names) = self.table(NAMES, "NAME = \"ID\"", value) else {
            return;
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

    fn take_queues(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(queues) = self.table(QUEUE, "[queue.NAME]", value) else {
            return;
        };
        for (queue, value) in queues {
            let queue = queue.get_ref();
            if let Err(error) = parse::<QueueName>(queue) {
                self.complain(&value.span(), format_args!("{QUEUE}.{queue:?}: {error}"));
                continue;
            }
            let what = format!("{QUEUE}.{queue}");
            let Some(settings) = self.table(&what, "KEY = VALUE", value) else {
                continue;
            };
            for (name, value) in settings {
                let text = match queues::find(queue, name.get_ref()) {
                    Ok(setting) => setting_text(queue, setting, value).map(|it| (setting, it)),
                    Err(error) => {
                        self.complain(&name.span(), error);
                        continue;
                    }
                };
                match text {
                    Ok((setting, text)) => {
                        let origin = self.origin(&name.span());
                        let key = (queue.to_string(), setting.name);
                        self.layer.queues.insert(key, (text, origin));
                    }
                    Err(error) => self.complain(&value.span(), error),
                }
            }
        }
    }

    fn table<'v, 'i>(
        &mut self,
        what: &str,
        accepted: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<&'v DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let found = other.type_str();
                let error = format!("{what}: expected a table, not {found}; accepted: {accepted}");
                self.complain(&value.span(), error);
                None
            }
        }
    }
}

/// The value of a queue's setting, once it was checked.
fn setting_text(
    queue: &str,
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
) -> Result<String, String> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if setting.is_number => number.as_str().replace('_', ""),
        other => {
            let (name, found, accepted) = (setting.name, other.type_str(), setting.accepted);
            return Err(format!(
                "{QUEUE}.{queue}.{name}: expected a string, not {found}; accepted: {accepted}"
            ));
        }
    };
    setting.check(queue, &text)?;
    Ok(text)
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
            (
                "[queue.jobs]\nttl = \"1h\"\ntlt = 1",
                "3: queue.jobs.tlt: there is no such key; is ttl meant?",
            ),
            (
                "[queue.jobs]\n\nttl = 1",
                "3: queue.jobs.ttl: expected a string, not integer; accepted: a number and a unit",
            ),
            (
                "[queue.jobs]\nattempts = 0",
                "2: queue.jobs.attempts: \"0\" is no number from 1 on that fits; accepted: a number",
            ),
            (
                "[queue.jobs]\nmax-bytes = true",
                "2: queue.jobs.max-bytes: expected a string, not boolean; accepted: a number of octets",
            ),
            (
                "[queue]\njobs = 1",
                "2: queue.jobs: expected a table, not integer; accepted: KEY = VALUE",
            ),
            (
                "queue = 1",
                "1: queue: expected a table, not integer; accepted: [queue.NAME]",
            ),
            ("[queue.\"\"]", "a queue's name has 1 to 255 octets"),
            ("queu = 1", "1: queu: there is no such key; is queue meant?"),
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
    fn numbers_of_a_queue_may_be_written_as_such() {
        let text = "[queue.\"a b\"]\nmax-messages = 1_000\nmax-bytes = \"1MiB\"\nattempts = 3";
        let layer = read_text(text).unwrap();
        let value = |name| &*layer.queues[&("a b".to_owned(), name)].0;
        assert_eq!(value("max-messages"), "1000");
        assert_eq!(value("max-bytes"), "1MiB");
        assert_eq!(value("attempts"), "3");
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
