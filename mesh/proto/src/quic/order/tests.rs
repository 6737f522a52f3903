//! Streams whose pieces come in any order, and peers that break the rules.

use super::super::{LARGE, Spread, is_large};
use super::*;
use crate::crypto::{Randomness as _, Seeded};

fn message(number: usize, large: bool) -> Message {
    let mut octets = number.to_be_bytes().to_vec();
    if large {
        octets.resize(LARGE, 0);
    }
    Message::from(octets)
}

fn number(item: &Item) -> usize {
    match item {
        Item::Message(message) => {
            let octets = message.first().as_slice();
            usize::from_be_bytes(octets[..8].try_into().unwrap())
        }
        Item::Command(command) => panic!("{command:?}"),
    }
}

fn command(command: Command) -> Item {
    Item::Command(Box::new(command))
}

fn header(ordered: bool, carries: Carries) -> Header {
    Header {
        link: 0,
        ordered,
        carries,
    }
}

fn opened(ordered: bool) -> Order {
    let mut order = Order::default();
    order.open(header(ordered, Carries::Lane(0))).unwrap();
    order
}

/// Lanes and large messages arrive in any order among each other.
#[test]
fn what_was_sent_comes_in_order_or_at_once() {
    for (seed, ordered) in (0..200).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut random = Seeded::new(seed);
        let mut spread = Spread::new(ordered);
        let mut lanes = vec![VecDeque::new()];
        let mut large = VecDeque::new();
        let mut order = opened(ordered);
        let mut out = VecDeque::new();
        let (mut sent, total) = (0, 100);
        while out.len() < total {
            let few = spread.larges() < order.larges() + MAX_LARGE as u64;
            if sent < total && few && random.next_u64().is_multiple_of(2) {
                let message = message(sent, random.next_u64().is_multiple_of(4));
                sent += 1;
                if is_large(&message) {
                    let number = spread.number_large();
                    lanes[0].push_back(command(Command::Large(number)));
                    large.push_back((number, message));
                } else {
                    let lane = spread.lane(lanes.len(), |lane| lanes[lane].len());
                    spread.took(lane);
                    lanes[lane].push_back(Item::Message(message));
                }
            }
            if lanes.len() < spread.max_lanes() && random.next_u64().is_multiple_of(8) {
                let lane = lanes.len();
                lanes[0].push_back(command(Command::Lane(lane as u64)));
                lanes.push(VecDeque::new());
                order.open(header(ordered, Carries::Lane(lane))).unwrap();
            }
            let lane = random.next_u64() as usize % lanes.len();
            // As often as something is sent: marks come late, too.
            if random.next_u64().is_multiple_of(2)
                && !order.is_full()
                && let Some(item) = lanes[lane].pop_front()
            {
                order.data(lane, item, &mut out).unwrap();
            }
            if random.next_u64().is_multiple_of(3) && !large.is_empty() {
                let at = random.next_u64() as usize % large.len();
                if !order.admits(large[at].0) {
                    continue;
                }
                let (number, message) = large.remove(at).unwrap();
                order.large(number, message, &mut out).unwrap();
            }
        }
        let mut numbers: Vec<usize> = out.iter().map(number).collect();
        if !ordered {
            numbers.sort_unstable();
        }
        assert!(numbers.iter().copied().eq(0..total), "seed {seed}");
        for (lane, items) in lanes.into_iter().enumerate().rev() {
            assert!(!order.is_complete());
            for item in items {
                order.data(lane, item, &mut out).unwrap();
            }
            order.end(lane);
        }
        assert!(order.is_complete() && order.held() == 0);
        assert_eq!(
            (order.messages(), order.larges()),
            (total as u64, spread.larges())
        );
    }
}

