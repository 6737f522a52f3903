//! What a node is told: by options, the environment, a file, and by default, in this order.
//!
//! A key counts as a whole: one list takes the place of another and is not added to it; so does each
//! setting of a queue. All layers are
//! checked, those that do not count included.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use withy::node::Seed;
use withy::node::queue::{QueueName, QueueOptions};
use withy::trust::{IdentityId, Name};

use super::door::Door;
use super::file;
use super::keys::{self, KEYS, Key, PREFIX, nearest};
use super::queues::QUEUE;
use crate::args::{Discovery, NodeOptions};
use crate::exit::{Failure, Outcome};
use crate::identity::home;

/// The variable of all verbs that a node minds, too.
const OF_ALL_VERBS: &str = "WITHY_DISCOVERY";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::Option(name) => write!(f, "--{name}"),
        }
    }
}

/// The values of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) items: Vec<String>,
    pub(super) origin: Origin,
}

/// What one source says.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) keys: BTreeMap<&'static str, Set>,
    pub(super) names: BTreeMap<String, (IdentityId, Origin)>,
    /// Of each queue and [setting](super::queues::SETTINGS) the value.
    pub(super) queues: BTreeMap<(String, &'static str), (String, Origin)>,
}

/// What holds.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) seeds: Vec<Seed>,
    pub(super) seed_file: Option<PathBuf>,
    pub(super) discovery: Discovery,
    pub(super) max_nodes: Option<usize>,
    pub(super) network: Option<Name>,
    pub(super) identity: Option<PathBuf>,
    pub(super) status: Option<SocketAddr>,
    /// Queues to keep, in memory or in a folder.
    pub(super) keep: Vec<(QueueName, Option<PathBuf>, QueueOptions)>,
    pub(super) relay: bool,
    /// The door for ZeroMQ sockets, if there is one.
    pub(super) door: Option<Door>,
    /// The same, as it was written, with the names.
    pub(super) layer: Layer,
}

impl Settings {
    /// Reads all sources; the file is the named one, else that of the options, else the user's.
    pub(super) fn load(options: &NodeOptions, named: Option<&Path>) -> Outcome<Self> {
        let file = read_file(options, named);
        let environment = of_environment(env::vars_os().filter_map(|(name, value)| {
            // Others may be anything.
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        }));
        let options = of_options(options);
        let (mut layer, mut errors) = (Layer::default(), Vec::new());
        for source in [file, environment, options] {
            match source {
                Ok(source) => {
                    layer.keys.extend(source.keys);
                    layer.names.extend(source.names);
                    layer.queues.extend(source.queues);
                }
                Err(found) => errors.extend(found),
            }
        }
        match errors.is_empty() {
            true => Self::of(layer).map_err(Failure::Usage),
            false => Err(Failure::Usage(errors.join("\n"))),
        }
    }

    fn of(layer: Layer) -> Result<Self, String> {
        let items = |key| layer.keys.get(key).map_or(&[][..], |set: &Set| &set.items);
        let one = |key| items(key).first().map(String::as_str);
        let listen = items(keys::LISTEN).iter().map(|text| keys::listen(text));
        let seeds = items(keys::SEED).iter().map(|text| keys::seed(text));
        let keep = items(keys::KEEP).iter().map(|text| keys::keep(text));
        let keep = keep.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            listen: listen.collect::<Result<_, _>>()?,
            seeds: seeds.collect::<Result<_, _>>()?,
            seed_file: one(keys::SEED_FILE).map(PathBuf::from),
            discovery: match one(keys::DISCOVERY) {
                Some(text) => keys::discovery(text)?,
                None => Discovery::Mdns,
            },
            max_nodes: one(keys::MAX_NODES).map(keys::max_nodes).transpose()?,
            network: one(keys::NETWORK).map(keys::parse).transpose()?,
            identity: one(keys::IDENTITY).map(PathBuf::from),
            status: one(keys::STATUS).map(keys::status).transpose()?,
            keep: layer.kept(keep)?,
            relay: one(keys::RELAY) == Some("true"),
            door: Door::of(&layer)?,
            layer,
        })
    }
}

fn read_file(options: &NodeOptions, named: Option<&Path>) -> Result<Layer, Vec<String>> {
    let path = match named.or(options.config.as_deref()) {
        Some(path) => Some(path.to_owned()),
        // Without a home there is no such file.
        None => home().ok().and_then(|home| file::default_path(home.path())),
    };
    path.map_or_else(|| Ok(Layer::default()), |path| file::read(&path))
}

/// What the variables say. An unknown one is an error as an unknown key is.
fn of_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Layer, Vec<String>> {
    let (mut layer, mut errors) = (Layer::default(), Vec::new());
    let of_queues = format!("{PREFIX}{}", QUEUE.to_ascii_uppercase());
    let known = KEYS.iter().map(Key::variable);
    let known: Vec<String> = known.chain([of_queues.clone()]).collect();
    // So that what all verbs mind counts less.
    let variables: BTreeMap<_, _> = variables.collect();
    for (variable, value) in variables {
        let parts = value.split(',').map(str::trim).filter(|it| !it.is_empty());
        let parts: Vec<String> = parts.map(str::to_owned).collect();
        if variable == of_queues {
            layer.take_queues(&parts, &Origin::Environment(variable), &mut errors);
            continue;
        }
        let key = match variable.strip_prefix(PREFIX) {
            None if variable == OF_ALL_VERBS => keys::find(keys::DISCOVERY),
            None => continue,
            Some(_) => KEYS.iter().find(|key| key.variable() == variable),
        };
        let Some(key) = key else {
            let meant = match nearest(&variable, known.iter().map(String::as_str)) {
                Some(nearest) => format!("is {nearest} meant?"),
                None => format!("accepted: {}", known.join(", ")),
            };
            errors.push(format!("${variable}: there is no such variable; {meant}"));
            continue;
        };
        let items = match key.many {
            true => parts,
            false => vec![value],
        };
        layer.take(key, items, &Origin::Environment(variable), &mut errors);
    }
    match errors.is_empty() {
        true => Ok(layer),
        false => Err(errors),
    }
}

