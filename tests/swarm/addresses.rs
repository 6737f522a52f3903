//! Hosts get other addresses while their nodes run.

use withy_tests::scale;

use crate::lan::Lan;
use crate::meshing::{meet, swarm};
use crate::node::now;
use crate::swarm::{LONG, between, inside, limit};

#[test]
fn nodes_follow_the_addresses_of_their_hosts() {
    const TEST: &str = "addresses::nodes_follow_the_addresses_of_their_hosts";
    inside(TEST, || {
        let lan = Lan::new(2);
        let mut swarm = swarm(TEST, &lan, 2, |role| role);
        meet(&mut swarm);
        swarm.tell_all("tick 100");

        // Another network, which both learn of from each other.
        for number in 0..2 {
            swarm.tell(number, "reports 10.78.0.");
            lan.host(number).run(&format!(
                "ip address add 10.78.0.{}/24 dev eth0",
                number + 1
            ));
        }
        let since = now();
        let known = swarm.all_say(LONG, since, |what| what == "at 10.78.0.");
        let known = between(since, known);
        scale::report("a new address is known after", format!("{known:.1?}"));

        // And nothing but that.
        for number in 0..2 {
            lan.host(number).run(&format!(
                "ip address del 10.77.0.{}/24 dev eth0",
                number + 1
            ));
        }
        let since = now();
        swarm.tell_all("mark");
        swarm.tell_all("forgets 10.77.0.");
        let heard = swarm.all_say(LONG, since, |what| what == "heard 1");
        let heard = between(since, heard);
        let gone = swarm.all_say(LONG, since, |what| what == "not at 10.77.0.");
        let gone = between(since, gone);
        scale::report(
            "messages go on at the new address after",
            format!("{heard:.1?}"),
        );
        scale::report(
            "an address that is gone is forgotten after",
            format!("{gone:.1?}"),
        );
        assert!(
            known <= limit(5) && heard <= limit(10),
            "{known:?}, {heard:?}"
        );
    });
}
