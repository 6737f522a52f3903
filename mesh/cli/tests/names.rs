//! Verbs that are given a name, and find each other on the mesh: separate processes on one host.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::time::{Duration, Instant};

use program::Program;
use program::homes::User;

/// Waits for a line of stdout that begins with something.
fn until_line(program: &Program, begins: &str) -> String {
    until(program, |line| line.starts_with(begins))
}

/// Waits for a line of stdout that is as wanted.
fn until(program: &Program, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = program.line();
        if wanted(&line) {
            return line;
        }
    }
}

#[test]
fn two_commands_and_no_address() {
    let user = User::new();
    let subscriber = Program::start(&mut user.withy(&["sub", "home/#", "--count", "2"]));
    // The first one is there before its record is: whoever comes first waits.
    let (code, _, err) = user.run(&["pub", "home/kitchen/temp", "21.5", "--wait", "15s"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(subscriber.line(), "home/kitchen/temp\t21.5");
    assert_eq!(user.run(&["pub", "home/hall", "19", "--wait", "15s"]).0, 0);
    assert_eq!(subscriber.line(), "home/hall\t19");
    assert_eq!(subscriber.end().0, 0);
    let (code, _, err) = user.run(&["pub", "garden", "x", "--wait", "100ms"]);
    assert_eq!(code, 0);
    assert!(
        err.contains("no subscriber to garden within 100ms"),
        "{err}"
    );
}

#[test]
fn what_a_new_process_publishes_is_heard_within_a_second() {
    const LIMIT: Duration = Duration::from_secs(1);
    let user = User::new();
    let subscriber = Program::start(&mut user.withy(&["sub", "home/#"]));
    // The subscriber itself is there once it heard something.
    assert_eq!(user.run(&["pub", "home/hall", "0", "--wait", "15s"]).0, 0);
    assert_eq!(subscriber.line(), "home/hall\t0");
    let mut all: Vec<Duration> = (1..=5)
        .map(|number: u32| {
            let body = number.to_string();
            let start = Instant::now();
            let publishes = ["pub", "home/hall", &body, "--wait", "15s"];
            let _publisher = Program::start(&mut user.withy(&publishes));
            assert_eq!(subscriber.line(), format!("home/hall\t{body}"));
            start.elapsed()
        })
        .collect();
    all.sort_unstable();
    // What else the machine does may delay one.
    let median = all[all.len() / 2];
    println!(
        "count: ms from the start of pub to the line of sub: {}, at worst {}",
        median.as_millis(),
        all[all.len() - 1].as_millis()
    );
    assert!(median <= LIMIT, "{all:?}");
}

#[test]
fn work_is_pushed_and_pairs_talk_by_name() {
    let user = User::new();
    let arguments = ["pull", "jobs", "--count", "3", "--timeout", "15s"];
    let pull = Program::start(&mut user.withy(&arguments));
    let (code, _, err) = user.run(&["push", "jobs", "a", "b", "c", "--timeout", "15s"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(pull.end(), (0, "a\nb\nc\n".to_owned(), String::new()));
    let talk = |word| ["pair", "chess", word, "--count", "1", "--timeout", "15s"];
    let white = Program::start(&mut user.withy(&talk("e4")));
    let black = Program::start(&mut user.withy(&talk("e5")));
    assert_eq!(white.end().1, "e5\n");
    assert_eq!(black.end().1, "e4\n");
}

#[test]
fn strangers_hear_nothing_until_both_sides_trust() {
    let (ada, bob) = User::two();
    let subscriber = Program::start(&mut ada.withy(&["sub", "#"]));
    let arguments = ["pub", "secret", "x", "--wait", "1s"];
    let (code, _, err) = Program::start(&mut bob.withy_beside(&ada, &arguments)).end();
    assert_eq!(code, 0);
    assert!(err.contains("no subscriber"), "{err}");
    let (_, out, _) = Program::start(&mut bob.withy_beside(&ada, &["peers"])).end();
    assert!(out.starts_with("untrusted"), "{out}");
    assert!(out.contains(&ada.id()), "{out}");
    // The one that runs learns it while it runs.
    ada.trusts(&bob);
    bob.trusts(&ada);
    let arguments = ["pub", "shared", "y", "--wait", "15s"];
    let (code, _, err) = Program::start(&mut bob.withy_beside(&ada, &arguments)).end();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(subscriber.line(), "shared\ty");
}

#[test]
fn members_of_a_network_meet_and_others_do_not() {
    let (ada, bob) = User::two();
    ada.makes_network("garden", &[&bob]);
    let arguments = ["sub", "#", "--network", "garden"];
    let subscriber = Program::start(&mut ada.withy(&arguments));
    let outside = ["pub", "outside", "x", "--wait", "1s"];
    let (_, _, err) = Program::start(&mut ada.withy(&outside)).end();
    assert!(err.contains("no subscriber"), "{err}");
    let inside = ["pub", "inside", "y", "--wait", "15s", "--network", "garden"];
    let (code, _, err) = Program::start(&mut bob.withy_beside(&ada, &inside)).end();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(subscriber.line(), "inside\ty");
}

#[test]
fn who_is_killed_is_missed() {
    let user = User::new();
    let watch = Program::start(&mut user.withy(&["watch"]));
    let pull = Program::start(&mut user.withy(&["pull", "jobs"]));
    let tag = until_line(&watch, "joined")
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    // It is watched once there is a link, over which gossip said what it offers.
    let listed = || user.does(&["peers", "--json", "--wait", "500ms"]);
    let start = Instant::now();
    while !listed().contains("\"link\":{") {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    pull.signal("-KILL");
    let killed = Instant::now();
    until_line(&watch, &format!("died       {tag}"));
    let taken = killed.elapsed();
    println!(
        "count: ms until a killed node is missed: {}",
        taken.as_millis()
    );
    assert!(taken < Duration::from_secs(6), "{taken:?}");
}

#[test]
fn a_watch_begins_with_who_is_there() {
    let user = User::new();
    let _pull = Program::start(&mut user.withy(&["pull", "jobs"]));
    let start = Instant::now();
    while !user.does(&["services"]).contains("jobs") {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let watch = Program::start(&mut user.withy(&["watch"]));
    let first = until_line(&watch, "joined");
    assert!(first.contains("pull:jobs"), "{first}");
    // It is told of once, and so is who comes later.
    let _other = Program::start(&mut user.withy(&["pull", "more"]));
    let second = until_line(&watch, "joined");
    let tag = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    assert_ne!(tag(&first), tag(&second));
}

#[test]
fn a_watch_tells_how_links_run() {
    let user = User::new();
    let watches = [
        Program::start(&mut user.withy(&["watch"])),
        Program::start(&mut user.withy(&["watch", "--json"])),
    ];
    let pull = Program::start(&mut user.withy(&["pull", "jobs"]));
    let joined = until(&watches[0], |line| line.contains("pull:jobs"));
    let tag = joined.split_whitespace().nth(1).unwrap();
    // Its link may have been told of before it was known what it offers.
    let again = Program::start(&mut user.withy(&["watch"]));
    let linked = until_line(&again, &format!("linked     {tag}"));
    let words: Vec<_> = linked.split_whitespace().collect();
    assert!(words[2] == "ipc" && words[4] == "ms", "{linked}");
    assert!(
        linked.contains("NOISE") && linked.contains("post-quantum"),
        "{linked}"
    );
    let is_link = |line: &str| line.contains("\"event\":\"linked\"") && line.contains(tag);
    let linked = until(&watches[1], is_link);
    let trip = linked.split_once("\"round_trip_us\":").unwrap().1;
    assert!(trip.starts_with(|it: char| it.is_ascii_digit()), "{linked}");
    pull.signal("-INT");
    until_line(&watches[0], &format!("unlinked   {tag}"));
}

#[test]
fn what_is_no_name_is_refused_with_the_rule() {
    let user = User::new();
    for (arguments, says) in [
        (&["pub", "a/+", "x"][..], "wildcard"),
        (&["sub", "a/#/b"], "#"),
        (&["pub", "a", "b\tc"], "one frame"),
        (&["pull", ""], "a name has 1 to 127 octets"),
        (&["rep", "a\nb", "--echo"], "without control characters"),
        (
            &["serve", "", "--exec", "true"],
            "a name has 1 to 127 octets",
        ),
        (
            &["pull", "jobs", "--insecure"],
            "leave the options of security out",
        ),
        (&["dealer", "jobs"], "has no names"),
        (
            &["sub", "a", "--subscribe", "b"],
            "--subscribe is for endpoints",
        ),
    ] {
        let (code, _, err) = user.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

#[test]
fn what_a_network_takes_back_reaches_its_members() {
    let (ada, bob) = User::two();
    let eve = User::new();
    ada.makes_network("garden", &[&bob, &eve]);
    let inside = |user: &User, arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--network", "garden"]);
        Program::start(&mut user.withy_beside(&ada, &all))
    };
    // The member that made it, and one that did not.
    let _watch = inside(&ada, &["watch"]);
    let subscriber = inside(&bob, &["sub", "#"]);
    let mut publisher = inside(&eve, &["pub", "inside", "--wait", "15s"]);
    publisher.feed("one\n");
    assert_eq!(subscriber.line(), "inside\tone");
    ada.does(&["network", "revoke", "garden", &eve.id()]);
    let revoked = Instant::now();
    let heard = bob.path("networks/garden.revoked");
    while !heard.exists() {
        assert!(
            revoked.elapsed() < Duration::from_secs(10),
            "bob does not hear of it"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    println!(
        "count: ms until a member knew: {}",
        revoked.elapsed().as_millis()
    );
    drop(publisher);
    let (code, _, err) = inside(&eve, &["pub", "inside", "two", "--wait", "2s"]).end();
    assert_eq!(code, 0);
    assert!(err.contains("no subscriber"), "{err}");
    // A member that starts later knows it, too.
    drop(subscriber);
    let subscriber = inside(&bob, &["sub", "#"]);
    let (_, _, err) = inside(&eve, &["pub", "inside", "three", "--wait", "2s"]).end();
    assert!(err.contains("no subscriber"), "{err}");
    drop(subscriber);
    // Who did not make the network revokes for itself alone.
    let (code, _, err) = bob.run(&["network", "revoke", "garden", "7"]);
    assert_eq!(code, 0);
    assert!(err.contains("made elsewhere"), "{err}");
}

#[test]
fn ping_asks_all_that_offer_a_name() {
    let user = User::new();
    let _instances = [
        Program::start(&mut user.withy(&["rep", "adder", "--echo"])),
        Program::start(&mut user.withy(&["rep", "adder", "--echo"])),
    ];
    let start = Instant::now();
    let found = loop {
        let (code, out, err) = user.run(&["ping", "adder", "--count", "2", "--json"]);
        assert_eq!(code, 0, "{err}");
        let found: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if found.len() == 2 || start.elapsed() > Duration::from_secs(20) {
            break found;
        }
    };
    assert_eq!(found.len(), 2, "{found:?}");
    assert_ne!(found[0]["node"], found[1]["node"]);
    for instance in &found {
        assert_eq!(instance["round_trips"], 2, "{instance}");
        assert_eq!(instance["transport"], "ipc", "{instance}");
        assert!(instance["p50_us"].as_f64().unwrap() > 0.0, "{instance}");
    }
    let text = user.does(&["ping", "adder"]);
    assert!(
        text.contains("path        ipc to ipc:") && text.contains("median"),
        "{text}"
    );
    let (code, _, err) = user.run(&["ping", "nobody", "--timeout", "300ms"]);
    assert_eq!(code, 3);
    assert!(err.contains("nobody offers nobody; "), "{err}");
}
