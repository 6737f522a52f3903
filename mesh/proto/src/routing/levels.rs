//! Finding the filters that choose a topic, in a tree whose strings are filters.
//!
//! At the start of each level of the topic there are at most three ways on: the level itself, `+`,
//! and `#`, which ends. A tree holds each filter once, so no two ways lead to the same place: a node
//! is visited at most once, and a topic of n levels visits at most 2^n places of level starts,
//! however many filters there are, and never more than the filters' own levels, whatever n is.
//!
//! Only the octets `/`, `+`, `#` and `$` mean anything here; the filters obey the rules of
//! [`bus::topic`](crate::bus::topic). A topic need not: what is no topic is never chosen by a
//! wildcard character of its own.

use super::tree::{Place, Tree};

/// Ways on that were not tried yet: where in the tree, and where a level of the topic begins.
pub(super) type Ways = Vec<(Place, usize)>;

impl<T> Tree<T> {
    /// Reports the values of each filter that chooses `topic`. Returns how many level starts were
    /// visited. Allocates nothing but what `ways` grows by, once: it holds at most one way for each
    /// level.
    pub(super) fn choosing(
        &self,
        topic: &[u8],
        ways: &mut Ways,
        each: &mut impl FnMut(&[T]),
    ) -> usize {
        let hidden = topic.first() == Some(&b'$');
        let mut visited = 0;
        ways.clear();
        ways.push((Place::START, 0));
        while let Some((place, at)) = ways.pop() {
            visited += 1;
            let end = topic[at..].iter().position(|&octet| octet == b'/');
            let end = end.map_or(topic.len(), |length| at + length);
            let level = &topic[at..end];
            let wild = at > 0 || !hidden;
            if wild && let Some(rest) = self.follow(place, b"#") {
                each(self.values_at(rest));
            }
            let any = if wild { self.follow(place, b"+") } else { None };
            let same = match level {
                b"+" | b"#" => None,
                level => self.follow(place, level),
            };
            for next in [any, same].into_iter().flatten() {
                if end == topic.len() {
                    each(self.values_at(next));
                    // MQTT 5 §4.7.1.2: `#` includes the parent level.
                    if let Some(rest) = self.follow(next, b"/#") {
                        each(self.values_at(rest));
                    }
                } else if let Some(next) = self.follow(next, b"/") {
                    ways.push((next, end + 1));
                }
            }
        }
        visited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(filters: &[&str]) -> Tree<usize> {
        let mut tree = Tree::new();
        for (number, filter) in filters.iter().enumerate() {
            let node = tree.grow(filter.as_bytes());
            tree.values_mut(node).push(number);
        }
        tree
    }

    fn chosen(tree: &Tree<usize>, topic: &str) -> (Vec<usize>, usize) {
        let mut found = Vec::new();
        let visited = tree.choosing(topic.as_bytes(), &mut Vec::new(), &mut |values| {
            found.extend(values);
        });
        found.sort_unstable();
        (found, visited)
    }

    #[test]
    fn labels_that_are_cut_anywhere_do_not_matter() {
        let filters = [
            "a/b", "a/bc", "a/+", "a/+/c", "a/+", "a/#", "#", "+/b", "ab", "+",
        ];
        let tree = tree(&filters);
        assert_eq!(chosen(&tree, "a/b").0, [0, 2, 4, 5, 6, 7]);
        assert_eq!(chosen(&tree, "a").0, [5, 6, 9]);
        assert_eq!(chosen(&tree, "a/bc/c").0, [3, 5, 6]);
        assert_eq!(chosen(&tree, "a/+").0, [2, 4, 5, 6]);
        assert_eq!(chosen(&tree, "#").0, [6, 9]);
        assert_eq!(chosen(&tree, "$").0, [0; 0]);
    }

    /// Where every level may be `+` or itself, only what the filters have is visited.
    #[test]
    fn many_wildcards_visit_each_place_once() {
        let levels = 100;
        let plus = vec!["+"; levels].join("/");
        let same = vec!["a"; levels].join("/");
        let mixed: Vec<_> = (0..levels)
            .map(|at| if at % 2 == 0 { "+" } else { "a" })
            .collect();
        let mixed = mixed.join("/") + "/x";
        let tree = tree(&[&plus, &same, &mixed, &(plus.clone() + "/+")]);
        let (found, visited) = chosen(&tree, &same);
        assert_eq!(found, [0, 1]);
        assert!(visited <= 4 * levels, "{visited}");
        assert_eq!(chosen(&tree, &(same + "/x")).0, [2, 3]);
    }
}
