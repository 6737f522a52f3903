//! The verbs of `network`.
//!
//! A ticket is a secret: it is read from stdin or a file, and alone on stdout when it is made.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use withy::home::Target;
use withy::trust::{Proof, Roles, Terms, Ticket};
use withy::{Home, HomeError};
use zeroize::Zeroizing;

use crate::args::{Invite, Join, Network, Whom};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::identity::home;

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
        Network::Create { name } => {
            let id = home.create_network(name).map_err(Failure::of_home)?;
            write_out(format!("{id}\n"))
        }
        Network::Invite(options) => invite(&home, options),
        Network::Join(options) => join(&home, options),
        Network::List => list(&home),
        Network::Revoke { name, whom } => {
            let id = home.network(name).map_err(Failure::of_home)?.network.id;
            let (done, target) = match *whom {
                Whom::Identity(identity) => (home.revoke(identity), Target::Identity(identity)),
                Whom::Serial(serial) => (home.revoke_serial(id, serial), Target::Serial(serial)),
            };
            done.map_err(Failure::of_home)?;
            match home.revoke_member(name, target) {
                // Here alone, then.
                Err(HomeError::NoAuthority { .. }) => complain(format_args!(
                    "the network {name:?} was made elsewhere, where others are told; here it holds"
                )),
                revoked => drop(revoked.map_err(Failure::of_home)?),
            }
            Ok(())
        }
        Network::Leave { name } => home.leave(name).map_err(Failure::of_home),
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
    write_out(format!("{}\n", *ticket.expose()))
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

fn list(home: &Home) -> Outcome {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let all = home.networks().map_err(Failure::of_home)?;
    let lines = all.iter().map(|known| {
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
