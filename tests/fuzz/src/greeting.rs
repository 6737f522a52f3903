//! The greeting, octet by octet, against the RFC's layout read at once.

use withy_proto::mechanism::MECHANISMS;
use withy_proto::zmtp::greeting::{Filler, Greeting, GreetingError, LENGTH, decode, encode};

use super::input::Input;

/// What a greeting, or its start, is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right { minor: u8 },
    Unfinished,
    NotZmtp,
    Old { major: u8 },
    OtherMechanism,
}

/// Reads every start of the input, which half the time is first laid over a right greeting.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.octet();
    let names: Vec<&str> = MECHANISMS.iter().map(|row| row.name).collect();
    // The longest name that a greeting can carry.
    let ours = match usize::from(choice & 3) {
        3 => "ABCDEFGHIJKLMNOPQRST",
        at => names[at],
    };
    let theirs = names[usize::from(choice >> 2 & 3) % names.len()];
    let as_server = choice & 0x40 != 0;
    let mut octets = input.rest().to_vec();
    if choice & 0x80 != 0 {
        let right = encode(theirs, as_server, Filler::default());
        octets.resize(octets.len().max(LENGTH), 0);
        for (octet, right) in octets.iter_mut().zip(right) {
            *octet ^= right;
        }
        if octets[..LENGTH] == right {
            assert_eq!(verdict(&right, theirs), Verdict::Right { minor: 1 });
        }
    }
    let mut refused = false;
    for end in 0..=octets.len().min(LENGTH + 2) {
        let verdict = verdict(&octets[..end], ours);
        assert_eq!(verdict, model(&octets[..end], ours), "of {end} octets");
        let refuses = !matches!(verdict, Verdict::Right { .. } | Verdict::Unfinished);
        assert!(refuses || !refused, "refused before {end} octets");
        refused = refuses;
    }
}

fn verdict(octets: &[u8], ours: &str) -> Verdict {
    match decode(octets, ours) {
        Ok(Some(Greeting { minor })) => Verdict::Right { minor },
        Ok(None) => Verdict::Unfinished,
        Err(GreetingError::NotZmtp { .. }) => Verdict::NotZmtp,
        Err(GreetingError::Version { major }) => Verdict::Old { major },
        Err(error @ GreetingError::Mechanism { .. }) => {
            assert!(error.to_string().len() < 200);
            Verdict::OtherMechanism
        }
        Err(other) => panic!("{other}"),
    }
}

/// Signature (10), version (2), mechanism (20), as-server (1), filler (31).
fn model(octets: &[u8], ours: &str) -> Verdict {
    let mut mechanism = [0; 20];
    mechanism[..ours.len()].copy_from_slice(ours.as_bytes());
    let named = octets.get(12..octets.len().min(32)).unwrap_or_default();
    match octets {
        [1..=0xfe, 0, ..] => Verdict::Old { major: 1 },
        [0..=0xfe, ..] => Verdict::NotZmtp,
        [_, _, _, _, _, _, _, _, _, last, ..] if last % 2 == 0 => Verdict::Old { major: 1 },
        [_, _, _, _, _, _, _, _, _, _, 0, ..] => Verdict::Old { major: 1 },
        [_, _, _, _, _, _, _, _, _, _, 1 | 2, ..] => Verdict::Old { major: 2 },
        _ if !mechanism.starts_with(named) => Verdict::OtherMechanism,
        _ if octets.len() < 64 => Verdict::Unfinished,
        _ => Verdict::Right { minor: octets[11] },
    }
}
