//! Messages that say who sent them, and that show when anything about them changed.
//!
//! ```text
//!  [topic]  header: magic, origin, life, number, sizes of the bodies  body  body ...
//! ```

use withy_proto::crypto::{Randomness, Seeded};
use withy_proto::{Frame, Message};

use crate::dice::Dice;

const MAGIC: &[u8; 8] = b"sim-head";
const BODIES: usize = 4;

/// Which message: of which node, in which of its lives, and which of that life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) origin: u32,
    pub(crate) life: u32,
    pub(crate) number: u32,
}

/// The largest message in octets, headers and topic left out.
pub(crate) const LARGEST: usize = BODIES * 200_000;

/// Makes a message; `topic` goes in front.
pub(crate) fn message(id: Id, topic: Option<&[u8]>, dice: &mut Dice) -> Message {
    let mut sizes = [u32::MAX; BODIES];
    let bodies = dice.index(BODIES + 1);
    for size in &mut sizes[..bodies] {
        *size = match dice.within(0, 100) {
            0..10 => 0,
            10..60 => dice.within(1, 100),
            60..90 => dice.within(100, 5_000),
            90..98 => dice.within(5_000, 70_000),
            _ => dice.within(70_000, 200_000),
        } as u32;
    }
    let mut header = MAGIC.to_vec();
    for number in [id.origin, id.life, id.number].iter().chain(&sizes) {
        header.extend_from_slice(&number.to_le_bytes());
    }
    let bodies = sizes.iter().take(bodies).enumerate();
    let bodies = bodies.map(|(part, size)| Frame::from(body(id, part, *size as usize)));
    let topic = topic.map(Frame::copy_from_slice).into_iter();
    topic.chain([Frame::from(header)]).chain(bodies).collect()
}

fn body(id: Id, part: usize, size: usize) -> Vec<u8> {
    let seed = u64::from(id.origin) << 40 ^ u64::from(id.life) << 32 ^ u64::from(id.number);
    let mut block = [0; 97];
    Seeded::new(seed ^ (part as u64) << 60).fill(&mut block);
    let mut body = block.repeat(size.div_ceil(block.len()));
    body.truncate(size);
    body
}

/// Reads a message, whatever envelope it has.
///
/// Law: a message arrives whole and as it was.
pub(crate) fn read(message: &Message) -> Id {
    let frames = message.frames();
    let at = frames
        .iter()
        .position(|frame| frame.starts_with(MAGIC))
        .unwrap_or_else(|| panic!("a message without a header: {message:?}"));
    let numbers: Vec<u32> = frames[at][MAGIC.len()..]
        .chunks(4)
        .map(|number| u32::from_le_bytes(number.try_into().unwrap()))
        .collect();
    let id = Id {
        origin: numbers[0],
        life: numbers[1],
        number: numbers[2],
    };
    let sizes: Vec<u32> = numbers[3..]
        .iter()
        .copied()
        .filter(|size| *size != u32::MAX)
        .collect();
    let bodies = &frames[at + 1..];
    assert_eq!(bodies.len(), sizes.len(), "{id:?} has lost or won frames");
    for (part, (frame, size)) in bodies.iter().zip(sizes).enumerate() {
        assert!(
            **frame == *body(id, part, size as usize),
            "frame {part} of {id:?} has changed"
        );
    }
    id
}
