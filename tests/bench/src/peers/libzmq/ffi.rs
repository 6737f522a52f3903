//! The part of libzmq's C interface that the rows need, behind two safe types.
//!
//! This is the only module with `unsafe` code: the existing bindings cannot set
//! `ZMQ_MAX_SOCKETS` and `ZMQ_XPUB_NODROP` and bundle a library without CURVE. Invariants:
//! a [`Context`] and a [`Socket`] hold a pointer that libzmq gave out and that is valid until
//! `zmq_ctx_term` (never called) and `zmq_close` (only on drop); a [`Message`] is initialised
//! before it can be reached, and closed once.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_short, c_void},
    io, slice,
};

pub(super) const PUB: c_int = 1;
pub(super) const SUB: c_int = 2;
pub(super) const REQ: c_int = 3;
pub(super) const REP: c_int = 4;
pub(super) const PULL: c_int = 7;
pub(super) const PUSH: c_int = 8;

pub(super) const SUBSCRIBE: c_int = 6;
pub(super) const LINGER: c_int = 17;
pub(super) const CURVE_SERVER: c_int = 47;
pub(super) const CURVE_PUBLICKEY: c_int = 48;
pub(super) const CURVE_SECRETKEY: c_int = 49;
pub(super) const CURVE_SERVERKEY: c_int = 50;
pub(super) const XPUB_NODROP: c_int = 69;

pub(super) const MAX_SOCKETS: c_int = 2;

const LAST_ENDPOINT: c_int = 32;
const DONTWAIT: c_int = 1;
const POLLIN: c_short = 1;
const EINTR: c_int = 4;
const EAGAIN: c_int = 11;

/// `zmq_msg_t`: 64 bytes, aligned as a pointer.
#[repr(C, align(8))]
struct RawMessage([u8; 64]);

/// `zmq_pollitem_t`.
#[repr(C)]
struct PollItem {
    socket: *mut c_void,
    descriptor: c_int,
    events: c_short,
    revents: c_short,
}

unsafe extern "C" {
    safe fn zmq_errno() -> c_int;
    safe fn zmq_strerror(number: c_int) -> *const c_char;
    safe fn zmq_ctx_new() -> *mut c_void;
    fn zmq_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int);
    fn zmq_ctx_set(context: *mut c_void, option: c_int, value: c_int) -> c_int;
    fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    fn zmq_close(socket: *mut c_void) -> c_int;
    fn zmq_setsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *const c_void,
        len: usize,
    ) -> c_int;
    fn zmq_getsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *mut c_void,
        len: *mut usize,
    ) -> c_int;
    fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_send(socket: *mut c_void, body: *const c_void, len: usize, flags: c_int) -> c_int;
    fn zmq_msg_init(message: *mut RawMessage) -> c_int;
    fn zmq_msg_recv(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    fn zmq_msg_data(message: *mut RawMessage) -> *mut c_void;
    fn zmq_msg_size(message: *const RawMessage) -> usize;
    fn zmq_msg_close(message: *mut RawMessage) -> c_int;
    fn zmq_poll(items: *mut PollItem, count: c_int, timeout: c_long) -> c_int;
    safe fn sodium_version_string() -> *const c_char;
}

/// A libzmq context with its one I/O thread. It lives as long as the process.
#[derive(Debug)]
pub(super) struct Context(*mut c_void);

// SAFETY: the C interface documents contexts as thread-safe.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new() -> io::Result<Self> {
        let context = zmq_ctx_new();
        if context.is_null() {
            Err(last_error())
        } else {
            Ok(Self(context))
        }
    }

    pub(super) fn set(&self, option: c_int, value: c_int) -> io::Result<()> {
        // SAFETY: the context is valid (module invariant).
        check(unsafe { zmq_ctx_set(self.0, option, value) })
    }

    pub(super) fn socket(&self, kind: c_int) -> io::Result<Socket> {
        // SAFETY: the context is valid (module invariant).
        let socket = unsafe { zmq_socket(self.0, kind) };
        if socket.is_null() {
            Err(last_error())
        } else {
            Ok(Socket(socket))
        }
    }
}

/// A libzmq socket.
#[derive(Debug)]
pub(super) struct Socket(*mut c_void);

// SAFETY: the C interface allows a socket to migrate between threads with a full fence, which
// every way to move a value between threads implies. It is not `Sync`.
unsafe impl Send for Socket {}

impl Socket {
    pub(super) fn set(&self, option: c_int, value: &[u8]) -> io::Result<()> {
        // SAFETY: the socket is valid, and the pointer and length describe `value`.
        check(unsafe { zmq_setsockopt(self.0, option, value.as_ptr().cast(), value.len()) })
    }

    pub(super) fn set_number(&self, option: c_int, value: c_int) -> io::Result<()> {
        self.set(option, &value.to_ne_bytes())
    }

    /// Binds, and returns the address that was really bound.
    pub(super) fn bind(&self, endpoint: &str) -> io::Result<String> {
        let endpoint = CString::new(endpoint)?;
        // SAFETY: the socket is valid, the string ends with a zero.
        check(unsafe { zmq_bind(self.0, endpoint.as_ptr()) })?;
        let mut bound = [0_u8; 256];
        let mut len = bound.len();
        // SAFETY: the socket is valid, and `len` is the room at the pointer.
        check(unsafe {
            zmq_getsockopt(
                self.0,
                LAST_ENDPOINT,
                bound.as_mut_ptr().cast(),
                &raw mut len,
            )
        })?;
        let bound = CStr::from_bytes_until_nul(&bound).map_err(io::Error::other)?;
        Ok(bound.to_string_lossy().into_owned())
    }

