//! Why a message became a dead letter, and where it died before: what RabbitMQ tells in `x-death`.
//!
//! Invariant: the first death of a message stays in its history.

use std::time::Duration;

use super::options::QueueName;
use super::to_millis;
use crate::fields::Fields;

/// The longest text of a consumer that rejects a message, in octets; the rest is cut off.
pub const MAX_DETAIL: usize = 255;

/// Different deaths in a history, at most: the first of all and the last ones.
pub const MAX_DEATHS: usize = 8;

/// Why a message died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A consumer rejected it.
    Rejected,
    /// Its TTL was over.
    Expired,
    /// It was delivered as often as it may be.
    TooManyAttempts,
    /// The queue was full, and it was the oldest.
    OverLength,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Rejected,
        Self::Expired,
        Self::TooManyAttempts,
        Self::OverLength,
    ];

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name, as in `x-death` where there is one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::TooManyAttempts => "delivery_limit",
            Self::OverLength => "maxlen",
        }
    }
}

/// That a message died in a queue for a cause, once or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Where.
    pub queue: QueueName,
    /// Why.
    pub cause: Cause,
    /// How often.
    pub count: u32,
    /// The first time, since the Unix epoch, in whole milliseconds.
    pub first: Duration,
    /// The last time, likewise.
    pub last: Duration,
    /// What the consumer said that rejected it last, up to [`MAX_DETAIL`] octets.
    pub detail: String,
}

/// The deaths of a message: the first of all, then the others, the last one last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History(Vec<Death>);

impl History {
    /// The deaths.
    pub fn deaths(&self) -> &[Death] {
        &self.0
    }

    /// Whether it never died.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often it died in a queue.
    pub fn count(&self, queue: &QueueName) -> u32 {
        let there = self.0.iter().filter(|death| death.queue == *queue);
        there.fold(0, |sum, death| sum.saturating_add(death.count))
    }

    /// Notes a death.
    pub(super) fn note(&mut self, queue: &QueueName, cause: Cause, detail: &str, now: Duration) {
        let now = Duration::from_millis(to_millis(now));
        let same = |death: &Death| death.queue == *queue && death.cause == cause;
        let (count, first) = match self.0.iter().position(same) {
            Some(0) => {
                let death = &mut self.0[0];
                death.count = death.count.saturating_add(1);
                death.last = now;
                death.detail = cut(detail).to_owned();
                return;
            }
            Some(at) => {
                let death = self.0.remove(at);
                (death.count.saturating_add(1), death.first)
            }
            None => (1, now),
        };
        if self.0.len() >= MAX_DEATHS {
            self.0.remove(1);
        }
        self.0.push(Death {
            queue: queue.clone(),
            cause,
            count,
            first,
            last: now,
            detail: cut(detail).to_owned(),
        });
    }

    /// The memory that it takes beside its value, in octets.
    pub(super) fn cost(&self) -> usize {
        let texts = |death: &Death| death.queue.as_str().len() + death.detail.len();
        self.0.len() * size_of::<Death>() + self.0.iter().map(texts).sum::<usize>()
    }

    /// The binary form: how many (1 octet), then for each the queue (length, 1 octet, and name), the
    /// number of the cause (1), how often (4), the first and the last time (8 each, milliseconds since
    /// the Unix epoch) and the detail (length, 1 octet, and text).
    pub(super) fn encode(&self, octets: &mut Vec<u8>) {
        octets.push(self.0.len() as u8);
        for death in &self.0 {
            text(octets, death.queue.as_str());
            octets.push(death.cause.number());
            octets.extend(death.count.to_be_bytes());
            octets.extend(to_millis(death.first).to_be_bytes());
            octets.extend(to_millis(death.last).to_be_bytes());
            text(octets, &death.detail);
        }
    }

    /// Reads the binary form; `None` if it is none.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let count = usize::from(fields.octet()?);
        if count > MAX_DEATHS {
            return None;
        }
        let deaths = (0..count).map(|_| Self::death(fields));
        deaths.collect::<Option<_>>().map(Self)
    }

    fn death(fields: &mut Fields<'_>) -> Option<Death> {
        Some(Death {
            queue: read_text(fields)?.parse().ok()?,
            cause: Cause::from_number(fields.octet()?)?,
            count: fields.u32()?,
            first: Duration::from_millis(fields.u64()?),
            last: Duration::from_millis(fields.u64()?),
            detail: read_text(fields)?.to_owned(),
        })
    }
}

/// The beginning of a text, up to [`MAX_DETAIL`] octets.
pub(super) fn cut(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(MAX_DETAIL)]
}

/// Appends a text of up to 255 octets and its length.
pub(super) fn text(octets: &mut Vec<u8>, text: &str) {
    let text = cut(text);
    octets.push(text.len() as u8);
    octets.extend(text.as_bytes());
}

pub(super) fn read_text<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let length = usize::from(fields.octet()?);
    str::from_utf8(fields.take(length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> QueueName {
        format!("queue {number}").parse().unwrap()
    }

    #[test]
    fn the_first_death_stays_and_the_same_is_counted() {
        let mut history = History::default();
        let at = |number: usize| Duration::from_secs(number as u64);
        for number in (0..20).chain([0, 19, 18]) {
            history.note(&name(number), Cause::Expired, "", at(number + 100));
        }
        let queues: Vec<_> = history.deaths().iter().map(|death| &death.queue).collect();
        let expected = [0, 13, 14, 15, 16, 17, 19, 18].map(name);
        assert!(queues.into_iter().eq(&expected));
        assert_eq!((history.count(&name(0)), history.count(&name(5))), (2, 0));
        history.note(&name(0), Cause::Rejected, "no", at(500));
        assert_eq!(history.count(&name(0)), 3);
        assert_eq!(history.deaths()[0].first, at(100));
    }

    #[test]
    fn a_history_round_trips_and_nothing_shorter_does() {
        let mut history = History::default();
        let long = "ä".repeat(200);
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            history.note(&name(number), cause, &long, Duration::from_micros(1_500));
        }
        assert_eq!(history.deaths()[0].detail.len(), 254);
        assert_eq!(history.deaths()[0].first, Duration::from_millis(2));
        let mut octets = Vec::new();
        history.encode(&mut octets);
        let decode = |octets: &[u8]| {
            let mut fields = Fields::new(octets);
            let decoded = History::decode(&mut fields);
            decoded.filter(|_| fields.rest().is_empty())
        };
        assert_eq!(decode(&octets), Some(history));
        for end in 0..octets.len() {
            assert_eq!(decode(&octets[..end]), None);
        }
        octets[0] = MAX_DEATHS as u8 + 1;
        assert_eq!(decode(&octets), None);
    }
}
