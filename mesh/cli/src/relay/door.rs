//! The door of a node for ZeroMQ sockets: what its keys say together, and what is said of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use withy::auth::{CurveAllowList, PlainFile, read_key_pair};
use withy::node::{DoorError, ZmtpDoor};
use withy::{Endpoint, Node};

use super::keys;
use super::settings::{Layer, Origin};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::place;

/// The longest name of a service or queue, in octets.
const MAX_NAME: usize = 127;

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lets {
    /// Whoever is on this host.
    Local,
    /// CURVE clients: our keys, and theirs.
    Curve(PathBuf, PathBuf),
    /// PLAIN users.
    Plain(PathBuf),
}

/// What the door is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    listen: Vec<Endpoint>,
    serve: Vec<(String, Endpoint)>,
    pull: Vec<(String, Endpoint)>,
    lets: Lets,
    insecure: bool,
    within: Duration,
}

/// Reads an endpoint to listen at.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let endpoint = place::to_bind(text).map_err(|failure| match failure {
        Failure::Usage(text) | Failure::Failed(text) | Failure::TimedOut(text) => text,
        Failure::Closed => String::new(),
    })?;
    match endpoint {
        Endpoint::Tcp(_) | Endpoint::Ipc(_) => Ok(endpoint),
        other => Err(format!("{other} is neither tcp:// nor ipc://")),
    }
}

/// Reads a name and its endpoint.
pub(super) fn named(text: &str) -> Result<(String, Endpoint), String> {
    let parts = text.split_once('=');
    let (name, at) = parts.ok_or_else(|| format!("{text:?} has no ="))?;
    if !(1..=MAX_NAME).contains(&name.len()) || name.contains(char::is_control) {
        return Err(format!(
            "a name has 1 to {MAX_NAME} octets without control characters, not {name:?}"
        ));
    }
    Ok((name.to_owned(), endpoint(at)?))
}

/// What the keys say together.
struct Reading<'a> {
    layer: &'a Layer,
    errors: Vec<String>,
}

impl Reading<'_> {
    fn items(&self, key: &str) -> &[String] {
        self.layer.keys.get(key).map_or(&[], |set| &set.items)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.items(key).first().map(PathBuf::from)
    }

    fn origin(&self, key: &str) -> &Origin {
        let set = self.layer.keys.get(key);
        set.map_or(&Origin::Default, |set| &set.origin)
    }

    fn complain(&mut self, key: &str, what: impl std::fmt::Display) {
        let error = format!("{}: {key}: {what}", self.origin(key));
        self.errors.push(error);
    }

    /// The names of a key, each once.
    fn named(&mut self, key: &str) -> Result<Vec<(String, Endpoint)>, String> {
        let all = self.items(key).iter().map(|text| named(text));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        for (at, (name, _)) in all.iter().enumerate() {
            if all.iter().take(at).any(|(known, _)| known == name) {
                let accepted = "accepted: one endpoint for each name";
                self.complain(key, format_args!("{name:?} is there twice; {accepted}"));
            }
        }
        Ok(all)
    }

    fn lets(&mut self) -> Lets {
        let own = self.path(keys::ZMTP_SECRET_KEY_FILE);
        let clients = self.path(keys::ZMTP_AUTHORIZED_KEYS);
        let users = self.path(keys::ZMTP_PLAIN_USERS);
        if users.is_some() && (own.is_some() || clients.is_some()) {
            self.complain(
                keys::ZMTP_PLAIN_USERS,
                format_args!(
                    "CURVE keys are there, too; accepted: {}, or {} with {}",
                    keys::ZMTP_PLAIN_USERS,
                    keys::ZMTP_SECRET_KEY_FILE,
                    keys::ZMTP_AUTHORIZED_KEYS
                ),
            );
        }
        for (one, key, other) in [
            (&own, keys::ZMTP_SECRET_KEY_FILE, keys::ZMTP_AUTHORIZED_KEYS),
            (
                &clients,
                keys::ZMTP_AUTHORIZED_KEYS,
                keys::ZMTP_SECRET_KEY_FILE,
            ),
        ] {
            if one.is_some() && self.items(other).is_empty() {
                self.complain(
                    key,
                    format_args!("it needs {other}; accepted: both or none"),
                );
            }
        }
        match (own, clients, users) {
            (Some(own), Some(clients), _) => Lets::Curve(own, clients),
            (_, _, Some(users)) => Lets::Plain(users),
            _ => Lets::Local,
        }
    }
}

