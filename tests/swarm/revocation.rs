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

/// How long a node may take from hearing of it to having no link to who was revoked.
const CUT: Duration = Duration::from_secs(1);

/// What a busy machine may add, and the test, which looks every 20 ms.
const SLACK: Duration = Duration::from_secs(1);

/// How long the invitation holds.
const LIFETIME: Duration = Duration::from_secs(3_600);

#[test]
fn who_is_revoked_is_let_go_by_all_others() {
    const TEST: &str = "revocation::who_is_revoked_is_let_go_by_all_others";
    inside(TEST, || drop(revoke(TEST, count())));
}

/// As few as there can be: nobody waits for a processor, so that the limit holds in every build.
#[test]
fn who_is_revoked_is_cut_within_a_second_of_the_news() {
    const TEST: &str = "revocation::who_is_revoked_is_cut_within_a_second_of_the_news";
    inside(TEST, || {
        let cuts = revoke(TEST, 3);
        for (number, cut) in cuts.into_iter().enumerate() {
            scale::report(
                &format!("node {number} cuts who is revoked, from the news on, after"),
                format!("{cut:.1?}"),
            );
            assert!(cut <= CUT + SLACK, "node {number}: {cut:?}");
        }
    });
}

/// Members of a network take the last one of them back; says how long after the news each of the others
/// had no link to it any more.
fn revoke(test: &'static str, count: usize) -> Vec<Duration> {
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
    let mut swarm = Swarm::new(test);
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
    let others: Vec<_> = (0..victim).collect();
    swarm.tell(victim, "only 0");
    let rest = format!("only {}", count - 2);
    others.iter().for_each(|number| swarm.tell(*number, &rest));
    let since = now();
    founder
        .revoke_member(&name, Target::Identity(identity))
        .unwrap();
    let news = |what: &str| what.starts_with("warns") && what.contains("revoked by its network");
    let told = swarm.say_all(&others, LONG, since, news);
    let alone = swarm.say_all(&[victim], LONG, since, |what| what == "only 0");
    swarm.say_all(&others, LONG, since, |what| what == rest);
    let cuts = others.iter().map(|number| {
        let node = std::slice::from_ref(number);
        let told = swarm.say_all(node, LONG, since, news);
        between(told, swarm.say_all(node, LONG, since, |what| what == rest))
    });
    let cuts: Vec<_> = cuts.collect();
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
    cuts
}
