//! Builds libzmq from source and hands the versions of the peers to the program.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use zeromq_src::{Build, LibLocation};

/// Where distributions put the static libsodium.
const LIBRARY_DIRECTORIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-env-changed=SODIUM_LIB_DIR");
    println!("cargo:rerun-if-env-changed=CXXFLAGS");
    libzmq();
    versions();
}

fn libzmq() {
    let flags = env::var("CXXFLAGS").unwrap_or_default();
    assert!(
        flags.contains("ZMQ_HAVE_EVENTFD"),
        "build from tests/bench, so that .cargo/config.toml configures libzmq as its own build does"
    );
    let directory = env::var("SODIUM_LIB_DIR")
        .map(PathBuf::from)
        .ok()
        .or_else(|| {
            LIBRARY_DIRECTORIES
                .iter()
                .map(PathBuf::from)
                .find(|directory| directory.join("libsodium.a").exists())
        });
    let directory =
        directory.expect("libsodium.a not found: install libsodium-dev or set SODIUM_LIB_DIR");
    let include = if Path::new("/usr/include/sodium.h").exists() {
        "/usr/include"
    } else {
        "/usr/local/include"
    };
    Build::new()
        .with_libsodium(Some(LibLocation::new(directory, include)))
        .build();
    // Again and last: libzmq refers to libsodium, and a linker reads its libraries in order.
    println!("cargo:rustc-link-arg-bins=-lsodium");
}

/// Exports `VERSION_<CRATE>` for every crate in the lock file that is a peer.
fn versions() {
    let lock = fs::read_to_string("Cargo.lock").expect("Cargo.lock is beside build.rs");
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = quoted(line, "name = ") {
            name = value;
        }
        let peer = [
            "monocoque-rs",
            "omq-tokio",
            "rzmq",
            "tokio",
            "quinn",
            "ring",
            "withy",
            "zenoh",
            "zeromq",
        ]
        .contains(&name);
        if let (true, Some(version)) = (peer, quoted(line, "version = ")) {
            println!(
                "cargo:rustc-env=VERSION_{}={version}",
                name.replace('-', "_").to_uppercase()
            );
        }
    }
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}
