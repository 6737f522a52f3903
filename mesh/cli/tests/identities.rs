//! Identities, trust and networks, between users with homes of their own.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use program::homes::{User, until_said};
use program::{ANY, Program};
use serde_json::{Value, json};

/// What those have who are let in.
const LONG: &str = "15s";
/// What those have who are not: some attempts.
const SHORT: &str = "700ms";

/// A ticket that could be used in January 2021, made by `withy network invite`.
const EXPIRED: &str = include_str!("program/expired.ticket");

#[test]
fn an_identity_is_made_once_and_shown() {
    let user = User::new();
    let id = user.id();
    assert_eq!(id.len(), 56);
    assert_eq!(user.id(), id);
    let (code, out, err) = user.run(&["id", "--json", "--verbose"]);
    assert_eq!(code, 0);
    assert!(out.contains(&format!("\"identity\":\"{id}\"")), "{out}");
    let path = user.path("identity");
    assert!(err.contains(path.to_str().unwrap()), "{err}");
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn one_user_on_two_sides_needs_nothing_more() {
    let user = User::new();
    let (pull, endpoint) = Program::bound(&mut user.withy(&["pull", "--bind", ANY, "--identity"]));
    for options in [&["--identity"][..], &["--allow-classical"]] {
        assert_eq!(user.push(&endpoint, options, LONG).0, 0);
        assert_eq!(pull.line(), "hello");
    }
    // Over a Unix domain socket, and through a proxy.
    let bind = ["pull", "--bind", "ipc://*", "--identity"];
    let (pull, endpoint) = Program::bound(&mut user.withy(&bind));
    let backend = format!("push:connect:{endpoint}");
    let between = ["proxy", &format!("pull:{ANY}"), &backend, "--identity"];
    let (_proxy, endpoint) = Program::bound(&mut user.withy(&between));
    assert_eq!(user.push(&endpoint, &["--identity"], LONG).0, 0);
    assert_eq!(pull.line(), "hello");
}

#[test]
fn a_proxy_carries_nothing_for_whom_it_knows_by_a_pin_alone() {
    let (ada, bob) = User::two();
    ada.trusts(&bob);
    let (pull, endpoint) = Program::bound(&mut ada.withy(&["pull", "--bind", ANY, "--identity"]));
    assert_eq!(bob.push(&endpoint, &["--trust", "first-use"], LONG).0, 0);
    assert_eq!(pull.line(), "hello");
    let backend = format!("push:connect:{endpoint}");
    let between = ["proxy", &format!("pull:{ANY}"), &backend, "--identity"];
    let proxy = Program::start(&mut bob.withy(&between));
    until_said(&proxy, "a pinned name is not enough for carried traffic");
    let between = [&between[..3], &["--trust", "first-use"]].concat();
    let (code, _, err) = bob.run(&between);
    assert!(code == 2 && err.contains("--network"), "{err}");
}

#[test]
fn strangers_are_let_in_once_both_trust_each_other_while_sockets_run() {
    let (ada, bob) = User::two();
    let (pull, endpoint) = Program::bound(&mut ada.withy(&["pull", "--bind", ANY, "--identity"]));
    let (code, err) = bob.push(&endpoint, &["--identity"], SHORT);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains(&ada.id()) && err.contains("not accepted"),
        "{err}"
    );

    let arguments = [
        "push",
        "--connect",
        &endpoint,
        "--identity",
        "--timeout",
        LONG,
        "x",
    ];
    let mut push = Program::start(&mut bob.withy(&arguments));
    until_said(&push, "not accepted");
    let shown = bob.does(&["trust", &ada.id(), "ada's laptop"]);
    assert!(
        shown.contains(&format!("ours    {}\n", bob.id())),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("theirs  {}  ada's laptop\n", ada.id())),
        "{shown}"
    );
    until_said(&push, "your identity is not trusted here");
    ada.trusts(&bob);
    assert_eq!(push.wait(), 0);
    assert_eq!(pull.line(), "x");
    assert!(bob.does(&["trust"]).contains("trusted  ada's laptop"));

    // Without an identity there is nobody to trust.
    assert_eq!(bob.push(&endpoint, &[], SHORT).0, 3);
    bob.does(&["trust", "--remove", &ada.id()]);
    assert_eq!(bob.does(&["trust"]), "");
    assert_eq!(bob.run(&["trust", "--remove", &ada.id()]).0, 1);
    assert_eq!(bob.push(&endpoint, &["--identity"], SHORT).0, 3);
}

