//! Listening sockets that another program opened: a service manager, a parent process.
//!
//! The descriptor is duplicated, and the original stays open, since this process may hold it in
//! other hands. Both stand for one socket, which no longer blocks afterwards (`O_NONBLOCK`), whoever
//! uses it. So a dropped listener stops accepting, but does not close the socket: connections
//! wait in it for the next listener, here or after a restart.
//!
//! This is the one module with `unsafe` code: a descriptor number is no object that Rust knows the
//! owner of.

#![allow(unsafe_code)]

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process;

use nix::libc;
use socket2::{Domain, Socket, Type};
use withy_proto::Endpoint;
use withy_proto::endpoint::Inherited;

use crate::options::ListenOptions;
use crate::{DialError, ListenError, Listener, WRONG_ROW, ipc, tcp};

/// The first descriptor that a service manager passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: u32 = 3;
/// The name of sockets that the service manager gave none.
const UNNAMED: &str = "unknown";

pub(crate) fn not_dialable(endpoint: &Endpoint) -> DialError {
    DialError::not_dialable(endpoint, "an inherited socket is for binding")
}

pub(crate) fn listen(
    endpoint: &Endpoint,
    options: &ListenOptions,
) -> Result<Listener, ListenError> {
    let refuse = |reason: String| ListenError::NotInherited {
        endpoint: endpoint.clone(),
        reason,
    };
    let number = match endpoint {
        Endpoint::Inherited(Inherited::Descriptor(number)) => *number,
        Endpoint::Inherited(Inherited::Systemd { name, index }) => {
            let passed = Passed::from_environment().map_err(|reason| refuse(reason.to_owned()))?;
            passed.find(name.as_str(), *index).map_err(refuse)?
        }
        _ => {
            return Err(ListenError::not_bindable(endpoint, WRONG_ROW));
        }
    };
    let io = |error: io::Error| refuse(error.to_string());
    let socket = Socket::from(duplicate(number).map_err(io)?);
    let domain = socket.local_addr().map_err(io)?.domain();
    if socket.r#type().map_err(io)? != Type::STREAM || !is_listening(&socket).map_err(io)? {
        return Err(refuse("it is not a listening stream socket".to_owned()));
    }
    match domain {
        Domain::IPV4 | Domain::IPV6 => tcp::Accepting::inherit(socket.into(), &options.tcp),
        Domain::UNIX => ipc::Accepting::inherit(socket.into(), endpoint.clone(), options),
        _ => {
            return Err(refuse(
                "it is neither a TCP nor a Unix domain socket".to_owned(),
            ));
        }
    }
    .map_err(io)
}

/// Opens a second descriptor of whatever a number stands for.
fn duplicate(number: u32) -> io::Result<OwnedFd> {
    let number = i32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: with this command fcntl(2) touches no memory of ours, and changes nothing about the
    // descriptor, so that any number will do: one that is not open makes it fail.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicate == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system made this descriptor just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// Systems that cannot tell say so when the first connection is accepted.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn is_listening(_: &Socket) -> io::Result<bool> {
    Ok(true)
}

/// The sockets that a service manager passed to this process, by name.
#[derive(Debug)]
struct Passed {
    names: Vec<String>,
}

impl Passed {
    /// Descriptors that are looked at; the rest is ignored.
    const MAX: usize = 1024;

