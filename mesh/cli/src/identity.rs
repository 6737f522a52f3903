//! Identities: what `--identity` and its relatives give a socket, and the verbs `id`, `trust` and
//! `revoke`.
//!
//! Whom to trust is the user's: the files of [`Home`] say it, for all programs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use withy::socket::Socket;
use withy::trust::{IdentityId, Purpose};
use withy::{Builder, Home, Identity, Trust};

use crate::args::{self, Besides, Keys};
use crate::exit::{Failure, Outcome};
use crate::format::write_out;

impl Keys {
    /// Whether an identity was asked for, by one option or another.
    pub(crate) fn proves_identity(&self) -> bool {
        self.identity.is_some()
            || self.network.is_some()
            || self.trust.is_some()
            || self.allow_classical
    }

    /// Gives a socket its identity, and whom it trusts.
    pub(crate) fn prove<S: Socket>(&self, builder: Builder<S>) -> Outcome<Builder<S>> {
        self.stand_alone()?;
        let home = home()?;
        let identity = self.own_identity(&home)?;
        let builder = builder.identity(&identity).trust(&self.trust(&home)?);
        Ok(match self.allow_classical {
            true => builder.allow_classical(),
            false => builder,
        })
    }

    /// Whether these keys are those of a node, which proves an identity in any case.
    pub(crate) fn check_for_mesh(&self) -> Outcome {
        let curve = self.secret_key_file.is_some()
            || self.server_key.is_some()
            || self.server_key_file.is_some();
        let plain = self.plain_user.is_some() || self.plain_users.is_some();
        let odd = curve || plain || self.insecure || self.allow_classical;
        match odd || self.trust.is_some() {
            true => Err(Failure::usage(
                "a name is found on the mesh, where every node proves an identity: besides \
                 --identity and --network, leave the options of security out",
            )),
            false => Ok(()),
        }
    }

    /// The identity that is proven.
    pub(crate) fn own_identity(&self, home: &Home) -> Outcome<Identity> {
        let identity = match &self.identity {
            Some(Some(path)) => existing(path)?,
            _ => home.identity().map_err(Failure::of_identity)?,
        };
        if let Some(name) = &self.network {
            let member = home.network(name).map_err(Failure::of_home)?.proof.member();
            if member != identity.id() {
                return Err(Failure::Usage(format!(
                    "{member} is the member of the network {name:?} here, and not {}: leave \
                     --identity=FILE out",
                    identity.id()
                )));
            }
        }
        Ok(identity)
    }

    /// Whom to trust, as the user's files and the options say.
    pub(crate) fn trust(&self, home: &Home) -> Outcome<Trust> {
        let trust = match &self.network {
            None => Trust::open(home),
            Some(name) => Trust::open_in(home, name),
        };
        let trust = trust.map_err(Failure::of_home)?;
        if self.carries {
            trust.set_purpose(Purpose::Carry);
        }
        trust.set_first_use(self.trust == Some(Besides::FirstUse));
        Ok(trust)
    }