#[test]
fn quic_shows_the_users_identity_and_follows_its_trust_unasked() {
    let (ada, bob) = User::two();
    let quic = "quic://127.0.0.1:*";
    let (pull, endpoint) = Program::bound(&mut ada.withy(&["pull", "--bind", quic]));
    assert_eq!(ada.push(&endpoint, &["--unordered"], LONG).0, 0);
    assert_eq!(pull.line(), "hello");
    assert_eq!(bob.push(&endpoint, &[], SHORT).0, 3);
    ada.trusts(&bob);
    bob.trusts(&ada);
    assert_eq!(bob.push(&endpoint, &[], LONG).0, 0);
    assert_eq!(pull.line(), "hello");
    drop(pull);

    ada.makes_network("garden", &[&bob]);
    let in_garden = ["pull", "--bind", quic, "--network", "garden"];
    let (pull, endpoint) = Program::bound(&mut ada.withy(&in_garden));
    assert_eq!(bob.push(&endpoint, &[], SHORT).0, 3);
    assert_eq!(bob.push(&endpoint, &["--network", "garden"], LONG).0, 0);
    assert_eq!(pull.line(), "hello");
    let found = bob.does(&["ping", &endpoint, "--network", "garden"]);
    assert!(
        found.contains("transport   quic\nmechanism   QUIC, "),
        "{found}"
    );
}

#[test]
fn revoking_an_identity_closes_its_sessions_within_a_second() {
    let (ada, bob) = User::two();
    ada.trusts(&bob);
    bob.trusts(&ada);
    let verbose = ["pull", "--bind", ANY, "--identity", "--verbose"];
    let (pull, endpoint) = Program::bound(&mut ada.withy(&verbose));
    let mut push = Program::start(&mut bob.withy(&["push", "--connect", &endpoint, "--identity"]));
    push.feed("before\n");
    assert_eq!(pull.line(), "before");
    ada.does(&["revoke", &bob.id()]);
    let start = Instant::now();
    until_said(&pull, "is gone");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    until_said(&pull, "revoked");
    assert!(ada.does(&["trust"]).contains("trusted,revoked"));
    let (code, _, err) = ada.run(&["trust", &bob.id()]);
    assert!(code == 1 && err.contains("--undo"), "{err}");
    ada.does(&["revoke", "--undo", &bob.id()]);
    push.feed("after\n");
    assert_eq!(pull.line(), "after");
}

#[test]
fn members_of_a_network_meet_and_outsiders_get_no_answer() {
    let (ada, bob) = User::two();
    let eve = User::new();
    ada.makes_network("garden", &[&bob]);
    let in_garden = ["pull", "--bind", ANY, "--network", "garden"];
    let (pull, endpoint) = Program::bound(&mut ada.withy(&in_garden));
    let (code, err) = bob.push(&endpoint, &["--network", "garden"], LONG);
    assert_eq!(code, 0, "{err}");
    assert_eq!(pull.line(), "hello");

    // Trust does not open a network, nor does another network of the same name.
    ada.trusts(&eve);
    eve.trusts(&ada);
    eve.does(&["network", "create", "garden"]);
    for options in [&["--identity"][..], &["--network", "garden"], &[]] {
        let (code, err) = eve.push(&endpoint, options, SHORT);
        assert_eq!(code, 3, "{options:?}: {err}");
        assert!(!err.contains(&ada.id()), "{options:?}: {err}");
    }
    assert!(pull.out.try_recv().is_err(), "nothing came");

    let networks = bob.does(&["network", "list"]);
    assert!(
        networks.contains("member") && networks.contains("garden"),
        "{networks}"
    );
    assert!(ada.does(&["network", "list"]).contains("made here"));
    assert_eq!(ada.run(&["network", "leave", "garden"]).0, 2);
    bob.does(&["network", "leave", "garden"]);
    assert_eq!(bob.push(&endpoint, &["--network", "garden"], SHORT).0, 2);
}

