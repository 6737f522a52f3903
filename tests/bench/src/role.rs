//! One process of a case: runs a peer's workload, and reads its counters when told.
//!
//! Lines from the runner: `mark` reads the counters, `connect` and `flood` let the workload go on.
//! Lines to the runner: `ready ENDPOINT`, `counts SNAPSHOT`, `failed REASON`.
//! The process ends with its standard input.

use std::{io::BufRead, thread};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    job::{Job, Role},
    peers::{self, Endless, Peer},
    probe::{Probe, Stage, say},
};

/// Plays the part that `words` (a peer and a job) ask for, until standard input ends.
///
/// # Errors
///
/// Says which word is wrong.
pub(crate) fn play(words: &[String]) -> Result<(), String> {
    let (name, job) = words.split_first().ok_or("no peer named")?;
    let peer = peers::named(name).ok_or_else(|| format!("no such peer: {name}"))?;
    // One process plays one part: what lives as long as it may be leaked.
    let job: &'static Job = Box::leak(Box::new(Job::from_words(job)?));
    peers::call_by(job.caller);
    let probe: &'static Probe = Box::leak(Box::new(Probe::new(job.lanes)));

    if let Some(core) = job.core() {
        let mut cores = CpuSet::new();
        let held = cores
            .set(core)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
        held.map_err(|error| format!("core {core}: {error}"))?;
    }

    std::panic::set_hook(Box::new(|panic| {
        say(&format!("failed {}", one_line(&panic.to_string())))
    }));
    thread::spawn(move || match run(peer, job, probe) {
        Ok(never) => match never {},
        Err(reason) => say(&format!("failed {}", one_line(&reason.to_string()))),
    });
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("mark") => say(&format!("counts {}", probe.read())),
            Ok("connect") => probe.reach(Stage::Connect),
            Ok("flood") => probe.reach(Stage::Flood),
            _ => break,
        }
    }
    Ok(())
}

fn run(peer: &'static dyn Peer, job: &'static Job, probe: &'static Probe) -> Endless {
    match job.role {
        Role::Pull => peer.pull(job, probe),
        Role::Push => peer.push(job, probe),
        Role::Rep => peer.rep(job, probe),
        Role::Req => peer.req(job, probe),
        Role::Publish | Role::PublishDropping => peer.publish(job, probe),
        Role::Subscribe => peer.subscribe(job, probe),
        Role::ManyPush => peer.many_push(job, probe),
        Role::ConnectLoop => peer.connect_loop(job, probe),
        Role::NamedPublish
        | Role::NamedSubscribe
        | Role::Serve
        | Role::Call
        | Role::Await
        | Role::Appear => peer.named(job, probe),
        Role::Inproc => {
            thread::spawn(move || {
                probe.wait_for(Stage::Ready);
                match peer.push(job, probe) {
                    Ok(never) => match never {},
                    Err(reason) => say(&format!("failed {}", one_line(&reason.to_string()))),
                }
            });
            peer.pull(job, probe)
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
