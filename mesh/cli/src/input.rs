//! The messages to send: arguments, or lines of stdin as they come.
//!
//! Stdin is read by a thread of its own, since a read of it cannot be cancelled; the thread ends
//! with the process. What it has read and nobody took yet is bounded by [`AHEAD`] lines of at most
//! [`MAX_LINE`] octets.

use std::io::{self, BufRead, Read as _};

use tokio::sync::mpsc;
use withy::Message;

use crate::exit::{Failure, Outcome};
use crate::format::Format;

/// The longest line, in octets: more than the largest message in the longest form.
pub(crate) const MAX_LINE: usize = 256 * 1024 * 1024;
/// Lines that are read ahead.
const AHEAD: usize = 64;

/// The messages to send, up to `--count`.
#[derive(Debug)]
pub(crate) struct Input {
    from: From,
    taken: u64,
    accepted: u64,
    count: Option<u64>,
}

#[derive(Debug)]
enum From {
    Given(Vec<Message>),
    Stdin(mpsc::Receiver<Outcome<Message>>),
}

impl Input {
    /// The given messages, or lines of stdin if there are none. With a count, given messages start
    /// anew after the last.
    pub(crate) fn new(messages: Vec<Message>, format: Format, count: Option<u64>) -> Self {
        let from = match messages.is_empty() {
            true => From::Stdin(read_stdin(format)),
            false => From::Given(messages),
        };
        Self {
            from,
            taken: 0,
            accepted: 0,
            count,
        }
    }

    /// Whether the messages stood on the command line.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.from, From::Given(_))
    }

    /// How many messages were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Notes that the socket accepted the last message.
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    /// How many messages were taken that the socket did not accept.
    pub(crate) fn unaccepted(&self) -> u64 {
        self.taken - self.accepted
    }

    /// The next message; `None` after the last.
    ///
    /// Cancel-safe: a cancelled call took no message.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Message>> {
        if self.count.is_some_and(|count| self.taken >= count) {
            return Ok(None);
        }
        let next = match &mut self.from {
            From::Given(messages) => {
                let at = usize::try_from(self.taken).unwrap_or(usize::MAX);
                match self.count {
                    Some(_) => Some(messages[at % messages.len()].clone()),
                    None => messages.get(at).cloned(),
                }
            }
            From::Stdin(lines) => lines.recv().await.transpose()?,
        };
        self.taken += u64::from(next.is_some());
        Ok(next)
    }
}

fn read_stdin(format: Format) -> mpsc::Receiver<Outcome<Message>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut lines = Lines::new(io::stdin().lock(), format, MAX_LINE);
        while let Some(message) = lines.next() {
            let last = message.is_err();
            if sender.blocking_send(message).is_err() || last {
                return;
            }
        }
    });
    receiver
}

/// Splits a stream into messages.
struct Lines<R> {
    stream: R,
    format: Format,
    max: usize,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(stream: R, format: Format, max: usize) -> Self {
        Self {
            stream,
            format,
            max,
            line: Vec::new(),
            number: 0,
        }
    }

    fn next(&mut self) -> Option<Outcome<Message>> {
        self.number += 1;
        self.line.clear();
        let limit = self.max as u64 + 1;
        match self
            .stream
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.line)
        {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(Failure::Failed(format!("cannot read stdin: {error}")))),
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        let message = match self.line.len() > self.max {
            true => Err(format!("longer than {} octets", self.max)),
            false => self.format.decode(&self.line),
        };
        let number = self.number;
        Some(message.map_err(|error| Failure::Usage(format!("stdin, line {number}: {error}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, max: usize) -> Vec<Outcome<Message>> {
        let mut lines = Lines::new(text.as_bytes(), Format::Lines, max);
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn the_last_line_needs_no_line_feed() {
        let expected = vec![
            Ok(Message::from("a")),
            Ok(Message::new()),
            Ok(Message::from("b")),
        ];
        assert_eq!(lines("a\n\nb", 10), expected);
        assert_eq!(lines("a\n\nb\n", 10), expected);
        assert_eq!(lines("", 10), []);
    }

    #[test]
    fn a_bad_line_is_named() {
        let found = lines("abcd\nabcde\n", 4);
        assert_eq!(found[0], Ok(Message::from("abcd")));
        assert_eq!(
            found[1],
            Err(Failure::usage("stdin, line 2: longer than 4 octets"))
        );
    }

    #[tokio::test]
    async fn given_messages_start_anew_until_the_count() {
        let given = vec![Message::from("a"), Message::from("b")];
        for (count, expected) in [(None, "ab"), (Some(1), "a"), (Some(5), "ababa")] {
            let mut input = Input::new(given.clone(), Format::Lines, count);
            let mut seen = String::new();
            while let Some(message) = input.next().await.unwrap() {
                seen.push_str(message.first().as_str().unwrap());
            }
            assert_eq!(seen, expected);
            assert_eq!(input.taken(), expected.len() as u64);
        }
    }
}
