//! The obvious decoder: the whole stream at once, one frame after the other, no buffers.

use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::{Command, DecodeError, Item};
use withy_proto::{Frame, Message};

/// What is wrong with a stream, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A frame header.
    Header,
    /// A command.
    Command,
    /// A message with too many octets.
    TooLarge,
    /// A message with too many frames.
    TooMany,
    /// A frame that does not open.
    Forged,
}

/// The kind of an error.
pub fn fault(error: &DecodeError) -> Fault {
    match error {
        DecodeError::Header(_) => Fault::Header,
        DecodeError::Command(_) => Fault::Command,
        DecodeError::MessageTooLarge { .. } => Fault::TooLarge,
        DecodeError::TooManyParts { .. } => Fault::TooMany,
        _ => Fault::Forged,
    }
}

/// Takes the lid off a frame: flags and body, of which the flags are those of the frame header.
pub type Open<'a> = &'a mut dyn FnMut(u8, &[u8]) -> Result<(u8, Vec<u8>), Fault>;

/// A frame in the clear.
pub fn clear(flags: u8, body: &[u8]) -> Result<(u8, Vec<u8>), Fault> {
    Ok((flags, body.to_vec()))
}

/// What a stream says, up to its end or its first fault. A frame may have `lid` octets more than
/// its body.
pub fn decode(
    octets: &[u8],
    limits: Limits,
    lid: usize,
    open: Open<'_>,
) -> (Vec<Item>, Option<Fault>) {
    let mut items = Vec::new();
    let fault = decode_into(octets, limits, lid, open, &mut items).err();
    (items, fault)
}

fn decode_into(
    mut octets: &[u8],
    limits: Limits,
    lid: usize,
    open: Open<'_>,
    items: &mut Vec<Item>,
) -> Result<(), Fault> {
    let mut parts: Vec<Frame> = Vec::new();
    while let Some((flags, size, rest)) = header(octets)? {
        let before: usize = parts.iter().map(|part| part.len()).sum();
        let most = (limits.max_message_size - before + lid) as u128;
        if size > most {
            return Err(Fault::TooLarge);
        }
        let Some((body, rest)) = rest.split_at_checked(size as usize) else {
            return Ok(());
        };
        octets = rest;
        let (flags, body) = open(flags, body)?;
        if flags & 4 != 0 {
            let command = Command::decode(&body).map_err(|_| Fault::Command)?;
            items.push(Item::Command(Box::new(command)));
            continue;
        }
        parts.push(Frame::from(body));
        if parts.len() > limits.max_parts.max(1) {
            return Err(Fault::TooMany);
        }
        if flags & 1 == 0 {
            let frames = std::mem::take(&mut parts);
            items.push(Item::Message(Message::from_frames(frames)));
        }
    }
    Ok(())
}

/// Flags, size and what comes after.
type Header<'a> = (u8, u128, &'a [u8]);

/// The header at the front; `None` when it is not whole.
fn header(octets: &[u8]) -> Result<Option<Header<'_>>, Fault> {
    let Some(&flags) = octets.first() else {
        return Ok(None);
    };
    if flags > 7 || flags & 5 == 5 {
        return Err(Fault::Header);
    }
    let length = if flags & 2 == 2 { 8 } else { 1 };
    let Some(digits) = octets.get(1..1 + length) else {
        return Ok(None);
    };
    let size = digits
        .iter()
        .fold(0, |size, digit| size * 256 + u128::from(*digit));
    if size >= 1 << 63 {
        return Err(Fault::Header);
    }
    Ok(Some((flags, size, &octets[1 + length..])))
}
