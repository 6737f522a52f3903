//! Ids: the form in the crate's documentation, read with a hash and a base32 of its own, and lists
//! of identities there and back.

use withy_proto::trust::id::{CHARACTERS, IdKind};
use withy_proto::trust::{AllowList, IdError, IdentityId, Name, NetworkId, NodeId};

use super::base32::{from_base32, to_base32};
use super::input::Input;
use super::sha256::sha256;

const KINDS: [(IdKind, &str); 3] = [
    (IdKind::Identity, "withy identity id 1"),
    (IdKind::Node, "withy node id 1"),
    (IdKind::Network, "withy network id 1"),
];

/// A text, digits, an id that was changed, or a list.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() {
        choice @ 0x00..=0x3f => made(choice, &mut input),
        0x40..=0x4f => {
            let digit = |octet: &u8| char::from(b"abcxyz234567ABCXYZ01-"[usize::from(octet % 21)]);
            parse(&input.rest().iter().map(digit).collect::<String>());
        }
        0x50..=0x7f => pieces(&mut input),
        _ => {
            if let Ok(text) = str::from_utf8(input.rest()) {
                parse(text);
                list(text);
            }
        }
    }
}

/// An id of one kind, and some of its octets or characters changed.
fn made(choice: u8, input: &mut Input<'_>) {
    let mut key = [0; 32];
    let octets = input.take(32);
    key[..octets.len()].copy_from_slice(octets);
    let (_, domain) = KINDS[usize::from(choice) % KINDS.len()];
    let text = print(&key, domain);
    let printed = [
        IdentityId::from_octets(key).to_string(),
        NodeId::from_octets(key).to_string(),
        NetworkId::from_octets(key).to_string(),
    ];
    assert_eq!(printed[usize::from(choice) % KINDS.len()], text);
    parse(&text);
    let mut text = text.into_bytes();
    for _ in 0..4 {
        let at = usize::from(input.octet());
        let length = text.len();
        match input.octet() {
            0 => break,
            1 => text.truncate(at),
            2 => text.push(b'a'),
            octet @ 3..=0x1f if length > 0 => text[at % length] ^= octet,
            octet if length > 0 => text[at % length] = octet & 0x7f,
            _ => {}
        }
        parse(&String::from_utf8_lossy(&text));
    }
}

/// Lines of ids, names and comments.
fn pieces(input: &mut Input<'_>) {
    let ids = [1, 2].map(|octet| IdentityId::from_octets([octet; 32]).to_string());
    let node = NodeId::from_octets([1; 32]).to_string();
    let pieces = [
        &ids[0], &ids[1], &ids[0], &ids[1], &node, " ", "\t", " ", "\n", "\r\n", "\n", "#", " #",
        "a", "my name", "\u{e9}",
    ];
    let pick = |octet: &u8| pieces[usize::from(*octet) % pieces.len()];
    list(&input.rest().iter().map(pick).collect::<String>());
}

fn parse(text: &str) {
    let identity = text.parse::<IdentityId>().map(|id| *id.as_octets());
    let node = text.parse::<NodeId>().map(|id| *id.as_octets());
    let network = text.parse::<NetworkId>().map(|id| *id.as_octets());
    for (parsed, (kind, domain)) in [identity, node, network].into_iter().zip(KINDS) {
        assert_eq!(parsed, model(text, kind), "{text:?}");
        if let Ok(key) = parsed {
            assert_eq!(print(&key, domain), text.to_ascii_lowercase());
        }
    }
}

fn model(text: &str, expected: IdKind) -> Result<[u8; 32], IdError> {
    let length = text.chars().count();
    if length != CHARACTERS {
        return Err(IdError::Length { length });
    }
    let octets = from_base32(text).map_err(|at| IdError::Character { at })?;
    let octets = octets.unwrap_or_default();
    let key: [u8; 32] = octets[..32].try_into().unwrap_or_default();
    let fits = |domain: &str| sha256(&[domain.as_bytes(), &key].concat())[..3] == octets[32..];
    match KINDS.into_iter().find(|(_, domain)| fits(domain)) {
        Some((found, _)) if found == expected => Ok(key),
        Some((found, _)) => Err(IdError::Kind { found, expected }),
        None => Err(IdError::Checksum),
    }
}

fn print(key: &[u8; 32], domain: &str) -> String {
    let sum = sha256(&[domain.as_bytes(), key].concat());
    to_base32(&[&key[..], &sum[..3]].concat())
}

fn list(text: &str) {
    let list = match text.parse::<AllowList>() {
        Ok(list) => list,
        Err(error) => {
            // The line that is named is the first that is wrong.
            let lines: Vec<_> = text.lines().collect();
            let (before, line) = (&lines[..error.line - 1], lines[error.line - 1]);
            assert!(before.join("\n").parse::<AllowList>().is_ok());
            assert_eq!(line.parse::<AllowList>().map_err(|it| it.line), Err(1));
            return;
        }
    };
    assert_eq!(list.to_string().parse().as_ref(), Ok(&list));
    let words: Vec<_> = text.split_whitespace().collect();
    for (id, name) in list.iter() {
        let same = |word: &&str| word.parse() == Ok(id);
        assert!(words.iter().any(same));
        let name = name.map(Name::as_str);
        assert!(name.is_none_or(|name| text.contains(name) && !name.contains('#')));
    }
    let first = |line: &str| line.split_whitespace().next().map(str::to_ascii_lowercase);
    let mut ids: Vec<_> = text.lines().filter_map(first).collect();
    ids.retain(|id| !id.starts_with('#'));
    ids.sort();
    ids.dedup();
    assert_eq!(list.iter().count(), ids.len());
}
