//! stand-in
#![allow(missing_docs, missing_debug_implementations)]
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
pub mod pipe {
    use super::*;
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Closed;
    #[derive(Debug)]
    pub struct End<T>(std::marker::PhantomData<T>);
    impl<T> End<T> {
        pub fn try_send_batch(&self, _b: &mut VecDeque<T>) -> Result<usize, Closed> {
            Err(Closed)
        }
        pub fn poll_writable(&self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
            Poll::Pending
        }
        pub fn poll_recv_batch(
            &self,
            _cx: &mut Context<'_>,
            _into: &mut VecDeque<T>,
        ) -> Poll<Result<usize, Closed>> {
            Poll::Pending
        }
        pub fn close(&self) {}
    }
}
pub type Parcel = withy_proto::zmtp::Item;
#[derive(Debug)]
pub enum Link {
    Bytes(ByteReader, ByteWriter),
    Messages(pipe::End<Parcel>),
}
#[derive(Debug)]
pub enum ByteReader {
    Tcp(tokio::net::tcp::OwnedReadHalf),
    Ipc(tokio::net::unix::OwnedReadHalf),
}
impl ByteReader {
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        use std::pin::Pin;
        use tokio::io::AsyncRead;
        match self {
            Self::Tcp(r) => Pin::new(r).poll_read(cx, buf),
            Self::Ipc(r) => Pin::new(r).poll_read(cx, buf),
        }
    }
    pub fn poll_read_buf<B: bytes::BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<io::Result<usize>> {
        use std::pin::Pin;
        match self {
            Self::Tcp(r) => tokio_util::io::poll_read_buf(Pin::new(r), cx, buf),
            Self::Ipc(r) => tokio_util::io::poll_read_buf(Pin::new(r), cx, buf),
        }
    }
}
#[derive(Debug)]
pub enum ByteWriter {
    Tcp(tokio::net::tcp::OwnedWriteHalf),
    Ipc(tokio::net::unix::OwnedWriteHalf),
}
impl ByteWriter {
    pub fn try_write_vectored(&self, s: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(w) => w.try_write_vectored(s),
            Self::Ipc(w) => w.try_write_vectored(s),
        }
    }
    pub fn try_write(&self, s: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(w) => w.try_write(s),
            Self::Ipc(w) => w.try_write(s),
        }
    }
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(w) => w.as_ref().poll_write_ready(cx),
            Self::Ipc(w) => w.as_ref().poll_write_ready(cx),
        }
    }
    pub fn shutdown(&self) {}
}
#[derive(Debug, Clone, Default)]
pub struct Peer {
    pub address: String,
    pub credentials: Option<(u32, u32, u32)>,
}
pub struct Connected {
    pub link: Link,
    pub local: String,
    pub peer: Peer,
}
#[derive(Debug, Clone, Default)]
pub struct DialOptions {}
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {}
pub type DialError = io::Error;
pub type ListenError = io::Error;
pub type AcceptError = io::Error;
pub async fn dial(
    endpoint: &withy_proto::Endpoint,
    _o: &DialOptions,
) -> Result<Connected, DialError> {
    let s = tokio::net::TcpStream::connect(endpoint.0.strip_prefix("tcp://").unwrap_or("")).await?;
    Ok(conn(s))
}
fn conn(s: tokio::net::TcpStream) -> Connected {
    let _ = s.set_nodelay(true);
    let a = s.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    let l = s.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let (r, w) = s.into_split();
    Connected {
        link: Link::Bytes(ByteReader::Tcp(r), ByteWriter::Tcp(w)),
        local: l,
        peer: Peer {
            address: a,
            credentials: None,
        },
    }
}
pub struct Listener(tokio::net::TcpListener, withy_proto::Endpoint);
pub async fn listen(
    endpoint: &withy_proto::Endpoint,
    _o: &ListenOptions,
) -> Result<Listener, ListenError> {
    let l = tokio::net::TcpListener::bind(endpoint.0.strip_prefix("tcp://").unwrap_or("")).await?;
    let e = withy_proto::Endpoint(format!("tcp://{}", l.local_addr()?));
    Ok(Listener(l, e))
}
impl Listener {
    pub fn endpoint(&self) -> &withy_proto::Endpoint {
        &self.1
    }
    pub async fn accept(&mut self) -> Result<Connected, AcceptError> {
        Ok(conn(self.0.accept().await?.0))
    }
}
