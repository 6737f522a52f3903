//! What an idle connection costs, measured in a process that does nothing else.

use std::process::Command;
use std::time::Duration;

use withy::{Pull, Push};
use withy_tests::scale;

use crate::process::{Usage, alone};

const PEERS: u64 = 1_000;
/// Octets for both ends and the socket of the peer: over twice what it is. A buffer that every
/// connection kept for itself would be more.
const BOUND: u64 = 48 << 10;
/// Set in the process that measures.
const MEASURES: &str = "WITHY_MEASURES";

#[tokio::test]
async fn an_idle_connection_costs_little() {
    let _alone = alone().await;
    if std::env::var_os(MEASURES).is_some() {
        return measure().await;
    }
    let measured = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "idle::an_idle_connection_costs_little"])
        .env(MEASURES, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&measured.stdout);
    assert!(measured.status.success(), "{said}");
    let mut words = said.lines().filter_map(|line| line.strip_prefix("count: "));
    let (what, count) = words.next().unwrap().split_once(": ").unwrap();
    scale::report(what, count);
}

async fn measure() {
    scale::allow_descriptors(2 * PEERS + 100);
    let pull = Pull::new();
    let endpoints = [
        pull.bind_to("tcp://127.0.0.1:*").await.unwrap(),
        pull.bind_to("ipc://*").await.unwrap(),
    ];
    let before = Usage::now();
    let pushes: Vec<_> = (0..PEERS)
        .map(|n| Push::connect(endpoints[n as usize % 2].clone()).unwrap())
        .collect();
    let both = async {
        for push in &pushes {
            push.ready().await.unwrap();
        }
        pull.wait_peers(PEERS as usize).await.unwrap();
    };
    let both = tokio::time::timeout(Duration::from_secs(60), both);
    both.await.unwrap();
    let grown = Usage::now().memory.checked_sub(before.memory).unwrap();
    let cost = grown as u64 / PEERS;
    scale::report("octets for an idle connection, both ends", cost);
    assert!(cost > 0 && cost <= BOUND, "{cost} octets");
}
