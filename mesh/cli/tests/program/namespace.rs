//! Tests in network namespaces of their own, where multicast reaches nobody else.

use std::io::Write as _;
use std::process::Command;

/// Names the test that is in its namespace.
const INSIDE: &str = "WITHY_IN_NAMESPACE";

/// Runs the rest of a test in a namespace in which only the loopback interface is up.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        run("ip link set lo up");
        return body();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("unshare is there");
    let [said, failed] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("1 passed"), "{said}");
    for line in said.lines().filter(|line| line.starts_with("count: ")) {
        // The harness hides what is printed.
        let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
    }
}

/// Runs commands that have to succeed.
pub(crate) fn run(commands: &str) {
    let status = Command::new("sh").args(["-e", "-c", commands]).status();
    assert!(status.unwrap().success(), "{commands}");
}

/// An interface with a private address, at the end of a cable to nowhere.
pub(crate) const CABLE: &str = "
    ip link add near type veth peer name far
    ip addr add 10.77.0.1/24 dev near
    ip link set near up
    ip link set far up
";

/// Drops multicast DNS that comes in.
pub(crate) const DROP: &str = "
    nft add table inet drops
    nft add chain inet drops input '{ type filter hook input priority 0; }'
    nft add rule inet drops input udp dport 5353 drop
";
