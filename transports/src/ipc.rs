//! Unix domain sockets: paths, Linux's abstract names, and fresh paths of their own.
//!
//! Invariant: only a socket file that nobody listens on is ever removed, be it another's that was
//! left behind or our own.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep_until};
use withy_proto::Endpoint;
use withy_proto::endpoint::Ipc;

use crate::options::{DialOptions, ListenOptions, PeerFilter};
use crate::{AcceptError, Connected, Credentials, DialError, ListenError, Listener};
use crate::{PathTooLong, Peer, WRONG_ROW};

/// How long to wait before asking a listener with a full queue again: the system offers no wake-up.
const FULL_QUEUE: Duration = Duration::from_millis(10);
/// Octets that the system may hold of what one side sent. Its default of 208 KiB takes a large
/// message in many pieces, with a change of processes for each; it grants less where it allows less.
const SEND_BUFFER: usize = 512 * 1024;
/// How often it is tried to bind alone in a directory. Anybody who can read it may hold the lock.
const LOCK_ATTEMPTS: u32 = 100;
/// How long to wait in between; who binds holds the lock for some microseconds.
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// Octets of `sockaddr_un::sun_path`, one of which a NUL takes (unix(7), unix(4)).
const SUN_PATH: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    108
} else {
    104
};

pub(crate) async fn dial(
    endpoint: &Endpoint,
    options: &DialOptions,
) -> Result<Connected, DialError> {
    let wrong = |reason| DialError::not_dialable(endpoint, reason);
    let address = match endpoint {
        Endpoint::Ipc(Ipc::Any) => return Err(wrong("* is an address to bind to")),
        Endpoint::Ipc(ipc) => Address::new(ipc)?.ok_or_else(|| wrong(NO_ABSTRACT))?,
        _ => return Err(wrong(WRONG_ROW)),
    };
    let io = |source| DialError::Ipc {
        endpoint: endpoint.clone(),
        source,
    };
    let deadline = Instant::now().checked_add(options.connect_timeout);
    loop {
        match address.connect() {
            Ok(stream) => {
                let stream = UnixStream::from_std(stream).map_err(io)?;
                return Ok(connected(stream, &address.text));
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(io(error)),
            Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Err(io(io::ErrorKind::TimedOut.into()));
            }
            Err(_) => {
                let again = Instant::now() + FULL_QUEUE;
                sleep_until(deadline.map_or(again, |deadline| deadline.min(again))).await;
            }
        }
    }
}

pub(crate) async fn listen(
    endpoint: &Endpoint,
    options: &ListenOptions,
) -> Result<Listener, ListenError> {
    let wrong = |reason| ListenError::not_bindable(endpoint, reason);
    let io = |error| ListenError::from_io(endpoint, error);
    let Endpoint::Ipc(ipc) = endpoint else {
        return Err(wrong(WRONG_ROW));
    };
    let (endpoint, directory) = match ipc {
        Ipc::Any => {
            let (endpoint, directory) = fresh().map_err(io)?;
            (endpoint, Some(directory))
        }
        Ipc::Path(_) | Ipc::Abstract(_) => (endpoint.clone(), None),
    };
    let address = match &endpoint {
        Endpoint::Ipc(ipc) => Address::new(ipc)?.ok_or_else(|| wrong(NO_ABSTRACT))?,
        _ => {
            return Err(wrong(
                "the directory for temporary files has a name that is no endpoint",
            ));
        }
    };
    let _alone = match &address.path {
        Some(path) => lock_directory_of(path).await,
        None => None,
    };
    let listener = match address.bind(options.backlog) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            address.clear(&endpoint)?;
            address.bind(options.backlog).map_err(io)?
        }
        bound => bound.map_err(io)?,
    };
    let file = address.path.as_deref().map(SocketFile::new).transpose();
    let accepting = Accepting {
        _file: file.map_err(io)?,
        listener: UnixListener::from_std(listener).map_err(io)?,
        filter: options.ipc_filter.clone(),
        address: address.text,
        _directory: directory,
    };
    Ok(Listener {
        endpoint,
        accepting: crate::Accepting::Ipc(accepting),
    })
}

/// A listening Unix domain socket. The order of the fields is the order of dropping: the file goes
/// while the socket still listens, so that it is never another's that took the path over.
#[derive(Debug)]
pub(crate) struct Accepting {
    _file: Option<SocketFile>,
    listener: UnixListener,
    filter: PeerFilter,
    address: String,
    _directory: Option<TempDir>,
}

