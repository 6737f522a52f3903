//! TCP socket options. The one place where the systems differ in which they have.

use std::io;

use socket2::{SockRef, TcpKeepalive};

use crate::options::{KeepAlive, TcpOptions};

/// Sets what must be set before a socket connects or listens.
pub(crate) fn prepare(socket: &SockRef<'_>, ipv6: bool, options: &TcpOptions) -> io::Result<()> {
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size as usize)?;
    }
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size as usize)?;
    }
    if let Some(tos) = options.tos {
        match ipv6 {
            true => socket.set_tclass_v6(tos.into())?,
            false => socket.set_tos_v4(tos.into())?,
        }
    }
    if let Some(device) = &options.bind_to_device {
        bind_to_device(socket, device)?;
    }
    Ok(())
}

/// Sets what concerns a connected socket.
pub(crate) fn connected(socket: &SockRef<'_>, options: &TcpOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.no_delay)?;
    match &options.keep_alive {
        Some(keep_alive) => socket.set_tcp_keepalive(&parameters(keep_alive)),
        None => Ok(()),
    }
}

fn parameters(keep_alive: &KeepAlive) -> TcpKeepalive {
    let mut parameters = TcpKeepalive::new();
    if let Some(idle) = keep_alive.idle {
        parameters = parameters.with_time(idle);
    }
    if let Some(interval) = keep_alive.interval {
        parameters = parameters.with_interval(interval);
    }
    if let Some(count) = keep_alive.count {
        parameters = parameters.with_retries(count);
    }
    parameters
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_to_device(socket: &SockRef<'_>, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_to_device(_: &SockRef<'_>, _: &str) -> io::Result<()> {
    let error = "this system cannot bind a socket to a device";
    Err(io::Error::new(io::ErrorKind::Unsupported, error))
}
