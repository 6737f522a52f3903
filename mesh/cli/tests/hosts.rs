//! Two hosts with a cable between them: what is published on one is heard on the other, by multicast DNS.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::process::Command;
use std::time::{Duration, Instant};

use program::Program;
use program::homes::User;
use program::namespace::{inside, run};

/// How long it may take from the start of `withy pub` until `withy sub` on another host shows what was
/// published, with all that multicast DNS does before.
const LIMIT: Duration = Duration::from_millis(1_500);

/// How often it is measured.
const ROUNDS: usize = 5;

/// Waits for the end of a cable, and then for a word; runs the rest of its arguments on this host.
const HOST: &str = "
    echo ready; read word
    ip link set lo up
    ip address add 10.77.0.2/24 dev far
    ip link set far up
    echo up; read word
    exec \"$@\"
";

impl User {
    /// A program on another host, at the end of a cable to this one; it starts once it is told.
    fn on_other_host(&self, arguments: &[&str]) -> Program {
        let inner = self.withy(arguments);
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-e", "-c", HOST, "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let set = inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?)));
        command.envs(set).env("WITHY_DISCOVERY", "mdns");
        // Nodes of this host are not of that one.
        command.env("XDG_RUNTIME_DIR", self.path("elsewhere"));
        let mut program = Program::start(&mut command);
        assert_eq!(program.line(), "ready");
        run(&format!(
            "ip link add near type veth peer name far
            ip link set far netns {}
            ip address add 10.77.0.1/24 dev near
            ip link set near up",
            program.child.id()
        ));
        program.feed("cable\n");
        assert_eq!(program.line(), "up");
        program
    }
}

#[test]
fn what_is_published_on_one_host_is_heard_on_another_at_once() {
    const TEST: &str = "what_is_published_on_one_host_is_heard_on_another_at_once";
    inside(TEST, || {
        let user = User::new();
        std::fs::create_dir(user.path("elsewhere")).unwrap();
        // The identity of both, so that none of them has to make it.
        user.id();
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let topic = format!("round/{round}");
            let publish = ["pub", &topic, "body", "--wait", "15s"];
            let mut publisher = user.on_other_host(&publish);
            let mut sub = user.withy(&["sub", "round/#"]);
            let subscriber = Program::start(sub.env("WITHY_DISCOVERY", "mdns"));
            let begun = Instant::now();
            while user.does(&["peers"]).trim().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(20), "nobody is there");
            }
            let start = Instant::now();
            publisher.feed("go\n");
            assert_eq!(subscriber.line(), format!("{topic}\tbody"));
            times.push(start.elapsed());
            let (code, _, err) = publisher.end();
            assert_eq!(code, 0, "{err}");
            drop(subscriber);
            run("ip link del near 2>/dev/null || true");
        }
        times.sort_unstable();
        let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        println!(
            "\ncount: from the start of pub to sub on another host: {median:.1?}, at worst {worst:.1?}"
        );
        assert!(median <= LIMIT, "{times:?}");
    });
}
