//! stand-in
use std::collections::BTreeMap;
/// E
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// T
    #[error("too many")]
    TooMany,
}
/// Trie
#[derive(Debug)]
pub struct Trie(BTreeMap<(Vec<u8>, u32), usize>, usize);
#[expect(missing_docs)]
impl Trie {
    pub fn new(max: usize, _max_topic: usize) -> Self {
        Self(BTreeMap::new(), max)
    }
    pub fn subscribe(&mut self, p: &[u8], s: u32) -> Result<bool, TrieError> {
        if self.0.len() >= self.1 {
            return Err(TrieError::TooMany);
        }
        let first = !self.0.keys().any(|(q, _)| q == p);
        *self.0.entry((p.to_vec(), s)).or_default() += 1;
        Ok(first)
    }
    pub fn cancel(&mut self, p: &[u8], s: u32) -> Option<bool> {
        let c = self.0.get_mut(&(p.to_vec(), s))?;
        *c -= 1;
        if *c == 0 {
            self.0.remove(&(p.to_vec(), s));
            return Some(!self.0.keys().any(|(q, _)| q == p));
        }
        Some(false)
    }
    pub fn remove(&mut self, s: u32, each: &mut impl FnMut(&[u8])) {
        let gone: Vec<_> = self.0.keys().filter(|(_, t)| *t == s).cloned().collect();
        for k in gone {
            self.0.remove(&k);
            if !self.0.keys().any(|(q, _)| *q == k.0) {
                each(&k.0);
            }
        }
    }
    pub fn matches(&self, t: &[u8], each: &mut impl FnMut(u32)) {
        let mut seen = Vec::new();
        for (p, s) in self.0.keys() {
            if t.starts_with(p) && !seen.contains(s) {
                seen.push(*s);
                each(*s);
            }
        }
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
