//! What nodes cost that do nothing.

use std::time::{Duration, Instant};

use withy_tests::namespace::run;
use withy_tests::scale;

use crate::node::Role;
use crate::swarm::{Swarm, home, inside, runtime};

/// How long nobody does anything before it is measured: all links are as they stay.
const SETTLE: Duration = Duration::from_secs(15);

#[test]
fn idle_nodes_cost_little() {
    const TEST: &str = "idle::idle_nodes_cost_little";
    inside(TEST, || {
        run("ip link set lo up");
        let count = scale::count(20, 100) as usize;
        let home = home("home");
        let mut swarm = Swarm::new(TEST);
        for number in 0..count {
            let role = Role {
                number,
                home: home.clone(),
                runtime: runtime("all"),
                idle: true,
                ..Role::default()
            };
            swarm.start(None, &role);
        }
        swarm.tell_all(&format!("expect {}", count - 1));
        let limit = Duration::from_secs(120);
        swarm.built(limit);
        let knows = format!("knows {}", count - 1);
        swarm.all_say(limit, 0, |what| what == knows);
        std::thread::sleep(SETTLE);
        let (before, start) = (swarm.worked(), Instant::now());
        std::thread::sleep(Duration::from_secs(scale::count(5, 20)));
        let share = (swarm.worked() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        scale::report(
            &format!("share of a core that {count} idle nodes use"),
            format!("{:.1} %", share * 100.0),
        );
        // Without optimisation they may use more.
        let limit = match cfg!(debug_assertions) {
            true => 0.02,
            false => 0.001,
        };
        assert!(share <= limit * count as f64, "{share}");
    });
}
