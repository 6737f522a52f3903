//! The forms in which messages are read and written, and stdout.

use std::io::{self, BufWriter, Stdout, Write};

use withy::Message;

use crate::exit::{Failure, Outcome};
use crate::{escape, json};

/// The form of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Frames separated by TAB, unprintable octets escaped.
    Lines,
    /// One JSON object a line.
    Json,
    /// The octets as they are, and a line feed: a line is one frame.
    Raw,
}

impl Format {
    /// Reads a message from a line without its line feed. The error says what is wrong.
    pub(crate) fn decode(self, line: &[u8]) -> Result<Message, String> {
        match self {
            Self::Lines => escape::decode(line),
            Self::Json => json::decode(line),
            Self::Raw => Ok(Message::from(line)),
        }
    }

    /// Reads a message from an argument. JSON is for stdin only.
    pub(crate) fn decode_argument(self, argument: &[u8]) -> Result<Message, String> {
        match self {
            Self::Raw => Self::Raw.decode(argument),
            Self::Lines | Self::Json => Self::Lines.decode(argument),
        }
    }

    /// Appends a message and its line feed.
    pub(crate) fn encode(self, message: &Message, text: &mut Vec<u8>) {
        match self {
            Self::Lines => escape::encode(message, text),
            Self::Json => json::encode(message, text),
            Self::Raw => message
                .frames()
                .iter()
                .for_each(|frame| text.extend_from_slice(frame)),
        }
        text.push(b'\n');
    }
}

/// Writes messages to stdout.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
    line: Vec<u8>,
}

impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            line: Vec::new(),
        }
    }

    /// Writes one message; it may wait for [`flush`](Self::flush).
    pub(crate) fn print(&mut self, message: &Message) -> Outcome {
        self.line.clear();
        self.format.encode(message, &mut self.line);
        self.out
            .write_all(&self.line)
            .map_err(|error| Failure::of_stdout(&error))
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        self.out.flush().map_err(|error| Failure::of_stdout(&error))
    }
}

/// Writes a text to stdout.
pub(crate) fn write_out(text: impl AsRef<[u8]>) -> Outcome {
    let mut out = io::stdout();
    out.write_all(text.as_ref())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::of_stdout(&error))
}
