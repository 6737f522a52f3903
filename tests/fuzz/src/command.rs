//! Commands: any octets against the RFC's grammar read plainly, and every kind there and back.

use std::time::Duration;

use withy_proto::Frame;
use withy_proto::zmtp::Command;
use withy_proto::zmtp::command::{CommandError, MAX_CONTEXT};
use withy_proto::zmtp::metadata::{MAX_NAME, Metadata};

use super::input::Input;

/// Decodes the input, or makes a command of it.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() {
        choice @ 0..=0x0f => round_trip(choice, &mut input),
        // The name, and then the data, so that no length has to be guessed.
        choice @ 0x10..=0x1f => {
            let names = [
                "PING",
                "PONG",
                "SUBSCRIBE",
                "CANCEL",
                "READY",
                "ERROR",
                "LARGE",
                "LANE",
                "TAKEN",
            ];
            let name = names[usize::from(choice) % names.len()];
            let mut body = vec![name.len() as u8];
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(input.rest());
            decode(&body);
        }
        _ => decode(input.rest()),
    }
}

fn decode(body: &[u8]) {
    let decoded = Command::decode(body);
    assert_eq!(decoded, model(body));
    let Ok(command) = decoded else {
        return;
    };
    let encoded = command.encode();
    match &command {
        // Their text is escaped, and an escape is escaped again.
        Command::Error { reason: text } | Command::Unknown { name: text } => {
            let printable = |octet: u8| octet.is_ascii_graphic() || octet == b' ';
            assert!(text.bytes().all(printable) && text.len() <= 255);
            // A READY that is malformed is unknown, but by its name alone it is a READY.
            if !text.contains(['\\', '\'', '"']) && text != "READY" {
                assert_eq!(Command::decode(&encoded), Ok(command));
            }
        }
        _ => assert_eq!(Command::decode(&encoded), Ok(command)),
    }
}

/// RFC 37 §3.4, with what the crate says of libzmq.
fn model(body: &[u8]) -> Result<Command, CommandError> {
    let length = usize::from(*body.first().ok_or(CommandError::CutShort)?);
    if body.len() < 1 + length {
        return Err(CommandError::CutShort);
    }
    let (name, data) = (&body[1..1 + length], &body[1 + length..]);
    let context = |octets: &[u8]| {
        let kept: Vec<u8> = octets.iter().copied().take(MAX_CONTEXT).collect();
        Frame::from(kept)
    };
    Ok(match str::from_utf8(name) {
        Ok("PING") if data.len() < 2 => return Err(CommandError::PingWithoutTtl),
        Ok("PING") => Command::Ping {
            ttl: Duration::from_millis(100 * (256 * u64::from(data[0]) + u64::from(data[1]))),
            context: context(&data[2..]),
        },
        Ok("PONG") => Command::Pong {
            context: context(data),
        },
        Ok("SUBSCRIBE") => Command::Subscribe(data.into()),
        Ok("CANCEL") => Command::Cancel(data.into()),
        Ok("READY") if Metadata::decode(data).is_ok() => {
            Command::Ready(Metadata::decode(data).unwrap_or_default())
        }
        Ok("ERROR") => Command::Error {
            reason: escaped(data.get(1..).unwrap_or_default(), 255),
        },
        Ok("LARGE") if data.len() == 8 => Command::Large(number(data)),
        Ok("LANE") if data.len() == 8 => Command::Lane(number(data)),
        Ok("TAKEN") if data.len() == 16 => Command::Taken {
            messages: number(&data[..8]),
            larges: number(&data[8..]),
        },
        _ => Command::Unknown {
            name: escaped(name, 32),
        },
    })
}

/// A number, the highest octet first.
fn number(octets: &[u8]) -> u64 {
    let digits = octets.iter().map(|&octet| u64::from(octet));
    digits.fold(0, |number, digit| number * 256 + digit)
}

/// At most so many characters of the octets as a string literal shows them.
fn escaped(octets: &[u8], most: usize) -> String {
    let mut text = String::new();
    for &octet in octets {
        match octet {
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\'' | b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\x{octet:02x}")),
        }
    }
    text.truncate(most);
    text
}

/// A command of each kind.
fn round_trip(choice: u8, input: &mut Input<'_>) {
    let command = match choice % 10 {
        0 => Command::Ping {
            ttl: Duration::from_millis(100 * input.number() as u64),
            context: input.take(MAX_CONTEXT).into(),
        },
        1 => Command::Pong {
            context: input.take(MAX_CONTEXT).into(),
        },
        2 => Command::Subscribe(input.rest().into()),
        3 => Command::Cancel(input.rest().into()),
        4 => Command::Ready(metadata(input)),
        5 => Command::Error {
            reason: letters(input, 255),
        },
        7 => Command::Large(number(input.take(8))),
        8 => Command::Lane(number(input.take(8))),
        9 => Command::Taken {
            messages: number(input.take(8)),
            larges: number(input.take(8)),
        },
        _ => Command::Unknown {
            name: letters(input, 31) + "?",
        },
    };
    let body = command.encode();
    assert_eq!(Command::decode(&body), Ok(command));
    let name = usize::from(body[0]);
    for end in 0..=name {
        assert_eq!(Command::decode(&body[..end]), Err(CommandError::CutShort));
    }
    // A TTL that does not fit its 16 bits is the longest that does.
    let long = Command::Ping {
        ttl: Duration::from_secs(6_554 + input.number() as u64),
        context: Frame::new(),
    };
    assert_eq!(long.encode(), b"\x04PING\xff\xff");
}

fn metadata(input: &mut Input<'_>) -> Metadata {
    let mut metadata = Metadata::default();
    for _ in 0..input.octet() % 8 {
        let name = letters(input, MAX_NAME);
        let length = usize::from(input.octet());
        let set = metadata.set(&name, input.take(length));
        assert_eq!(set.is_err(), name.is_empty());
    }
    metadata
}

/// A text of up to so many characters, all of which a property's name may have.
fn letters(input: &mut Input<'_>, most: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    let length = usize::from(input.octet()).min(most);
    let octets = input.take(length).iter();
    octets
        .map(|octet| char::from(LETTERS[usize::from(octet % 64)]))
        .collect()
}