#[test]
fn a_ticket_is_good_for_one_identity_unless_it_is_said_to_be_reusable() {
    let (ada, bob) = User::two();
    let eve = User::new();
    ada.does(&["network", "create", "garden"]);
    let in_garden = ["pull", "--bind", ANY, "--network", "garden"];
    let (pull, endpoint) = Program::bound(&mut ada.withy(&in_garden));
    for (options, second) in [(&[][..], 3), (&["--reusable"], 0)] {
        let invite = [&["network", "invite", "garden"][..], options].concat();
        let (code, ticket, err) = ada.run(&invite);
        assert_eq!((code, ticket.lines().count()), (0, 1), "{ticket}");
        assert!(!err.contains(ticket.trim()), "{err}");
        for user in [&bob, &eve] {
            let (code, _, err) = user.run_with(&["network", "join"], &ticket);
            assert_eq!(code, 0, "{err}");
        }
        assert_eq!(bob.push(&endpoint, &["--network", "garden"], LONG).0, 0);
        assert_eq!(pull.line(), "hello");
        let patience = if second == 0 { LONG } else { SHORT };
        let (code, err) = eve.push(&endpoint, &["--network", "garden"], patience);
        assert_eq!(code, second, "{options:?}: {err}");
    }
    assert_eq!(pull.line(), "hello");

    // One that is for bob is for nobody else.
    let bound = ada.does(&[
        "network",
        "invite",
        "garden",
        "--for",
        &bob.id(),
        "--role",
        "relay",
    ]);
    let (code, _, err) = eve.run_with(&["network", "join"], &bound);
    assert!(code == 2 && err.contains("another identity"), "{err}");
    assert_eq!(bob.run_with(&["network", "join"], &bound).0, 0);
    let networks = bob.does(&["network", "list"]);
    assert!(networks.contains("member,relay  for 36"), "{networks}");
    assert_eq!(bob.push(&endpoint, &["--network", "garden"], LONG).0, 0);
}

#[test]
fn who_came_by_a_ticket_is_a_member_for_a_year_once_it_met_the_authority() {
    let (ada, bob) = User::two();
    for (authority_binds, bind) in [(true, ANY), (false, "quic://127.0.0.1:*")] {
        let name = if authority_binds { "garden" } else { "house" };
        ada.makes_network(name, &[&bob]);
        let standing = || {
            let networks = bob.does(&["network", "list"]);
            let line = networks.lines().find(|line| line.ends_with(name));
            line.unwrap().to_owned()
        };
        let line = standing();
        assert!(line.contains(" by ticket "), "{line}");
        let (binds, dials) = match authority_binds {
            true => (&ada, &bob),
            false => (&bob, &ada),
        };
        let pull = ["pull", "--bind", bind, "--network", name];
        let (pull, endpoint) = Program::bound(&mut binds.withy(&pull));
        assert_eq!(dials.push(&endpoint, &["--network", name], LONG).0, 0);
        assert_eq!(pull.line(), "hello");
        let line = standing();
        assert!(line.contains("member  for 36"), "{line}");
        assert!(!line.contains("ticket"), "{line}");
    }
}

#[test]
fn revoking_a_ticket_ends_the_sessions_of_who_came_by_it() {
    let (ada, bob) = User::two();
    ada.does(&["network", "create", "garden"]);
    let (_, ticket, said) = ada.run(&["network", "invite", "garden"]);
    let serial = said.split(' ').nth(2).unwrap();
    assert!(serial.parse::<u64>().is_ok(), "{said}");
    let file = bob.path("ticket");
    fs::write(&file, ticket).unwrap();
    bob.does(&["network", "join", "--file", file.to_str().unwrap()]);
    let in_garden = ["pull", "--bind", ANY, "--network", "garden", "--verbose"];
    let (pull, endpoint) = Program::bound(&mut ada.withy(&in_garden));
    let push = ["push", "--connect", &endpoint, "--network", "garden"];
    let mut push = Program::start(&mut bob.withy(&push));
    push.feed("before\n");
    assert_eq!(pull.line(), "before");
    ada.does(&["network", "revoke", "garden", serial]);
    let start = Instant::now();
    until_said(&pull, "is gone");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_answers_first_is_pinned_and_a_changed_identity_refused_loudly() {
    let (ada, bob) = User::two();
    ada.trusts(&bob);
    let first_use = ["--trust", "first-use"];
    let pull = ["pull", "--bind", ANY, "--identity"];
    let (program, endpoint) = Program::bound(&mut ada.withy(&pull));
    assert_eq!(bob.push(&endpoint, &["--identity"], SHORT).0, 3);
    let (code, err) = bob.push(&endpoint, &first_use, LONG);
    assert_eq!(code, 0, "{err}");
    assert_eq!(program.line(), "hello");
    let line = format!("{}  pinned   {endpoint}\n", ada.id());
    assert_eq!(bob.does(&["trust"]), line);
    // A pin needs no first use.
    assert_eq!(bob.push(&endpoint, &["--identity"], LONG).0, 0);
    drop(program);

    // Somebody else at the same endpoint.
    let eve = User::new();
    eve.trusts(&bob);
    let pull = ["pull", "--bind", &endpoint, "--identity"];
    let (program, _) = Program::bound(&mut eve.withy(&pull));
    let (code, err) = bob.push(&endpoint, &first_use, SHORT);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("THE IDENTITY CHANGED"), "{err}");
    assert!(err.contains(&ada.id()) && err.contains(&eve.id()), "{err}");
    assert!(program.out.try_recv().is_err(), "nothing came");
    // Whoever knows why says so.
    bob.does(&["trust", "--remove", &ada.id()]);
    assert_eq!(bob.push(&endpoint, &first_use, LONG).0, 0);
    assert_eq!(program.line(), "hello");
}

