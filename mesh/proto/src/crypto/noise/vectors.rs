//! The vectors of two other implementations, over our primitives.

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::Primitives;
use crate::crypto::Provider;

struct Vector<'a> {
    name: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Vector<'a> {
    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let found = |(k, value): &(&str, &'a str)| (*k == key).then_some(*value);
        self.fields
            .iter()
            .filter_map(found)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn octets(&self, key: &str) -> Option<Vec<u8>> {
        self.all(key).next().map(octets)
    }
}

fn octets(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return Vec::new();
    }
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn vectors(text: &str) -> Vec<Vector<'_>> {
    let mut vectors: Vec<Vector<'_>> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        match line.split_once(' ').unwrap() {
            ("name", name) => vectors.push(Vector {
                name,
                fields: Vec::new(),
            }),
            field => vectors.last_mut().unwrap().fields.push(field),
        }
    }
    vectors
}

fn side(vector: &Vector<'_>, side: &str) -> HandshakeState {
    let key = |what: &str| format!("{side}_{what}");
    let ephemeral = vector
        .octets(&key("ephemeral"))
        .unwrap_or_else(|| vec![1; 32]);
    let primitives = Primitives {
        provider: Provider::Real,
        ephemeral: Zeroizing::new(ephemeral.try_into().unwrap()),
    };
    let name: NoiseParams = vector.name.parse().unwrap();
    let prologue = vector.octets(&key("prologue")).unwrap();
    let (own, remote) = (
        vector.octets(&key("static")),
        vector.octets(&key("remote_static")),
    );
    let psks: Vec<[u8; 32]> = vector
        .all(&key("psk"))
        .map(|psk| octets(psk).try_into().unwrap())
        .collect();
    let places: Vec<u8> = vector
        .name
        .split('_')
        .nth(1)
        .unwrap()
        .split("psk")
        .skip(1)
        .map(|place| place.trim_end_matches('+').parse().unwrap())
        .collect();
    let mut builder = Builder::with_resolver(name, Box::new(primitives))
        .prologue(&prologue)
        .unwrap();
    if let Some(own) = &own {
        builder = builder.local_private_key(own).unwrap();
    }
    if let Some(remote) = &remote {
        builder = builder.remote_public_key(remote).unwrap();
    }
    for (place, psk) in places.iter().zip(&psks) {
        builder = builder.psk(*place, psk).unwrap();
    }
    match side {
        "init" => builder.build_initiator().unwrap(),
        _ => builder.build_responder().unwrap(),
    }
}

/// Runs a vector through the handshake; returns whether it had one that goes both ways.
fn check(vector: &Vector<'_>) {
    let (mut first, mut second) = (side(vector, "init"), side(vector, "resp"));
    let mut handshakes = 0;
    let messages: Vec<(Vec<u8>, Vec<u8>)> = vector
        .all("message")
        .map(|message| message.split_once(' ').unwrap())
        .map(|(payload, sealed)| (octets(payload), octets(sealed)))
        .collect();
    let mut buffer = vec![0; 65_535];
    let mut rest = messages.iter();
    while !first.is_handshake_finished() {
        let (payload, sealed) = rest.next().unwrap();
        let size = first.write_message(payload, &mut buffer).unwrap();
        assert_eq!(buffer[..size], sealed[..], "{}", vector.name);
        let size = second.read_message(sealed, &mut buffer).unwrap();
        assert_eq!(buffer[..size], payload[..], "{}", vector.name);
        std::mem::swap(&mut first, &mut second);
        handshakes += 1;
    }
    if let Some(hash) = vector.octets("hash") {
        assert_eq!(first.get_handshake_hash(), hash);
    }
    // One-way patterns send in one direction only, and so many messages have passed.
    let one_way = handshakes == 1;
    let (mut first, mut second) = (
        first.into_transport_mode().unwrap(),
        second.into_transport_mode().unwrap(),
    );
    if one_way {
        std::mem::swap(&mut first, &mut second);
    }
    for (payload, sealed) in rest {
        let size = first.write_message(payload, &mut buffer).unwrap();
        assert_eq!(buffer[..size], sealed[..], "{}", vector.name);
        let size = second.read_message(sealed, &mut buffer).unwrap();
        assert_eq!(buffer[..size], payload[..], "{}", vector.name);
        if !one_way {
            std::mem::swap(&mut first, &mut second);
        }
    }
}

#[test]
fn the_vectors_of_others_hold() {
    let mut ours = 0;
    for (text, expected) in [
        (include_str!("cacophony.vectors"), 118),
        (include_str!("snow.vectors"), 102),
    ] {
        let vectors = vectors(text);
        vectors.iter().for_each(check);
        assert_eq!(vectors.len(), expected);
        ours += vectors
            .iter()
            .filter(|vector| vector.name.contains("_XXpsk0+psk3_"))
            .count();
    }
    assert_eq!(ours, 2, "with both ciphers, the pattern of NOISE");
}