    fn from_environment() -> Result<Self, &'static str> {
        let variable = |name| env::var(name).ok();
        Self::parse(
            process::id(),
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
        )
    }

    fn parse(
        own: u32,
        pid: Option<&str>,
        count: Option<&str>,
        names: Option<&str>,
    ) -> Result<Self, &'static str> {
        let (Some(pid), Some(count)) = (pid, count) else {
            return Err("no service manager passed a socket: LISTEN_PID or LISTEN_FDS is not set");
        };
        if pid.parse() != Ok(own) {
            return Err("the sockets are for another process: LISTEN_PID is not ours");
        }
        let Ok(count) = count.parse::<usize>() else {
            return Err("LISTEN_FDS is not a number");
        };
        let count = count.min(Self::MAX);
        let given = names.filter(|names| !names.is_empty());
        let given = given.into_iter().flat_map(|names| names.split(':'));
        let names = given.chain(std::iter::repeat(UNNAMED));
        Ok(Self {
            names: names.take(count).map(str::to_owned).collect(),
        })
    }

    fn find(&self, name: &str, index: Option<u32>) -> Result<u32, String> {
        let numbers = LISTEN_FDS_START..;
        let named = numbers
            .zip(&self.names)
            .filter(|(_, candidate)| *candidate == name);
        let numbers: Vec<u32> = named.map(|(number, _)| number).collect();
        match (index, numbers.as_slice()) {
            (_, []) => Err(format!(
                "LISTEN_FDNAMES has no such name, but {:?}",
                self.names
            )),
            (None, [only]) => Ok(*only),
            (None, many) => Err(format!(
                "LISTEN_FDNAMES has {} of that name: choose one by its number, {name}:0",
                many.len()
            )),
            (Some(index), many) => many.get(index as usize).copied().ok_or_else(|| {
                format!(
                    "LISTEN_FDNAMES has {} of that name, counted from 0",
                    many.len()
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn sockets_are_found_by_name_and_number() {
        let names = Some("web:admin:web");
        let passed = Passed::parse(7, Some("7"), Some("4"), names).unwrap();
        assert_eq!(passed.find("admin", None), Ok(4));
        assert_eq!(passed.find("web", Some(0)), Ok(3));
        assert_eq!(passed.find("web", Some(1)), Ok(5));
        assert_eq!(passed.find("unknown", None), Ok(6));
        assert!(passed.find("web", None).is_err());
        assert!(passed.find("web", Some(2)).is_err());
        assert!(passed.find("other", None).is_err());
    }

    #[test]
    fn a_strange_environment_is_an_error() {
        for (pid, count) in [
            (None, None),
            (Some("7"), None),
            (None, Some("1")),
            (Some("8"), Some("1")),
            (Some(""), Some("1")),
            (Some("7"), Some("many")),
            (Some("7"), Some("-1")),
        ] {
            assert!(
                Passed::parse(7, pid, count, None).is_err(),
                "{pid:?} {count:?}"
            );
        }
        let passed = Passed::parse(7, Some("7"), Some("18446744073709551615"), None).unwrap();
        assert_eq!(passed.names.len(), Passed::MAX);
        assert_eq!(
            Passed::parse(7, Some("7"), Some("1"), Some(""))
                .unwrap()
                .names,
            [UNNAMED]
        );
        assert_eq!(
            Passed::parse(7, Some("7"), Some("1"), Some("a:b"))
                .unwrap()
                .names,
            ["a"]
        );
    }

    /// Nothing differs from the copy that the standard library makes for an owner.
    #[test]
    fn a_duplicate_is_like_the_owners_own_and_leaves_the_original_open() {
        let original = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = original.local_addr().unwrap();
        let safe = original.try_clone().unwrap();
        let ours = TcpListener::from(duplicate(original.as_raw_fd() as u32).unwrap());
        assert_ne!(ours.as_raw_fd(), original.as_raw_fd());
        assert_eq!(ours.local_addr().unwrap(), address);
        #[cfg(target_os = "linux")]
        {
            // Its flags, close-on-exec among them, and the socket that it stands for.
            let kept = |listener: &TcpListener| {
                let number = listener.as_raw_fd();
                let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
                let socket = std::fs::read_link(format!("/proc/self/fd/{number}"));
                (flags.unwrap(), socket.unwrap())
            };
            assert_eq!(kept(&ours), kept(&safe));
        }
        drop((ours, safe));
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = original.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        assert!(duplicate(i32::MAX as u32).is_err());
        assert!(duplicate(u32::MAX).is_err());
    }
}
