//! Losses by the system itself: a network namespace of its own, in which nftables drops datagrams.

use std::process::Command;

use withy::{Pull, Push, Rep, Req};
use withy_tests::scale;

use crate::losses::{all_are_answered, all_arrive};
use crate::support::build;

/// Says to this test's own program that it is in the namespace, and how many messages to send.
const INSIDE: &str = "WITHY_IN_NAMESPACE";

/// Of a hundred datagrams, those that are dropped, and the messages that are sent. What the system
/// drops is many datagrams at a time, so that few losses take many messages.
const LOST: [(&str, u64); 3] = [("1", 30_000), ("5", 6_000), ("20", 3_000)];

/// Brings the loopback interface up, lets `$1` of a hundred datagrams be dropped, and goes on in there.
const ENTER: &str = r#"
ip link set lo up
nft add table inet losses
nft add chain inet losses input '{ type filter hook input priority 0; }'
nft add rule inet losses input meta l4proto udp numgen random mod 100 '<' "$1" counter drop
shift
exec "$@"
"#;

#[test]
fn nothing_is_lost_that_the_system_drops() {
    if let Ok(count) = std::env::var(INSIDE) {
        return inside(count.parse().unwrap());
    }
    for (lost, count) in LOST {
        let count = scale::count(count, count * 5);
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--kill-child"])
            .args(["sh", "-e", "-c", ENTER, "sh", lost])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "namespace::nothing_is_lost_that_the_system_drops",
            ])
            .arg("--nocapture")
            .env(INSIDE, count.to_string())
            .output()
            .expect("unshare is there");
        let [said, failed] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(output.status.success(), "{lost} %: {said}{failed}");
        let dropped = said.lines().find_map(|line| line.strip_prefix("dropped: "));
        let dropped: u64 = dropped.expect("it tells").parse().unwrap();
        assert!(dropped > 0, "nothing was dropped");
        scale::report(&format!("datagrams dropped by nftables, {lost} %"), dropped);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn inside(count: u64) {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let push = build(Push::builder());
    push.connect_to(endpoint).unwrap();
    all_arrive(&push, &pull, count, async {}).await;

    let rep = build(Rep::builder());
    let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
    let req = build(Req::builder());
    req.connect_to(endpoint).unwrap();
    all_are_answered("nftables", req, rep, scale::count(60, 1_000)).await;

    let rules = Command::new("nft").args(["list", "ruleset"]).output();
    let rules = String::from_utf8(rules.unwrap().stdout).unwrap();
    let mut words = rules.split_whitespace();
    words.find(|word| *word == "packets").expect("a counter");
    println!("\ndropped: {}", words.next().unwrap());
}
