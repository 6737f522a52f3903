//! The memory of long bodies, kept for the next ones.
//!
//! An allocator returns such memory to the system and faults it in again, page by page and zeroed, at
//! several times the cost of the copy into it; and it frees it on another thread than it was taken on,
//! which costs a lock as well. So who drops the last of a body gives its memory back here.
//!
//! Invariant: at most [`KEPT`] octets are here, in classes of which four make an octave, so that a
//! buffer is at most a quarter longer than its body.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Shorter bodies are the allocator's, which has them at hand.
const SHORTEST: usize = 4 * 1024;
/// Longer ones as well: a few of them would be all that is kept.
const LONGEST: usize = 4 * 1024 * 1024;
/// The most octets that the process keeps: 16 MiB.
const KEPT: usize = 16 * 1024 * 1024;

/// The most buffers that make room for one.
const MOST_GIVEN_UP: usize = 64;

/// Classes in an octave.
const STEPS: usize = 4;
const CLASSES: usize = STEPS * (LONGEST / SHORTEST).ilog2() as usize + 1;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

struct Pool {
    classes: [Vec<Vec<u8>>; CLASSES],
    kept: usize,
    /// Where room was made last.
    hand: usize,
}

impl Pool {
    const fn new() -> Self {
        Self {
            classes: [const { Vec::new() }; CLASSES],
            kept: 0,
            hand: 0,
        }
    }