    /// An identity means NOISE, and a socket has one mechanism.
    fn stand_alone(&self) -> Outcome {
        if self.carries && self.trust.is_some() {
            return Err(Failure::usage(
                "a proxy carries the traffic of others, for which first use is too weak: \
                 `withy trust ID`, or --network NAME",
            ));
        }
        let curve = self.secret_key_file.is_some()
            || self.server_key.is_some()
            || self.server_key_file.is_some();
        let plain = self.plain_user.is_some() || self.plain_users.is_some();
        let ours = "--identity, --network, --trust and --allow-classical mean NOISE";
        let why = match (curve, plain) {
            (true, _) => {
                "the CURVE keys mean CURVE: leave one of them out, CURVE for peers with libzmq"
            }
            (_, true) => {
                "names and passwords mean PLAIN: leave one of them out, PLAIN for peers with libzmq"
            }
            _ if self.insecure => {
                "that encrypts everything, so that --insecure has nothing to allow: leave it out; to \
                 let a stranger in, `withy trust ID`"
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(format!("{ours}, and {why}")))
    }
}

/// The user's home.
pub(crate) fn home() -> Outcome<Home> {
    Home::of_user().map_err(Failure::of_home)
}

/// The identity of a file that was named: one that is not there is an error in its name.
fn existing(path: &Path) -> Outcome<Identity> {
    match path.try_exists() {
        Ok(false) => Err(Failure::Usage(format!(
            "there is no identity in {}; `withy id --identity FILE` makes one",
            path.display()
        ))),
        _ => Identity::open(path).map_err(Failure::of_identity),
    }
}

/// Prints the identity's id.
pub(crate) fn show(options: &args::Id) -> Outcome {
    let path = match &options.file {
        Some(path) => path.clone(),
        None => home()?.path().join("identity"),
    };
    let identity = Identity::open(&path).map_err(Failure::of_identity)?;
    if options.verbose {
        crate::exit::complain(format_args!("the identity is in {}", path.display()));
    }
    let id = identity.id();
    write_out(match options.json {
        true => {
            let file = path.to_string_lossy();
            format!("{}\n", json!({ "identity": id.to_string(), "file": file }))
        }
        false => format!("{id}\n"),
    })
}

/// Accepts an identity, takes that back, or lists.
pub(crate) fn trust(options: &args::Trust) -> Outcome {
    let home = home()?;
    if let Some(id) = options.remove {
        return match home.forget(id).map_err(Failure::of_home)? {
            true => say(
                options.json,
                || json!({ "identity": id.to_string(), "trusted": false }),
            ),
            false => Err(Failure::Failed(format!("{id} was not trusted"))),
        };
    }
    let Some(id) = options.id else {
        return list(&home, options.json);
    };
    let revoked = home.revoked().map_err(Failure::of_home)?;
    if revoked.identities.contains(&id) {
        return Err(Failure::Failed(format!(
            "{id} was revoked; `withy revoke --undo` takes that back first"
        )));
    }
    let ours = home.identity().map_err(Failure::of_identity)?.id();
    home.accept(id, options.name.as_ref())
        .map_err(Failure::of_home)?;
    let name = options.name.as_ref().map(ToString::to_string);
    if options.json {
        let object = json!({ "ours": ours.to_string(), "theirs": id.to_string(), "name": name });
        return write_out(format!("{object}\n"));
    }
    let name = name.map(|name| format!("  {name}"));
    write_out(format!(
        "ours    {ours}\ntheirs  {id}{}\n",
        name.unwrap_or_default()
    ))
}

/// What is known of an identity.
#[derive(Debug, Default)]
struct Known {
    marks: Vec<&'static str>,
    name: Option<String>,
    /// Where it is pinned.
    endpoints: Vec<String>,
}

fn list(home: &Home, as_json: bool) -> Outcome {
    let mut all: BTreeMap<IdentityId, Known> = BTreeMap::new();
    let mut know = |id, mark, name: Option<String>, endpoint: Option<String>| {
        let known = all.entry(id).or_default();
        if !known.marks.contains(&mark) {
            known.marks.push(mark);
        }
        known.name = known.name.take().or(name);
        known.endpoints.extend(endpoint);
    };
    for (id, name) in home.trusted().map_err(Failure::of_home)?.iter() {
        know(id, "trusted", name.map(ToString::to_string), None);
    }
    for (endpoint, id) in home.pinned().map_err(Failure::of_home)? {
        know(id, "pinned", None, Some(endpoint));
    }
    for id in home.revoked().map_err(Failure::of_home)?.identities {
        know(id, "revoked", None, None);
    }
    let lines = all.iter().map(
        |(
            id,
            Known {
                marks,
                name,
                endpoints,
            },
        )| {
            if as_json {
                let id = id.to_string();
                let object =
                    json!({ "identity": id, "marks": marks, "name": name, "endpoints": endpoints });
                return format!("{object}\n");
            }
            let called: Vec<&str> = name.iter().chain(endpoints).map(String::as_str).collect();
            let line = format!("{id}  {:<7}  {}", marks.join(","), called.join("  "));
            format!("{}\n", line.trim_end())
        },
    );
    write_out(lines.collect::<String>())
}

/// Trusts an identity never more, or takes that back.
pub(crate) fn revoke(options: &args::Revoke) -> Outcome {
    let home = home()?;
    let id = options.id;
    match options.undo {
        false => home.revoke(id).map_err(Failure::of_home)?,
        true if !home.reinstate(id).map_err(Failure::of_home)? => {
            return Err(Failure::Failed(format!("{id} was not revoked")));
        }
        true => {}
    }
    say(
        options.json,
        || json!({ "identity": id.to_string(), "revoked": !options.undo }),
    )
}

/// Prints what was done as an object, where that is asked for: who does not ask sees it by the exit code.
pub(crate) fn say(as_json: bool, object: impl FnOnce() -> Value) -> Outcome {
    match as_json {
        true => write_out(format!("{}\n", object())),
        false => Ok(()),
    }
}
