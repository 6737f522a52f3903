//! The verbs of `network`.
//!
//! A ticket is a secret: it is read from stdin or a file, and alone on stdout when it is made.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use withy::home::{KnownNetwork, Target};
use withy::trust::{Proof, Roles, Terms, Ticket};
use withy::{Home, HomeError};
use zeroize::Zeroizing;

use crate::args::{Invite, Join, Network, Whom};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::identity::{home, say};

/// Does what a verb says.
pub(crate) fn run(verb: &Network) -> Outcome {
    if let Network::Join(Join { words, .. }) = verb
        && !words.is_empty()
    {
        return Err(Failure::usage(
            "a ticket is a secret, and what stands on a command line everybody on the machine can \
             read: give it on stdin or with --file FILE, and ask for a new one if this was one",
        ));
    }
    let home = home()?;
    match verb {
        Network::Create { name, json } => {
            let id = home.create_network(name).map_err(Failure::of_home)?;
            write_out(match json {
                true => {
                    let object = json!({ "network": id.to_string(), "name": name.to_string() });
                    format!("{object}\n")
                }
                false => format!("{id}\n"),
            })
        }
        Network::Invite(options) => invite(&home, options),
        Network::Join(options) => join(&home, options),
        Network::List { json } => list(&home, *json),
        Network::Revoke { name, whom, json } => {
            let id = home.network(name).map_err(Failure::of_home)?.network.id;
            let (done, target) = match *whom {
                Whom::Identity(identity) => (home.revoke(identity), Target::Identity(identity)),
                Whom::Serial(serial) => (home.revoke_serial(id, serial), Target::Serial(serial)),
            };
            done.map_err(Failure::of_home)?;
            let signed = match home.revoke_member(name, target) {
                // Here alone, then.
                Err(HomeError::NoAuthority { .. }) => {
                    complain(format_args!(
                        "the network {name:?} was made elsewhere, where others are told; here it holds"
                    ));
                    false
                }
                revoked => revoked.map(|_| true).map_err(Failure::of_home)?,
            };
            say(*json, || {
                let (what, whom) = match *whom {
                    Whom::Identity(identity) => ("identity", identity.to_string()),
                    Whom::Serial(serial) => ("serial", serial.to_string()),
                };
                let (id, name) = (id.to_string(), name.to_string());
                json!({ "network": id, "name": name, what: whom, "signed": signed })
            })
        }
        Network::Leave { name, json } => {
            // One whose file is damaged can be left as well.
            let id = home.network(name).ok().map(|it| it.network.id.to_string());
            home.leave(name).map_err(Failure::of_home)?;
            say(*json, || json!({ "network": id, "name": name.to_string() }))
        }
    }
}

fn invite(home: &Home, options: &Invite) -> Outcome {
    let lifetime = options.expires.as_secs();
    if lifetime == 0 {
        return Err(Failure::usage("--expires is 1s at least"));
    }
    let all = options.role.iter();
    let terms = Terms {
        roles: all.fold(Roles::MEMBER, |roles, role| roles | *role),
        lifetime,
        single_use: !options.reusable,
    };
    let ticket = home
        .invite(&options.name, terms, options.member)
        .map_err(Failure::of_home)?;
    let whom = match (options.member, options.reusable) {
        (Some(_), _) => "that identity",
        (None, true) => "any number of identities",
        (None, false) => "one identity",
    };
    complain(format_args!(
        "ticket {} to {}: for {whom}, within {}; keep it secret",
        ticket.serial(),
        options.name,
        span(lifetime)
    ));
    let text = ticket.expose();
    let line = match options.json {
        true => {
            let invited = Invited {
                name: options.name.to_string(),
                ticket: &text,
                serial: ticket.serial().to_string(),
                member: options.member.map(|it| it.to_string()),
                reusable: options.reusable,
                expires_s: lifetime,
            };
            Zeroizing::new(serde_json::to_string(&invited).map_err(Failure::failed)?)
        }
        false => text,
    };
    write_out(Zeroizing::new(format!("{}\n", *line)).as_bytes())
}

/// What `network invite --json` prints. No copy of the ticket stays.
#[derive(Serialize)]
struct Invited<'a> {
    name: String,
    ticket: &'a str,
    /// As text: it may be more than what a number holds in some languages.
    serial: String,
    #[serde(rename = "for")]
    member: Option<String>,
    reusable: bool,
    expires_s: u64,
}

fn join(home: &Home, options: &Join) -> Outcome {
    let text = match &options.file {
        Some(path) => from_file(path)?,
        None => {
            let stdin = io::stdin().lock();
            if stdin.is_terminal() {
                complain("paste the ticket, one line");
            }
            line(stdin).map_err(|error| Failure::Usage(format!("cannot read stdin: {error}")))?
        }
    };
    let ticket: Ticket = text.parse().map_err(Failure::usage)?;
    let joined = home
        .join(&ticket, options.name.as_ref())
        .map_err(Failure::of_home)?;
    if options.json {
        let network = joined.network.name.clone();
        let known = home.networks().map_err(Failure::of_home)?;
        let known = known.iter().find(|known| known.name == network);
        return known.map_or(Ok(()), |known| {
            write_out(format!("{}\n", object(known, now())))
        });
    }
    let network = joined.network;
    write_out(format!("{}  {}\n", network.id, network.name))
}

fn from_file(path: &Path) -> Outcome<Zeroizing<String>> {
    let failed =
        |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let open = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open {
        complain(format_args!(
            "warning: {} can be read by others than its owner, who could join as well",
            path.display()
        ));
    }
    let file = File::open(path).map_err(failed)?;
    line(file).map_err(failed)
}

/// The first line, of which no more is read than a ticket may have.
fn line(from: impl Read) -> io::Result<Zeroizing<String>> {
    let most = Ticket::MAX + 64;
    let mut text = Zeroizing::new(String::with_capacity(most));
    BufReader::new(from.take(most as u64)).read_line(&mut text)?;
    Ok(text)
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

fn object(known: &KnownNetwork, now: u64) -> Value {
    let grant = known.joined.proof.grant();
    let roles = grant.roles.to_string();
    let roles: Vec<&str> = roles.split(',').filter(|it| *it != "none").collect();
    let until = grant.validity.not_after;
    json!({
        "network": known.joined.network.id.to_string(),
        "name": known.name.to_string(),
        "roles": roles,
        "until": until,
        "expired": until < now,
        "by_ticket": matches!(known.joined.proof, Proof::Redeemed(_)),
        "made_here": known.is_authority,
    })
}

fn list(home: &Home, as_json: bool) -> Outcome {
    let now = now();
    let all = home.networks().map_err(Failure::of_home)?;
    let lines = all.iter().map(|known| {
        if as_json {
            return format!("{}\n", object(known, now));
        }
        let grant = known.joined.proof.grant();
        let roles = grant.roles;
        let mut left = match grant.validity.not_after.checked_sub(now) {
            Some(seconds) => format!("for {}", span(seconds)),
            None => "expired".to_owned(),
        };
        // Until who made the network confirms it.
        if matches!(known.joined.proof, Proof::Redeemed(_)) {
            left.push_str(" by ticket");
        }
        let made = if known.is_authority { "made here" } else { "" };
        let id = known.joined.network.id;
        format!("{id}  {roles}  {left:<17}  {made:<9}  {}\n", known.name)
    });
    write_out(lines.collect::<String>())
}

/// A span of time in its largest unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => duration::show(Duration::from_secs(seconds)),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