    fn take(&mut self, class: usize) -> Option<Vec<u8>> {
        let buffer = self.classes[class].pop()?;
        self.kept -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps a buffer if there is room, for which some of other classes may go; gives back what is not kept.
    fn keep(&mut self, class: usize, buffer: Vec<u8>) -> Vec<Vec<u8>> {
        let mut given_up = Vec::new();
        while self.kept + buffer.capacity() > KEPT {
            // The lock is not held for long: what is still too much goes with the next that come.
            let other = (given_up.len() < MOST_GIVEN_UP).then(|| self.evict(class));
            let Some(other) = other.flatten() else {
                given_up.push(buffer);
                return given_up;
            };
            given_up.push(other);
        }
        self.kept += buffer.capacity();
        self.classes[class].push(buffer);
        given_up
    }

    /// Takes a buffer of another class, of one after the other.
    fn evict(&mut self, class: usize) -> Option<Vec<u8>> {
        for _ in 0..CLASSES {
            self.hand = (self.hand + 1) % CLASSES;
            if self.hand != class
                && let Some(buffer) = self.take(self.hand)
            {
                return Some(buffer);
            }
        }
        None
    }
}

fn pool() -> MutexGuard<'static, Pool> {
    // Nothing in here panics half way.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first class whose buffers hold `octets`, and their capacity; `None` for what is the allocator's.
fn class_for(octets: usize) -> Option<(usize, usize)> {
    if !(SHORTEST..=LONGEST).contains(&octets) {
        return None;
    }
    let octave = (octets - 1).max(SHORTEST).ilog2();
    let step = (1 << octave) / STEPS;
    let steps = octets.div_ceil(step);
    let class = STEPS * (octave - SHORTEST.ilog2()) as usize + steps - STEPS;
    Some((class, steps * step))
}

/// An empty buffer for a body of so many octets, which it holds without growing.
pub(crate) fn take(octets: usize) -> Vec<u8> {
    let Some((class, capacity)) = class_for(octets) else {
        return Vec::with_capacity(octets);
    };
    let kept = pool().take(class);
    kept.unwrap_or_else(|| Vec::with_capacity(capacity))
}

/// Makes room for so many more octets in a buffer.
pub(crate) fn grow(buffer: &mut Vec<u8>, more: usize) {
    let octets = buffer.len() + more;
    if octets > LONGEST {
        // The system moves pages without a copy.
        buffer.reserve_exact(more);
    } else {
        let mut grown = take(octets);
        grown.extend_from_slice(buffer);
        give_back(std::mem::replace(buffer, grown));
    }
}

/// Makes a body of a buffer, whose memory comes back once nobody has the body any more.
pub(crate) fn body(buffer: Vec<u8>) -> Bytes {
    match class_for(buffer.capacity()) {
        Some(_) => Bytes::from_owner(Lent(buffer)),
        None => buffer.into(),
    }
}

/// Copies a body.
pub(crate) fn copy(octets: &[u8]) -> Bytes {
    if octets.len() < SHORTEST {
        return Bytes::copy_from_slice(octets);
    }
    let mut buffer = take(octets.len());
    buffer.extend_from_slice(octets);
    body(buffer)
}

/// The memory of a body.
struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

/// Takes a buffer back.
fn give_back(mut buffer: Vec<u8>) {
    // What was not taken here may be no whole member of its class.
    if let Some((class, capacity)) = class_for(buffer.capacity())
        && capacity == buffer.capacity()
    {
        buffer.clear();
        let given_up = pool().keep(class, buffer);
        // Not under the lock: it may go to the system.
        drop(given_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(octets: usize) -> (usize, usize) {
        class_for(octets).unwrap()
    }

    #[test]
    fn classes_follow_each_other_and_waste_a_quarter_at_most() {
        assert_eq!(
            (class_for(SHORTEST - 1), class_for(LONGEST + 1)),
            (None, None)
        );
        assert_eq!(class(SHORTEST), (0, SHORTEST));
        assert_eq!(class(LONGEST), (CLASSES - 1, LONGEST));
        let mut last = (0, SHORTEST);
        let step = if cfg!(miri) { 4_099 } else { 1 };
        for octets in (SHORTEST..=LONGEST).step_by(step) {
            let (number, capacity) = class(octets);
            assert!(
                capacity >= octets && capacity - octets < octets.div_ceil(4),
                "{octets}"
            );
            let is_next = number == last.0 + 1 && (step > 1 || octets == last.1 + 1);
            assert!(number == last.0 || is_next, "{octets}");
            assert_eq!(class(capacity), (number, capacity));
            last = (number, capacity);
        }
    }

    #[test]
    fn a_buffer_comes_back_and_others_make_room_for_it() {
        let mut pool = Pool::new();
        let (number, capacity) = class(100_000);
        assert_eq!(pool.take(number), None);
        assert!(pool.keep(number, Vec::with_capacity(capacity)).is_empty());
        assert_eq!(pool.kept, capacity);
        assert_eq!(pool.take(number).map(|it| it.capacity()), Some(capacity));
        assert_eq!(pool.kept, 0);

        // Full of small ones, which go a few at a time.
        while pool.keep(0, Vec::with_capacity(SHORTEST)).is_empty() {}
        assert_eq!(pool.kept, KEPT);
        let longest = || Vec::with_capacity(LONGEST);
        let mut most = 0;
        while !pool.classes[0].is_empty() {
            most = most.max(pool.keep(CLASSES - 1, longest()).len());
            assert!(pool.kept <= KEPT);
        }
        assert_eq!(most, MOST_GIVEN_UP + 1);
        assert_eq!(pool.classes[CLASSES - 1].len(), KEPT / LONGEST);
        // Of its own class none makes room.
        assert_eq!(pool.keep(CLASSES - 1, longest()).len(), 1);
    }

    #[test]
    fn who_drops_the_last_of_a_body_gives_its_memory_back() {
        // A class that no other test uses.
        let octets = class(3 * 1024 * 1024 - 5).1;
        let text = vec![7; octets];
        let one = copy(&text);
        let at = one.as_ptr();
        let other = one.slice(1..);
        drop(one);
        assert!(pool().classes[class(octets).0].is_empty());
        drop(other);
        let again = take(octets);
        assert_eq!(
            (again.as_ptr(), again.len(), again.capacity()),
            (at, 0, octets)
        );
    }

    #[test]
    fn a_body_says_what_was_copied() {
        for octets in [
            0,
            1,
            SHORTEST - 1,
            SHORTEST,
            5_000,
            70_000,
            LONGEST,
            LONGEST + 1,
        ] {
            let text: Vec<u8> = (0..octets).map(|at| at as u8).collect();
            let body = copy(&text);
            assert_eq!(body, text);
            drop(body);
            assert_eq!(copy(&text).slice(octets / 2..), text[octets / 2..]);
        }
    }
}
