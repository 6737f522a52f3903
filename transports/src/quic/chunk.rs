//! Octets of a batch that quinn takes over, without a copy of its own.
//!
//! Large bodies go as they are. What is small is gathered, since quinn searches what was sent piece by
//! piece; the buffers that it is gathered in are used again, since the system's allocator gives memory
//! of this size back at once, only to ask for it again.

use bytes::Bytes;
use parking_lot::Mutex;
use withy_proto::zmtp::{Batch, Run};

/// Octets that are gathered.
const SIZE: usize = 64 * 1024;

/// Less than this has memory of its own, of its size: all of a buffer waits until the peer has what is in
/// it.
const SMALL: usize = SIZE / 2;

/// Buffers that are kept for the next: 4 MiB, which is what one connection has under way.
const KEPT: usize = 64;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What is next of a batch; empty when nothing is.
pub(super) fn next(batch: &Batch) -> Bytes {
    match batch.run() {
        None => Bytes::new(),
        Some(Run::Body(body)) => body,
        Some(Run::Frames(octets)) if octets.len() < SMALL => Bytes::copy_from_slice(octets),
        Some(Run::Frames(octets)) => {
            let mut buffer = Buffer(FREE.lock().pop().unwrap_or_default());
            buffer.0.reserve_exact(SIZE);
            buffer
                .0
                .extend_from_slice(&octets[..octets.len().min(SIZE)]);
            Bytes::from_owner(buffer)
        }
    }
}

struct Buffer(Vec<u8>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut free = FREE.lock();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use withy_proto::Message;
    use withy_proto::zmtp::{Framing, Outbox};

    use super::*;

    /// What was gathered in a buffer is not to be had as memory of its own.
    #[test]
    fn a_buffer_is_used_where_most_of_it_is() {
        for (messages, own) in [(1, true), (30, true), (40, false), (80, false)] {
            let mut outbox = Outbox::new(Framing::Clear);
            for _ in 0..messages {
                outbox.push(&Message::from([7; 1_000]));
            }
            let batch = outbox.take(Vec::new());
            let next = next(&batch);
            let size = next.len();
            assert!(size > messages * 1_000 || size == SIZE);
            assert_eq!(next.try_into_mut().is_ok(), own, "{size} octets");
        }
    }
}