impl Door {
    /// What the keys say of it; `None` without an endpoint.
    pub(super) fn of(layer: &Layer) -> Result<Option<Self>, String> {
        let errors = Vec::new();
        let mut reading = Reading { layer, errors };
        let listen = reading.items(keys::ZMTP).iter().map(|text| endpoint(text));
        let mut door = Self {
            listen: listen.collect::<Result<_, _>>()?,
            serve: reading.named(keys::ZMTP_SERVE)?,
            pull: reading.named(keys::ZMTP_PULL)?,
            lets: reading.lets(),
            insecure: reading
                .items(keys::ZMTP_INSECURE)
                .iter()
                .any(|it| it == "true"),
            within: ZmtpDoor::WITHIN,
        };
        if let Some(text) = reading.items(keys::ZMTP_TIMEOUT).first() {
            door.within = duration::parse(text)?;
        }
        door.check(&mut reading);
        match reading.errors.is_empty() {
            true if door.endpoints().next().is_none() => Ok(None),
            true => Ok(Some(door)),
            false => Err(reading.errors.join("\n")),
        }
    }

    /// All endpoints, with their keys.
    fn endpoints(&self) -> impl Iterator<Item = (&'static str, &Endpoint)> {
        let listen = self.listen.iter().map(|it| (keys::ZMTP, it));
        let serve = self.serve.iter().map(|(_, it)| (keys::ZMTP_SERVE, it));
        let pull = self.pull.iter().map(|(_, it)| (keys::ZMTP_PULL, it));
        listen.chain(serve).chain(pull)
    }

    /// Whether the endpoints may be open as far as they are.
    fn check(&self, reading: &mut Reading<'_>) {
        let open = self
            .endpoints()
            .filter(|(_, endpoint)| !endpoint.is_local());
        for (key, endpoint) in open {
            let why = match self.lets {
                Lets::Curve(..) => continue,
                Lets::Plain(_) if self.insecure => continue,
                Lets::Plain(_) => format!(
                    "other hosts reach {endpoint}, and passwords can be read on the way; accepted: \
                     loopback or ipc://, CURVE ({} and {}), or {}",
                    keys::ZMTP_SECRET_KEY_FILE,
                    keys::ZMTP_AUTHORIZED_KEYS,
                    keys::ZMTP_INSECURE
                ),
                Lets::Local => format!(
                    "other hosts reach {endpoint} without proving who they are; accepted: loopback or \
                     ipc://, {} with {}, or {}",
                    keys::ZMTP_SECRET_KEY_FILE,
                    keys::ZMTP_AUTHORIZED_KEYS,
                    keys::ZMTP_PLAIN_USERS
                ),
            };
            reading.complain(key, why);
        }
    }

    /// Opens it.
    pub(super) async fn open(&self, node: &Node) -> Outcome<ZmtpDoor> {
        let mut door = ZmtpDoor::builder(node).within(self.within);
        door = match &self.lets {
            Lets::Local => door,
            Lets::Curve(own, clients) => {
                let keys = read_key_pair(own).map_err(Failure::usage)?;
                let clients = CurveAllowList::open(clients).map_err(Failure::usage)?;
                door.curve(keys, clients)
            }
            Lets::Plain(users) => door.plain(PlainFile::open(users).map_err(Failure::usage)?),
        };
        if self.insecure {
            door = door.insecure();
        }
        for endpoint in &self.listen {
            door = door.listen(endpoint.clone());
        }
        for (name, endpoint) in &self.serve {
            door = door.serve(name, endpoint.clone());
        }
        for (queue, endpoint) in &self.pull {
            door = door.pull(queue, endpoint.clone());
        }
        door.open().await.map_err(|error| match error {
            DoorError::Name(error) => crate::node::unnamed(error),
            error => Failure::usage(error),
        })
    }
}

