//! What filters packets that come in: the rules of nftables, where they can be read.
//!
//! What firewalld, ufw and iptables say shows in nftables, too. Where `nft` is missing, what keeps a
//! filter is named, and no more. Nothing is changed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::filter::{self, Finding, Owner, Want};
use super::{Level, Report};
use crate::args::Doctor;
use crate::exit::Outcome;

/// The port of multicast DNS.
const MDNS: u16 = 5353;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that a program may print, in octets.
const MAX: u64 = 64 * 1024 * 1024;

/// Programs that keep a packet filter, how they say whether they do, and what they say then.
const KEEPERS: &[(&str, &[&str], &str, Owner)] = &[
    ("firewall-cmd", &["--state"], "running", Owner::Firewalld),
    ("ufw", &["status"], "Status: active", Owner::Ufw),
];

/// Where programs for administrators are, which a user's PATH may leave out.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Tables of iptables from before nftables, which `nft` does not show. For root to read.
const LEGACY: &[(&str, &str)] = &[
    ("/proc/net/ip_tables_names", "iptables-legacy -S INPUT"),
    ("/proc/net/ip6_tables_names", "ip6tables-legacy -S INPUT"),
];

pub(super) async fn check(report: &mut Report, options: &Doctor) -> Outcome {
    let (port, mdns_port) = (options.port, options.mdns_port.unwrap_or(MDNS));
    let needed =
        format!("other hosts need UDP and TCP {port}, and UDP {mdns_port} for multicast DNS");
    let Some(nft) = find("nft") else {
        return without_nft(report, port, mdns_port, &needed).await;
    };
    let read = run(nft, &["-j", "list", "ruleset"]).await;
    let judged = read.and_then(|text| filter::judge(&text, port, mdns_port));
    match judged {
        Ok(findings) => {
            for finding in findings {
                tell(report, &finding, port, mdns_port)?;
            }
            legacy(report, &needed)
        }
        // What cannot be told is no failure.
        Err(why) => report.say(
            Level::Ok,
            "firewall",
            format_args!("could not read the rules: {why}"),
            format_args!("run as root: `sudo withy doctor`; {needed}"),
        ),
    }
}

fn tell(report: &mut Report, finding: &Finding, port: u16, mdns_port: u16) -> Outcome {
    let (name, unaccepted, dropped, perhaps, owner) = match finding {
        Finding::Nothing => return report.ok("firewall", "nothing filters what comes in"),
        Finding::Open(_) => {
            let finding = format!("the rules let UDP {mdns_port}, UDP {port} and TCP {port} in");
            return report.ok("firewall", finding);
        }
        Finding::Chain {
            name,
            unaccepted,
            dropped,
            perhaps,
            owner,
        } => (name, unaccepted, dropped, perhaps, *owner),
    };
    let chain = name.join(" ");
    if !unaccepted.is_empty() {
        let finding = format!(
            "the input chain {chain} drops by default and no rule accepts {}",
            list(unaccepted)
        );
        report.warn(
            "firewall",
            finding,
            remedy(owner, name, unaccepted, mdns_port),
        )?;
    }
    if !dropped.is_empty() {
        let finding = format!(
            "a rule of the input chain {chain} drops or rejects {}",
            list(dropped)
        );
        report.warn("firewall", finding, remedy(owner, name, dropped, mdns_port))?;
    }
    if !perhaps.is_empty() {
        let finding = format!(
            "the input chain {chain} lets {} in under conditions, as for some interfaces or sources",
            list(perhaps)
        );
        let remedy = remedy(owner, name, perhaps, mdns_port);
        let remedy = format!("if nodes do not meet: {remedy}");
        report.say(Level::Ok, "firewall", finding, remedy)?;
    }
    Ok(())
}

fn list(wants: &[Want]) -> String {
    let wants: Vec<String> = wants.iter().map(ToString::to_string).collect();
    wants.join(", ")
}

