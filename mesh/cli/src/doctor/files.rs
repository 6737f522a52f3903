//! The user's files: identity, trust, networks, and the configuration of a node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use withy::home::KnownNetwork;
use withy::trust::Proof;
use withy::{Home, HomeError, Identity, IdentityError};

use super::Report;
use crate::exit::{Failure, Outcome};
use crate::identity::home;
use crate::network::span;
use crate::relay;

/// How long before its end a membership is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Whether a node can be made of these files.
pub(super) fn check(report: &mut Report) -> Outcome<bool> {
    let home = match home() {
        Ok(home) => home,
        Err(Failure::Usage(error) | Failure::Failed(error)) => {
            report.fail("home", error, "set WITHY_HOME to a folder of yours")?;
            return Ok(false);
        }
        Err(failure) => return Err(failure),
    };
    let before = report.failed;
    folder(report, home.path())?;
    identity(report, &home)?;
    lists(report, &home)?;
    networks(report, &home)?;
    let usable = report.failed == before;
    configuration(report)?;
    Ok(usable)
}

fn folder(report: &mut Report, path: &Path) -> Outcome {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return report.ok("home", format_args!("{shown} is made on first use"));
        }
        Err(error) => {
            let remedy = "set WITHY_HOME to a folder of yours, or mend its permissions";
            return report.fail("home", format_args!("{shown}: {error}"), remedy);
        }
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_dir() {
        let remedy = "set WITHY_HOME to a folder";
        return report.fail("home", format_args!("{shown} is no folder"), remedy);
    }
    match mode & 0o022 {
        0 => report.ok("home", shown),
        _ => report.fail(
            "home",
            format_args!("{shown} has mode {mode:04o}: others may put another identity there"),
            format_args!("chmod go-w {shown}"),
        ),
    }
}

fn identity(report: &mut Report, home: &Home) -> Outcome {
    let path = home.path().join("identity");
    let shown = path.display();
    if let Err(error) = path.symlink_metadata()
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return report.ok("identity", "none yet: it is made on first use");
    }
    match Identity::open(&path) {
        Ok(identity) => report.ok("identity", identity.id()),
        Err(error) => {
            let remedy = match &error {
                IdentityError::TooOpen { .. } => format!("chmod 600 {shown}"),
                IdentityError::Malformed { .. } => format!(
                    "put it back from a copy, or move {shown} away: `withy id` makes another, which \
                     others have to trust anew"
                ),
                _ => format!("make {shown} readable for you"),
            };
            report.fail("identity", error, remedy)
        }
    }
}

fn lists(report: &mut Report, home: &Home) -> Outcome {
    let remedy = |error: &HomeError| match error {
        HomeError::Malformed { .. } => "mend that line, or take it out",
        _ => "make the file readable for you",
    };
    let trusted = home.trusted().map(|list| list.iter().count());
    let revoked = home
        .revoked()
        .map(|it| it.identities.len() + it.serials.len());
    let pinned = home.pinned().map(|list| list.len());
    let mut counts = Vec::new();
    for (what, count) in [
        ("trusted", trusted),
        ("revoked", revoked),
        ("pinned", pinned),
    ] {
        match count {
            Ok(count) => counts.push(format!("{count} {what}")),
            Err(error) => report.fail("trust", &error, remedy(&error))?,
        }
    }
    if !counts.is_empty() {
        report.ok("trust", counts.join(", "))?;
    }
    match home.permissions() {
        Ok(None) => report.ok(
            "permissions",
            "no file: whoever is trusted may do everything",
        ),
        Ok(Some(rules)) => {
            let count = rules.len();
            report.ok(
                "permissions",
                format_args!("{count} rules, and nothing else is permitted"),
            )
        }
        Err(error) => report.fail("permissions", &error, remedy(&error)),
    }
}

fn networks(report: &mut Report, home: &Home) -> Outcome {
    let networks = match home.networks() {
        Ok(networks) => networks,
        Err(error) => {
            let remedy = match &error {
                HomeError::TooOpen { path, .. } => format!("chmod 600 {}", path.display()),
                _ => "put the file back from a copy, or move it away and join anew".to_owned(),
            };
            return report.fail("networks", error, remedy);
        }
    };
    if networks.is_empty() {
        return report.ok("networks", "none: identities that are trusted are met");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    networks
        .iter()
        .try_for_each(|known| network(report, known, now))
}

fn network(report: &mut Report, known: &KnownNetwork, now: u64) -> Outcome {
    let (name, validity) = (&known.name, known.joined.proof.grant().validity);
    let anew = format!(
        "on the host that made it: `withy network invite {name}`; here: `withy network join`"
    );
    if let Err(error) = validity.check(now) {
        let finding = format!("the membership of {name} {error}");
        return report.fail("networks", finding, anew);
    }
    let left = validity.not_after.saturating_sub(now);
    // A ticket is there for a while only: who made the network turns it into a membership.
    let by_ticket = matches!(known.joined.proof, Proof::Redeemed(_));
    let finding = match by_ticket {
        true => format!("{name}: by ticket, for {}", span(left)),
        false => format!("{name}: a member for {}", span(left)),
    };
    match by_ticket || left > SOON.as_secs() {
        true => report.ok("networks", finding),
        false => report.warn(
            "networks",
            finding,
            format_args!("meet the host that made it, which renews it; or, {anew}"),
        ),
    }
}

fn configuration(report: &mut Report) -> Outcome {
    match relay::check() {
        Ok(finding) => report.ok("config", finding),
        Err(Failure::Usage(errors)) => errors.lines().try_for_each(|error| {
            report.fail(
                "config",
                error,
                "mend it; `withy node config check` looks again",
            )
        }),
        Err(failure) => Err(failure),
    }
}
