//! A message as one line of text: frames separated by TAB, unprintable octets escaped.
//!
//! ```text
//!  \\  a backslash    \t  TAB    \n  line feed    \r  carriage return    \xHH  any octet
//! ```
//!
//! Printable UTF-8 stands for itself. What could move a terminal's cursor or reorder its text does
//! not. Invariant: the line of a message, read again, gives the same message.

use withy::{Frame, Message};

/// The most frames of a message that is read, as many as a Withy peer takes by default.
pub(crate) const MAX_FRAMES: usize = 1_024;

/// Appends the line of a message, without its line feed.
pub(crate) fn encode(message: &Message, line: &mut Vec<u8>) {
    for (at, frame) in message.frames().iter().enumerate() {
        if at > 0 {
            line.push(b'\t');
        }
        encode_frame(frame, line);
    }
}

fn encode_frame(frame: &[u8], line: &mut Vec<u8>) {
    for chunk in frame.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut octets = [0; 4];
            let octets = character.encode_utf8(&mut octets).as_bytes();
            match character {
                '\\' => line.extend_from_slice(br"\\"),
                '\t' => line.extend_from_slice(br"\t"),
                '\n' => line.extend_from_slice(br"\n"),
                '\r' => line.extend_from_slice(br"\r"),
                _ if is_unprintable(character) => encode_octets(octets, line),
                _ => line.extend_from_slice(octets),
            }
        }
        encode_octets(chunk.invalid(), line);
    }
}

fn encode_octets(octets: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for octet in octets {
        line.extend_from_slice(br"\x");
        line.push(DIGITS[usize::from(octet >> 4)]);
        line.push(DIGITS[usize::from(octet & 15)]);
    }
}

/// Control characters, line separators, and the marks that reorder text.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
        )
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Reads a line, without its line feed. The error says what is wrong, and where.
pub(crate) fn decode(line: &[u8]) -> Result<Message, String> {
    let mut frames = Vec::new();
    let mut column = 1;
    for text in line.split(|octet| *octet == b'\t') {
        if frames.len() == MAX_FRAMES {
            return Err(format!("more than {MAX_FRAMES} frames"));
        }
        frames.push(decode_frame(text, column)?);
        column += text.len() + 1;
    }
    Ok(Message::from_frames(frames))
}

fn decode_frame(text: &[u8], column: usize) -> Result<Frame, String> {
    if !text.contains(&b'\\') {
        return Ok(Frame::from(text));
    }
    let mut frame = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&octet) = text.get(at) {
        let taken = match (octet, text.get(at + 1)) {
            (b'\\', Some(b'\\')) => Some((b'\\', 2)),
            (b'\\', Some(b't')) => Some((b'\t', 2)),
            (b'\\', Some(b'n')) => Some((b'\n', 2)),
            (b'\\', Some(b'r')) => Some((b'\r', 2)),
            (b'\\', Some(b'x')) => hex(text, at + 2).map(|octet| (octet, 4)),
            (b'\\', _) => None,
            _ => Some((octet, 1)),
        };
        let Some((octet, length)) = taken else {
            return Err(format!(
                r"the backslash at column {} starts no escape; known are \\ \t \n \r and \xHH, and --raw takes lines as they are",
                column + at
            ));
        };
        frame.push(octet);
        at += length;
    }
    Ok(Frame::from(frame))
}

/// Two hexadecimal digits.
fn hex(text: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &Message) -> String {
        let mut line = Vec::new();
        encode(message, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn frames(frames: &[&[u8]]) -> Message {
        Message::from_frames(frames.iter().map(|frame| Frame::from(*frame)).collect())
    }

    #[test]
    fn frames_are_separated_and_octets_escaped() {
        let message = frames(&[b"id", b"", b"a\tb\nc\\\0\xff\x1b[2J", "Grüße €".as_bytes()]);
        assert_eq!(
            line(&message),
            "id\t\ta\\tb\\nc\\\\\\x00\\xff\\x1b[2J\tGrüße €"
        );
        assert_eq!(
            line(&frames(&["a\u{202e}b\u{85}".as_bytes()])),
            r"a\xe2\x80\xaeb\xc2\x85"
        );
    }

    #[test]
    fn every_octet_and_every_pair_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut messages = vec![frames(&[&all, b"", &all]), frames(&[b""])];
        for first in 0..=255 {
            for second in 0..=255 {
                messages.push(frames(&[&[first, second], &[second]]));
            }
        }
        for message in messages {
            let mut text = Vec::new();
            encode(&message, &mut text);
            assert!(!text.contains(&b'\n'));
            assert_eq!(decode(&text).unwrap(), message);
        }
    }

    #[test]
    fn foreign_octets_are_taken_as_they_are() {
        assert_eq!(decode(b"\xff\x01\r").unwrap(), frames(&[b"\xff\x01\r"]));
        assert_eq!(decode(b"").unwrap(), frames(&[b""]));
        assert_eq!(decode(b"\t").unwrap(), frames(&[b"", b""]));
    }

    #[test]
    fn a_broken_escape_is_named_with_its_column() {
        for (text, column) in [("a\\q", 2), ("x\ty\\", 4), ("\\x1", 1), ("\\xg0", 1)] {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(&format!("column {column} ")), "{error}");
        }
        assert!(decode(&vec![b'\t'; MAX_FRAMES]).is_err());
        assert!(decode(&vec![b'\t'; MAX_FRAMES - 1]).is_ok());
    }
}
