//! Topics and the filters that choose among them, by the rules of MQTT 5 §4.7.
//!
//! Both are levels of text with `/` between them. In a filter, a level `+` stands for any one level,
//! and a last level `#` for any number of them, none included: `home/#` matches `home`. Levels may be
//! empty, and count: `/home` and `home` are different topics.
//!
//! Topics that begin with `$` are about the mesh itself: no wildcard in a filter's first place
//! matches them.
//!
//! A filter that begins with `$share/` would be shared among a group (MQTT 5 §4.8.2). It is refused,
//! so that it can come to mean that.
//!
//! Invariant: a value of these types obeys the rules.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::message::Frame;

/// The longest topic or filter in octets (MQTT-4.7.3-3).
pub const MAX_OCTETS: usize = 65_535;

/// The most levels of a topic or filter.
pub const MAX_LEVELS: usize = 128;

/// What a filter of a group begins with.
const SHARED: &[u8] = b"$share/";

/// What a message is about: no wildcards.
///
/// Cloning never copies more than [`Frame::INLINE`] octets.
///
/// ```
/// use withy_proto::bus::{Filter, Topic};
///
/// let topic: Topic = "home/kitchen/temp".parse()?;
/// assert!("home/+/temp".parse::<Filter>()?.matches(&topic));
/// assert!("home/#".parse::<Filter>()?.matches(&topic));
/// assert!("home/+".parse::<Topic>().is_err());
/// # Ok::<(), withy_proto::bus::TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Frame);

/// Which topics a subscriber wants.
///
/// Cloning never copies more than [`Frame::INLINE`] octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Frame);

/// Why a text is not a topic or a filter: local misuse, or a peer that misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no octets (MQTT-4.7.3-1).
    #[error("a topic or filter has at least one character")]
    Empty,
    /// It is over [`MAX_OCTETS`] (MQTT-4.7.3-3).
    #[error("a topic or filter has at most {MAX_OCTETS} octets, not {octets}")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// It has more than [`MAX_LEVELS`] levels.
    #[error("a topic or filter has at most {MAX_LEVELS} levels, not {levels}")]
    TooDeep {
        /// Its levels.
        levels: usize,
    },
    /// It is not UTF-8 (MQTT-1.5.4-1).
    #[error("a topic or filter is UTF-8 text, which ends at octet {at}")]
    NotText {
        /// The octets that are text.
        at: usize,
    },
    /// It contains U+0000 (MQTT-4.7.3-2).
    #[error("a topic or filter has no NUL character, as at octet {at}")]
    Nul {
        /// Its place, from 0.
        at: usize,
    },
    /// A topic contains `+` or `#` (MQTT-3.3.2-2).
    #[error("a topic to publish on has no wildcard, as at octet {at}")]
    Wildcard {
        /// Its place, from 0.
        at: usize,
    },
    /// A filter's `+` is not a whole level (MQTT-4.7.1-2).
    #[error("'+' stands alone in its level, unlike at octet {at}")]
    Plus {
        /// Its place, from 0.
        at: usize,
    },
    /// A filter's `#` is not the whole last level (MQTT-4.7.1-1).
    #[error("'#' is the last level of a filter and stands alone in it, unlike at octet {at}")]
    Hash {
        /// Its place, from 0.
        at: usize,
    },
    /// A filter is for a group.
    #[error("filters of groups ($share/...) are not supported")]
    Shared,
}

impl Topic {
    /// Says whether octets are a topic.
    ///
    /// # Errors
    /// The rule that they break.
    #[inline]
    pub fn check(octets: &[u8]) -> Result<(), TopicError> {
        // Most are short and plain; they have too few levels to be counted.
        if (1..MAX_LEVELS).contains(&octets.len()) && is_plain(octets) {
            return Ok(());
        }
        Self::check_rules(octets)
    }