/// Says where it listens, and for whom.
pub(super) fn say(door: &ZmtpDoor) {
    let mechanism = door.mechanism();
    for endpoint in door.endpoints() {
        complain(format_args!(
            "ZeroMQ door at {endpoint} ({mechanism}) for SUB, PUB, REQ, DEALER and PUSH"
        ));
    }
    for (name, endpoint) in door.served() {
        complain(format_args!(
            "ZeroMQ door at {endpoint} ({mechanism}) for REP and DEALER, the workers of {name}"
        ));
    }
    for (queue, endpoint) in door.pulled() {
        complain(format_args!(
            "ZeroMQ door at {endpoint} ({mechanism}) for PULL, from {queue}"
        ));
    }
}

/// The same as an object.
pub(super) fn object(door: &ZmtpDoor) -> Value {
    let text = |endpoint: &Endpoint| Value::from(endpoint.to_string());
    let all = |named: Vec<(&str, Endpoint)>| -> serde_json::Map<String, Value> {
        let named = named.iter();
        named
            .map(|(name, at)| ((*name).to_owned(), text(at)))
            .collect()
    };
    json!({
        "mechanism": door.mechanism(),
        "endpoints": door.endpoints().iter().map(text).collect::<Vec<_>>(),
        "serve": all(door.served()),
        "pull": all(door.pulled()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::relay::settings::Set;

    /// Keys with their values, a line each.
    type Keys = &'static [(&'static str, &'static [&'static str])];

    fn layer(keys: Keys) -> Layer {
        let mut layer = Layer::default();
        for (line, (key, items)) in (1..).zip(keys) {
            let items = items.iter().map(|it| (*it).to_owned()).collect();
            let path = Path::new("x").to_owned();
            let origin = Origin::File { path, line };
            layer.keys.insert(key, Set { items, origin });
        }
        layer
    }

    #[test]
    fn endpoints_and_names_are_read() {
        assert!(endpoint("tcp://127.0.0.1:0").is_ok());
        assert!(endpoint("ipc:///run/door").is_ok());
        for bad in [
            "inproc://x",
            "127.0.0.1:1",
            "quic://127.0.0.1:1",
            "mesh://x",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert_eq!(named("a b=ipc://x=y").unwrap().0, "a b");
        for bad in ["adder", "=ipc://x", "a\nb=ipc://x", "adder=x"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_together_are_named() {
        const OPEN: &str = "tcp://0.0.0.0:1";
        assert_eq!(Door::of(&layer(&[])), Ok(None));
        assert_eq!(Door::of(&layer(&[("zmtp-timeout", &["1s"])])), Ok(None));
        let good: [Keys; 4] = [
            &[("zmtp", &["ipc://x", "tcp://[::1]:1"])],
            &[("zmtp-serve", &["a=tcp://127.0.0.1:1"])],
            &[
                ("zmtp", &[OPEN]),
                ("zmtp-secret-key-file", &["k"]),
                ("zmtp-authorized-keys", &["c"]),
            ],
            &[
                ("zmtp", &[OPEN]),
                ("zmtp-plain-users", &["u"]),
                ("zmtp-insecure", &["true"]),
            ],
        ];
        for keys in good {
            assert!(Door::of(&layer(keys)).unwrap().is_some(), "{keys:?}");
        }
        let bad: [(Keys, &str); 6] = [
            (
                &[("zmtp", &[OPEN])],
                "x:1: zmtp: other hosts reach tcp://0.0.0.0:1 without",
            ),
            (
                &[("zmtp-pull", &["jobs=tcp://*:1"])],
                "x:1: zmtp-pull: other hosts reach",
            ),
            (
                &[("zmtp-plain-users", &["u"]), ("zmtp", &[OPEN])],
                "x:2: zmtp: other hosts reach tcp://0.0.0.0:1, and passwords",
            ),
            (
                &[("zmtp", &["ipc://x"]), ("zmtp-secret-key-file", &["k"])],
                "x:2: zmtp-secret-key-file: it needs zmtp-authorized-keys",
            ),
            (
                &[
                    ("zmtp-secret-key-file", &["k"]),
                    ("zmtp-authorized-keys", &["c"]),
                    ("zmtp-plain-users", &["u"]),
                ],
                "x:3: zmtp-plain-users: CURVE keys are there, too; accepted: ",
            ),
            (
                &[("zmtp-serve", &["a=ipc://x", "a=ipc://y"])],
                "x:1: zmtp-serve: \"a\" is there twice",
            ),
        ];
        for (keys, says) in bad {
            let error = Door::of(&layer(keys)).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