/// What a verb prints with `--json`: one object a line.
fn objects(out: &str) -> Vec<Value> {
    let lines = out.lines();
    lines.map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn whom_one_trusts_is_said_in_objects() {
    let (ada, bob) = User::two();
    let does = |arguments: &[&str]| objects(&ada.does(&[arguments, &["--json"]].concat()));
    let (ours, theirs) = (ada.id(), bob.id());
    let accepted = does(&["trust", &theirs, "bob's laptop"]);
    assert_eq!(
        accepted,
        [json!({ "ours": ours, "theirs": theirs, "name": "bob's laptop" })]
    );
    let pull = ["pull", "--bind", ANY, "--identity"];
    let (_pull, endpoint) = Program::bound(&mut bob.withy(&pull));
    bob.trusts(&ada);
    let push = ["--trust", "first-use"];
    assert_eq!(ada.push(&endpoint, &push, LONG).0, 0);
    let nobody = "gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs";
    assert_eq!(
        does(&["revoke", nobody]),
        [json!({ "identity": nobody, "revoked": true })]
    );
    let mut listed = does(&["trust"]);
    listed.sort_by_key(|it| it["identity"] == nobody);
    assert_eq!(
        listed,
        [
            json!({
                "identity": theirs,
                "marks": ["trusted"],
                "name": "bob's laptop",
                "endpoints": [],
            }),
            json!({ "identity": nobody, "marks": ["revoked"], "name": null, "endpoints": [] }),
        ]
    );
    assert_eq!(
        does(&["revoke", "--undo", nobody]),
        [json!({ "identity": nobody, "revoked": false })]
    );
    assert_eq!(
        does(&["trust", "--remove", &theirs]),
        [json!({ "identity": theirs, "trusted": false })]
    );
    // Pinned, and accepted without a name.
    assert_eq!(ada.push(&endpoint, &push, LONG).0, 0);
    assert_eq!(does(&["trust", &theirs])[0]["name"], Value::Null);
    assert_eq!(
        does(&["trust"]),
        [json!({
            "identity": theirs,
            "marks": ["trusted", "pinned"],
            "name": null,
            "endpoints": [endpoint],
        })]
    );
    // What fails prints no object.
    let (code, out, _) = ada.run(&["trust", "--remove", nobody, "--json"]);
    assert_eq!((code, &*out), (1, ""));
}

#[test]
fn what_becomes_of_networks_is_said_in_objects() {
    let (ada, bob) = User::two();
    let does = |user: &User, arguments: &[&str]| {
        objects(&user.does(&[&["network"], arguments, &["--json"]].concat()))
    };
    let made = does(&ada, &["create", "garden"]);
    let network = made[0]["network"].as_str().unwrap().to_owned();
    assert_eq!(made, [json!({ "network": network, "name": "garden" })]);
    assert!(ada.does(&["network", "list"]).starts_with(&network));

    let invited = does(&ada, &["invite", "garden", "--expires", "1h"]);
    let [ticket, serial] = ["ticket", "serial"].map(|it| invited[0][it].as_str().unwrap());
    assert!(serial.parse::<u64>().is_ok(), "{serial}");
    let expected = json!({
        "name": "garden",
        "ticket": ticket,
        "serial": serial,
        "for": null,
        "reusable": false,
        "expires_s": 3_600,
    });
    assert_eq!(invited, [expected]);
    let member = bob.id();
    let bound = does(&ada, &["invite", "garden", "--for", &member]);
    assert_eq!(bound[0]["for"], *member);

    let join = ["network", "join", "--name", "yard", "--json"];
    let (code, out, err) = bob.run_with(&join, &format!("{ticket}\n"));
    assert_eq!(code, 0, "{err}");
    let joined = objects(&out);
    let until = joined[0]["until"].as_u64().unwrap();
    let expected = json!({
        "network": network,
        "name": "yard",
        "roles": ["member"],
        "until": until,
        "expired": false,
        "by_ticket": true,
        "made_here": false,
    });
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    assert!((now..now + 2 * 3_600).contains(&until), "{until}");
    assert_eq!(joined, [expected]);
    assert_eq!(does(&bob, &["list"]), joined);
    let listed = does(&ada, &["list"]);
    assert_eq!(listed[0]["made_here"], true);
    assert_eq!(listed[0]["by_ticket"], false);

    // Where it was made others are told, elsewhere not.
    assert_eq!(
        does(&ada, &["revoke", "garden", serial]),
        [json!({ "network": network, "name": "garden", "serial": serial, "signed": true })]
    );
    let ours = ada.id();
    assert_eq!(
        does(&bob, &["revoke", "yard", &ours]),
        [json!({ "network": network, "name": "yard", "identity": ours, "signed": false })]
    );
    assert_eq!(
        does(&bob, &["leave", "yard"]),
        [json!({ "network": network, "name": "yard" })]
    );
    assert_eq!(does(&bob, &["list"]), [] as [Value; 0]);
}

/// A push to an endpoint where nobody is.
fn push<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [
        &["push", "--connect", "tcp://127.0.0.1:1"][..],
        options,
        &["x"],
    ]
    .concat()
}

