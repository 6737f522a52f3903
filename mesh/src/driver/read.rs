//! Reading a link once: octets into the lent buffer, or items of a link inside the process.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::BufMut;
use tokio::io::ReadBuf;
use withy_proto::Message;
use withy_proto::SocketType;
use withy_proto::pattern::PipeKey;
use withy_proto::zmtp::{DecodeError, Item};
use withy_transports::ByteReader;

use super::buffer;
use super::core::{Core, Current, ReceiveLink, Receiving};
use super::link::Reader;
use super::receive::receive_link;
use crate::event::Reason;

/// Octets that a round over all readable pipes takes, at about; a pipe gets its share of
/// it in one turn, so that none waits long for the next.
const ROUND: usize = 1024 * 1024;
/// The least that a pipe gets in one turn.
const TURN: usize = 4 * 1024;

/// Octets of a body that are read at a time of a link that broke.
const LEFT: usize = 4 * 1024;

/// Octets read that count as one receive.
const COUNTED: usize = 1024;

/// What a read of a pipe brought.
pub(super) enum Read {
    /// Octets.
    Some(usize),
    /// Items that were supplied.
    Items,
    /// Nothing for now; the waker is registered.
    Pending,
    /// Nothing any more.
    Ended,
}

/// Octets that a pipe may give in one turn, with `others` in the rotation.
pub(super) fn share(others: usize) -> usize {
    (ROUND / (others + 1)).max(TURN)
}

/// Reads of a link that broke what has arrived, some of it at a time.
fn read_left(reader: &mut ByteReader, body: &mut impl BufMut) -> Poll<io::Result<usize>> {
    let mut piece = [0; LEFT];
    let room = body.remaining_mut().min(LEFT);
    let mut piece = ReadBuf::new(&mut piece[..room]);
    or_pending(reader.read_left(&mut piece)).map_ok(|()| {
        body.put_slice(piece.filled());
        piece.filled().len()
    })
}

