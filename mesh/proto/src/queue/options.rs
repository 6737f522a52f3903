//! What a queue is called, what it holds at most, and what happens beyond.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The limits and habits of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Messages that are not acked, at most. Default 1,000,000.
    pub max_messages: usize,
    /// Their octets, at most, with the size of a frame's value for each frame. Default 256 MiB.
    pub max_octets: usize,
    /// Octets of one message, counted likewise. Default 16 MiB.
    pub max_message: usize,
    /// What happens to a put that does not fit. Default: it is refused.
    pub overflow: Overflow,
    /// How long a message may wait, at most; a shorter TTL of its own counts. Default for ever.
    pub ttl: Option<Duration>,
    /// How long a consumer has for a delivery before the message goes back. Default 30 minutes.
    pub lease: Duration,
    /// How often a message is delivered before it is a dead letter, at least 1. Default 20; `None`
    /// is no limit.
    pub max_attempts: Option<u32>,
    /// Dead letters that are kept until they are taken; the oldest is dropped for a new one.
    /// Default 10,000. With 0 all are dropped. All are counted.
    pub max_dead: usize,
    /// Consumers, at most. Default 10,000.
    pub max_consumers: usize,
    /// Producers whose last numbers are remembered, at most; who was silent the longest is
    /// forgotten for a new one. About 200 octets each. Default 4,096, at least 1.
    pub max_producers: usize,
    /// Whether there is a store. Without one, what is put is accepted at once. Default `false`.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_messages: 1_000_000,
            max_octets: 256 * 1024 * 1024,
            max_message: 16 * 1024 * 1024,
            overflow: Overflow::default(),
            ttl: None,
            lease: Duration::from_secs(30 * 60),
            max_attempts: Some(20),
            max_dead: 10_000,
            max_consumers: 10_000,
            max_producers: 4_096,
            durable: false,
        }
    }
}

/// What happens when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The new message is refused.
    #[default]
    Refuse,
    /// The oldest messages of the lowest priority become dead letters, as many as it takes. What is
    /// delivered stays; if there is no room without it, the new message is refused.
    DropOldest,
}

/// How urgent a message is, from 0 to 9; the higher goes first. Default 4, as in JMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// A priority, or the highest if there is none of this number.
    pub const fn new(number: u8) -> Self {
        match number {
            0..=9 => Self(number),
            _ => Self(9),
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(4)
    }
}

/// The name of a queue: 1 to 255 octets of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Box<str>);

impl QueueName {
    /// The longest name, in octets.
    pub const MAX: usize = 255;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = QueueNameError;

    fn from_str(text: &str) -> Result<Self, QueueNameError> {
        let length = text.len();
        if !(1..=Self::MAX).contains(&length) {
            return Err(QueueNameError::Length { length });
        }
        match text.char_indices().find(|(_, c)| c.is_control()) {
            Some((at, _)) => Err(QueueNameError::Control { at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no name of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueNameError {
    /// It is empty or too long.
    #[error("a queue's name has 1 to {} octets, not {length}", QueueName::MAX)]
    Length {
        /// Its octets.
        length: usize,
    },
    /// It has a control character.
    #[error("a queue's name has a control character at octet {at}")]
    Control {
        /// Where.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for name in ["jobs", "büro/druck", &"x".repeat(255)] {
            assert_eq!(name.parse::<QueueName>().unwrap().as_str(), name);
        }
        for length in [0, 256] {
            let parsed = "x".repeat(length).parse::<QueueName>();
            assert_eq!(parsed, Err(QueueNameError::Length { length }));
        }
        let parsed = "jo\nbs".parse::<QueueName>();
        assert_eq!(parsed, Err(QueueNameError::Control { at: 2 }));
    }

    #[test]
    fn there_are_ten_priorities() {
        let numbers = (0..=255).map(|number| Priority::new(number).number());
        assert_eq!(numbers.max(), Some(Priority::COUNT as u8 - 1));
        assert!(Priority::new(3) < Priority::default() && Priority::default() < Priority::new(5));
    }
}
