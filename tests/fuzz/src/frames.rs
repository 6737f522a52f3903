//! Frames: any stream against the obvious decoder, whole and in pieces, and an outbox against a
//! list of what was put into it.

use std::collections::VecDeque;
use std::time::Duration;

use withy_proto::mechanism::{Opener, Sealer};
use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::{Command, Decoder, Framing, Item, Outbox};
use withy_proto::{Frame, Message};

use super::input::Input;
use super::{model, wire};

/// Streams are no longer than this.
const LONGEST: usize = 96 * 1024;

/// A stream to decode, or operations on an outbox.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() & 1 {
        0 => stream(&mut input),
        _ => outbox(&mut input),
    }
}

fn stream(input: &mut Input<'_>) {
    let limits = Limits {
        max_message_size: input.one_of(&[0, 1, 100, 255, 256, 40_000, 70_000, 1 << 26]),
        max_parts: input.one_of(&[1, 2, 3, 1024]),
    };
    let how = input.octet();
    let octets = unfolded(input);
    let (items, fault) = model::decode(&octets, limits, 0, &mut model::clear);
    // A look at what is first shows nothing else.
    if let Some(frames) = Decoder::new(limits, Opener::Clear).look::<3>(&octets) {
        let seen = frames.map(|frame| &octets[frame]);
        let seen = Item::Message(seen.into_iter().collect());
        assert_eq!(items.first(), Some(&seen));
    }
    for (how, direct) in [(0, false), (how, how & 0x10 != 0)] {
        let receiver = wire::receive(limits, Opener::Clear, &octets, how, direct);
        assert_eq!(receiver.items, items);
        assert_eq!(receiver.failure.as_ref().map(model::fault), fault);
    }
    if how & 0x20 != 0 {
        // Records below the frames change nothing, wherever they end.
        let records = wire::in_records(how.reverse_bits(), &octets);
        let receiver = wire::receive(limits, wire::records().1, &records, how, true);
        assert_eq!(receiver.items, items);
        assert_eq!(receiver.failure.as_ref().map(model::fault), fault);
    }

    // What can be said again is understood as before.
    let mut again = Outbox::new(Framing::Clear);
    let sayable = |item: &Item| {
        let Item::Command(command) = item else {
            return true;
        };
        !matches!(**command, Command::Error { .. } | Command::Unknown { .. })
    };
    let said: Vec<Item> = items.into_iter().filter(sayable).collect();
    for item in &said {
        match item {
            Item::Message(message) => again.push(message),
            Item::Command(command) => again.push_command(command),
        }
    }
    let octets = wire::write(&mut again.take(Vec::new()), 0);
    let receiver = wire::receive(Limits::default(), Opener::Clear, &octets, 0, false);
    assert_eq!((receiver.items, receiver.failure), (said, None));
}

/// The input, in which 0xfe stands before the length of a run in units of 256 octets: of a body,
/// since the run's octet is no frame header.
fn unfolded(input: &mut Input<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    while !input.is_empty() && octets.len() < LONGEST {
        match input.octet() {
            0xfe => octets.resize(octets.len() + 256 * usize::from(input.octet()), 0xff),
            octet => octets.push(octet),
        }
    }
    octets
}

fn outbox(input: &mut Input<'_>) {
    let mut outbox = Outbox::new(Framing::Clear);
    let mut list: VecDeque<Item> = VecDeque::new();
    let (how, most, cut) = (input.octet(), input.number(), input.number());
    let mut size = 0;
    while !input.is_empty() && size < LONGEST {
        match input.octet() % 8 {
            0 => {
                let command = Command::Pong {
                    context: input.take(3).into(),
                };
                outbox.push_command(&command);
                list.push_back(Item::Command(Box::new(command)));
            }
            1 => {
                let first = list
                    .iter()
                    .position(|item| matches!(item, Item::Message(_)));
                assert_eq!(outbox.drop_oldest(), first.is_some());
                first.and_then(|at| list.remove(at));
            }
            2 => {
                let message = message(input);
                let mut alone = Outbox::new(Framing::Clear);
                alone.push(&message);
                match alone.encoded() {
                    Some(encoded) => outbox.push_encoded(encoded, 1),
                    None => outbox.push(&message),
                }
                list.push_back(Item::Message(message));
            }
            3 if how & 0x80 != 0 => {
                outbox = Outbox::new(Framing::Clear);
                list.clear();
            }
            _ => {
                let message = message(input);
                outbox.push(&message);
                list.push_back(Item::Message(message));
            }
        }
        size = list.iter().map(wire_size).sum();
        assert_eq!(outbox.size(), size);
        assert_eq!(outbox.is_empty(), size == 0);
    }
    let is_message = |item: &&Item| matches!(item, Item::Message(_));
    assert_eq!(outbox.messages(), list.iter().filter(is_message).count());

    let mut batch = outbox.take(vec![7; 7]);
    assert!(outbox.is_empty() && outbox.size() == 0 && outbox.messages() == 0);
    let (mut sealer, opener) = match how & 0x20 {
        0 => (Sealer::Clear, Opener::Clear),
        _ => wire::records(),
    };
    let clear = matches!(sealer, Sealer::Clear);
    assert!(batch.seal(&mut sealer, || Duration::ZERO).is_ok());
    assert_eq!(batch.size(), size);
    assert_eq!(batch.recover().is_some(), clear);
    // Up to a cut, and what did not leave whole is a list of messages again.
    let mut part = outbox_of(&list).take(Vec::new());
    let cut = (cut * 3).min(size);
    part.advance(cut);
    let mut end = 0;
    let kept = list.iter().filter_map(|item| {
        end += wire_size(item);
        match item {
            Item::Message(message) if end > cut => Some(message.clone()),
            _ => None,
        }
    });
    assert_eq!(part.recover(), Some(kept.collect()));
    assert_eq!(part.is_done(), cut == size);

    let most = match most {
        0 => 0,
        most => most.max(size / 64),
    };
    let octets = wire::write(&mut batch, most);
    assert!(octets.len() == size || !clear);
    let receiver = wire::receive(Limits::default(), opener, &octets, how, how & 0x40 != 0);
    assert_eq!(receiver.failure, None);
    assert_eq!(VecDeque::from(receiver.items), list);
}

fn outbox_of(list: &VecDeque<Item>) -> Outbox {
    let mut outbox = Outbox::new(Framing::Clear);
    for item in list {
        match item {
            Item::Message(message) => outbox.push(message),
            Item::Command(command) => outbox.push_command(command),
        }
    }
    outbox
}

fn message(input: &mut Input<'_>) -> Message {
    // Around the lengths at which a frame is held, sent or framed in another way.
    const SIZES: [usize; 16] = [
        0, 0, 1, 2, 5, 9, 69, 70, 71, 254, 255, 256, 1_000, 32_767, 32_768, 33_000,
    ];
    let shape = input.octet();
    let frame = |input: &mut Input<'_>| {
        let choice = input.octet();
        let mut body = vec![choice; SIZES[usize::from(choice & 15)]];
        // Told apart by their ends, too.
        if let [first, .., last] = &mut body[..] {
            (*first, *last) = (shape, shape ^ choice);
        }
        Frame::from(body)
    };
    let frames = 1 + usize::from(shape & 0x0f).saturating_sub(9);
    (0..frames).map(|_| frame(input)).collect()
}

fn wire_size(item: &Item) -> usize {
    let frame = |length: usize| length + if length < 256 { 2 } else { 9 };
    match item {
        Item::Message(message) => message.frames().iter().map(|body| frame(body.len())).sum(),
        Item::Command(command) => frame(command.encode().len()),
    }
}
