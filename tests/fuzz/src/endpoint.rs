//! Endpoints: what parses prints as a text that parses to the same, and what is accepted is what
//! the forms in the crate's documentation say.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use withy_proto::Endpoint;
use withy_proto::endpoint::{Host, Inherited, Ipc, Locality};

use super::input::Input;

/// A text, or a text put together of parts, or an address.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() {
        0xff => address(&mut input),
        choice @ 0xe0..=0xfe => pieces(choice, &mut input),
        _ => {
            if let Ok(text) = str::from_utf8(input.rest()) {
                parse(text);
            }
        }
    }
}

/// Separators and words next to each other.
fn pieces(choice: u8, input: &mut Input<'_>) {
    const SCHEMES: [&str; 8] = [
        "tcp://",
        "quic://",
        "ipc://",
        "inproc://",
        "fd://",
        "systemd://",
        "relay://",
        "",
    ];
    const PIECES: [&str; 33] = [
        "://",
        ":",
        ";",
        "[",
        "]",
        "%",
        "*",
        "@",
        ".",
        "-",
        "_",
        "+",
        " ",
        "\0",
        "é",
        "/",
        "::1",
        "fe80::",
        "::ffff:127.0.0.1",
        "127.0.0.1",
        "255",
        "256",
        "0",
        "1",
        "65535",
        "65536",
        "0x7f",
        "localhost",
        "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx",
        "eth0",
        "a",
        "2147483647",
        "00",
    ];
    let mut text = SCHEMES[usize::from(choice) % SCHEMES.len()].to_owned();
    for octet in input.rest() {
        let times = if *octet >= 0xf0 { 50 } else { 1 };
        text.push_str(&PIECES[usize::from(*octet) % PIECES.len()].repeat(times));
    }
    parse(&text);
}

fn parse(text: &str) {
    let parsed = text.parse::<Endpoint>();
    assert_eq!(parsed.is_ok(), is_endpoint(text), "{text:?}: {parsed:?}");
    let endpoint = match parsed {
        Ok(endpoint) => endpoint,
        Err(error) => {
            assert!(error.text().chars().count() <= 81, "cut and marked");
            assert!(error.to_string().contains(error.expected()));
            return;
        }
    };
    let printed = endpoint.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&endpoint), "{text:?}");
    assert!(text.starts_with(endpoint.scheme()));
    let (locality, same) = match &endpoint {
        Endpoint::Tcp(tcp) => (host_locality(&tcp.host), None),
        Endpoint::Quic(quic) => (host_locality(&quic.host), None),
        Endpoint::Ipc(Ipc::Any) => (Locality::Local, Some("ipc://*".to_owned())),
        Endpoint::Ipc(_) | Endpoint::Inproc(_) => (Locality::Local, Some(text.to_owned())),
        Endpoint::Relay(_) => (Locality::Remote, Some(text.to_owned())),
        Endpoint::Mesh(_) | Endpoint::Inherited(Inherited::Systemd { index: None, .. }) => {
            (Locality::Unknown, Some(text.to_owned()))
        }
        _ => (Locality::Unknown, None),
    };
    assert_eq!(endpoint.locality(), locality);
    // Forms without numbers and addresses print as they were written.
    assert!(same.is_none_or(|same| same == printed));
}

fn host_locality(host: &Host) -> Locality {
    let local = match host {
        Host::Any => false,
        Host::V4(address) => address.octets()[0] == 127,
        Host::V6 { address, .. } => {
            let mapped = u128::from(*address).checked_sub(0xffff_0000_0000);
            *address == Ipv6Addr::LOCALHOST
                || mapped.is_some_and(|low| low < 1 << 32 && low >> 24 == 127)
        }
        Host::Name(name) => name.as_str().to_lowercase() == "localhost",
    };
    if local {
        Locality::Local
    } else {
        Locality::Remote
    }
}

fn is_id(text: &str) -> bool {
    let base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    text.chars().count() == 56 && text.chars().all(base32)
}

fn is_endpoint(text: &str) -> bool {
    let Some(at) = text.find("://").filter(|_| text.len() <= 1024) else {
        return false;
    };
    let rest = &text[at + 3..];
    match &text[..at] {
        "tcp" => match rest.find(';') {
            Some(at) => is_address(&rest[..at]) && is_address(&rest[at + 1..]),
            None => is_address(rest),
        },
        "quic" => match rest.split_once('@') {
            Some((id, rest)) => is_id(id) && is_address(rest),
            None => is_address(rest),
        },
        "ipc" => !rest.is_empty() && rest != "@" && !rest.contains('\0'),
        "inproc" => (1..=255).contains(&rest.len()),
        "mesh" => (1..=127).contains(&rest.len()) && !rest.chars().any(char::is_control),
        "relay" => {
            let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            rest.len() == 32 && rest.chars().all(digit)
        }
        "fd" => is_number(rest, i32::MAX as u128),
        "systemd" => {
            let name = rest.split(':').next().unwrap_or_default();
            let index = rest[name.len()..].strip_prefix(':');
            (1..=255).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_graphic() || c == ' ')
                && index.is_none_or(|index| is_number(index, i32::MAX as u128))
        }
        _ => false,
    }
}

/// HOST:PORT
fn is_address(text: &str) -> bool {
    let Some(at) = text.rfind(':') else {
        return false;
    };
    let (host, port) = (&text[..at], &text[at + 1..]);
    if port != "*" && !is_number(port, 65_535) {
        return false;
    }
    if let Some(host) = host.strip_prefix('[') {
        let Some(inner) = host.strip_suffix(']') else {
            return false;
        };
        let (address, scope) = match inner.find('%') {
            Some(at) => (&inner[..at], Some(&inner[at + 1..])),
            None => (inner, None),
        };
        return address.parse::<Ipv6Addr>().is_ok() && scope.is_none_or(|scope| is_name(scope, 15));
    }
    // A name is not to be taken for an address: see inet_aton(3).
    let labels: Vec<&str> = host.split('.').filter(|label| !label.is_empty()).collect();
    let hex = |label: &str| {
        let label = label.to_lowercase();
        label
            .strip_prefix("0x")
            .is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let numeric = labels
        .iter()
        .all(|label| hex(label) || label.chars().all(|c| c.is_ascii_digit()));
    host == "*" || host.parse::<Ipv4Addr>().is_ok() || is_name(host, 253) && !numeric
}

fn is_name(text: &str, longest: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=longest).contains(&text.len()) && text.chars().all(allowed)
}

fn is_number(text: &str, most: u128) -> bool {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    // Zeros in front count for nothing, and so many digits are too many.
    let text = text.trim_start_matches('0');
    digits && text.len() < 20 && text.parse().unwrap_or(0) <= most
}

fn address(input: &mut Input<'_>) {
    let port = input.number() as u16;
    let scope = input.number() as u32;
    let address = match input.octet() & 1 {
        0 => SocketAddr::from((Ipv4Addr::from_bits(bits(input.take(4)) as u32), port)),
        _ => {
            let address = Ipv6Addr::from_bits(bits(input.take(16)));
            SocketAddrV6::new(address, port, 0, scope).into()
        }
    };
    let endpoint = Endpoint::from(address);
    assert_eq!(endpoint.to_string().parse().as_ref(), Ok(&endpoint));
    parse(&endpoint.to_string());
}

fn bits(octets: &[u8]) -> u128 {
    octets
        .iter()
        .fold(0, |bits, octet| bits << 8 | u128::from(*octet))
}
