//! A hand-made ZMTP peer over TCP, which says exactly what a test tells it to, right or wrong.
//!
//! It shares no code with Withy's codec: a mistake there cannot cancel out here. It speaks NULL
//! in clear; what travels inside a secure mechanism is the test's to make.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// More frames of the message follow.
pub const MORE: u8 = 1;
/// The size has eight octets.
pub const LONG: u8 = 2;
/// The frame is a command.
pub const COMMAND: u8 = 4;

/// How long the other side may take for what is expected of it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A greeting of ZMTP 3 to start from: RFC 37 §3.2.
pub fn greeting(minor: u8, mechanism: &str, as_server: bool) -> [u8; 64] {
    let mut octets = [0; 64];
    octets[0] = 0xff;
    octets[9] = 0x7f;
    octets[10] = 3;
    octets[11] = minor;
    octets[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    octets[32] = as_server.into();
    octets
}

/// A frame of the flags as given, with a size that fits them.
///
/// # Panics
/// The body is over 255 octets and [`LONG`] is not set.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    [&header(flags, body.len() as u64)[..], body].concat()
}

/// The head of a frame that claims a size.
///
/// # Panics
/// The size is over 255 and [`LONG`] is not set.
pub fn header(flags: u8, size: u64) -> Vec<u8> {
    if flags & LONG != 0 {
        [&[flags][..], &size.to_be_bytes()].concat()
    } else {
        vec![flags, u8::try_from(size).expect("a short size")]
    }
}

/// The frames of a message, short ones short.
pub fn message(frames: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, body) in frames.iter().enumerate() {
        let more = if index + 1 < frames.len() { MORE } else { 0 };
        octets.extend(fitting(more, body.as_ref()));
    }
    octets
}

/// A command frame.
pub fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let body = [&[name.len() as u8], name.as_bytes(), data].concat();
    fitting(COMMAND, &body)
}

fn fitting(flags: u8, body: &[u8]) -> Vec<u8> {
    let long = if body.len() > 255 { LONG } else { 0 };
    frame(flags | long, body)
}

/// A READY command with any properties, in order.
pub fn ready(properties: &[(&str, &[u8])]) -> Vec<u8> {
    command("READY", &metadata(properties))
}

/// The body of properties, as in READY.
pub fn metadata(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (name, value) in properties {
        octets.push(name.len() as u8);
        octets.extend_from_slice(name.as_bytes());
        octets.extend_from_slice(&(value.len() as u32).to_be_bytes());
        octets.extend_from_slice(value);
    }
    octets
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// As on the wire.
    pub flags: u8,
    /// As on the wire.
    pub body: Vec<u8>,
}

impl Frame {
    /// The name and the data of a command; `None` if it is a message frame or malformed.
    pub fn command(&self) -> Option<(&[u8], &[u8])> {
        let (&len, rest) = self.body.split_first()?;
        if self.flags & COMMAND == 0 {
            return None;
        }
        rest.split_at_checked(len.into())
    }
}

/// A place where sockets under test connect to.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn bind() -> io::Result<Self> {
        TcpListener::bind("127.0.0.1:0").await.map(Self)
    }

    /// Where to connect to.
    ///
    /// # Errors
    /// The operating system's.
    pub fn endpoint(&self) -> io::Result<String> {
        Ok(format!("tcp://{}", self.0.local_addr()?))
    }

    /// The next connection.
    ///
    /// # Errors
    /// None came within [`DEADLINE`], or the operating system's.
    pub async fn accept(&self) -> io::Result<Peer> {
        let (stream, _) = timeout(DEADLINE, self.0.accept()).await??;
        Peer::new(stream)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// Octets that came and nobody asked for yet.
    unread: Vec<u8>,
}

impl Peer {
    /// Connects to an endpoint (`tcp://127.0.0.1:5555`).
    ///
    /// # Errors
    /// Not such an endpoint, or the operating system's.
    pub async fn connect(endpoint: &str) -> io::Result<Self> {
        let address = endpoint.strip_prefix("tcp://").unwrap_or(endpoint);
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        Self::new(timeout(DEADLINE, TcpStream::connect(address)).await??)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        // Else octets sent one by one would travel together.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Our end of the connection, by which the other side's events name this peer.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<String> {
        Ok(self.stream.local_addr()?.to_string())
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// The other side has closed, or reads nothing for [`DEADLINE`].
    pub async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(DEADLINE, self.stream.write_all(octets)).await?
    }

    /// Sends octets one by one, each a segment of its own, and lets others run in between.
    ///
    /// # Errors
    /// As [`Peer::send`].
    pub async fn dribble(&mut self, octets: &[u8]) -> io::Result<()> {
        for octet in octets {
            self.send(&[*octet]).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Does the whole of a NULL handshake as a socket type; returns the other side's READY.
    ///
    /// # Errors
    /// The other side closes, says something else or nothing.
    pub async fn handshake(&mut self, socket_type: &str) -> io::Result<Frame> {
        self.send(&greeting(1, "NULL", false)).await?;
        self.exactly(64).await?;
        let ready = ready(&[("Socket-Type", socket_type.as_bytes())]);
        self.send(&ready).await?;
        let frame = self.frame().await?;
        match frame.command() {
            Some((b"READY", _)) => Ok(frame),
            _ => Err(io::Error::other(format!("no READY: {frame:?}"))),
        }
    }

    /// The next octets, so many.
    ///
    /// # Errors
    /// The other side closes before, or takes longer than [`DEADLINE`].
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let enough = async {
            while self.unread.len() < count {
                if self.stream.read_buf(&mut self.unread).await? == 0 {
                    let text = format!("closed after {:02x?}", self.unread);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
            Ok(())
        };
        timeout(DEADLINE, enough).await??;
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// The next octets must be these.
    ///
    /// # Errors
    /// They are others, too few or too late.
    pub async fn expect(&mut self, octets: &[u8]) -> io::Result<()> {
        let came = self.exactly(octets.len()).await?;
        if came == octets {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{came:02x?} instead of {octets:02x?}"
        )))
    }

    /// The next frame.
    ///
    /// # Errors
    /// As [`Peer::exactly`].
    pub async fn frame(&mut self) -> io::Result<Frame> {
        let flags = self.exactly(1).await?[0];
        let size = if flags & LONG == 0 {
            self.exactly(1).await?[0].into()
        } else {
            let size = self.exactly(8).await?;
            size.iter()
                .fold(0, |size, &octet| size << 8 | usize::from(octet))
        };
        let body = self.exactly(size).await?;
        Ok(Frame { flags, body })
    }

    /// The other side must close, in whichever way, and soon; returns what it said before.
    ///
    /// # Errors
    /// It did not within `deadline`.
    pub async fn expect_close(&mut self, deadline: Duration) -> io::Result<Vec<u8>> {
        let end = async {
            // A reset is a close with octets of ours unread.
            while self.stream.read_buf(&mut self.unread).await.unwrap_or(0) > 0 {}
        };
        timeout(deadline, end).await?;
        Ok(std::mem::take(&mut self.unread))
    }

    /// The other side must neither close nor say anything for as long as this.
    ///
    /// # Errors
    /// It did.
    pub async fn expect_silence(&mut self, duration: Duration) -> io::Result<()> {
        if self.unread.is_empty()
            && let Ok(read) = timeout(duration, self.stream.read_buf(&mut self.unread)).await
            && read? == 0
        {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed"));
        }
        if self.unread.is_empty() {
            return Ok(());
        }
        Err(io::Error::other(format!("{:02x?}", self.unread)))
    }

    /// Says that nothing more will be sent, and goes on reading.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Closes with a reset instead of an orderly end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}
