//! Links of octets that somebody in this process carries on, by whatever way: with them, what shakes hands
//! over a socket does so over messages of another connection.
//!
//! ```text
//!  reader, writer <══ a pipe of chunks ══> Far, which takes and gives them
//! ```
//!
//! Invariant: in each direction at most [`ROOM`] chunks of [`CHUNK`] octets wait.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::pipe::{self, Closed, End};
use crate::{ByteReader, ByteWriter, Link};

/// The most octets of a chunk: 32 KiB.
pub const CHUNK: usize = 32 * 1024;

/// The most chunks that wait in one direction.
const ROOM: usize = 8;

/// A link, and its far end. Whoever has that carries the octets on, and ends the link by dropping it.
pub fn link() -> (Link, Far) {
    let (near, far) = pipe::pair(ROOM, ROOM);
    let near = Arc::new(near);
    let reader = MemoryReader {
        end: Arc::clone(&near),
        chunks: VecDeque::new(),
    };
    let writer = MemoryWriter { end: near };
    let link = Link::Bytes(ByteReader::Memory(reader), ByteWriter::Memory(writer));
    (link, Far(far))
}

/// The far end of a link.
#[derive(Debug)]
pub struct Far(End<Bytes>);

impl Far {
    /// Waits for chunks that were written, and appends them.
    ///
    /// # Errors
    /// The link was ended; all that was written before has been taken.
    pub fn poll_take(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, Closed>> {
        self.0.poll_recv_batch(cx, into)
    }

    /// Gives the first of these chunks to the reader, waiting until there is room for some.
    ///
    /// # Errors
    /// The link was ended.
    pub fn poll_give(
        &self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), Closed>> {
        ready!(self.0.poll_writable(cx))?;
        self.0.try_send_batch(chunks)?;
        Poll::Ready(Ok(()))
    }

    /// Ends the link: what was given can still be read.
    pub fn close(&self) {
        self.0.close();
    }
}

/// The reading half of a link.
#[derive(Debug)]
pub struct MemoryReader {
    end: Arc<End<Bytes>>,
    /// What was taken from the pipe and not read yet.
    chunks: VecDeque<Bytes>,
}

impl MemoryReader {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_buf(cx, buf).map_ok(drop)
    }

    pub(crate) fn poll_read_buf<B: BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<io::Result<usize>> {
        // As from a socket: no buffer grows because of what there is to read.
        let mut room = match buf.has_remaining_mut() {
            true => buf.chunk_mut().len(),
            false => return Poll::Ready(Ok(0)),
        };
        if self.chunks.is_empty() && ready!(self.end.poll_recv_batch(cx, &mut self.chunks)).is_err()
        {
            return Poll::Ready(Ok(0));
        }
        let mut read = 0;
        while let Some(first) = self.chunks.front_mut()
            && room > 0
        {
            let count = first.len().min(room);
            buf.put_slice(&first[..count]);
            first.advance(count);
            read += count;
            room -= count;
            if first.is_empty() {
                self.chunks.pop_front();
            }
        }
        Poll::Ready(Ok(read))
    }
}

impl Drop for MemoryReader {
    /// Nobody reads any more, and so the link is of no use.
    fn drop(&mut self) {
        self.end.close();
    }
}

/// The writing half of a link.
#[derive(Debug)]
pub struct MemoryWriter {
    end: Arc<End<Bytes>>,
}

impl MemoryWriter {
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length == 0 {
            return Ok(0);
        }
        let mut chunk = BytesMut::with_capacity(length.min(CHUNK));
        for slice in slices {
            let room = CHUNK - chunk.len();
            chunk.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let length = chunk.len();
        let mut batch = VecDeque::from([chunk.freeze()]);
        match self.end.try_send_batch(&mut batch).map_err(broken)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(length),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.end.poll_writable(cx).map_err(broken)
    }

    /// Ends both directions; what was written can still be taken.
    pub(crate) fn shutdown(&self) {
        self.end.close();
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.end.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn halves() -> (ByteReader, ByteWriter, Far) {
        match link() {
            (Link::Bytes(reader, writer), far) => (reader, writer, far),
            (Link::Messages(_), _) => unreachable!("it is a link of octets"),
        }
    }

    async fn read(reader: &mut ByteReader) -> Vec<u8> {
        let mut octets = [0; 7];
        let mut buffer = ReadBuf::new(&mut octets);
        poll_fn(|cx| reader.poll_read(cx, &mut buffer))
            .await
            .unwrap();
        buffer.filled().to_vec()
    }

    #[tokio::test]
    async fn octets_pass_in_order_and_the_end_comes_after_them() {
        let (mut reader, writer, far) = halves();
        let slices = [IoSlice::new(b"hello"), IoSlice::new(b", world")];
        assert_eq!(writer.try_write_vectored(&slices).unwrap(), 12);
        let mut chunks = VecDeque::new();
        poll_fn(|cx| far.poll_take(cx, &mut chunks)).await.unwrap();
        assert_eq!(chunks, ["hello, world"]);
        poll_fn(|cx| far.poll_give(cx, &mut chunks)).await.unwrap();
        far.close();
        assert_eq!(read(&mut reader).await, b"hello, ");
        assert_eq!(read(&mut reader).await, b"world");
        assert!(read(&mut reader).await.is_empty());
        let error = writer.try_write(b"late").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_writer_waits_for_who_takes() {
        let (reader, writer, far) = halves();
        let large = vec![7; CHUNK + 1];
        for _ in 0..ROOM {
            assert_eq!(writer.try_write(&large).unwrap(), CHUNK);
        }
        let error = writer.try_write(&large).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut chunks = VecDeque::new();
        poll_fn(|cx| far.poll_take(cx, &mut chunks)).await.unwrap();
        assert_eq!(chunks.len(), ROOM);
        poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
        writer.try_write(b"rest").unwrap();
        // What was written before the end is taken.
        writer.shutdown();
        chunks.clear();
        poll_fn(|cx| far.poll_take(cx, &mut chunks)).await.unwrap();
        assert_eq!(chunks, ["rest"]);
        assert_eq!(
            poll_fn(|cx| far.poll_take(cx, &mut chunks)).await,
            Err(Closed)
        );
        drop(reader);
    }
}