fn or_pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl Core {
    /// Reads a pipe once, into the buffer (which must be free) or into the frame under way.
    /// Pending means that the waker of `cx` is registered.
    pub(super) fn read(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        cx: &mut Context<'_>,
    ) -> Read {
        let Receiving {
            inc,
            links,
            buffer,
            current,
            rotation,
            ..
        } = receiving;
        let most = self.options.batching.read;
        let turn = share(rotation.len()).min(most);
        let Some(Some(receive_link)) = links.get_mut(key.index()) else {
            return Read::Ended;
        };
        // Before the read: what comes afterwards is noted again.
        receive_link.link.catch_up();
        receive_link.had_turn = true;
        let by_items = matches!(receive_link.reader, Reader::Items { .. });
        let broken = receive_link.broken;
        let mut unsound = None;
        let mut ended = None;
        let polled = match &mut receive_link.reader {
            Reader::Items { end, first } => match inc.supply(key) {
                Some(items) if !first.is_empty() => {
                    items.append(first);
                    Poll::Ready(Ok(items.len()))
                }
                Some(items) => match end.poll_recv(cx, items) {
                    Poll::Ready(Err(reason)) => {
                        ended = Some(reason);
                        Poll::Ready(Ok(0))
                    }
                    Poll::Ready(Ok(read)) => Poll::Ready(Ok(read)),
                    Poll::Pending => Poll::Pending,
                },
                None => return Read::Ended,
            },
            Reader::Bytes(reader) => {
                let Some(decoder) = inc.decoder(key) else {
                    return Read::Ended;
                };
                // The runtime's own budget counts messages, ours counts them too; one is enough.
                let mut read = |cx: &mut Context<'_>| {
                    let unopened = decoder.unopened().len();
                    if let Some(body) = decoder.body() {
                        let mut body = body.limit(most);
                        let polled = match reader.poll_read_buf(cx, &mut body) {
                            Poll::Pending if broken => read_left(reader, &mut body),
                            polled => polled,
                        };
                        if matches!(polled, Poll::Ready(Ok(1..))) {
                            *current = Some(Current {
                                key,
                                start: 0,
                                end: 0,
                            });
                        }
                        return polled;
                    }
                    let tail = decoder.unstash();
                    if buffer.is_empty() {
                        *buffer = buffer::lend();
                    }
                    if std::mem::take(&mut receive_link.undecoded) && !tail.is_empty() {
                        // Whole frames may stand here: they come before anything that is read.
                        *current = Some(Current {
                            key,
                            start: 0,
                            end: tail.len(),
                        });
                        buffer.resize(buffer.len().max(tail.len()), 0);
                        buffer[..tail.len()].copy_from_slice(&tail);
                        return Poll::Ready(Ok(tail.len()));
                    }
                    let from = tail.len() + unopened;
                    if unopened > 0 && buffer.len() < buffer::LARGE {
                        // A whole record has to fit behind the tail.
                        buffer.resize(buffer::LARGE, 0);
                    }
                    buffer[..tail.len()].copy_from_slice(&tail);
                    buffer[tail.len()..from].copy_from_slice(decoder.unopened());
                    let end = buffer.len().min(from + turn);
                    let mut room = ReadBuf::new(&mut buffer[from..end]);
                    let polled = match reader.poll_read(cx, &mut room) {
                        Poll::Pending if broken => or_pending(reader.read_left(&mut room)),
                        polled => polled,
                    };
                    match polled {
                        Poll::Ready(Ok(())) => {
                            let read = room.filled().len();
                            let full = room.remaining() == 0;
                            if read == 0 {
                                decoder.stash(&tail);
                            } else {
                                match decoder.open(&mut buffer[tail.len()..from + read]) {
                                    Ok(opened) => {
                                        *current = Some(Current {
                                            key,
                                            start: 0,
                                            end: tail.len() + opened,
                                        });
                                    }
                                    Err(error) => unsound = Some(error),
                                }
                                if full && end == buffer.len() && buffer.len() < buffer::LARGE {
                                    buffer.resize(buffer::LARGE, 0);
                                }
                            }
                            Poll::Ready(Ok(read))
                        }
                        polled => {
                            decoder.stash(&tail);
                            polled.map_ok(|()| 0)
                        }
                    }
                };
                let polled = pin!(tokio::task::unconstrained(std::future::poll_fn(|_| read(
                    cx
                ))));
                polled.poll(&mut Context::from_waker(Waker::noop()))
            }
        };
        match polled {
            Poll::Pending => Read::Pending,
            Poll::Ready(Ok(read @ 1..)) => {
                if let Some(error) = unsound {
                    self.break_off(receiving, key, error);
                    return Read::Ended;
                }
                receive_link.link.hear();
                receiving.budget += (read / COUNTED) as u32;
                if by_items {
                    return Read::Items;
                }
                if self.options.rate.octets.is_some() {
                    self.charge(receiving, key, 0, read as u64);
                }
                Read::Some(read)
            }
            Poll::Ready(Ok(0)) => {
                self.end_reading(receiving, key, ended.unwrap_or(Reason::PeerClosed));
                Read::Ended
            }
            Poll::Ready(Err(error)) => {
                self.end_reading(receiving, key, Reason::from_io(&error));
                Read::Ended
            }
        }
    }

    /// Reads the commands of a pipe whose messages have no room, where these do not wait for them. The
    /// waker of `cx` is registered for more.
    pub(super) fn read_commands(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        cx: &mut Context<'_>,
    ) {
        let Some(ReceiveLink {
            reader: Reader::Items { end, .. },
            link,
            ended: false,
            ..
        }) = receive_link(receiving, key)
        else {
            return;
        };
        let mut commands = VecDeque::new();
        let read = end.poll_commands(cx, &mut commands);
        if !commands.is_empty() {
            link.hear();
        }
        for item in commands {
            if let Item::Command(command) = item
                && let Some(event) = receiving.inc.command(*command)
            {
                self.supplied(receiving, key, event, &Message::new());
            }
        }
        match read {
            // Its messages that arrived are read when the link ends.
            Err(reason) if reason.is_loss() => {
                if let Some(receive_link) = receive_link(receiving, key) {
                    receive_link.link.close(reason);
                }
            }
            Err(reason) => self.end_reading(receiving, key, reason),
            Ok(()) => {}
        }
    }

    /// Whether a REP's peer has to read replies before it may ask more. The task resumes the
    /// pipe when it did.
    #[inline]
    pub(super) fn is_backed_up(&self, receiving: &mut Receiving, key: PipeKey) -> bool {
        self.kind == SocketType::Rep
            && receive_link(receiving, key)
                .is_some_and(|receive_link| receive_link.link.backed_up.load(Ordering::Relaxed))
    }

    /// Charges a peer for what it sent.
    pub(super) fn charge(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        messages: u64,
        octets: u64,
    ) {
        let now = self.started.elapsed();
        if let Some(bucket) = receive_link(receiving, key).and_then(|link| link.bucket.as_mut()) {
            bucket.charge(messages, octets, now);
        }
    }

    /// Whether a peer is over its rate limit. Its task then wakes the pipe when the rest is over.
    pub(super) fn rests(&self, receiving: &mut Receiving, key: PipeKey) -> bool {
        let Some(receive_link) = receive_link(receiving, key) else {
            return false;
        };
        let Some(rest) = receive_link
            .bucket
            .as_ref()
            .and_then(|bucket| bucket.rest(self.started.elapsed()))
        else {
            return false;
        };
        receive_link.link.paused.store(true, Ordering::Relaxed);
        receive_link.link.rest(rest);
        true
    }

    /// The rest of a peer that was over its rate limit is over.
    pub(crate) fn rested(&self, key: PipeKey) {
        if let Some(receive_link) = receive_link(&mut self.receiving.lock(), key) {
            receive_link.link.paused.store(false, Ordering::Relaxed);
            receive_link.waker.wake_by_ref();
        }
    }

    /// The peer broke the protocol or a limit.
    pub(super) fn break_off(&self, receiving: &mut Receiving, key: PipeKey, error: DecodeError) {
        self.end_reading(receiving, key, Reason::Protocol(error));
    }

    /// Nothing more comes from a pipe; its connection ends.
    pub(super) fn end_reading(&self, receiving: &mut Receiving, key: PipeKey, reason: Reason) {
        if let Some(receive_link) = receive_link(receiving, key) {
            receive_link.ended = true;
            receive_link.link.close(reason);
        }
    }
}
