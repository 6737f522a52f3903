//! Tickets: any text, and bodies of any octets under a checksum that fits, against the layout in
//! the crate's documentation, read with a hash and a base32 of its own.

use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{
    CLOCK_SKEW, Grant, IdentityId, Invitation, Membership, Name, Roles, Secret, Ticket,
    TicketError, Validity,
};

use super::base32::{from_base32, to_base32};
use super::input::Input;
use super::sha256::sha256;

const NULL: Provider = Provider::DangerNull;
const NOW: u64 = 1_000_000;
const US: IdentityId = IdentityId::from_octets([7; 32]);

/// A text, a body, or a ticket that was changed.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() {
        choice @ 0..=0x7f => made(choice, &mut input),
        0x80..=0xbf => parse(&summed(input.rest())),
        choice => {
            let Ok(rest) = str::from_utf8(input.rest()) else {
                return;
            };
            match choice % 2 {
                0 => parse(rest),
                _ => parse(&format!("withy-ticket-1-{rest}")),
            }
        }
    }
}

/// The text of a body, with the checksum that belongs to it.
fn summed(body: &[u8]) -> String {
    let sum = sha256(&[b"withy ticket 1", body].concat());
    format!("withy-ticket-1-{}", to_base32(&[body, &sum[..4]].concat()))
}

/// A ticket of the null provider, of which some octets may be others.
fn made(choice: u8, input: &mut Input<'_>) {
    const NAMES: [&str; 4] = ["a", "home net", "~", "0123456789abcdef0123456789abcdef"];
    let name: Option<Name> = input.one_of(&NAMES).parse().ok();
    let Some(name) = name else {
        return;
    };
    let secret = Secret::from_octets([input.octet(); 32]);
    let authority = SigningKey::from_seed(NULL, &[input.octet(); 32]);
    let grant = Grant {
        roles: Roles::from_bits(input.number() as u32),
        serial: input.number() as u64,
        validity: Validity::starting(NOW - 400 + input.number() as u64, input.number() as u64),
    };
    let ticket = match choice % 2 {
        0 => {
            let invitation = Invitation::issue(&authority, [8; 32], grant, choice & 2 != 0);
            let key = SigningKey::from_seed(NULL, &[8; 32]);
            Ticket::with_invitation(name, secret, invitation, &key)
        }
        _ => {
            let member = if choice & 2 == 0 { [7; 32] } else { [8; 32] };
            let member = IdentityId::from_octets(member);
            let membership = Membership::issue(&authority, member, grant);
            let expires = NOW - 400 + input.number() as u64;
            Ticket::with_membership(name, secret, membership, expires)
        }
    };
    let text = ticket.expose();
    parse(&text);
    let body = from_base32(&text["withy-ticket-1-".len()..]);
    let mut body = body.ok().flatten().unwrap_or_default();
    body.truncate(body.len() - 4);
    assert_eq!(summed(&body), *text);
    for _ in 0..4 {
        let (at, octet) = (input.number(), input.octet());
        let length = body.len();
        match octet {
            0 => break,
            1 => body.truncate(at),
            2 => body.push(at as u8),
            octet if length > 0 => body[at % length] ^= octet,
            _ => {}
        }
        parse(&summed(&body));
    }
    // Damage without a checksum that fits.
    let mut damaged = text.to_string();
    let at = usize::from(choice) * 3 % damaged.len();
    damaged.replace_range(at..=at, "q");
    parse(&damaged);
    parse(&damaged[..at]);
    parse(&format!("{}\n", damaged.to_ascii_uppercase()));
}

fn parse(text: &str) {
    let parsed = text.parse::<Ticket>();
    let body = model(text);
    assert_eq!(parsed.as_ref().err(), body.as_ref().err(), "{text:?}");
    let (Ok(ticket), Ok(body)) = (parsed, body) else {
        return;
    };
    assert_eq!(*ticket.expose(), text.trim().to_ascii_lowercase());
    assert!(text.trim().len() <= Ticket::MAX);
    let shown = format!("{ticket:?}");
    assert!(shown.len() < 400 && !shown.contains(&text.trim()[15..]));
    let rest = &body[34 + usize::from(body[33])..];
    let redeemed = ticket.redeem(NULL, US, NOW);
    assert_eq!(redeemed.is_ok(), holds(body[0], rest), "{redeemed:?}");
    if let Ok(joined) = redeemed {
        assert_eq!(joined.network.secret.expose_octets(), &body[1..33]);
        assert_eq!(joined.network.id, ticket.network());
        let verified = joined.proof.verify(NULL, joined.network.id, US, NOW);
        assert_eq!(verified, Ok(joined.proof.grant().roles));
    }
}

fn model(text: &str) -> Result<Vec<u8>, TicketError> {
    let text = text.trim();
    let prefix = text.get(..15).ok_or(TicketError::Prefix)?;
    let prefix = prefix.to_ascii_lowercase();
    if !prefix.starts_with("withy-ticket-") {
        return Err(TicketError::Prefix);
    }
    if !prefix.ends_with("-1-") {
        return Err(TicketError::Version);
    }
    if text.len() > Ticket::MAX {
        return Err(TicketError::Length { length: text.len() });
    }
    let octets = from_base32(&text[15..]).map_err(|at| TicketError::Character { at: 15 + at })?;
    let mut octets = octets.ok_or(TicketError::Damaged)?;
    let length = octets.len().checked_sub(4).ok_or(TicketError::Damaged)?;
    let sum = octets.split_off(length);
    if sha256(&[b"withy ticket 1", &octets[..]].concat())[..4] != sum {
        return Err(TicketError::Damaged);
    }
    match is_body(&octets) {
        true => Ok(octets),
        false => Err(TicketError::Malformed),
    }
}

fn is_body(body: &[u8]) -> bool {
    let length = usize::from(body.get(33).copied().unwrap_or_default());
    let Some(name) = body.get(34..34 + length) else {
        return false;
    };
    let rest = &body[34 + length..];
    let printable = name
        .iter()
        .all(|it| (b' '..=b'~').contains(it) && *it != b'#');
    let spaces = name.first() == Some(&b' ') || name.last() == Some(&b' ');
    let content = match body[0] {
        1 => rest.len() == 157 + 32 && rest[92] <= 1,
        2 => rest.len() == 8 + 156,
        _ => false,
    };
    (1..=63).contains(&length) && printable && !spaces && content
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |sum, it| sum << 8 | u64::from(*it))
}

/// Whether we can join now by what follows the name.
fn holds(kind: u8, rest: &[u8]) -> bool {
    let is_over = |end: u64| NOW > end.saturating_add(CLOCK_SKEW);
    let valid = |ends: &[u8]| {
        let (begin, end) = (number(&ends[..8]), number(&ends[8..]));
        begin <= end && begin <= NOW + CLOCK_SKEW && !is_over(end)
    };
    match kind {
        1 => valid(&rest[76..92]) && rest[93..157] == [0; 64],
        _ => {
            let membership = &rest[8..];
            !is_over(number(&rest[..8]))
                && membership[32..64] == [7; 32]
                && valid(&membership[76..92])
                && membership[92..] == [0; 64]
        }
    }
}
