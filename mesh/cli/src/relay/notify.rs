//! Tells the service manager how it goes, as sd_notify(3) has it: one datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::exit::complain;

/// The node listens.
pub(super) const READY: &str = "READY=1";
/// The node leaves.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one.
pub(super) fn tell(what: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
        return;
    };
    if let Err(error) = send(&path, what) {
        complain(format_args!(
            "the service manager does not hear {what}: {error}"
        ));
    }
}

/// A path, or `@` and an abstract name.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let [b'@', name @ ..] = path.as_bytes() {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

fn send(path: &OsStr, what: &str) -> io::Result<()> {
    let address = address(path)?;
    let socket = UnixDatagram::unbound()?;
    // One that does not read is not waited for.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(what.as_bytes(), &address).map(drop)
}
