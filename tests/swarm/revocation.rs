//! A network takes a member back, and all others learn of it from each other, and let it go.

use std::time::Duration;

use withy::Home;
use withy::home::Target;
use withy::trust::{Name, Roles, Terms};
use withy_tests::scale;

use crate::lan::Lan;
use crate::meshing::{count, meet};
use crate::node::{Role, now};
use crate::swarm::{LONG, Swarm, between, home, inside, limit, runtime};

/// How long the invitation holds.
const LIFETIME: Duration = Duration::from_secs(3_600);

#[test]
fn who_is_revoked_is_let_go_by_all_others() {
    const TEST: &str = "revocation::who_is_revoked_is_let_go_by_all_others";
    inside(TEST, || {
        let count = count();
        let lan = Lan::new(count);
        // Each has a home of its own, so that what is taken back comes by gossip alone.
        let homes: Vec<_> = (0..count).map(|it| home(&format!("home{it}"))).collect();
        let name: Name = "housemates".parse().unwrap();
        let founder = Home::at(&homes[0]);
        founder.create_network(&name).unwrap();
        let terms = Terms {
            roles: Roles::MEMBER,
            lifetime: LIFETIME.as_secs(),
            single_use: false,
        };
        let ticket = founder.invite(&name, terms, None).unwrap();
        for home in &homes[1..] {
            Home::at(home).join(&ticket, None).unwrap();
        }
        let mut swarm = Swarm::new(TEST);
        for (number, home) in homes.iter().enumerate() {
            let role = Role {
                number,
                home: home.clone(),
                runtime: runtime(&format!("host{number}")),
                network: Some(name.to_string()),
                lan: true,
                ..Role::default()
            };
            swarm.start(Some(lan.host(number)), &role);
        }
        meet(&mut swarm);

        // The last one, who is not connected to the first for gossip more than to anybody else.
        let victim = count - 1;
        let identity = swarm.names(victim)[2].parse().unwrap();
        swarm.tell(victim, "alone");
        let since = now();
        founder
            .revoke_member(&name, Target::Identity(identity))
            .unwrap();
        let others: Vec<_> = (0..victim).collect();
        let told =
            |what: &str| what.starts_with("warns") && what.contains("revoked by its network");
        let told = swarm.say_all(&others, LONG, since, told);
        let alone = swarm.say_all(&[victim], LONG, since, |what| what == "alone");
        let (told, alone) = (between(since, told), between(since, alone));
        scale::report(
            &format!("a revocation is known to {count} nodes after"),
            format!("{told:.1?}"),
        );
        scale::report(
            &format!("who is revoked has no link to any of {count} nodes after"),
            format!("{alone:.1?}"),
        );

        // The others go on without it.
        let since = now();
        swarm.tell_all("mark");
        swarm.tell_all("tick 100");
        let heard = format!("heard {}", count - 2);
        swarm.say_all(&others, LONG, since, |what| what == heard);
        let all = format!("heard {}", count - 1);
        let crossed = |said: &&crate::swarm::Said| {
            let by_victim = said.node == victim && said.what.starts_with("heard");
            said.at >= since && (by_victim || said.what == all)
        };
        assert!(swarm.log().iter().find(crossed).is_none());
        assert!(told <= limit(5) && alone <= limit(5), "{told:?}, {alone:?}");
    });
}
