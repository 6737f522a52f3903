//! The rules of the house that can be read off the tree: who may depend on whom, what the core
//! may not touch, and what no file may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every crate of ours and which others it may depend on, except for its own tests.
const EDGES: &[(&str, &[&str])] = &[
    ("withy-proto", &[]),
    ("withy-transports", &["withy-proto"]),
    ("withy-discovery", &["withy-proto"]),
    (
        "withy",
        &["withy-proto", "withy-transports", "withy-discovery"],
    ),
    ("withy-gateway-proto", &["withy-proto"]),
    ("withy-gateway", &["withy", "withy-gateway-proto"]),
    ("withy-cli", &["withy", "withy-gateway"]),
    ("withy-capi", &["withy"]),
];

/// Crates that may depend on any other; nothing depends on them.
const LEAVES: &[&str] = &["withy-examples", "withy-tests"];

/// What would give a sans-IO core a socket, a clock, a runtime or randomness of its own.
const NOT_IN_PROTO: &[&str] = &[
    "async-std",
    "getrandom",
    "mio",
    "quinn",
    "rand",
    "smol",
    "socket2",
    "tokio",
];

/// The same in source, and collections whose order differs from run to run.
const NOT_IN_PROTO_SOURCES: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    (
        "std::net",
        "no sockets; addresses as values are in core::net",
    ),
    ("std::fs", "no files"),
    ("ring::rand", "randomness is an argument"),
    ("HashMap", "its order is random; BTreeMap or a slab"),
    ("HashSet", "its order is random; BTreeSet"),
];

const ROOT_ENTRIES: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "discovery",
    "examples",
    "gateway",
    "mesh",
    "tests",
    "transports",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The standard output of a command at the root.
fn output(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(run.stdout).expect("UTF-8")
}

fn files() -> Vec<String> {
    let listed = output(
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    );
    let there = |path: &&str| root().join(path).is_file();
    listed.lines().filter(there).map(str::to_owned).collect()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where the needles occur, as "path:line: text".
fn occurrences(paths: impl Iterator<Item = String>, needles: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        for (number, line) in source(&path).lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

fn metadata() -> Value {
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
    ];
    serde_json::from_str(&output(env!("CARGO"), &arguments)).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a package depends on, tests left out, by package id.
fn dependencies(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let not_only_tests = |dependency: &&Value| {
        list(&dependency["dep_kinds"])
            .iter()
            .any(|kind| text(&kind["kind"]) != "dev")
    };
    list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let on = list(&node["deps"]).iter().filter(not_only_tests);
            (
                text(&node["id"]),
                on.map(|dependency| text(&dependency["pkg"])).collect(),
            )
        })
        .collect()
}

/// Package names by id.
fn names(metadata: &Value) -> BTreeMap<&str, &str> {
    list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect()
}

fn members(metadata: &Value) -> Vec<&str> {
    list(&metadata["workspace_members"])
        .iter()
        .map(text)
        .collect()
}

#[test]
fn crates_depend_only_where_the_design_says() {
    let metadata = metadata();
    let (dependencies, names) = (dependencies(&metadata), names(&metadata));
    let members = members(&metadata);
    let mut wrong = Vec::new();
    for id in &members {
        let name = names[id];
        if LEAVES.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not in the list of crates"));
            continue;
        };
        for on in dependencies[id].iter().filter(|on| members.contains(on)) {
            if !allowed.contains(&names[on]) {
                wrong.push(format!("{name} -> {}", names[on]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(members.len() <= EDGES.len() + LEAVES.len());
}

#[test]
fn the_core_has_no_runtime_socket_or_randomness_below_it() {
    let metadata = metadata();
    let (dependencies, names) = (dependencies(&metadata), names(&metadata));
    let proto = members(&metadata)
        .into_iter()
        .find(|id| names[id] == "withy-proto");
    let mut todo = vec![proto.expect("withy-proto is a member")];
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            assert!(
                !NOT_IN_PROTO.contains(&names[id]),
                "withy-proto -> {}",
                names[id]
            );
            // They bring generators of their own, which the core's sources do not use.
            if !["graviola", "libcrux-ml-kem", "ring"].contains(&names[id]) {
                todo.extend(&dependencies[id]);
            }
        }
    }
}

#[test]
fn the_core_takes_time_addresses_and_order_as_arguments() {
    let shipped =
        |path: &String| path.starts_with("mesh/proto/src/") && !path.ends_with("/tests.rs");
    let proto = || files().into_iter().filter(shipped);
    assert!(proto().count() > 10);
    let mut wrong = Vec::new();
    for (needle, reason) in NOT_IN_PROTO_SOURCES {
        for place in occurrences(proto(), &[(*needle).to_owned()]) {
            wrong.push(format!("{place} ({reason})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The null cipher is for fuzzers and simulators.
#[test]
fn nothing_that_ships_turns_encryption_off() {
    let needles = ["danger_null", "DangerNull"].map(str::to_owned);
    let is_source = |path: &String| {
        path.ends_with(".rs") && !path.starts_with("tests/") && !path.ends_with("/tests.rs")
    };
    let places = occurrences(files().into_iter().filter(is_source), &needles);
    let homes = ["mesh/proto/src/crypto/", "mesh/proto/src/mechanism/curve/"];
    let (inside, outside): (Vec<_>, Vec<_>) = places
        .into_iter()
        .partition(|place| homes.iter().any(|home| place.starts_with(home)));
    assert!(!inside.is_empty() && outside.is_empty(), "{outside:#?}");
}

/// Everything else is under the workspace's `deny`.
#[test]
fn unsafe_code_has_two_homes() {
    let sources = files().into_iter().filter(|path| path.ends_with(".rs"));
    // Put together here, so that this file holds it not.
    let needle = ["allow(unsafe", "_code"].concat();
    let homes: BTreeSet<_> = occurrences(sources, &[needle])
        .iter()
        .map(|place| place.split(':').next().unwrap_or_default().to_owned())
        .collect();
    let expected = [
        "mesh/proto/src/crypto/salsa20/x86/mod.rs",
        "transports/src/inherited.rs",
    ];
    assert!(homes.iter().eq(expected), "{homes:?}");
}

#[test]
fn the_root_shows_only_what_the_design_lists() {
    let top: BTreeSet<_> = files()
        .iter()
        .map(|path| path.split('/').next().unwrap_or_default().to_owned())
        .filter(|entry| !entry.starts_with('.') && !ROOT_ENTRIES.contains(&entry.as_str()))
        .collect();
    assert!(top.is_empty(), "{top:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file holds none of them.
    let needles =
        ["#[ig|nore", "to|do!(", "unimple|mented!("].map(|needle| needle.replace('|', ""));
    let sources = files().into_iter().filter(|path| path.ends_with(".rs"));
    let found = occurrences(sources, &needles);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_takes_the_common_lints() {
    let metadata = metadata();
    let members = members(&metadata);
    for package in list(&metadata["packages"]) {
        if members.contains(&text(&package["id"])) {
            let path = text(&package["manifest_path"]);
            let manifest = std::fs::read_to_string(path).expect("a manifest");
            let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
            assert_eq!(lints.lines().nth(1), Some("workspace = true"), "{path}");
        }
    }
}