/// How what is wanted is let in, by the program whose rules these are: what another one adds, it may take
/// away.
fn remedy(owner: Owner, name: &[String; 3], wants: &[Want], mdns_port: u16) -> String {
    let chain = name.join(" ");
    let mut commands: Vec<String> = Vec::new();
    for want in wants {
        let (protocol, port) = (if want.is_udp { "udp" } else { "tcp" }, want.port);
        let command = match owner {
            Owner::Firewalld if port == mdns_port => "firewall-cmd --add-service=mdns".to_owned(),
            Owner::Firewalld => format!("firewall-cmd --add-port={port}/{protocol}"),
            Owner::Ufw => format!("ufw allow {port}/{protocol}"),
            Owner::Iptables => {
                let program = match &*name[0] {
                    "ip6" => "ip6tables",
                    _ => "iptables",
                };
                format!("{program} -I INPUT -p {protocol} --dport {port} -j ACCEPT")
            }
            Owner::Nft => format!("nft insert rule {chain} {protocol} dport {port} accept"),
        };
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    let kept = match owner {
        Owner::Firewalld => ", and the same with --permanent",
        _ => "",
    };
    format!("{}{kept}", commands.join("; "))
}

/// Filters that `nft` does not show.
fn legacy(report: &Report, needed: &str) -> Outcome {
    for (path, command) in LEGACY {
        let names = fs::read_to_string(path).unwrap_or_default();
        if names.lines().any(|name| name == "filter") {
            report.say(
                Level::Ok,
                "firewall",
                "there are rules of iptables-legacy, too, which are not read",
                format_args!("`{command}` shows them; {needed}"),
            )?;
        }
    }
    Ok(())
}

async fn without_nft(report: &mut Report, port: u16, mdns_port: u16, needed: &str) -> Outcome {
    for (program, arguments, active, owner) in KEEPERS {
        let Some(path) = find(program) else {
            continue;
        };
        let finding = match run(path, arguments).await {
            Ok(said) if says(&said, active) => format!("{program}: {active}"),
            // One that does not run filters nothing.
            Ok(_) => continue,
            Err(why) => format!("{program} is installed; it does not tell: {why}"),
        };
        let all = [(true, mdns_port), (true, port), (false, port)];
        let all = all.map(|(is_udp, port)| Want {
            is_udp,
            port,
            only: None,
        });
        let remedy = remedy(*owner, &Default::default(), &all, mdns_port);
        return report.say(
            Level::Ok,
            "firewall",
            format_args!("could not read the rules, without nft; {finding}"),
            format_args!("if nodes do not meet: {remedy}"),
        );
    }
    let finding = "could not read the rules, without nft; no firewalld or ufw is active";
    report.say(Level::Ok, "firewall", finding, needed)
}

/// Whether one of the lines that a program printed is this.
fn says(text: &str, line: &str) -> bool {
    text.lines().any(|it| it.trim() == line)
}

/// What a program prints, or why it does not.
async fn run(program: PathBuf, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let running = async {
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            let (mut stdout, mut stderr) = (stdout.take(MAX + 1), stderr.take(MAX));
            let read = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
            read.0.and(read.1).map_err(|error| error.to_string())?;
        }
        if out.len() as u64 > MAX {
            return Err(format!("they are longer than {MAX} octets"));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&err);
        match (status.success(), said.lines().next()) {
            (true, _) => Ok(String::from_utf8_lossy(&out).into_owned()),
            (false, Some(line)) => Err(line.to_owned()),
            (false, None) => Err(status.to_string()),
        }
    };
    let late = || Err("it took too long".to_owned());
    let ran = tokio::time::timeout(PATIENCE, running).await;
    ran.unwrap_or_else(|_| late())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    let mut paths = folders.map(|folder| folder.join(program));
    paths.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_rules_they_are_lets_in() {
        let name = ["inet", "filter", "input"].map(str::to_owned);
        let want = |is_udp, port, only| Want { is_udp, port, only };
        let wants = [
            want(true, 5353, Some(4)),
            want(true, 5353, Some(6)),
            want(false, 7100, None),
        ];
        for (owner, says) in [
            (
                Owner::Nft,
                "nft insert rule inet filter input udp dport 5353 accept; nft insert rule inet \
                 filter input tcp dport 7100 accept",
            ),
            (Owner::Ufw, "ufw allow 5353/udp; ufw allow 7100/tcp"),
            (
                Owner::Iptables,
                "iptables -I INPUT -p udp --dport 5353 -j ACCEPT; iptables -I INPUT -p tcp --dport \
                 7100 -j ACCEPT",
            ),
            (
                Owner::Firewalld,
                "firewall-cmd --add-service=mdns; firewall-cmd --add-port=7100/tcp, and the same \
                 with --permanent",
            ),
        ] {
            assert_eq!(remedy(owner, &name, &wants, 5353), says);
        }
    }

    #[test]
    fn a_firewall_that_is_inactive_is_not_taken_for_one() {
        assert!(says(
            "Status: active\n\nTo  Action  From\n",
            "Status: active"
        ));
        assert!(!says("Status: inactive\n", "Status: active"));
        assert!(!says("not running\n", "running"));
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let sh = |script: &'static str| async move { run("/bin/sh".into(), &["-c", script]).await };
        assert_eq!(sh("echo a").await.unwrap(), "a\n");
        assert_eq!(sh("echo no >&2; echo b; exit 1").await.unwrap_err(), "no");
        assert!(sh("exit 3").await.unwrap_err().contains('3'));
        assert!(run("/nowhere/nft".into(), &[]).await.is_err());
    }
}
