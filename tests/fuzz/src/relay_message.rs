//! What is said of circuits through relays: what decodes has this one form, keeps the limits, and gets a
//! decision of a door that counts it.

use withy_proto::relay::{
    Admission, Ask, Course, Door, Limits, MAX_HOPS, MAX_MESSAGE, MAX_VISITED, Reply,
};

/// Decodes the input, as a question and as an answer.
pub fn run(input: &[u8]) {
    if let Ok(ask) = Ask::decode(input) {
        assert!(input.len() <= MAX_MESSAGE);
        assert_eq!(ask.encode(), input);
        if let Ask::Open(open) = ask {
            decide(&open);
        }
    }
    if let Ok(reply) = Reply::decode(input) {
        assert!(input.len() <= MAX_MESSAGE);
        assert_eq!(reply.encode(), input);
        if let Reply::Refused(why, visited) = reply {
            assert!(visited.len() <= MAX_VISITED);
            assert!(!why.to_string().is_empty());
        }
    }
}

/// A relay decides on the request of its origin, and of somebody who is not.
fn decide(open: &withy_proto::relay::Open) {
    assert!(open.hops <= MAX_HOPS && open.visited.len() <= MAX_VISITED);
    let own = withy_proto::relay::Party {
        identity: open.target.identity,
        node: open.origin.node,
    };
    let mut relay = Admission::new(Door {
        own,
        relays: Some(Limits::default()),
        ends: 1,
    });
    for sender in [open.origin, open.target] {
        let decided = relay.ask(sender, open, true);
        let counters = relay.counters();
        match decided {
            Ok(course) => {
                assert_eq!(counters.relaying + counters.ending, 1);
                if let Course::Onward { hops } = course {
                    assert!(hops < open.hops);
                    assert!(!open.visited.contains(&own.node));
                }
                relay.ended(course, sender, open.origin);
            }
            Err(why) => assert!(counters.refused[&why] > 0),
        }
        let counters = relay.counters();
        assert_eq!(counters.relaying + counters.ending, 0);
    }
}
