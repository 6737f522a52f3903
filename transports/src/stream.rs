//! The two halves of a byte stream, without a virtual call per read or write.
//!
//! Reading and writing are polled or tried, never awaited: the driver decides who waits.

use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_util::io::poll_read_buf;

use crate::memory::{MemoryReader, MemoryWriter};
use crate::quic::{QuicReader, QuicWriter};

/// The reading half of a link that carries bytes.
#[derive(Debug)]
pub enum ByteReader {
    /// Of a TCP connection.
    Tcp(tcp::OwnedReadHalf),
    /// Of a Unix domain socket.
    Ipc(unix::OwnedReadHalf),
    /// Of a stream of a QUIC connection. Boxed, since it takes several times the memory of the others.
    Quic(Box<QuicReader>),
    /// Of a link that somebody in this process carries on.
    Memory(MemoryReader),
}

impl ByteReader {
    /// Reads into `buf`; nothing added to it means the end of the stream.
    ///
    /// # Errors
    ///
    /// Any error of the socket; the link is of no more use.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            Self::Ipc(half) => Pin::new(half).poll_read(cx, buf),
            Self::Quic(half) => half.poll_read(cx, buf),
            Self::Memory(half) => half.poll_read(cx, buf),
        }
    }

    /// Reads what has arrived of a link that broke, whether the runtime has noticed it or not; nothing
    /// added to `buf` means the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if there is nothing now, which is always so of links that are no
    /// socket: reading them notices at once. Else any error of the socket.
    pub fn read_left(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let read = {
            let room = buf.initialize_unfilled();
            match self {
                Self::Tcp(half) => (&*SockRef::from((*half).as_ref())).read(room)?,
                Self::Ipc(half) => (&*SockRef::from((*half).as_ref())).read(room)?,
                Self::Quic(_) | Self::Memory(_) => return Err(io::ErrorKind::WouldBlock.into()),
            }
        };
        buf.advance(read);
        Ok(())
    }

    /// Reads into the spare capacity of `buf` without zeroing it first, and returns how many octets.
    ///
    /// 0 means the end of the stream, or no spare capacity.
    ///
    /// # Errors
    ///
    /// Any error of the socket; the link is of no more use.
    pub fn poll_read_buf<B: BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(half) => poll_read_buf(Pin::new(half), cx, buf),
            Self::Ipc(half) => poll_read_buf(Pin::new(half), cx, buf),
            Self::Quic(half) => poll_read_buf(Pin::new(&mut **half), cx, buf),
            Self::Memory(half) => half.poll_read_buf(cx, buf),
        }
    }
}

/// The writing half of a link that carries bytes; dropping it ends the direction.
#[derive(Debug)]
pub enum ByteWriter {
    /// Of a TCP connection.
    Tcp(tcp::OwnedWriteHalf),
    /// Of a Unix domain socket.
    Ipc(unix::OwnedWriteHalf),
    /// Of a stream of a QUIC connection, boxed for the same reason.
    Quic(Box<QuicWriter>),
    /// Of a link that somebody in this process carries on.
    Memory(MemoryWriter),
}

impl ByteWriter {
    /// Writes what the socket takes at once from the front of `slices`, and returns how many octets.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if it takes nothing now; after any other error the link is of
    /// no more use.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Ipc(half) => half.try_write_vectored(slices),
            Self::Quic(half) => half.try_write_vectored(slices),
            Self::Memory(half) => half.try_write_vectored(slices),
        }
    }

    /// Writes what the socket takes at once from the front of `octets`, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::try_write_vectored`].
    pub fn try_write(&self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(octets),
            Self::Ipc(half) => half.try_write(octets),
            Self::Quic(half) => half.try_write(octets),
            Self::Memory(half) => half.try_write_vectored(&[IoSlice::new(octets)]),
        }
    }

    /// Waits until the socket takes something again; only the last task to poll is woken.
    ///
    /// # Errors
    ///
    /// An error of the runtime's reactor, which is shutting down.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(cx),
            Self::Ipc(half) => half.as_ref().poll_write_ready(cx),
            Self::Quic(half) => half.poll_write_ready(cx),
            Self::Memory(half) => half.poll_write_ready(cx),
        }
    }

    /// Ends both directions, as well as the socket lets it be done; a waiting reader wakes up.
    pub fn shutdown(&self) {
        // A socket whose peer is gone refuses this; then there is nothing left to end.
        let _ = match self {
            Self::Tcp(half) => SockRef::from(half.as_ref()).shutdown(Shutdown::Both),
            Self::Ipc(half) => SockRef::from(half.as_ref()).shutdown(Shutdown::Both),
            Self::Quic(half) => {
                half.shutdown();
                Ok(())
            }
            Self::Memory(half) => {
                half.shutdown();
                Ok(())
            }
        };
    }
}

impl From<TcpStream> for crate::Link {
    fn from(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self::Bytes(ByteReader::Tcp(reader), ByteWriter::Tcp(writer))
    }
}

impl From<UnixStream> for crate::Link {
    fn from(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self::Bytes(ByteReader::Ipc(reader), ByteWriter::Ipc(writer))
    }
}