#[test]
fn bad_input_gets_one_line_and_exit_code_two() {
    let user = User::new();
    let id = user.id();
    user.does(&["network", "create", "garden"]);
    let ticket = user.does(&["network", "invite", "garden"]);
    let ticket = ticket.trim();
    let open = user.path("open");
    user.does(&["id", "--identity", open.to_str().unwrap()]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let open = format!("--identity={}", open.display());
    let other = user.path("other").display().to_string();
    user.does(&["id", "--identity", &other]);
    let other = format!("--identity={other}");
    let missing = format!("--identity={}", user.path("missing").display());
    fs::write(user.path("password"), "secret").unwrap();
    let password = user.path("password").display().to_string();
    let key = user.path("key").display().to_string();
    user.does(&["keygen", "-o", &key]);
    let public = format!("{key}.pub");
    let damaged = ticket.replace("withy-ticket-1-", "withy-ticket-1-aa");
    let newer = ticket.replace("ticket-1", "ticket-2");
    let cases: &[(Vec<&str>, &str, &str)] = &[
        (push(&[&missing]), "", "withy id --identity FILE"),
        (push(&[&open]), "", "chmod 600"),
        (
            push(&["--network", "moon"]),
            "",
            "there is no network \"moon\"",
        ),
        (
            push(&["--network", "garden", &other]),
            "",
            "leave --identity=FILE out",
        ),
        (push(&["--identity", "--insecure"]), "", "leave it out"),
        (
            push(&[
                "--identity",
                "--secret-key-file",
                &key,
                "--server-key-file",
                &public,
            ]),
            "",
            "mean CURVE",
        ),
        (
            push(&[
                "--network",
                "garden",
                "--plain-user",
                "a",
                "--plain-password-file",
                &password,
            ]),
            "",
            "mean PLAIN",
        ),
        (vec!["network", "join", ticket], "", "stdin"),
        (vec!["network", "join"], "", "this is not a ticket"),
        (
            vec!["network", "join"],
            "nonsense\n",
            "this is not a ticket",
        ),
        (vec!["network", "join"], &damaged, "damaged"),
        (vec!["network", "join"], &newer, "version"),
        (vec!["network", "join"], EXPIRED, "expired"),
        (
            vec!["network", "join", "--file", "/nowhere/ticket"],
            "",
            "/nowhere/ticket",
        ),
        (
            vec!["network", "invite", "moon"],
            "",
            "there is no network \"moon\"",
        ),
        (
            vec!["network", "invite", "garden", "--expires", "0s"],
            "",
            "1s",
        ),
        (vec!["network", "create", "garden"], "", "already"),
        (
            vec!["network", "revoke", "moon", "7"],
            "",
            "there is no network",
        ),
        (vec!["network", "leave", "moon"], "", "there is no network"),
    ];
    for (arguments, stdin, words) in cases {
        let (code, out, err) = user.run_with(arguments, stdin);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
        assert!(!err.contains(&ticket[20..]), "{arguments:?}: {err}");
    }
    // These are the grammar's, which adds how to get help.
    for (arguments, words) in [
        (&["trust", "short"][..], "an id has 56 characters, not 5"),
        (&["revoke", &id[..55]], "55"),
        (&["network", "revoke", "garden", "-7"], "-7"),
        (&["network", "create", " a"], "character 1"),
        (&["network", "invite", "garden", "--role", "king"], "bridge"),
        (&push(&["--trust", "all"]), "first-use"),
    ] {
        let (code, out, err) = user.run(arguments);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    for (file, arguments) in [
        ("networks/garden", push(&["--network", "garden"])),
        (
            "networks/garden.authority",
            vec!["network", "invite", "garden"],
        ),
        ("identity", push(&["--identity"])),
    ] {
        let path = user.path(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let (code, _, err) = user.run(&arguments);
        assert_eq!(code, 2, "{file}: {err}");
        assert!(err.contains("chmod 600"), "{file}: {err}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(user.path("trusted"), format!("{id}\nnonsense\n")).unwrap();
    let (code, _, err) = user.run(&push(&["--identity"]));
    assert!(code == 2 && err.contains("line 2"), "{err}");
}

#[test]
fn ping_shows_who_is_there_and_how_it_is_protected() {
    let (ada, bob) = User::two();
    ada.makes_network("garden", &[&bob]);
    let network = ada.does(&["network", "list"])[..56].to_owned();
    for verb in [&["rep", "--echo"][..], &["pull"], &["sub"], &["router"]] {
        let arguments = [verb, &["--bind", ANY, "--network", "garden"]].concat();
        let (_program, endpoint) = Program::bound(&mut ada.withy(&arguments));
        let found = bob.does(&["ping", &endpoint, "--network", "garden", "--count", "2"]);
        let kind = verb[0].to_uppercase();
        for words in [
            &format!("peer        {kind} at 127.0.0.1"),
            "mechanism   NOISE, ",
            ", post-quantum\n",
            &format!("identity    {}\n", ada.id()),
            &format!("network     {network} as member\n"),
            "us most, of 2\n",
        ] {
            assert!(found.contains(words), "{words}: {found}");
        }
        let (code, _, err) = bob.run(&["ping", &endpoint, "--identity"]);
        assert_eq!(code, 1, "{err}");
    }
    let open = ["pub", "--bind", ANY, "--wait", "15s"];
    let (_program, endpoint) = Program::bound(&mut ada.withy(&open));
    let found = bob.does(&["ping", &endpoint, "--count", "1", "--json"]);
    assert!(found.contains(r#""mechanism":"NULL""#), "{found}");
    assert!(found.contains(r#""type":"PUB""#), "{found}");
}

#[test]
fn ping_takes_no_messages_from_those_who_wait_for_a_peer() {
    let user = User::new();
    let bind = [
        "push",
        "--bind",
        ANY,
        "--identity",
        "--timeout",
        LONG,
        "one",
    ];
    let (push, endpoint) = Program::bound(&mut user.withy(&bind));
    let (code, _, err) = user.run(&["ping", &endpoint, "--identity"]);
    assert_eq!(code, 1);
    assert!(err.contains("a PUSH, DEALER or PAIR is there"), "{err}");
    let pull = ["pull", "--connect", &endpoint, "--identity", "--count", "1"];
    assert_eq!(user.does(&pull), "one\n");
    assert_eq!(push.end().0, 0);

    let nobody = ["ping", "tcp://127.0.0.1:1", "--timeout", "200ms"];
    assert_eq!(user.run(&nobody).0, 3);
}
