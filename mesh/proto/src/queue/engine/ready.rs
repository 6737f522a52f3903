//! The messages in line, by priority and number.

use std::collections::BTreeSet;

use super::super::options::Priority;

/// The line.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// By the number of the priority.
    lines: [BTreeSet<u64>; Priority::COUNT],
    len: usize,
    octets: usize,
}

impl Ready {
    pub(super) fn insert(&mut self, priority: Priority, id: u64, cost: usize) {
        if self.lines[usize::from(priority.number())].insert(id) {
            self.len += 1;
            self.octets += cost;
        }
    }

    pub(super) fn remove(&mut self, priority: Priority, id: u64, cost: usize) {
        if self.lines[usize::from(priority.number())].remove(&id) {
            self.len -= 1;
            self.octets -= cost;
        }
    }

    /// What goes next.
    pub(super) fn first(&self) -> Option<(Priority, u64)> {
        let lines = self.lines.iter().enumerate().rev();
        let mut firsts = lines.filter_map(|(number, line)| Some((number, *line.first()?)));
        let (number, id) = firsts.next()?;
        Some((Priority::new(number as u8), id))
    }

    /// The oldest of the lowest priority.
    pub(super) fn last_in_line(&self) -> Option<u64> {
        self.lines.iter().find_map(|line| line.first().copied())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }
}