#[test]
fn who_breaks_the_rules_is_told_which() {
    let mut out = VecDeque::new();
    for ordered in [true, false] {
        let mut order = opened(ordered);
        let wrong = OrderError::Mark { found: 1, due: 0 };
        let mark = |number| command(Command::Large(number));
        assert_eq!(order.data(0, mark(1), &mut out), Err(wrong));
        let hiccup = command(Command::Unknown {
            name: "HICCUP".to_owned(),
        });
        assert_eq!(order.data(0, hiccup, &mut out), Err(OrderError::Command));
        assert_eq!(order.data(1, mark(0), &mut out), Err(OrderError::Command));
        order.large(0, message(0, true), &mut out).unwrap();
        order.data(0, mark(0), &mut out).unwrap();
        for number in [0, MAX_LARGE as u64 + 1] {
            let refused = Err(OrderError::Number { number });
            assert_eq!(order.large(number, message(0, true), &mut out), refused);
        }
        let far = MAX_LARGE as u64 + 1;
        // The first was read before.
        for number in [0, far] {
            assert_eq!(
                order.open(header(ordered, Carries::Large(number))),
                Err(OrderError::Number { number })
            );
        }
        assert_eq!(
            order.open(header(!ordered, Carries::Large(1))),
            Err(OrderError::Mixed)
        );
        assert_eq!(
            order.open(header(ordered, Carries::Lane(0))),
            Err(OrderError::Lane { number: 0 })
        );
        let announced = order.data(0, command(Command::Lane(1)), &mut out);
        assert_eq!(announced.is_ok(), !ordered);
        for number in [0, 1, LANES as u64, u64::MAX] {
            let refused = Err(OrderError::Lane { number });
            let named = command(Command::Lane(number));
            assert_eq!(order.data(0, named, &mut out), refused);
        }
        for number in 1..far {
            order.data(0, mark(number), &mut out).unwrap();
        }
        let wrong = OrderError::Mark {
            found: far,
            due: far,
        };
        assert_eq!(order.data(0, mark(far), &mut out), Err(wrong));
    }
}

#[test]
fn a_lane_that_was_announced_is_waited_for() {
    let mut out = VecDeque::new();
    let mut order = opened(false);
    order.data(0, command(Command::Lane(1)), &mut out).unwrap();
    order.end(0);
    assert!(!order.is_complete());
    order.open(header(false, Carries::Lane(1))).unwrap();
    order.end(1);
    assert!(order.is_complete());
}

/// Numbers that were read are refused whether their marks came or not, or large messages could be
/// under way without a limit.
#[test]
fn a_large_message_is_opened_once() {
    for (ordered, marked) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut order = opened(ordered);
        let mut out = VecDeque::new();
        let first = header(ordered, Carries::Large(0));
        assert_eq!(order.open(first), Ok(()));
        if marked {
            order.data(0, command(Command::Large(0)), &mut out).unwrap();
            assert_eq!(order.open(first), Ok(()), "it is still missing");
        }
        order.large(0, message(0, true), &mut out).unwrap();
        assert_eq!(order.open(first), Err(OrderError::Number { number: 0 }));
    }
}

#[test]
fn what_waits_is_read_once_it_is_given_out_and_all_of_it_when_the_rest_is_lost() {
    let mut order = opened(true);
    let mut out = VecDeque::new();
    let mark = |number| command(Command::Large(number));
    let small = |number| Item::Message(message(number, false));
    for item in [small(0), mark(0), small(2), mark(1), small(4)] {
        order.data(0, item, &mut out).unwrap();
    }
    order.large(1, message(3, true), &mut out).unwrap();
    order.large(2, message(5, true), &mut out).unwrap();
    assert_eq!((order.messages(), order.larges(), out.len()), (1, 2, 1));
    order.give_up(&mut out);
    assert!(out.iter().map(number).eq([0, 2, 3, 4, 5]));
    assert_eq!((order.messages(), order.held()), (5, 0));
}

#[test]
fn few_messages_wait_behind_a_large_one() {
    let mut order = opened(true);
    let mut out = VecDeque::new();
    order.data(0, command(Command::Large(0)), &mut out).unwrap();
    let mut waiting = 0;
    while !order.is_full() {
        let item = Item::Message(message(waiting, false));
        order.data(0, item, &mut out).unwrap();
        waiting += 1;
    }
    assert_eq!((waiting, out.len()), (MAX_WAITING - 1, 0));
    order.large(0, message(0, true), &mut out).unwrap();
    order.end(0);
    assert_eq!(out.len(), MAX_WAITING);
    assert!(!order.is_full() && order.is_complete());
}
