//! Commands after the handshake (RFC 37 §3.4): PING, PONG, SUBSCRIBE, CANCEL and ERROR; and those that
//! links of [several streams](crate::quic) have between Withy peers: LARGE, LANE and TAKEN.

use std::time::Duration;

use super::metadata::Metadata;
use crate::mechanism::{command, printable, split_command};
use crate::message::Frame;

/// The longest PING context in octets (RFC 37 §3.4.4); a longer one is cut, as libzmq does it.
pub const MAX_CONTEXT: usize = 16;

/// A command of an established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Is anybody there?
    Ping {
        /// How long the sender lives without traffic; zero says nothing. Tenths of seconds on
        /// the wire.
        ttl: Duration,
        /// Comes back in the PONG, at most [`MAX_CONTEXT`] octets.
        context: Frame,
    },
    /// Yes.
    Pong {
        /// The PING's context.
        context: Frame,
    },
    /// The peer wants messages that start with this topic; counted.
    Subscribe(Frame),
    /// Takes one SUBSCRIBE back.
    Cancel(Frame),
    /// The peer closes, and says why.
    Error {
        /// The reason, escaped for a log line.
        reason: String,
    },
    /// The peer's properties. Part of the handshake; links inside the process start with it.
    Ready(Metadata),
    /// On lane 0 of a link of [several streams](crate::quic): here belongs the large message of this
    /// number. Elsewhere it is ignored, as are the next two.
    Large(u64),
    /// On lane 0 of such a link: there is a lane of this number.
    Lane(u64),
    /// On the control stream of such a link: so much was read.
    Taken {
        /// Messages of all sizes that were given out.
        messages: u64,
        /// Messages with a stream of their own that came whole.
        larges: u64,
    },
    /// A command that is none of these; ignored, as libzmq does it.
    Unknown {
        /// Its name, escaped for a log line.
        name: String,
    },
}

impl Command {
    /// Reads the body of a command frame.
    ///
    /// # Errors
    /// The name is cut short, or a PING has no TTL.
    pub fn decode(body: &[u8]) -> Result<Self, CommandError> {
        let (name, data) = split_command(body).ok_or(CommandError::CutShort)?;
        Ok(match name {
            b"PING" => {
                let (ttl, context) = data
                    .split_first_chunk::<2>()
                    .ok_or(CommandError::PingWithoutTtl)?;
                Self::Ping {
                    ttl: Duration::from_millis(100) * u32::from(u16::from_be_bytes(*ttl)),
                    context: Frame::copy_from_slice(&context[..context.len().min(MAX_CONTEXT)]),
                }
            }
            b"PONG" => Self::Pong {
                context: Frame::copy_from_slice(&data[..data.len().min(MAX_CONTEXT)]),
            },
            b"SUBSCRIBE" => Self::Subscribe(Frame::copy_from_slice(data)),
            b"CANCEL" => Self::Cancel(Frame::copy_from_slice(data)),
            b"READY" => match Metadata::decode(data) {
                Ok(metadata) => Self::Ready(metadata),
                Err(_) => Self::Unknown {
                    name: "READY".to_owned(),
                },
            },
            b"ERROR" => {
                let reason = data.split_first().map_or(&[][..], |(_, reason)| reason);
                Self::Error {
                    reason: printable(reason, 255),
                }
            }
            _ => Self::of_streams(name, data).unwrap_or_else(|| Self::Unknown {
                name: printable(name, 32),
            }),
        })
    }

    /// The commands of links of several streams: a name and big-endian numbers.
    fn of_streams(name: &[u8], data: &[u8]) -> Option<Self> {
        let (numbers, rest) = data.as_chunks::<8>();
        match (name, numbers, rest) {
            (b"LARGE", [number], []) => Some(Self::Large(u64::from_be_bytes(*number))),
            (b"LANE", [number], []) => Some(Self::Lane(u64::from_be_bytes(*number))),
            (b"TAKEN", [messages, larges], []) => Some(Self::Taken {
                messages: u64::from_be_bytes(*messages),
                larges: u64::from_be_bytes(*larges),
            }),
            _ => None,
        }
    }

    /// The body of the command frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ping { ttl, context } => {
                let tenths = u16::try_from(ttl.as_millis() / 100).unwrap_or(u16::MAX);
                command("PING", &[&tenths.to_be_bytes()[..], context].concat())
            }
            Self::Pong { context } => command("PONG", context),
            Self::Subscribe(topic) => command("SUBSCRIBE", topic),
            Self::Cancel(topic) => command("CANCEL", topic),
            Self::Error { reason } => {
                let reason = &reason.as_bytes()[..reason.len().min(255)];
                command("ERROR", &[&[reason.len() as u8], reason].concat())
            }
            Self::Ready(metadata) => command("READY", &metadata.encode()),
            Self::Large(number) => command("LARGE", &number.to_be_bytes()),
            Self::Lane(number) => command("LANE", &number.to_be_bytes()),
            Self::Taken { messages, larges } => {
                let numbers = [messages.to_be_bytes(), larges.to_be_bytes()];
                command("TAKEN", numbers.as_flattened())
            }
            Self::Unknown { name } => command(name, &[]),
        }
    }
}

/// Why a command is refused. The peer misbehaved; the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The name's length points past the end.
    #[error("a command is cut short")]
    CutShort,
    /// A PING is shorter than its TTL. libzmq reads past the end here.
    #[error("a PING has no TTL")]
    PingWithoutTtl,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_round_trip() {
        for command in [
            Command::Ping {
                ttl: Duration::from_secs(60),
                context: Frame::from("context"),
            },
            Command::Pong {
                context: Frame::from("context"),
            },
            Command::Subscribe(Frame::from(vec![7; 300])),
            Command::Cancel(Frame::new()),
            Command::Error {
                reason: "400".to_owned(),
            },
            Command::Large(7),
            Command::Lane(u64::MAX),
            Command::Taken {
                messages: 1 << 40,
                larges: 3,
            },
            Command::Unknown {
                name: "HICCUP".to_owned(),
            },
        ] {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn commands_of_streams_with_other_numbers_are_unknown() {
        for (name, size) in [("LARGE", 0), ("LARGE", 7), ("LANE", 9), ("TAKEN", 8)] {
            let decoded = Command::decode(&command(name, &vec![0; size]));
            let name = name.to_owned();
            assert_eq!(decoded, Ok(Command::Unknown { name }));
        }
    }

    #[test]
    fn ping_is_held_to_its_shape() {
        assert_eq!(
            Command::decode(b"\x04PING\x00"),
            Err(CommandError::PingWithoutTtl)
        );
        assert_eq!(Command::decode(b"\x05PING"), Err(CommandError::CutShort));
        assert_eq!(Command::decode(b""), Err(CommandError::CutShort));
        let long = [b"\x04PING\xff\xff".as_slice(), &[9; 40]].concat();
        assert_eq!(
            Command::decode(&long),
            Ok(Command::Ping {
                ttl: Duration::from_millis(6_553_500),
                context: Frame::from([9; 16])
            })
        );
    }
}