impl Accepting {
    /// Takes over a socket that listens already; its file is its maker's.
    pub(crate) fn inherit(
        listener: net::UnixListener,
        endpoint: Endpoint,
        options: &ListenOptions,
    ) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let path = local.as_pathname().filter(|path| path.is_absolute());
        let text = path.and_then(Path::to_str).map(str::to_owned);
        let text = text.or_else(|| Some(format!("@{}", abstract_name(&local)?)));
        let real = text
            .as_ref()
            .and_then(|text| format!("ipc://{text}").parse().ok());
        let accepting = Self {
            _file: None,
            listener: UnixListener::from_std(listener)?,
            filter: options.ipc_filter.clone(),
            address: text.map_or_else(|| endpoint.to_string(), |text| format!("ipc:{text}")),
            _directory: None,
        };
        Ok(Listener {
            endpoint: real.unwrap_or(endpoint),
            accepting: crate::Accepting::Ipc(accepting),
        })
    }

    pub(crate) async fn accept(&mut self) -> Result<Connected, AcceptError> {
        let (stream, _) = self.listener.accept().await?;
        let connected = connected(stream, &self.address);
        match self.filter.accepts(connected.peer.credentials.as_ref()) {
            true => Ok(connected),
            false => Err(AcceptError::Filtered(connected.peer)),
        }
    }
}

/// Where a socket binds or connects.
struct Address {
    /// As in [`Peer::address`].
    text: String,
    socket: SockAddr,
    /// Absent for abstract names, which leave nothing behind.
    path: Option<PathBuf>,
}

impl Address {
    /// `None` if this system has no such addresses.
    fn new(ipc: &Ipc) -> Result<Option<Self>, PathTooLong> {
        let (text, raw, max) = match ipc {
            Ipc::Any => return Ok(None),
            Ipc::Abstract(_) if !HAS_ABSTRACT => return Ok(None),
            Ipc::Path(path) => (path.to_string(), path.to_string(), SUN_PATH - 1),
            // An abstract name begins with a NUL and ends without one.
            Ipc::Abstract(name) => (format!("@{name}"), format!("\0{name}"), SUN_PATH),
        };
        let too_long = |_| PathTooLong {
            path: text.clone(),
            max,
        };
        Ok(Some(Self {
            socket: SockAddr::unix(&raw).map_err(too_long)?,
            path: matches!(ipc, Ipc::Path(_)).then(|| PathBuf::from(raw)),
            text: format!("ipc:{text}"),
        }))
    }

    fn connect(&self) -> io::Result<net::UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.socket)?;
        Ok(socket.into())
    }

    fn bind(&self, backlog: u32) -> io::Result<net::UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.socket)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    }

    /// Makes room where the address is taken, if all that takes it is a socket file left behind.
    fn clear(&self, endpoint: &Endpoint) -> Result<(), ListenError> {
        let in_use = || ListenError::AddressInUse {
            endpoint: endpoint.clone(),
        };
        let path = self.path.as_deref().ok_or_else(in_use)?;
        let Ok(found) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        if !found.file_type().is_socket() {
            return Err(ListenError::NotASocket { path: path.into() });
        }
        match self.connect().map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionRefused) => {}
            Err(io::ErrorKind::NotFound) => return Ok(()),
            _ => return Err(in_use()),
        }
        // Someone else may have replaced the file since the question; then that is not what was asked.
        let removed = remove_if_same(path, identity(&found));
        removed.map_err(|error| ListenError::from_io(endpoint, error))
    }
}

/// The file of a socket that this process bound; dropping it removes the file.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let identity = identity(&fs::symlink_metadata(path)?);
        // The working directory may change until the file is to be removed.
        let path = absolute(path)?;
        Ok(Self { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What cannot be removed is replaced by whoever binds next.
        let _ = remove_if_same(&self.path, self.identity);
    }
}

/// Waits until nobody else binds in a directory: between bind(2) and listen(2) a socket file looks
/// as if it had been left behind. Where that cannot be told, or takes long, it goes without.
async fn lock_directory_of(path: &Path) -> Option<fs::File> {
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = fs::File::open(parent.unwrap_or_else(|| Path::new("."))).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        if directory.try_lock().is_ok() {
            return Some(directory);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    None
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes a file unless its path has become another's.
fn remove_if_same(path: &Path, expected: (u64, u64)) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if identity(&found) == expected => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// A path that nobody else can reach, in a directory that goes with the listener.
fn fresh() -> io::Result<(Endpoint, TempDir)> {
    let mut directory = tempfile::Builder::new();
    let directory = directory
        .prefix("withy-")
        .permissions(Permissions::from_mode(0o700));
    let directory = directory.tempdir()?;
    let path = directory.path().join("socket");
    let endpoint = format!("ipc://{}", path.display()).parse();
    let endpoint = endpoint.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok((endpoint, directory))
}

fn connected(stream: UnixStream, address: &str) -> Connected {
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let credentials = stream.peer_cred().ok().map(|process| Credentials {
        pid: process.pid(),
        uid: process.uid(),
        gid: process.gid(),
    });
    Connected {
        local: address.to_owned(),
        peer: Peer {
            address: address.to_owned(),
            credentials,
            ..Peer::default()
        },
        link: stream.into(),
    }
}

const NO_ABSTRACT: &str = "this system has no abstract names";
const HAS_ABSTRACT: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(address: &net::SocketAddr) -> Option<&str> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    std::str::from_utf8(address.as_abstract_name()?).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_: &net::SocketAddr) -> Option<&str> {
    None
}
