//! Writing: one holder of the token at a time, no lock held across a write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use withy_proto::Message;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::pipe::Load;
use withy_proto::zmtp::Item;

use super::core::{Core, Sending, Token};
use super::link::{Link, RESUME};
use super::send::ask_to_flush;
use crate::event::Reason;

/// Slices of one vectored write.
const SLICES: usize = 64;

/// An arena that grew past this is not kept once it is empty.
const KEEP: usize = 512 * 1024;

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    Idle,
    /// Somebody else writes, and takes what was added.
    Busy,
    /// The link takes no more for now: wait until it is writable.
    Blocked,
    /// One load was written, and more came meanwhile.
    More,
    /// The link is gone.
    Failed,
}

impl Core {
    /// A sender writes what it and others appended. What is left is the task's.
    pub(crate) fn flush_by_caller(&self, sending: MutexGuard<'_, Sending>, key: PipeKey) {
        match self.flush(sending, key, false) {
            Flushed::Blocked | Flushed::More => ask_to_flush(&mut self.sending.lock(), key),
            Flushed::Idle | Flushed::Busy | Flushed::Failed => {}
        }
    }

    /// Writes one load of a pipe. `release` gives the arena's memory back afterwards.
    pub(crate) fn flush(
        &self,
        mut sending: MutexGuard<'_, Sending>,
        key: PipeKey,
        release: bool,
    ) -> Flushed {
        let (link, mut token) = {
            let halves = &mut *sending;
            let Some(Some(send_link)) = halves.links.get_mut(key.index()) else {
                return Flushed::Failed;
            };
            if send_link.link.key() != key {
                return Flushed::Failed;
            }
            let Some(mut token) = send_link.token.take() else {
                return Flushed::Busy;
            };
            let room;
            match &mut token.load {
                Some(load) => room = halves.out.take_more(key, load),
                None => {
                    let asked = release.then_some(send_link.asked);
                    let spare = std::mem::take(&mut token.spare);
                    (token.load, room) = halves.out.take(key, spare);
                    if let Some(asked) = asked
                        && token.load.is_some()
                    {
                        self.note_delay(asked);
                    }
                }
            }
            if token.load.is_none() {
                send_link.token = Some(token);
                return Flushed::Idle;
            }
            let link = Arc::clone(&send_link.link);
            if room {
                // What waited in the backlog may have moved to pipes.
                self.after_send_by_tasks(sending);
                self.room.notify_waiters();
            } else {
                drop(sending);
            }
            (link, token)
        };
        let most = self.options.batching.write;
        let result = write(&link, &mut token, most, || self.started.elapsed());
        // Where it makes no difference how long ago that was, nobody looks at the clock.
        let wrote = (!self.writes_at_once()).then(Instant::now);
        let mut sending = self.sending.lock();
        let (mut flushed, mut reclaimed) = (Flushed::Idle, false);
        match result {
            Ok(Progress::Done {
                messages,
                size,
                items,
            }) => {
                sending.out.written(key, messages, size);
                sending.budget = 0;
                // Bodies on the heap that a receiver inside the process frees while the sender
                // makes the next: both would wait for the allocator.
                let shares_a_heap = items.capacity() > 0 && size > messages * size_of::<Message>();
                if messages > 64
                    && (shares_a_heap || sending.turn.is_over(wrote.unwrap_or_else(Instant::now)))
                {
                    self.debt.store(true, Ordering::Relaxed);
                }
                if !release {
                    sending.out.keep(key, items);
                }
                if sending.out.is_waiting(key) {
                    flushed = Flushed::More;
                }
            }
            Ok(Progress::Part { messages, size }) => {
                sending.out.written(key, messages, size);
                flushed = Flushed::Blocked;
            }
            Err(error) => {
                link.close(Reason::from_io(&error));
                flushed = Flushed::Failed;
            }
        }
        if link.backed_up.load(Ordering::Relaxed) && sending.out.has_room(key) {
            // Under the lock: no reply can back it up again in between.
            link.backed_up.store(false, Ordering::Relaxed);
            link.paused.store(false, Ordering::Relaxed);
            link.asked.ask(RESUME);
        }
        if release || token.spare.capacity() > KEEP {
            token.spare = Vec::new();
        }
        match sending.links.get_mut(key.index()) {
            Some(Some(send_link)) if send_link.link.key() == key => {
                send_link.token = Some(token);
                send_link.wrote = wrote.unwrap_or(send_link.wrote);
            }
            // The connection ended meanwhile: what was not written finds another peer.
            _ => {
                if let Some(load) = token.load.take() {
                    sending.out.reclaim(load);
                    reclaimed = true;
                }
            }
        }
        if reclaimed {
            self.after_send_by_tasks(sending);
            self.room.notify_waiters();
        } else {
            drop(sending);
        }
        if flushed == Flushed::Idle && self.flushing.load(Ordering::Relaxed) {
            self.drained.notify_waiters();
        }
        flushed
    }
}

enum Progress {
    Done {
        messages: usize,
        size: usize,
        /// The memory of what was handed over.
        items: VecDeque<Item>,
    },
    Part {
        messages: usize,
        size: usize,
    },
}

/// Writes a load, no more than `most` octets at a time.
fn write(
    link: &Link,
    token: &mut Token,
    most: usize,
    now: impl FnOnce() -> Duration,
) -> io::Result<Progress> {
    match &mut token.load {
        None => Ok(Progress::Done {
            messages: 0,
            size: 0,
            items: VecDeque::new(),
        }),
        Some(Load::Items {
            items,
            messages,
            size,
        }) => {
            let taken = link.try_send(items, *size);
            // Asked first: what leaves in between is among what has left.
            let done = items.is_empty() && taken.is_ok() && link.is_drained();
            let left = link.unsent(*messages, items);
            if done {
                let done = Progress::Done {
                    messages: *messages,
                    size: *size,
                    items: std::mem::take(items),
                };
                token.load = None;
                return Ok(done);
            }
            // What was taken counts as on its way until it has left, and something does until all has.
            let gone = *messages - left;
            let part = *size / (*messages).max(1) * gone;
            let part = part.min(size.saturating_sub(1));
            *messages = left;
            *size -= part;
            match taken {
                Ok(_) => Ok(Progress::Part {
                    messages: gone,
                    size: part,
                }),
                Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Some(Load::Batch(batch)) => {
            let result = batch
                .seal(&mut token.sealer, now)
                .map_err(io::Error::other)
                .and_then(|()| {
                    while !batch.is_done() {
                        let written = match batch.as_slice() {
                            Some(octets) => {
                                let octets = &octets[..octets.len().min(most)];
                                link.try_write(&[IoSlice::new(octets)])
                            }
                            None => {
                                let mut slices = [IoSlice::new(&[]); SLICES];
                                let filled = batch.slices(&mut slices, most);
                                link.try_write(&slices[..filled])
                            }
                        };
                        match written {
                            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                            Ok(written) => batch.advance(written),
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                return Ok(false);
                            }
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(true)
                });
            match result {
                Ok(true) => {
                    let (messages, size) = (batch.messages(), batch.size());
                    if let Some(Load::Batch(batch)) = token.load.take() {
                        token.spare = batch.into_spare();
                    }
                    Ok(Progress::Done {
                        messages,
                        size,
                        items: VecDeque::new(),
                    })
                }
                Ok(false) => {
                    batch.part_with_others();
                    Ok(Progress::Part {
                        messages: 0,
                        size: 0,
                    })
                }
                Err(error) => Err(error),
            }
        }
    }
}
