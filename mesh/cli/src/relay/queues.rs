//! The settings of the queues that a node keeps: one table, which the file, the environment and the
//! options share.
//!
//! In the file a queue has a table of its own, `[queue.NAME]`; elsewhere a setting is
//! `QUEUE:KEY=VALUE`.

use std::time::Duration;

use withy::node::queue::{MAX_PUT, Overflow, QueueOptions};

use super::keys::{self, nearest};
use super::settings::{Layer, Origin};
use crate::duration;

/// The table of the file, and the option.
pub(super) const QUEUE: &str = "queue";

/// What is accepted outside the file.
pub(super) const FORM: &str = "QUEUE:KEY=VALUE, as in jobs:ttl=1h";

/// One setting of a queue.
#[derive(Debug)]
pub(super) struct Setting {
    /// As in the file.
    pub(super) name: &'static str,
    /// Whether the file may have it as an integer.
    pub(super) is_number: bool,
    /// What is accepted.
    pub(super) accepted: &'static str,
    /// What holds without it, in words.
    pub(super) default: &'static str,
    /// Takes a value, or says what is wrong with it.
    set: fn(&mut QueueOptions, &str) -> Result<(), String>,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "ttl",
        is_number: false,
        accepted: "a number and a unit, as in \"90s\" or \"7d\"",
        default: "a message waits for ever",
        set: |options, text| span(text).map(|ttl| options.ttl = Some(ttl)),
    },
    Setting {
        name: "lease",
        is_number: false,
        accepted: "a number and a unit, as in \"90s\" or \"30m\"",
        default: "30m",
        set: |options, text| span(text).map(|lease| options.lease = lease),
    },
    Setting {
        name: "attempts",
        is_number: true,
        accepted: "a number from 1, or \"unlimited\"",
        default: "20",
        set: |options, text| {
            options.max_attempts = match text {
                "unlimited" => None,
                text => Some(number(text, 1)?),
            };
            Ok(())
        },
    },
    Setting {
        name: "max-messages",
        is_number: true,
        accepted: "a number from 1",
        default: "1000000",
        set: |options, text| number(text, 1).map(|most| options.max_messages = most),
    },
    Setting {
        name: "max-bytes",
        is_number: true,
        accepted: "a number of octets, or one with KiB, MiB or GiB, as in \"64MiB\"",
        default: "256MiB",
        set: |options, text| octets(text).map(|most| options.max_octets = most),
    },
    Setting {
        name: "max-message",
        is_number: true,
        accepted: "a number of octets, or one with KiB or MiB, at most 63MiB",
        default: "16MiB",
        set: |options, text| match octets(text)? {
            most if most <= MAX_PUT => {
                options.max_message = most;
                Ok(())
            }
            _ => Err(format!("{text:?} is more than any queue takes")),
        },
    },
    Setting {
        name: "overflow",
        is_number: false,
        accepted: "\"refuse\" or \"drop-oldest\"",
        default: "refuse",
        set: |options, text| {
            options.overflow = match text {
                "refuse" => Overflow::Refuse,
                "drop-oldest" => Overflow::DropOldest,
                _ => return Err(format!("{text:?} is nothing that happens to a full queue")),
            };
            Ok(())
        },
    },
    Setting {
        name: "max-dead",
        is_number: true,
        accepted: "a number; with 0 none is kept",
        default: "10000",
        set: |options, text| number(text, 0).map(|most| options.max_dead = most),
    },
    Setting {
        name: "max-workers",
        is_number: true,
        accepted: "a number from 1",
        default: "10000",
        set: |options, text| number(text, 1).map(|most| options.max_consumers = most),
    },
    Setting {
        name: "max-producers",
        is_number: true,
        accepted: "a number from 1: of so many it is known what they put, so that nothing is queued twice",
        default: "4096",
        set: |options, text| number(text, 1).map(|most| options.max_producers = most),
    },
];

/// The setting of a name, or what is wrong with the name.
pub(super) fn find(queue: &str, name: &str) -> Result<&'static Setting, String> {
    let known = || SETTINGS.iter().map(|setting| setting.name);
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.ok_or_else(|| {
        let meant = match nearest(name, known()) {
            Some(nearest) => format!("is {nearest} meant?"),
            None => format!("accepted: {}", known().collect::<Vec<_>>().join(", ")),
        };
        format!("{QUEUE}.{queue}.{name}: there is no such key; {meant}")
    })
}

impl Setting {
    /// Says what is wrong with a value, and what is accepted.
    pub(super) fn check(&self, queue: &str, text: &str) -> Result<(), String> {
        let checked = (self.set)(&mut QueueOptions::default(), text);
        let (name, accepted) = (self.name, self.accepted);
        checked.map_err(|error| format!("{QUEUE}.{queue}.{name}: {error}; accepted: {accepted}"))
    }
}

impl Layer {
    /// Takes in what is said outside the file, and what is wrong with it.
    pub(super) fn take_queues(
        &mut self,
        items: &[String],
        origin: &Origin,
        errors: &mut Vec<String>,
    ) {
        for item in items {
            match parse(item) {
                Ok((queue, setting, value)) => {
                    let (key, value) = ((queue.to_owned(), setting.name), value.to_owned());
                    self.queues.insert(key, (value, origin.clone()));
                }
                Err(error) => errors.push(format!("{origin}: {error}")),
            }
        }
    }

