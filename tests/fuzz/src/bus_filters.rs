//! Topics and filters against the rules of MQTT written down plainly, and the filter tree against a
//! list of subscriptions that is searched from end to end.

use std::collections::BTreeSet;

use withy_proto::bus::topic::{Filter, MAX_LEVELS, Topic};
use withy_proto::bus::tree::FilterTree;
use withy_proto::routing::trie::{Limits, Repeats};

use super::input::Input;

const SUBSCRIBERS: u8 = 5;

/// Reads operations off the input, does each on both sides and compares.
pub fn run(input: &[u8]) {
    check_text(input);
    let mut input = Input::new(input);
    let mut tree = FilterTree::new(Limits::default(), Repeats::Merged);
    let mut list = BTreeSet::<(String, u32)>::new();
    while !input.is_empty() {
        let octet = input.octet();
        let subscriber = u32::from((octet >> 3) % SUBSCRIBERS);
        let text = text(&mut input);
        match (octet & 7, text.parse::<Filter>(), text.parse::<Topic>()) {
            (0..=2, Ok(filter), _) => {
                list.insert((text, subscriber));
                assert!(tree.subscribe(&filter, subscriber).is_ok());
            }
            (3, Ok(filter), _) => {
                let held = list.remove(&(text, subscriber));
                assert_eq!(tree.cancel(&filter, subscriber).is_some(), held);
            }
            (4, ..) => {
                tree.remove(subscriber, &mut |_| {});
                list.retain(|(_, owner)| *owner != subscriber);
            }
            (_, _, Ok(topic)) => compare(&mut tree, &list, &topic),
            _ => {}
        }
        assert_eq!(tree.len(), list.len());
    }
}

fn compare(tree: &mut FilterTree, list: &BTreeSet<(String, u32)>, topic: &Topic) {
    let mut found = BTreeSet::new();
    tree.matches(topic, &mut |subscriber| assert!(found.insert(subscriber)));
    let mut expected = BTreeSet::new();
    for (text, subscriber) in list {
        let filter: Filter = text.parse().expect("it was parsed before");
        let chosen = chooses(text, topic.as_str());
        assert_eq!(filter.matches(topic), chosen, "{text} {topic}");
        if chosen {
            assert!(topic.as_octets().starts_with(filter.prefix()));
            expected.insert(*subscriber);
        }
    }
    assert_eq!(found, expected);
}

/// Text of few different levels.
fn text(input: &mut Input<'_>) -> String {
    let levels = 1 + input.octet() % 6;
    let choices = ["a", "b", "ab", "", "+", "#", "$a", "a+"];
    let levels: Vec<_> = (0..levels).map(|_| input.one_of(&choices)).collect();
    levels.join("/")
}

/// MQTT 5 §4.7, as it is written.
fn chooses(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) if wanted == level => {
            levels_match(filter, topic)
        }
        _ => false,
    }
}

/// Which octets are topics and filters.
fn check_text(octets: &[u8]) {
    let text = std::str::from_utf8(octets).ok();
    let text = text.filter(|text| !text.is_empty() && !text.contains('\0'));
    let text = text.filter(|text| text.split('/').count() <= MAX_LEVELS);
    let topic = text.is_some_and(|text| !text.contains(['+', '#']));
    assert_eq!(Topic::check(octets).is_ok(), topic);
    let filter = text.is_some_and(|text| {
        let levels: Vec<_> = text.split('/').collect();
        let last = levels.len() - 1;
        !text.starts_with("$share/")
            && levels.iter().enumerate().all(|(at, level)| {
                let wild = level.contains(['+', '#']);
                !wild || *level == "+" || (*level == "#" && at == last)
            })
    });
    assert_eq!(Filter::check(octets).is_ok(), filter);
}
