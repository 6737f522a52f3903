//! A path-compressed tree from octet strings to values, behind the subscription trie.
//!
//! ```text
//!            (root "")
//!             │ 'w'
//!         "eather."
//!          │ 'd'  │ 'p'
//!     "elhi"      "aris"
//! ```
//!
//! A node stands for the octets on the way to it, of which all but the first lie in its label, so
//! a long string costs one node and not one per octet. Nodes live in a slab and point at each
//! other by index: nothing here recurses, so a string's length costs no stack, not even on drop.
//!
//! Invariant, once an emptied node is pruned: every node but the root has values or at least two
//! children. A node with values keeps its index.

use slab::Slab;

const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct Tree<T>(Slab<Node<T>>);

#[derive(Debug)]
struct Node<T> {
    parent: u32,
    /// The octet by which the parent knows this node.
    key: u8,
    /// The octets after `key`.
    label: Box<[u8]>,
    /// Sorted by key.
    children: Vec<(u8, u32)>,
    values: Vec<T>,
}

/// A place on the way along a string: inside a node's label, or at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    node: u32,
    /// The octets of the label that are behind.
    used: u32,
}

impl Place {
    /// Where every string begins.
    pub(super) const START: Self = Self {
        node: ROOT,
        used: 0,
    };
}

/// How far a string leads.
struct Spot {
    node: u32,
    /// Octets on the way to `node`.
    used: usize,
    /// A child that shares the next octet and this many octets of its label, but not all.
    fork: Option<(u32, usize)>,
}

impl<T> Tree<T> {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT, 0, &[]));
        Self(nodes)
    }

    /// The node of a string, if it has one.
    pub(super) fn find(&self, string: &[u8]) -> Option<u32> {
        let Spot { node, used, .. } = self.walk(string);
        (used == string.len()).then_some(node)
    }

    /// The node of a string, made if need be; the caller gives it values.
    pub(super) fn grow(&mut self, string: &[u8]) -> u32 {
        let Spot {
            mut node,
            mut used,
            fork,
        } = self.walk(string);
        if let Some((child, shared)) = fork {
            node = self.split(child, shared);
            used += 1 + shared;
        }
        if let Some((&key, label)) = string[used..].split_first() {
            let leaf = self.0.insert(Node::new(node, key, label)) as u32;
            let children = &mut self.node_mut(node).children;
            let at = children.partition_point(|&(other, _)| other < key);
            children.insert(at, (key, leaf));
            node = leaf;
        }
        node
    }

    #[inline]
    pub(super) fn values(&self, node: u32) -> &[T] {
        &self.node(node).values
    }

    pub(super) fn values_mut(&mut self, node: u32) -> &mut Vec<T> {
        &mut self.node_mut(node).values
    }

    /// The values of every node on the way along a string, from the root down.
    #[inline]
    pub(super) fn path<'a>(&'a self, string: &'a [u8]) -> impl Iterator<Item = &'a [T]> {
        let mut rest = string;
        std::iter::successors(Some(self.node(ROOT)), move |node| {
            let (&key, after) = rest.split_first()?;
            let child = self.node(node.child(key)?);
            rest = after.strip_prefix(&*child.label)?;
            Some(child)
        })
        .map(|node| &node.values[..])
    }

    /// Where the next octets lead, if anywhere.
    #[inline]
    pub(super) fn follow(&self, mut place: Place, mut octets: &[u8]) -> Option<Place> {
        while let Some((&key, rest)) = octets.split_first() {
            let node = self.node(place.node);
            let label = &node.label[place.used as usize..];
            if label.is_empty() {
                let node = node.child(key)?;
                place = Place { node, used: 0 };
                octets = rest;
            } else {
                let (now, later) = octets.split_at(label.len().min(octets.len()));
                if !label.starts_with(now) {
                    return None;
                }
                place.used += now.len() as u32;
                octets = later;
            }
        }
        Some(place)
    }

    /// The values of the string that ends in a place.
    #[inline]
    pub(super) fn values_at(&self, place: Place) -> &[T] {
        let node = self.node(place.node);
        match node.label.len() == place.used as usize {
            true => &node.values,
            false => &[],
        }
    }

    /// Restores the invariant for a node that may have lost its last value.
    pub(super) fn prune(&mut self, mut index: u32) {
        while index != ROOT && self.node(index).values.is_empty() {
            match self.node(index).children[..] {
                [] => {
                    let Node { parent, key, .. } = self.0.remove(index as usize);
                    self.node_mut(parent)
                        .children
                        .retain(|&(other, _)| other != key);
                    index = parent;
                }
                [(_, child)] => {
                    let node = self.0.remove(index as usize);
                    let lower = self.node_mut(child);
                    lower.label = [&node.label, &[lower.key][..], &lower.label]
                        .concat()
                        .into();
                    (lower.parent, lower.key) = (node.parent, node.key);
                    self.node_mut(node.parent).set_child(node.key, child);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Writes the string of a node.
    pub(super) fn spell(&self, mut index: u32, string: &mut Vec<u8>) {
        string.clear();
        while index != ROOT {
            let node = self.node(index);
            string.extend(node.label.iter().rev());
            string.push(node.key);
            index = node.parent;
        }
        string.reverse();
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn node(&self, index: u32) -> &Node<T> {
        &self.0[index as usize]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node<T> {
        &mut self.0[index as usize]
    }

    fn walk(&self, string: &[u8]) -> Spot {
        let (mut node, mut used) = (ROOT, 0);
        loop {
            let stay = Spot {
                node,
                used,
                fork: None,
            };
            let Some((&key, rest)) = string[used..].split_first() else {
                return stay;
            };
            let Some(child) = self.node(node).child(key) else {
                return stay;
            };
            let label = &self.node(child).label;
            let shared = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if shared < label.len() {
                let fork = Some((child, shared));
                return Spot { fork, ..stay };
            }
            node = child;
            used += 1 + shared;
        }
    }

    /// Puts a new node above `lower`, with the first `shared` octets of its label.
    fn split(&mut self, lower: u32, shared: usize) -> u32 {
        let Node {
            parent, key, label, ..
        } = self.node(lower);
        let (parent, key) = (*parent, *key);
        let (lower_key, lower_label) = (label[shared], Box::from(&label[shared + 1..]));
        let mut node = Node::new(parent, key, &label[..shared]);
        node.children.push((lower_key, lower));
        let upper = self.0.insert(node) as u32;
        self.node_mut(parent).set_child(key, upper);
        let node = self.node_mut(lower);
        (node.parent, node.key, node.label) = (upper, lower_key, lower_label);
        upper
    }
}

impl<T> Node<T> {
    fn new(parent: u32, key: u8, label: &[u8]) -> Self {
        Self {
            parent,
            key,
            label: label.into(),
            children: Vec::new(),
            values: Vec::new(),
        }
    }

    #[inline]
    fn child(&self, key: u8) -> Option<u32> {
        let at = self.place(key)?;
        Some(self.children[at].1)
    }

    fn set_child(&mut self, key: u8, child: u32) {
        if let Some(at) = self.place(key) {
            self.children[at].1 = child;
        }
    }

    #[inline]
    fn place(&self, key: u8) -> Option<usize> {
        self.children
            .binary_search_by_key(&key, |&(key, _)| key)
            .ok()
    }
}
