//! The read buffers of the process, lent to whoever reads.
//!
//! An idle socket holds none, so a thousand idle sockets cost nothing here.

use parking_lot::Mutex;

/// The length of a lent buffer; it grows to [`LARGE`] for peers that fill it.
pub(crate) const SMALL: usize = 64 * 1024;
/// See [`SMALL`].
pub(crate) const LARGE: usize = 256 * 1024;

/// Buffers that are kept for the next reader.
const KEPT: usize = 16;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer of at least [`SMALL`] octets.
pub(crate) fn lend() -> Vec<u8> {
    POOL.lock().pop().unwrap_or_else(|| vec![0; SMALL])
}

/// Takes a buffer back, and leaves an empty one.
pub(crate) fn give_back(buffer: &mut Vec<u8>) {
    let buffer = std::mem::take(buffer);
    if (SMALL..=LARGE).contains(&buffer.len()) {
        let mut pool = POOL.lock();
        if pool.len() < KEPT {
            pool.push(buffer);
        }
    }
}