    fn check_rules(octets: &[u8]) -> Result<(), TopicError> {
        check_text(octets)?;
        let wildcard = |&octet: &u8| octet == b'+' || octet == b'#';
        match octets.iter().position(wildcard) {
            Some(at) => Err(TopicError::Wildcard { at }),
            None => Ok(()),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }

    /// The octets of the text.
    #[inline]
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    /// The topic that a frame is, which was checked.
    #[inline]
    pub(super) fn of_checked(frame: Frame) -> Self {
        debug_assert_eq!(Self::check(&frame), Ok(()));
        Self(frame)
    }

    /// The first frame of a message on this topic.
    pub fn into_frame(self) -> Frame {
        self.0
    }
}

/// By its octets, which order, equality and hashes go by as well.
impl Borrow<[u8]> for Topic {
    fn borrow(&self) -> &[u8] {
        self.as_octets()
    }
}

impl Filter {
    /// The filter `#`: all topics that do not begin with `$`.
    pub fn all() -> Self {
        Self(Frame::from("#"))
    }

    /// Says whether octets are a filter.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn check(octets: &[u8]) -> Result<(), TopicError> {
        check_text(octets)?;
        for (at, &octet) in octets.iter().enumerate() {
            let starts = at == 0 || octets[at - 1] == b'/';
            let next = octets.get(at + 1);
            match octet {
                b'+' if !starts || next.is_some_and(|&next| next != b'/') => {
                    return Err(TopicError::Plus { at });
                }
                b'#' if !starts || next.is_some() => return Err(TopicError::Hash { at }),
                _ => {}
            }
        }
        if octets.starts_with(SHARED) {
            return Err(TopicError::Shared);
        }
        Ok(())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }

    /// The octets of the text, as SUBSCRIBE carries them.
    #[inline]
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    /// Whether the filter chooses a topic. Takes time in proportion to both.
    pub fn matches(&self, topic: &Topic) -> bool {
        let (filter, topic) = (self.as_octets(), topic.as_octets());
        let wild = matches!(filter.first(), Some(b'+' | b'#'));
        if wild && topic.first() == Some(&b'$') {
            return false;
        }
        let mut levels = topic.split(|&octet| octet == b'/');
        for wanted in filter.split(|&octet| octet == b'/') {
            match (wanted, levels.next()) {
                (b"#", _) => return true,
                (b"+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether this filter chooses every topic that another one does. Takes time in proportion to both.
    pub fn covers(&self, other: &Self) -> bool {
        let wild = matches!(self.as_octets().first(), Some(b'+' | b'#'));
        if wild && other.as_octets().first() == Some(&b'$') {
            return false;
        }
        // Every topic has a first level.
        if (self.as_octets(), other.as_octets()) == (b"+/#", b"#") {
            return true;
        }
        let mut ours = self.as_octets().split(|&octet| octet == b'/');
        let mut theirs = other.as_octets().split(|&octet| octet == b'/');
        loop {
            match (ours.next(), theirs.next()) {
                (Some(b"#"), _) | (None, None) => return true,
                (_, Some(b"#")) => return false,
                (Some(b"+"), Some(_)) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    /// Whether there may be a topic that both filters choose. Takes time in proportion to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let wild = |filter: &Self| matches!(filter.as_octets().first(), Some(b'+' | b'#'));
        let mesh = |filter: &Self| filter.as_octets().first() == Some(&b'$');
        if (wild(self) && mesh(other)) || (mesh(self) && wild(other)) {
            return false;
        }
        let mut ours = self.as_octets().split(|&octet| octet == b'/');
        let mut theirs = other.as_octets().split(|&octet| octet == b'/');
        loop {
            match (ours.next(), theirs.next()) {
                (Some(b"#"), _) | (_, Some(b"#")) | (None, None) => return true,
                (Some(b"+"), Some(_)) | (Some(_), Some(b"+")) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    /// What every topic that the filter chooses begins with.
    pub fn prefix(&self) -> &[u8] {
        let octets = self.as_octets();
        match octets
            .iter()
            .position(|&octet| octet == b'+' || octet == b'#')
        {
            // Without the separator: `home/#` chooses `home`.
            Some(at) if octets[at] == b'#' => &octets[..at.saturating_sub(1)],
            Some(at) => &octets[..at],
            None => octets,
        }
    }
}

/// Whether all octets are ASCII, and none is NUL or a wildcard: eight at a time.
#[inline]
fn is_plain(octets: &[u8]) -> bool {
    const LOW: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The top bit of an octet that is zero, and perhaps of those above it.
    let zero = |word: u64| word.wrapping_sub(LOW) & !word;
    let special = |eight: &[u8; 8]| {
        let word = u64::from_ne_bytes(*eight);
        let (plus, hash) = (LOW * u64::from(b'+'), LOW * u64::from(b'#'));
        (word | zero(word) | zero(word ^ plus) | zero(word ^ hash)) & HIGH != 0
    };
    match octets.last_chunk() {
        Some(last) => !special(last) && !octets.as_chunks().0.iter().any(special),
        None => !octets
            .iter()
            .any(|&octet| !octet.is_ascii() || matches!(octet, 0 | b'+' | b'#')),
    }
}

/// What topics and filters have in common.
fn check_text(octets: &[u8]) -> Result<(), TopicError> {
    if octets.is_empty() {
        return Err(TopicError::Empty);
    }
    if octets.len() > MAX_OCTETS {
        let octets = octets.len();
        return Err(TopicError::TooLong { octets });
    }
    if let Err(error) = std::str::from_utf8(octets) {
        let at = error.valid_up_to();
        return Err(TopicError::NotText { at });
    }
    if let Some(at) = octets.iter().position(|&octet| octet == 0) {
        return Err(TopicError::Nul { at });
    }
    let levels = 1 + octets.iter().filter(|&&octet| octet == b'/').count();
    if levels > MAX_LEVELS {
        return Err(TopicError::TooDeep { levels });
    }
    Ok(())
}

pub(super) fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("it was checked when it was made")
}

/// Implements what the two types do alike.
macro_rules! texts {
    ($($name:ident)*) => {$(
        impl TryFrom<Frame> for $name {
            type Error = TopicError;

            fn try_from(frame: Frame) -> Result<Self, TopicError> {
                Self::check(&frame)?;
                Ok(Self(frame))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = TopicError;

            fn try_from(octets: &[u8]) -> Result<Self, TopicError> {
                Self::check(octets)?;
                Ok(Self(Frame::copy_from_slice(octets)))
            }
        }

        impl FromStr for $name {
            type Err = TopicError;

            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::try_from(text.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}

texts! { Topic Filter }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_topic_is_one_that_breaks_no_rule() {
        for length in 1..40 {
            for at in 0..length {
                for octet in 0..=255 {
                    let mut octets = vec![b'a'; length];
                    octets[at] = octet;
                    let rules = Topic::check_rules(&octets);
                    assert_eq!(Topic::check(&octets), rules);
                    assert_eq!(is_plain(&octets), rules.is_ok(), "{octets:?}");
                }
            }
        }
        let deep = "/".repeat(MAX_LEVELS - 1);
        assert_eq!(Topic::check(deep.as_bytes()), Ok(()));
        let levels = MAX_LEVELS + 1;
        let error = Err(TopicError::TooDeep { levels });
        assert_eq!(Topic::check(format!("{deep}/").as_bytes()), error);
    }

    fn topic(text: &str) -> Topic {
        text.parse().unwrap()
    }

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    /// The examples of MQTT 5 §4.7.1 and §4.7.2, and others at the edges.
    #[test]
    fn filters_match_as_the_standard_says() {
        for (wanted, yes, no) in [
            (
                "sport/tennis/player1/#",
                &[
                    "sport/tennis/player1",
                    "sport/tennis/player1/score/wimbledon",
                ][..],
                &["sport/tennis/player10", "sport/tennis"][..],
            ),
            ("sport/#", &["sport", "sport/"], &["sports", "Sport"]),
            ("#", &["a", "/", "a/b", "/a"], &["$SYS", "$SYS/a"]),
            (
                "sport/tennis/+",
                &["sport/tennis/player1"],
                &["sport/tennis/player1/ranking"],
            ),
            ("sport/+", &["sport/"], &["sport", "sport/a/"]),
            ("+", &["a"], &["/a", "a/", "$SYS"]),
            ("+/+", &["/finance", "a/b"], &["$SYS/a", "finance"]),
            ("/+", &["/finance", "/"], &["finance", "//"]),
            ("+/tennis/#", &["sport/tennis", "/tennis/a"], &["$a/tennis"]),
            (
                "$SYS/#",
                &["$SYS", "$SYS/monitor/Clients"],
                &["SYS", "$SYSTEM"],
            ),
            ("$SYS/+", &["$SYS/a"], &["$SYS", "$SYS/a/b"]),
            ("a//b", &["a//b"], &["a/b", "a///b"]),
            ("a/+/#", &["a/b", "a/b/c", "a//"], &["a"]),
            ("\u{fc}/\u{1f333}", &["\u{fc}/\u{1f333}"], &["u/\u{1f333}"]),
        ] {
            for text in yes {
                assert!(filter(wanted).matches(&topic(text)), "{wanted} {text}");
                assert!(text.as_bytes().starts_with(filter(wanted).prefix()));
            }
            for text in no {
                assert!(!filter(wanted).matches(&topic(text)), "{wanted} {text}");
            }
        }
    }

    #[test]
    fn errors_name_the_rule() {
        let deep = "/".repeat(MAX_LEVELS);
        let long = "x".repeat(MAX_OCTETS + 1);
        for (text, error) in [
            ("", TopicError::Empty),
            ("a\0", TopicError::Nul { at: 1 }),
            (&deep, TopicError::TooDeep { levels: 129 }),
            (&long, TopicError::TooLong { octets: 65_536 }),
        ] {
            assert_eq!(text.parse::<Topic>(), Err(error));
            assert_eq!(text.parse::<Filter>(), Err(error));
        }
        assert!(deep[1..].parse::<Topic>().is_ok());
        assert!(long[1..].parse::<Filter>().is_ok());
        let cut = [b'a', 0xc3];
        assert_eq!(Topic::check(&cut), Err(TopicError::NotText { at: 1 }));
        for (text, error) in [
            ("a/+", TopicError::Wildcard { at: 2 }),
            ("a#", TopicError::Wildcard { at: 1 }),
        ] {
            assert_eq!(text.parse::<Topic>(), Err(error));
        }
        for (text, error) in [
            ("a+", TopicError::Plus { at: 1 }),
            ("+a/b", TopicError::Plus { at: 0 }),
            ("a/+#", TopicError::Plus { at: 2 }),
            ("++", TopicError::Plus { at: 0 }),
            ("a#", TopicError::Hash { at: 1 }),
            ("a/#/b", TopicError::Hash { at: 2 }),
            ("#/", TopicError::Hash { at: 0 }),
            ("$share/g/a", TopicError::Shared),
        ] {
            assert_eq!(text.parse::<Filter>(), Err(error), "{text}");
        }
        assert!("$shared".parse::<Filter>().is_ok());
    }

    #[test]
    fn prefixes_end_before_the_first_wildcard() {
        for (text, prefix) in [
            ("#", ""),
            ("+", ""),
            ("/#", ""),
            ("/+", "/"),
            ("home/#", "home"),
            ("home/+/#", "home/"),
            ("home", "home"),
        ] {
            assert_eq!(filter(text).prefix(), prefix.as_bytes(), "{text}");
        }
    }

    #[test]
    fn filters_overlap_where_a_topic_is_chosen_by_both() {
        let texts = [
            "a", "b", "+", "#", "/", "a/b", "a/+", "+/b", "a/#", "+/#", "+/+", "a/b/c", "a/+/c",
            "a/b/#", "$a", "$a/#", "$a/+", "/+", "a/", "+/b/+",
        ];
        let levels = ["", "a", "b", "c", "x", "$a"];
        let mut topics = levels.map(String::from).to_vec();
        let mut longest = topics.clone();
        for _ in 0..3 {
            let longer = |topic: &String| levels.map(|level| format!("{topic}/{level}"));
            longest = longest.iter().flat_map(longer).collect();
            topics.extend(longest.iter().cloned());
        }
        let topics: Vec<Topic> = topics.iter().filter_map(|it| it.parse().ok()).collect();
        for one in texts {
            for other in texts {
                let (one, other) = (filter(one), filter(other));
                let both = |topic: &&Topic| one.matches(topic) && other.matches(topic);
                let found = topics.iter().find(both);
                assert_eq!(
                    one.overlaps(&other),
                    found.is_some(),
                    "{one} and {other}: {found:?}"
                );
                let alone = |topic: &&Topic| other.matches(topic) && !one.matches(topic);
                let found = topics.iter().find(alone);
                let covered = found.is_none();
                assert_eq!(one.covers(&other), covered, "{one} and {other}: {found:?}");
            }
        }
    }
}