fn of_options(options: &NodeOptions) -> Result<Layer, Vec<String>> {
    let discovery = options.discovery.and_then(|it| it.to_possible_value());
    let discovery = discovery.map(|it| it.get_name().to_owned());
    let one = |value: &Option<String>| value.iter().cloned().collect();
    let flag = |on: bool| on.then(|| true.to_string()).into_iter().collect();
    let given: [(&str, Vec<String>); 18] = [
        (keys::LISTEN, options.listen.clone()),
        (keys::SEED, options.seed.clone()),
        (keys::SEED_FILE, one(&options.seed_file)),
        (keys::DISCOVERY, discovery.into_iter().collect()),
        (keys::MAX_NODES, one(&options.max_nodes)),
        (keys::NETWORK, one(&options.network)),
        (keys::IDENTITY, one(&options.identity)),
        (keys::STATUS, one(&options.status)),
        (keys::KEEP, options.keep.clone()),
        (keys::RELAY, flag(options.relay)),
        (keys::ZMTP, options.zmtp.clone()),
        (keys::ZMTP_SERVE, options.zmtp_serve.clone()),
        (keys::ZMTP_PULL, options.zmtp_pull.clone()),
        (
            keys::ZMTP_SECRET_KEY_FILE,
            one(&options.zmtp_secret_key_file),
        ),
        (
            keys::ZMTP_AUTHORIZED_KEYS,
            one(&options.zmtp_authorized_keys),
        ),
        (keys::ZMTP_PLAIN_USERS, one(&options.zmtp_plain_users)),
        (keys::ZMTP_INSECURE, flag(options.zmtp_insecure)),
        (keys::ZMTP_TIMEOUT, one(&options.zmtp_timeout)),
    ];
    let (mut layer, mut errors) = (Layer::default(), Vec::new());
    for (name, items) in given {
        if let Some(key) = keys::find(name).filter(|_| !items.is_empty()) {
            layer.take(key, items, &Origin::Option(key.name), &mut errors);
        }
    }
    layer.take_queues(&options.queue, &Origin::Option(QUEUE), &mut errors);
    match errors.is_empty() {
        true => Ok(layer),
        false => Err(errors),
    }
}

impl Layer {
    /// How many values are set.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.names.len() + self.queues.len()
    }

    /// The queues that are kept, with their settings. One that has settings and is not kept was meant to
    /// be.
    fn kept(
        &self,
        keep: Vec<(QueueName, Option<PathBuf>)>,
    ) -> Result<Vec<(QueueName, Option<PathBuf>, QueueOptions)>, String> {
        let is_kept = |queue: &str| keep.iter().any(|(name, _)| name.as_str() == queue);
        let lost = self.queues.iter().filter(|((queue, _), _)| !is_kept(queue));
        let lost: Vec<String> = lost
            .map(|((queue, name), (_, origin))| {
                let accepted = "the settings of a queue that keep names";
                format!(
                    "{origin}: {QUEUE}.{queue}.{name}: {queue} is not kept; accepted: {accepted}"
                )
            })
            .collect();
        if !lost.is_empty() {
            return Err(lost.join("\n"));
        }
        let keep = keep.into_iter().map(|(name, folder)| {
            let options = self.queue(name.as_str())?;
            Ok((name, folder, options))
        });
        keep.collect()
    }

    /// Takes the values of a key in, and says which of them cannot be used.
    fn take(&mut self, key: &Key, items: Vec<String>, origin: &Origin, errors: &mut Vec<String>) {
        for item in &items {
            if let Err(error) = (key.check)(item) {
                let (name, accepted) = (key.name, key.accepted);
                errors.push(format!("{origin}: {name}: {error}; accepted: {accepted}"));
            }
        }
        let origin = origin.clone();
        self.keys.insert(key.name, Set { items, origin });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Layer, Vec<String>> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        of_environment(variables.iter().map(owned))
    }

    #[test]
    fn variables_have_lists_with_commas_and_are_known() {
        let layer = environment(&[
            ("WITHY_NODE_LISTEN", "127.0.0.1:1, ::1"),
            ("WITHY_NODE_SEED", ""),
            ("WITHY_HOME", "x"),
        ])
        .unwrap();
        assert_eq!(layer.keys["listen"].items, ["127.0.0.1:1", "::1"]);
        assert!(layer.keys["seed"].items.is_empty());
        let errors = environment(&[("WITHY_NODE_SEEDS", "x"), ("WITHY_NODE_STATUS", "x")]);
        let errors = errors.unwrap_err().join("\n");
        assert!(
            errors.contains(
                "$WITHY_NODE_SEEDS: there is no such variable; is WITHY_NODE_SEED meant?"
            ),
            "{errors}"
        );
        assert!(
            errors.contains("$WITHY_NODE_STATUS: status: \"x\" is neither"),
            "{errors}"
        );
    }

    #[test]
    fn the_nodes_own_variable_counts_more_than_that_of_all_verbs() {
        let both = [("WITHY_NODE_DISCOVERY", "off"), ("WITHY_DISCOVERY", "host")];
        let layer = environment(&both).unwrap();
        assert_eq!(layer.keys["discovery"].items, ["off"]);
        let layer = environment(&both[1..]).unwrap();
        assert_eq!(layer.keys["discovery"].items, ["host"]);
    }
}