    /// The options of a queue.
    pub(super) fn queue(&self, queue: &str) -> Result<QueueOptions, String> {
        let mut options = QueueOptions::default();
        for setting in SETTINGS {
            let key = (queue.to_owned(), setting.name);
            if let Some((value, _)) = self.queues.get(&key) {
                (setting.set)(&mut options, value)?;
            }
        }
        Ok(options)
    }
}

fn parse(text: &str) -> Result<(&str, &'static Setting, &str), String> {
    let wrong = || format!("{QUEUE}: {text:?} is no setting; accepted: {FORM}");
    // A name may have colons, a value has none.
    let (queue, setting) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
    let setting = find(queue, name)?;
    setting.check(queue, value)?;
    Ok((queue, setting, value))
}

fn span(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it is longer than nothing".to_owned()),
        span => Ok(span),
    }
}

fn number<T: TryFrom<u64>>(text: &str, least: u64) -> Result<T, String> {
    let wrong = || format!("{text:?} is no number from {least} on that fits");
    let number = keys::parse::<u64>(text).map_err(|_| wrong())?;
    let number = Some(number).filter(|number| *number >= least);
    number.and_then(|it| it.try_into().ok()).ok_or_else(wrong)
}

fn octets(text: &str) -> Result<usize, String> {
    const UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let mut units = UNITS.iter();
    let unit = units.find_map(|(unit, octets)| Some((text.strip_suffix(unit)?, *octets)));
    let (digits, unit) = unit.unwrap_or((text, 1));
    let count = number::<u64>(digits.trim(), 1).ok();
    let octets = count.and_then(|count| count.checked_mul(unit));
    let octets = octets.and_then(|octets| usize::try_from(octets).ok());
    octets.ok_or_else(|| format!("{text:?} is no number of octets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_sets_what_it_says_and_nothing_else() {
        let default = QueueOptions::default;
        for (setting, expected) in [
            (
                "ttl=90s",
                QueueOptions {
                    ttl: Some(Duration::from_secs(90)),
                    ..default()
                },
            ),
            (
                "lease=1m",
                QueueOptions {
                    lease: Duration::from_secs(60),
                    ..default()
                },
            ),
            (
                "attempts=3",
                QueueOptions {
                    max_attempts: Some(3),
                    ..default()
                },
            ),
            (
                "attempts=unlimited",
                QueueOptions {
                    max_attempts: None,
                    ..default()
                },
            ),
            (
                "max-messages=7",
                QueueOptions {
                    max_messages: 7,
                    ..default()
                },
            ),
            (
                "max-bytes=2MiB",
                QueueOptions {
                    max_octets: 2 << 20,
                    ..default()
                },
            ),
            (
                "max-message=63MiB",
                QueueOptions {
                    max_message: 63 << 20,
                    ..default()
                },
            ),
            (
                "overflow=drop-oldest",
                QueueOptions {
                    overflow: Overflow::DropOldest,
                    ..default()
                },
            ),
            (
                "max-dead=0",
                QueueOptions {
                    max_dead: 0,
                    ..default()
                },
            ),
            (
                "max-workers=2",
                QueueOptions {
                    max_consumers: 2,
                    ..default()
                },
            ),
            (
                "max-producers=5",
                QueueOptions {
                    max_producers: 5,
                    ..default()
                },
            ),
        ] {
            let mut layer = Layer::default();
            let mut errors = Vec::new();
            let items = [format!("a:b:{setting}")];
            layer.take_queues(&items, &Origin::Default, &mut errors);
            assert_eq!(errors, [] as [String; 0], "{setting}");
            assert_eq!(layer.queue("a:b").unwrap(), expected, "{setting}");
            assert_eq!(layer.queue("a").unwrap(), default(), "{setting}");
        }
    }

    #[test]
    fn what_is_said_to_hold_without_a_setting_does() {
        for setting in SETTINGS.iter().filter(|setting| setting.name != "ttl") {
            let mut options = QueueOptions::default();
            (setting.set)(&mut options, setting.default).unwrap();
            assert_eq!(options, QueueOptions::default(), "{}", setting.name);
        }
        assert_eq!(QueueOptions::default().ttl, None);
    }

    #[test]
    fn everything_else_is_refused_with_what_is_accepted() {
        for (text, says) in [
            ("", "\"\" is no setting; accepted: QUEUE:KEY=VALUE"),
            ("jobs", "accepted: QUEUE:KEY=VALUE"),
            ("jobs:ttl", "accepted: QUEUE:KEY=VALUE"),
            (
                "jobs:tll=1s",
                "queue.jobs.tll: there is no such key; is ttl meant?",
            ),
            (
                "jobs:colour=1",
                "accepted: ttl, lease, attempts, max-messages,",
            ),
            (
                "jobs:ttl=0s",
                "queue.jobs.ttl: it is longer than nothing; accepted: a number and a unit",
            ),
            ("jobs:ttl=1", "queue.jobs.ttl: expected a number and a unit"),
            (
                "jobs:attempts=0",
                "is no number from 1 on that fits; accepted: a number from 1, or",
            ),
            ("jobs:attempts=4294967296", "is no number from 1"),
            ("jobs:max-messages=-1", "is no number from 1"),
            ("jobs:max-bytes=0", "\"0\" is no number of octets"),
            ("jobs:max-bytes=99999999999GiB", "is no number of octets"),
            ("jobs:max-bytes=1KB", "is no number of octets"),
            ("jobs:max-message=64MiB", "is more than any queue takes"),
            (
                "jobs:overflow=drop",
                "accepted: \"refuse\" or \"drop-oldest\"",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
