//! From the octets that topics begin with to a filter on the bus.

use withy_proto::bus::Filter;

/// The narrowest filter that chooses every topic which begins with `prefix`; `None` if no topic does.
///
/// `home/k` becomes `home/#`, and nothing at all becomes `#`. Topics that begin with `$` are the mesh's
/// own, and chosen by none.
pub(super) fn widen(prefix: &[u8]) -> Option<Filter> {
    if prefix.first() == Some(&b'$') || prefix.iter().any(|octet| b"+#\0".contains(octet)) {
        return None;
    }
    // A prefix may end within a character, but not be wrong before that.
    if let Err(error) = str::from_utf8(prefix)
        && error.error_len().is_some()
    {
        return None;
    }
    let whole = prefix.iter().rposition(|&octet| octet == b'/');
    let levels = whole.and_then(|at| prefix.get(..=at)).unwrap_or_default();
    Filter::try_from(&[levels, b"#"].concat()[..]).ok()
}

#[cfg(test)]
mod tests {
    use withy_proto::bus::Topic;
    use withy_proto::bus::topic::MAX_LEVELS;
    use withy_proto::crypto::{Randomness as _, Seeded};

    use super::*;

    #[test]
    fn prefixes_become_the_levels_that_are_whole() {
        for (prefix, filter) in [
            (&b""[..], Some("#")),
            (b"home", Some("#")),
            (b"home/", Some("home/#")),
            (b"home/k", Some("home/#")),
            (b"home/kitchen/temp", Some("home/kitchen/#")),
            (b"/", Some("/#")),
            ("hö/ü".as_bytes(), Some("hö/#")),
            // Within the last character.
            (&"hö/ü".as_bytes()[..5], Some("hö/#")),
            (b"\xff", None),
            (b"a\xffb/c", None),
            (b"$SYS/", None),
            (b"home/+", None),
            (b"home/#", None),
            (b"a\0", None),
        ] {
            let widened = widen(prefix).map(|it| it.to_string());
            assert_eq!(widened.as_deref(), filter, "{prefix:?}");
        }
        assert!(widen("a/".repeat(MAX_LEVELS - 1).as_bytes()).is_some());
        assert!(widen("a/".repeat(MAX_LEVELS).as_bytes()).is_none());
        assert!(
            widen(&vec![b'a'; 70_000]).is_some(),
            "of these # chooses none"
        );
    }

    #[test]
    fn whatever_begins_with_a_prefix_is_chosen() {
        let mut random = Seeded::new(1);
        let letters = ["a", "b", "/", "ü", "€"];
        for _ in 0..20_000 {
            let length = random.next_u64() % 12 + 1;
            let pick = |_| letters[random.next_u64() as usize % letters.len()];
            let text: String = (0..length).map(pick).collect();
            let topic: Topic = text.parse().unwrap();
            let cut = random.next_u64() as usize % (text.len() + 1);
            let filter = widen(&text.as_bytes()[..cut]).unwrap();
            assert!(filter.matches(&topic), "{filter} of {cut} octets of {text}");
        }
    }
}
