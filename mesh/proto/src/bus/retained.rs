//! The last value of each topic that was published to be retained (MQTT 5 §3.3.1.3).
//!
//! A message whose header says retain takes the place of its topic's value; one without a body takes
//! the value back (MQTT-3.3.1-6). Other messages change nothing. Which of two publishers of a topic
//! was last is decided by when their messages came.

use std::sync::Arc;
use std::time::Duration;

use super::publication::Publication;
use super::replay::{Counts, Kept, Limits, Replay};
use super::topic::Filter;

/// The last value of each topic.
#[derive(Debug)]
pub struct Retained(Replay);

impl Retained {
    /// No values. There is one for each topic, whatever [`Limits::per_topic`] says, unless it is 0.
    pub fn new(limits: Limits) -> Self {
        let per_topic = limits.per_topic.min(1);
        Self(Replay::new(Limits {
            per_topic,
            ..limits
        }))
    }

    /// Notes a message that came at `now`, if it is to be retained.
    pub fn put(&mut self, publication: &Publication, now: Duration) {
        if !publication.header.retain {
            return;
        }
        if publication.body.is_empty() {
            self.0.clear(&publication.topic);
        } else {
            self.0.put(publication, now);
        }
    }

    /// The values of the topics that a filter chooses, in the order in which they came.
    pub fn matching(&self, filter: &Filter) -> Vec<Arc<Kept>> {
        self.0.matching(filter)
    }

    /// When the next value expires.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.0.poll_timeout()
    }

    /// Lets go what has expired.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }

    /// Topics that have a value.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Values that went, by reason; those that were taken back are not among them.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_to_be_retained_is_and_an_empty_body_takes_it_back() {
        let mut retained = Retained::new(Limits::default());
        let mut put = |topic: &str, body: &str, retain| {
            let mut publication = Publication::new(topic.parse().unwrap(), body);
            publication.header.retain = retain;
            retained.put(&publication, Duration::ZERO);
            let values = retained.matching(&Filter::all());
            let bodies = values.iter().map(|kept| kept.publication().body.clone());
            bodies
                .map(|body| body.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(put("a", "1", true), ["1"]);
        assert_eq!(put("b", "2", true), ["1", "2"]);
        assert_eq!(put("a", "3", false), ["1", "2"]);
        assert_eq!(put("a", "4", true), ["2", "4"]);
        assert_eq!(put("b", "", false), ["2", "4"]);
        assert_eq!(put("b", "", true), ["4"]);
        assert_eq!(retained.counts().replaced, 1);
    }
}
