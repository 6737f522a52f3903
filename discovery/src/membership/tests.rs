use super::*;
use withy_proto::crypto::{Randomness as _, Seeded};

const BEAT: Duration = Duration::from_secs(1);

fn peer(number: u8) -> PeerTag {
    PeerTag::from_octets([number; PeerTag::SIZE])
}

fn update(number: u8, incarnation: u32, state: State) -> Update {
    Update {
        peer: peer(number),
        incarnation,
        state,
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Node 1, which knows nodes 2 to 4 and has a link to 2.
fn one() -> Membership {
    let mut membership = Membership::new(peer(1), Pace::default());
    for number in 2..=4 {
        assert!(membership.learnt(peer(number)));
    }
    membership.link_up(peer(2), ms(0));
    while membership.poll_change().is_some() {}
    membership
}

fn updates(membership: &mut Membership) -> Vec<Outgoing> {
    std::iter::from_fn(|| membership.poll_update()).collect()
}

fn run(membership: &mut Membership, to: Duration) {
    while let Some(due) = membership.poll_timeout().filter(|due| *due <= to) {
        membership.handle_timeout(due);
    }
}

#[test]
fn a_silent_neighbour_is_asked_then_suspected_then_dead() {
    let mut membership = one();
    run(&mut membership, ms(999));
    let beats: Vec<_> = std::iter::from_fn(|| membership.poll_beat()).collect();
    assert_eq!(
        beats,
        [(
            peer(2),
            Beat {
                incarnation: 0,
                asks: true
            }
        )]
    );
    run(&mut membership, ms(1_499));
    let mut beats = std::iter::from_fn(|| membership.poll_beat());
    assert!(beats.any(|(_, beat)| beat.asks));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    run(&mut membership, ms(1_500));
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    let suspicion = Outgoing::Spread(update(2, 0, State::Suspected), None);
    assert_eq!(updates(&mut membership), [suspicion]);
    run(&mut membership, ms(2_499));
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    run(&mut membership, ms(2_500));
    assert_eq!(membership.state(peer(2)), Some(State::Dead));
    let death = Outgoing::Spread(update(2, 0, State::Dead), None);
    assert_eq!(updates(&mut membership), [death]);
    assert_eq!(membership.lost().collect::<Vec<_>>(), [peer(2)]);
    assert!(membership.members().eq([peer(3), peer(4)]));
    // Old news does not revive it, nor does a record.
    membership.handle_update(peer(3), update(2, 0, State::Alive), ms(2_600));
    assert!(!membership.learnt(peer(2)));
    assert_eq!(membership.state(peer(2)), Some(State::Dead));
    assert_eq!(membership.counters().old, 1);
    // It does itself.
    membership.handle_update(peer(3), update(2, 1, State::Alive), ms(2_600));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    assert_eq!(membership.counters().revived, 1);
}

#[test]
fn heartbeats_go_out_together() {
    let mut membership = one();
    membership.link_up(peer(3), ms(300));
    membership.link_up(peer(4), ms(700));
    run(&mut membership, ms(999));
    while membership.poll_beat().is_some() {}
    let mut moments = BTreeMap::new();
    while let Some(due) = membership.poll_timeout().filter(|due| *due < BEAT * 20) {
        for number in 2..=4 {
            membership.heard(peer(number), due);
        }
        membership.handle_timeout(due);
        let beats = std::iter::from_fn(|| membership.poll_beat()).count();
        moments.insert(due, beats);
    }
    let beats: usize = moments.values().sum();
    assert!(
        (57..=60).contains(&beats),
        "{beats} in 19 seconds, over 3 links"
    );
    assert!(moments.len() <= 40, "at {} moments", moments.len());
}

#[test]
fn one_of_two_neighbours_beats_and_the_other_answers() {
    // Both link up at the same moment, so that both begin.
    for delay in [0, 3, 400] {
        let mut sides = [
            Membership::new(peer(1), Pace::default()),
            Membership::new(peer(2), Pace::default()),
        ];
        sides[0].learnt(peer(2));
        sides[1].learnt(peer(1));
        sides[0].link_up(peer(2), ms(0));
        sides[1].link_up(peer(1), ms(delay));
        let (mut woken, mut beats) = ([0, 0], [0, 0]);
        // What was said arrives a millisecond later.
        let mut under_way: Vec<(usize, Beat)> = Vec::new();
        for now in (0..20_000).map(ms) {
            for (to, beat) in std::mem::take(&mut under_way) {
                sides[to].handle_beat(peer(2 - to as u8), beat, now);
            }
            for (at, side) in sides.iter_mut().enumerate() {
                if side.poll_timeout().is_some_and(|due| due <= now) {
                    side.handle_timeout(now);
                    woken[at] += u32::from(now > BEAT * 2);
                }
                while let Some((_, beat)) = side.poll_beat() {
                    under_way.push((1 - at, beat));
                    beats[at] += 1;
                }
            }
        }
        let state = |at: usize, other| sides[at].state(peer(other));
        assert_eq!(
            (state(0, 2), state(1, 1)),
            (Some(State::Alive), Some(State::Alive))
        );
        // Each says once a second that it is there; only one of them is woken by its own clock.
        assert!(beats.iter().all(|it| (18..=24).contains(it)), "{beats:?}");
        assert_eq!(
            *woken.iter().min().unwrap(),
            0,
            "{woken:?} after {delay} ms"
        );
        assert!(sides.iter().all(|it| it.counters().suspected == 0));
    }
}

#[test]
fn a_grave_is_forgotten() {
    let mut membership = one();
    membership.handle_update(peer(2), update(3, 0, State::Left), ms(10));
    assert_eq!(membership.state(peer(3)), Some(State::Left));
    let grave = Pace::default().grave;
    membership.handle_timeout(ms(9) + grave);
    assert!(membership.state(peer(3)).is_some());
    membership.handle_timeout(ms(10) + grave);
    assert_eq!(membership.state(peer(3)), None);
    assert!(membership.learnt(peer(3)));
}

#[test]
fn who_is_heard_does_not_die() {
    let mut membership = one();
    for at in 0..100 {
        run(&mut membership, BEAT * at);
        membership.heard(peer(2), BEAT * at);
    }
    assert_eq!(membership.counters().suspected, 0);
    // A suspicion of others does not matter to who hears it.
    membership.handle_update(peer(3), update(2, 0, State::Dead), BEAT * 99);
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    let told = Outgoing::To(peer(2), update(2, 0, State::Dead));
    assert_eq!(updates(&mut membership), [told]);
    // Late, but in time.
    run(&mut membership, BEAT * 101);
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    membership.heard(peer(2), BEAT * 101);
    run(&mut membership, BEAT * 102);
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    assert_eq!(membership.counters().died, 0);
}

#[test]
fn a_node_refutes_that_it_is_gone() {
    let mut membership = one();
    for (at, state) in [State::Suspected, State::Dead, State::Left]
        .into_iter()
        .enumerate()
    {
        let at = at as u32;
        membership.handle_update(peer(2), update(1, at, state), ms(1));
        let alive = Outgoing::Spread(update(1, at + 1, State::Alive), None);
        assert_eq!(updates(&mut membership), [alive]);
    }
    assert_eq!(membership.counters().refuted, 3);
    // What was refuted before, and what cannot be.
    membership.handle_update(peer(2), update(1, 2, State::Dead), ms(1));
    membership.handle_update(peer(2), update(1, u32::MAX, State::Dead), ms(1));
    membership.handle_update(peer(2), update(3, u32::MAX, State::Dead), ms(1));
    membership.handle_update(peer(2), update(9, 0, State::Dead), ms(1));
    assert_eq!(updates(&mut membership), []);
    let counters = membership.counters();
    assert_eq!((counters.old, counters.absurd, counters.unknown), (1, 2, 1));
    // Who leaves does not.
    membership.leave();
    let left = Outgoing::Spread(update(1, 3, State::Left), None);
    assert_eq!(updates(&mut membership), [left]);
    membership.handle_update(peer(2), update(1, 3, State::Left), ms(1));
    assert_eq!(updates(&mut membership), []);
}

#[test]
fn who_is_taken_for_alive_has_time_to_refute_its_death() {
    let mut membership = one();
    let death = update(3, 0, State::Dead);
    membership.handle_update(peer(2), death, ms(100));
    assert_eq!(membership.state(peer(3)), Some(State::Suspected));
    assert_eq!(
        updates(&mut membership),
        [Outgoing::Spread(death, Some(peer(2)))]
    );
    membership.handle_update(peer(2), update(3, 1, State::Alive), ms(200));
    assert_eq!(membership.state(peer(3)), Some(State::Alive));
    // Or it is dead.
    membership.heard(peer(2), ms(700));
    membership.handle_update(peer(2), update(3, 1, State::Dead), ms(800));
    run(&mut membership, ms(1_299));
    assert_eq!(membership.state(peer(3)), Some(State::Suspected));
    run(&mut membership, ms(1_300));
    assert_eq!(membership.state(peer(3)), Some(State::Dead));
    // Whoever is suspected already has had its time.
    membership.handle_update(peer(2), update(4, 0, State::Suspected), ms(1_300));
    membership.handle_update(peer(2), update(4, 0, State::Dead), ms(1_400));
    assert_eq!(membership.state(peer(4)), Some(State::Dead));
}

#[test]
fn a_lost_link_is_a_suspicion_and_a_closed_one_is_not() {
    let mut membership = one();
    membership.link_down(peer(2), false, ms(10));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    assert_eq!(membership.poll_timeout(), None, "nobody is watched");
    membership.link_up(peer(2), ms(20));
    membership.link_down(peer(2), true, ms(30));
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    membership.handle_timeout(ms(1_030));
    assert_eq!(membership.state(peer(2)), Some(State::Dead));
    // It comes back over a link, and is told.
    updates(&mut membership);
    membership.link_up(peer(2), ms(2_000));
    let told = [Outgoing::To(peer(2), update(2, 0, State::Dead))];
    assert_eq!(updates(&mut membership), told);
    membership.heard(peer(2), ms(2_100));
    assert_eq!(updates(&mut membership), [], "not with every message");
    membership.heard(peer(2), ms(2_250));
    assert_eq!(updates(&mut membership), told);
    let beat = Beat {
        incarnation: 1,
        asks: true,
    };
    membership.handle_beat(peer(2), beat, ms(2_300));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    let answer = Beat {
        incarnation: 0,
        asks: false,
    };
    assert_eq!(membership.poll_beat(), Some((peer(2), answer)));
}

#[test]
fn nothing_is_repeated_that_is_not_news() {
    let mut membership = one();
    for said in [
        update(3, 0, State::Dead),
        update(4, 0, State::Left),
        update(3, 1, State::Alive),
    ] {
        membership.handle_update(peer(2), said, ms(1));
        assert_eq!(
            updates(&mut membership),
            [Outgoing::Spread(said, Some(peer(2)))]
        );
        membership.handle_update(peer(4), said, ms(2));
        assert_eq!(updates(&mut membership), []);
    }
    assert_eq!(membership.counters().old, 3);
}

/// Any updates at all, by a seed, against a plain rule: the greatest rank that may be believed.
#[test]
fn states_only_go_forward() {
    for seed in 0..50 {
        let mut random = Seeded::new(seed);
        let mut membership = one();
        let mut known = BTreeMap::from([(3, (0, 0)), (4, (0, 0))]);
        let mut now = ms(0);
        for _ in 0..400 {
            now += ms(random.next_u64() % 100);
            membership.heard(peer(2), now);
            let number = 3 + (random.next_u64() % 2) as u8;
            let incarnation = (random.next_u64() % 6) as u32;
            let states = [State::Alive, State::Suspected, State::Dead, State::Left];
            let state = states[random.next_u64() as usize % 4];
            membership.handle_update(peer(2), update(number, incarnation, state), now);
            let rank = known.get_mut(&number).unwrap();
            *rank = (*rank).max((incarnation, state as u8));
            run(&mut membership, now);
            for (number, (incarnation, worst)) in &known {
                let (known, state) = membership.known(peer(*number)).unwrap();
                assert_eq!(known, *incarnation);
                assert!(state <= *worst || *worst == State::Suspected as u8);
                assert_eq!(state == State::Alive as u8, *worst == State::Alive as u8);
            }
        }
        let graves = membership.members.values().filter(|it| it.state.is_gone());
        assert_eq!(membership.graves, graves.count());
        let waiting = membership
            .members
            .values()
            .filter(|it| it.deadline.is_some());
        assert_eq!(membership.deadlines.len(), waiting.count());
    }
}

#[test]
fn graves_are_bounded() {
    let mut membership = Membership::new(peer(1), Pace::default());
    let tag = |number: u32| {
        let mut octets = [0; PeerTag::SIZE];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        PeerTag::from_octets(octets)
    };
    for number in 0..1_000 {
        let peer = tag(number);
        membership.learnt(peer);
        let update = Update {
            peer,
            incarnation: 0,
            state: State::Left,
        };
        membership.handle_update(tag(5_000), update, ms(u64::from(number)));
    }
    assert_eq!(membership.graves, Membership::MAX_GRAVES);
    assert_eq!(membership.counters().graves_dropped, 1_000 - 512);
    assert_eq!(membership.state(tag(999)), Some(State::Left));
    assert_eq!(membership.state(tag(0)), None);
}

/// A node that did not run for a while has not heard anybody either.
#[test]
fn who_is_late_itself_takes_nobody_for_dead() {
    let mut membership = one();
    run(&mut membership, ms(900));
    membership.heard(peer(2), ms(900));
    run(&mut membership, ms(1_100));
    // It was due long ago; what neighbours said since waits.
    membership.handle_timeout(ms(6_000));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    assert!(membership.poll_timeout() > Some(ms(6_000)));
    membership.handle_timeout(ms(6_100));
    membership.heard(peer(2), ms(6_200));
    assert_eq!(membership.counters().suspected, 0);
    // Once it is on time again, others have no more than ever.
    run(&mut membership, ms(9_900));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    run(&mut membership, ms(16_000));
    assert_eq!(membership.state(peer(2)), Some(State::Dead));
}

/// However late it always is: what is dead is taken for dead in the end.
#[test]
fn who_is_always_late_still_notices_who_died() {
    let mut membership = one();
    let mut now = Duration::ZERO;
    while let Some(due) = membership.poll_timeout().filter(|due| *due < BEAT * 40) {
        now = now.max(due) + ms(400);
        membership.handle_timeout(now);
        if membership.state(peer(2)) == Some(State::Dead) {
            break;
        }
    }
    assert_eq!(membership.state(peer(2)), Some(State::Dead));
    assert!(now < BEAT * 20, "{now:?}");
}

/// A deadline that passed while a node did not run gave the suspect no time.
#[test]
fn who_was_suspected_before_one_was_late_has_as_much_time_as_ever() {
    let mut membership = one();
    run(&mut membership, ms(1_600));
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    membership.handle_timeout(ms(6_000));
    assert_eq!(membership.state(peer(2)), Some(State::Suspected));
    membership.heard(peer(2), ms(6_100));
    assert_eq!(membership.state(peer(2)), Some(State::Alive));
    assert_eq!(membership.counters().died, 0);
}
