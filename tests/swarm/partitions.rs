//! Both sides of a network that was cut go on, and it heals by itself.

use std::time::Duration;

use withy_tests::scale;

use crate::lan::Lan;
use crate::meshing::{meet, swarm};
use crate::node::now;
use crate::swarm::{LONG, Swarm, between, inside, limit};

/// How often each node says something.
const TICK: u64 = 100;

/// Cuts the network between the first nodes and the others, for a while, and says how long it took until
/// each node heard all others again.
fn cut(lan: &Lan, swarm: &mut Swarm, first: usize, span: Duration) -> Duration {
    let numbers = swarm.numbers();
    let (ours, theirs) = numbers.split_at(first);
    lan.cut(first);
    std::thread::sleep(span / 2);
    // Each side goes on, alone.
    let since = now();
    swarm.tell_all("mark");
    for side in [ours, theirs] {
        let heard = format!("heard {}", side.len() - 1);
        swarm.say_all(side, LONG, since, |what| what == heard);
    }
    let over = Duration::from_micros(now() - since);
    std::thread::sleep((span / 2).saturating_sub(over));
    swarm.tell_all("mark");
    let before = now();
    lan.mend();
    let mended = now();
    let heard = format!("heard {}", numbers.len() - 1);
    let all = swarm.all_say(LONG, before, |what| what == heard);
    between(mended, all)
}

#[test]
fn what_was_cut_heals() {
    const TEST: &str = "partitions::what_was_cut_heals";
    inside(TEST, || {
        let count = scale::count(8, 20) as usize;
        let lan = Lan::new(count);
        let mut swarm = swarm(TEST, &lan, count, |role| role);
        meet(&mut swarm);
        swarm.tell_all(&format!("tick {TICK}"));
        let mut spans = vec![1, scale::count(8, 30)];
        if scale::is_full() {
            spans.push(300);
        }
        let mut late = Vec::new();
        for span in spans {
            let healed = cut(&lan, &mut swarm, count / 2, Duration::from_secs(span));
            scale::report(
                &format!("{count} nodes that were cut for {span} s hear each other again after"),
                format!("{healed:.1?}"),
            );
            if healed > limit(2) {
                late.push((span, healed));
            }
        }
        assert!(late.is_empty(), "{late:?}");
    });
}
