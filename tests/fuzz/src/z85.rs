//! Z85: RFC 32 in long arithmetic, one digit at a time.

use withy_proto::z85::{KEY_CHARACTERS, Z85Error, decode, decode_key, encode, encode_key};

/// RFC 32, "Representing Binary Data", in the groups that it is given in.
const DIGITS: [&str; 4] = [
    "0123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    ".-:+=^!/*?&<>()[]{}@%$#",
];

/// Takes the input as octets and, where it is UTF-8, as text.
pub fn run(input: &[u8]) {
    octets(input);
    if let Ok(text) = str::from_utf8(input) {
        self::text(text);
    }
    // Nearly all of it in digits, so that groups are whole.
    let digits: Vec<char> = DIGITS.iter().flat_map(|digits| digits.chars()).collect();
    let text: String = input
        .iter()
        .map(|octet| match octet {
            255 => '~',
            254 => 'é',
            octet => digits[usize::from(*octet) % 85],
        })
        .collect();
    self::text(&text);
}

fn octets(octets: &[u8]) {
    let encoded = encode(octets);
    if !octets.len().is_multiple_of(4) {
        let length = octets.len();
        assert_eq!(encoded, Err(Z85Error::Length { length, unit: 4 }));
        return;
    }
    let text = encoded.unwrap_or_default();
    assert_eq!(text, model_encode(octets));
    assert_eq!(decode(&text).as_deref(), Ok(octets));
    if let Ok(key) = octets.try_into() {
        assert_eq!(encode_key(key), text);
        assert_eq!(decode_key(&text), Ok(*key));
    }
}

fn text(text: &str) {
    let decoded = decode(text);
    assert_eq!(decoded, model_decode(text));
    if let Ok(octets) = &decoded {
        // There is one text for each run of octets.
        assert_eq!(encode(octets).as_deref(), Ok(text));
    }
    let key = decode_key(text).map(|key| key.to_vec());
    match text.len() {
        KEY_CHARACTERS => assert_eq!(key, decoded),
        length => assert_eq!(key, Err(Z85Error::KeyLength { length })),
    }
}

fn model_encode(octets: &[u8]) -> String {
    let digits = DIGITS.concat();
    let mut text = String::new();
    for group in octets.chunks(4) {
        let mut value = group
            .iter()
            .fold(0, |sum, octet| 256 * sum + usize::from(*octet));
        let mut characters = Vec::new();
        for _ in 0..5 {
            characters.extend(digits.chars().nth(value % 85));
            value /= 85;
        }
        text.extend(characters.iter().rev());
    }
    text
}

fn model_decode(text: &str) -> Result<Vec<u8>, Z85Error> {
    let digits = DIGITS.concat();
    let length = text.len();
    if !length.is_multiple_of(5) {
        return Err(Z85Error::Length { length, unit: 5 });
    }
    let mut octets = Vec::new();
    let mut value = 0;
    for (at, octet) in text.bytes().enumerate() {
        let digit = digits.bytes().position(|digit| digit == octet);
        value = 85 * value + digit.ok_or(Z85Error::Character { at })?;
        if at % 5 == 4 {
            if value >= 1 << 32 {
                return Err(Z85Error::Overflow { at: at - 4 });
            }
            octets.extend([value >> 24, value >> 16, value >> 8, value].map(|octet| octet as u8));
            value = 0;
        }
    }
    Ok(octets)
}