    pub(super) fn connect(&self, endpoint: &str) -> io::Result<()> {
        let endpoint = CString::new(endpoint)?;
        // SAFETY: the socket is valid, the string ends with a zero.
        check(unsafe { zmq_connect(self.0, endpoint.as_ptr()) })
    }

    /// Sends a fresh message with these bytes; blocks while there is no room.
    pub(super) fn send(&self, body: &[u8]) -> io::Result<()> {
        self.send_with(body, 0).map(|_| ())
    }

    /// Sends a fresh message with these bytes; returns false if there is no room.
    pub(super) fn try_send(&self, body: &[u8]) -> io::Result<bool> {
        self.send_with(body, DONTWAIT)
    }

    fn send_with(&self, body: &[u8], flags: c_int) -> io::Result<bool> {
        loop {
            // SAFETY: the socket is valid; the library copies the described bytes before it returns.
            if unsafe { zmq_send(self.0, body.as_ptr().cast(), body.len(), flags) } >= 0 {
                return Ok(true);
            }
            match zmq_errno() {
                EINTR => {}
                EAGAIN if flags == DONTWAIT => return Ok(false),
                _ => return Err(last_error()),
            }
        }
    }

    /// Receives into `message`; blocks while there is none.
    pub(super) fn recv(&self, message: &mut Message) -> io::Result<()> {
        self.recv_with(message, 0).map(|_| ())
    }

    /// Receives into `message`; returns false if there is none.
    pub(super) fn try_recv(&self, message: &mut Message) -> io::Result<bool> {
        self.recv_with(message, DONTWAIT)
    }

    fn recv_with(&self, message: &mut Message, flags: c_int) -> io::Result<bool> {
        loop {
            // SAFETY: socket and message are valid; the library releases what the message held.
            if unsafe { zmq_msg_recv(&raw mut message.0, self.0, flags) } >= 0 {
                return Ok(true);
            }
            match zmq_errno() {
                EINTR => {}
                EAGAIN if flags == DONTWAIT => return Ok(false),
                _ => return Err(last_error()),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the socket is valid, and nothing uses it after this.
        unsafe { zmq_close(self.0) };
    }
}

/// A received message.
pub(super) struct Message(RawMessage);

impl Message {
    pub(super) fn new() -> Self {
        let mut message = RawMessage([0; 64]);
        // SAFETY: the pointer is to 64 writable bytes; the library keeps no pointer to them.
        unsafe { zmq_msg_init(&raw mut message) };
        Self(message)
    }

    pub(super) fn bytes(&mut self) -> &[u8] {
        // SAFETY: the message is initialised; data and size describe its bytes, which stay until
        // it is received into or closed, and both need it exclusively.
        unsafe {
            slice::from_raw_parts(
                zmq_msg_data(&raw mut self.0).cast(),
                zmq_msg_size(&raw const self.0),
            )
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is initialised and is not used after this.
        unsafe { zmq_msg_close(&raw mut self.0) };
    }
}

/// Blocks until one of a fixed set of sockets has a message.
pub(super) struct Poller(Vec<PollItem>);

impl Poller {
    pub(super) fn new(sockets: &[Socket]) -> Self {
        let item = |socket: &Socket| PollItem {
            socket: socket.0,
            descriptor: 0,
            events: POLLIN,
            revents: 0,
        };
        Self(sockets.iter().map(item).collect())
    }

    /// Waits, and returns the numbers of the sockets that have a message.
    ///
    /// `sockets` are those that the poller was made of.
    pub(super) fn wait<'a>(
        &'a mut self,
        sockets: &'a [Socket],
    ) -> io::Result<impl Iterator<Item = usize> + 'a> {
        assert!(
            self.0
                .iter()
                .map(|item| item.socket)
                .eq(sockets.iter().map(|socket| socket.0))
        );
        let count = c_int::try_from(self.0.len()).map_err(io::Error::other)?;
        // SAFETY: pointer and count describe the items; the sockets in them are alive, as the
        // caller has shown.
        if unsafe { zmq_poll(self.0.as_mut_ptr(), count, -1) } < 0 && zmq_errno() != EINTR {
            return Err(last_error());
        }
        let ready = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, item)| item.revents & POLLIN != 0);
        Ok(ready.map(|(number, _)| number))
    }
}

/// Returns the versions of libzmq and of the libsodium that it uses.
pub(super) fn versions() -> String {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the three pointers are to integers.
    unsafe { zmq_version(&raw mut major, &raw mut minor, &raw mut patch) };
    format!(
        "{major}.{minor}.{patch}, libsodium {}",
        text(sodium_version_string())
    )
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(())
    }
}

fn last_error() -> io::Error {
    io::Error::other(text(zmq_strerror(zmq_errno())))
}

/// Reads a string that libzmq or libsodium owns and never frees.
fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: both libraries return strings that end with a zero and live as long as the process.
    unsafe { CStr::from_ptr(string) }
        .to_string_lossy()
        .into_owned()
}

const _: () = assert!(size_of::<RawMessage>() == 64 && size_of::<*const ()>() == 8);
