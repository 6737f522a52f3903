//! What lies between an outbox and a decoder: octets that leave and arrive in pieces.

use std::io::IoSlice;

use withy_proto::Message;
use withy_proto::crypto::aead::{Key, Suite, TAG};
use withy_proto::crypto::{Provider, Randomness, Seeded};
use withy_proto::mechanism::{Opener, Sealer};
use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::record;
use withy_proto::zmtp::{Batch, DecodeError, Decoder, Item};

/// The most pieces of a long stream; a decoder copies what is not yet whole once for each of them.
const MOST: usize = 64;
/// Up to this length, a stream comes in as many pieces as it has octets.
const SHORT: usize = 2048;

/// Splits octets: 0 leaves them whole, 1 makes pieces of one octet, others pieces of lengths that
/// follow from `how`, of up to 2^(how % 12) octets.
pub fn pieces(how: u8, octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut random = Seeded::new(u64::from(how));
    let mut rest = octets;
    let least = match octets.len() {
        ..=SHORT => 1,
        long => long / MOST,
    };
    std::iter::from_fn(move || {
        let length = match how {
            0 => rest.len(),
            1 => 1,
            _ => 1 + random.next_u64() as usize % (1 << (how % 12)),
        };
        let (piece, tail) = rest.split_at(length.max(least).min(rest.len()));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes a batch as a link does that takes up to `most` octets at a time, or whole with 0.
pub fn write(batch: &mut Batch, most: usize) -> Vec<u8> {
    let mut octets = Vec::with_capacity(batch.size());
    while !batch.is_done() {
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = batch.slices(&mut slices, usize::MAX);
        let before = octets.len();
        let mut room = if most == 0 { usize::MAX } else { most };
        for slice in &slices[..filled] {
            let now = &slice[..slice.len().min(room)];
            octets.extend_from_slice(now);
            room -= now.len();
        }
        assert!(octets.len() > before, "a batch that is not done has octets");
        batch.advance(octets.len() - before);
    }
    octets
}

/// A decoder with the buffer that the driver lends it.
#[derive(Debug)]
pub struct Receiver {
    decoder: Decoder,
    arrived: usize,
    /// What was decoded.
    pub items: Vec<Item>,
    /// Why nothing more is.
    pub failure: Option<DecodeError>,
}

impl Receiver {
    /// Takes over a decoder, and decodes what it has on hand.
    pub fn new(decoder: Decoder) -> Self {
        let mut receiver = Self {
            decoder,
            arrived: 0,
            items: Vec::new(),
            failure: None,
        };
        receiver.arrived = receiver.decoder.held();
        receiver.arrive(&[], false);
        receiver
    }

    /// Decodes a piece of the stream; `direct` puts the octets of a long body into the decoder's
    /// own buffer, as a link does.
    pub fn arrive(&mut self, mut piece: &[u8], direct: bool) {
        use bytes::BufMut as _;
        if self.failure.is_some() {
            return;
        }
        self.arrived += piece.len();
        if direct && let Some(mut body) = self.decoder.body() {
            let (now, rest) = piece.split_at(piece.len().min(body.remaining_mut()));
            body.put_slice(now);
            piece = rest;
        }
        let mut input = self.decoder.unstash();
        let tail = input.len();
        input.extend_from_slice(self.decoder.unopened());
        input.extend_from_slice(piece);
        match self.decoder.open(&mut input[tail..]) {
            Ok(opened) => input.truncate(tail + opened),
            Err(error) => {
                self.failure = Some(error);
                return;
            }
        }
        let mut message = Message::new();
        let mut at = 0;
        loop {
            match self.decoder.decode(&mut input[at..], &mut message) {
                Ok((used, decoded)) => {
                    at += used;
                    match decoded {
                        Some(decoded) => self.items.push(decoded.into_item(&mut message)),
                        None => break,
                    }
                }
                Err(error) => {
                    self.failure = Some(error);
                    return;
                }
            }
        }
        self.decoder.stash(&input[at..]);
        self.check_memory();
    }

    /// What a peer made us hold is at most what it sent, fourfold, and one buffer.
    fn check_memory(&self) {
        const BUFFER: usize = 64 * 1024;
        let held = self.decoder.held();
        let bound = self.arrived + 4 * self.arrived.max(BUFFER);
        assert!(held <= bound, "{held} octets held, {} came", self.arrived);
        // A body gets a buffer of its own above half of that.
        assert!(held <= self.arrived || held >= BUFFER / 2);
    }

    /// Octets that the decoder holds.
    pub fn held(&self) -> usize {
        self.decoder.held()
    }
}

/// Decodes a whole stream.
pub fn receive(limits: Limits, opener: Opener, octets: &[u8], how: u8, direct: bool) -> Receiver {
    let mut receiver = Receiver::new(Decoder::new(limits, opener));
    for piece in pieces(how, octets) {
        receiver.arrive(piece, direct);
    }
    receiver
}

/// What seals and what opens records that nothing encrypts.
pub fn records() -> (Sealer, Opener) {
    let key = || Key::new(Provider::DangerNull, Suite::AesGcm, &[0; 32]);
    (
        Sealer::Records(Box::new(record::Sealer::new(key(), 0))),
        Opener::Records(Box::new(record::Opener::new(key(), 0))),
    )
}

/// A stream in records that carry as many octets each as `how` says.
pub fn in_records(how: u8, octets: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in pieces(how, octets).flat_map(|piece| piece.chunks(record::MAX_PLAINTEXT)) {
        let length = (piece.len() + TAG) as u16;
        records.extend_from_slice(&length.to_be_bytes());
        records.extend_from_slice(piece);
        records.extend_from_slice(&[0; TAG]);
    }
    records
}
