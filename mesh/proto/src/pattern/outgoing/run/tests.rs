//! Messages to many, against a model that knows nothing of what pipes have in common.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::LONGEST;
use crate::mechanism::Opener;
use crate::message::{Frame, Message};
use crate::pattern::SocketType;
use crate::pattern::outgoing::tests::attach_with;
use crate::pattern::outgoing::{NotSent, Outgoing, Overflow, SendOptions};
use crate::pattern::pipe::{Carrier, HighWaterMark, Load, PipeKey};
use crate::zmtp::{Batch, Decoder, Framing, Item, Limits, Outbox};

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// A pipe as it should be.
struct Expected {
    key: PipeKey,
    wants: &'static [u8],
    by_items: bool,
    waiting: VecDeque<Message>,
    dropped: u64,
}

impl Expected {
    fn attach(out: &mut Outgoing, number: usize) -> Self {
        let carrier = match number % 8 {
            6 => Carrier::Items,
            _ => Carrier::Octets(Outbox::new(Framing::Clear)),
        };
        let by_items = matches!(carrier, Carrier::Items);
        let key = attach_with(out, carrier);
        let wants: &[u8] = match number % 3 {
            2 => b"a",
            _ => b"",
        };
        out.subscribed(key, wants, true).unwrap();
        Self {
            key,
            wants,
            by_items,
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }

    fn size(&self) -> usize {
        let frame = |frame: &Frame| frame.len() + if frame.len() > 255 { 9 } else { 2 };
        let of = |message: &Message| match self.by_items {
            true => message.footprint(),
            false => message.frames().iter().map(frame).sum(),
        };
        self.waiting.iter().map(of).sum()
    }

    fn has_room(&self, mark: HighWaterMark) -> bool {
        self.waiting.len() < mark.messages && self.size() < mark.octets
    }

    fn publish(&mut self, message: &Message, mark: HighWaterMark, overflow: Overflow) {
        if !message.first().starts_with(self.wants) {
            return;
        }
        while overflow == Overflow::DropOldest && !self.has_room(mark) {
            self.dropped += u64::from(self.waiting.pop_front().is_some());
        }
        if self.has_room(mark) {
            self.waiting.push_back(message.clone());
        } else {
            self.dropped += 1;
        }
    }
}

fn octets(batch: &Batch) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 2_000];
    let filled = batch.slices(&mut slices, usize::MAX);
    slices[..filled].iter().flat_map(|it| it.to_vec()).collect()
}

fn decoded(octets: &[u8]) -> Vec<Message> {
    let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
    let items = decoder.decode_all(octets).unwrap();
    assert!(!decoder.has_tail());
    items.into_iter().filter_map(message_of).collect()
}

fn message_of(item: Item) -> Option<Message> {
    match item {
        Item::Message(message) => Some(message),
        Item::Command(_) => None,
    }
}

/// Takes what waits on a pipe, writes some of it, and looks whether all of it is what it should be.
fn take(out: &mut Outgoing, pipe: &mut Expected, dice: &mut Dice) {
    assert_eq!(out.waiting(pipe.key), pipe.waiting.len());
    let (load, _) = out.take(pipe.key, Vec::new());
    let expected: Vec<Message> = pipe.waiting.drain(..).collect();
    let Some(load) = load else {
        return assert!(expected.is_empty());
    };
    out.written(pipe.key, load.messages(), load.size());
    assert_eq!(load.messages(), expected.len());
    match load {
        Load::Items { items, .. } => {
            let messages: Vec<_> = items.into_iter().filter_map(message_of).collect();
            assert!(messages == expected);
        }
        Load::Batch(mut batch) => {
            let all = octets(&batch);
            assert_eq!(all.len(), batch.size());
            assert!(decoded(&all) == expected);
            let cut = dice.below(all.len() + 1);
            batch.advance(cut);
            assert!(octets(&batch) == all[cut..]);
            let unsent = batch.recover().unwrap();
            assert!(expected.ends_with(&unsent));
            batch.part_with_others();
            assert!(octets(&batch) == all[cut..]);
            assert!(batch.recover().unwrap() == unsent);
            let next = dice.below(all.len() - cut + 1);
            batch.advance(next);
            assert!(octets(&batch) == all[cut + next..]);
            assert_eq!(batch.is_done(), cut + next == all.len());
        }
    }
}

fn play(overflow: Overflow, mark: HighWaterMark, seed: u64) {
    const SIZES: [usize; 8] = [0, 1, 56, 56, 300, 300, 5_000, 33_000];
    let options = SendOptions {
        high_water_mark: mark,
        overflow,
        ..SendOptions::default()
    };
    let mut dice = Dice(seed);
    let mut out = Outgoing::new(SocketType::Pub, options);
    let mut pipes: Vec<_> = (0..2 + seed as usize % 6)
        .map(|at| Expected::attach(&mut out, at))
        .collect();
    let mut gone = 0;
    // Runs are rare where something happens all the time.
    let calm = 1 + 40 * dice.below(20);
    for number in 0..1_500_u32 {
        let topic = ["a", "b"][usize::from(dice.below(calm + 1) == 0)];
        let most = 1 + dice.below(SIZES.len());
        let body = vec![number as u8; SIZES[dice.below(most)]];
        let frames = [topic.as_bytes(), &number.to_be_bytes(), &body];
        let frames: Vec<_> = frames.map(Frame::copy_from_slice).into();
        let mut message = Message::from_frames(frames);
        let blocked = overflow == Overflow::Block
            && pipes
                .iter()
                .any(|pipe| message.first().starts_with(pipe.wants) && !pipe.has_room(mark));
        let sent = match dice.below(2) {
            0 => out.publish(message.frames()),
            _ => out.send(&mut message.clone()),
        };
        assert_eq!(sent, if blocked { Err(NotSent::Full) } else { Ok(()) });
        if !blocked {
            let each = pipes.iter_mut();
            each.for_each(|pipe| pipe.publish(&message, mark, overflow));
        }
        while out.touched().is_some() {}
        while out.overflown().is_some() {}
        let waiting: usize = pipes.iter().map(|pipe| pipe.waiting.len()).sum();
        assert_eq!(out.queued(), waiting);
        if dice.below(calm) == 0 || blocked {
            let at = dice.below(pipes.len());
            let pipe = &mut pipes[at];
            match dice.below(12) {
                0 if mark.octets > 1 << 20 => out.send_command(
                    pipe.key,
                    crate::zmtp::Command::Pong {
                        context: Frame::from("context"),
                    },
                ),
                1 if pipe.has_room(mark) => {
                    out.send_to(pipe.key, &mut message).unwrap();
                    pipe.waiting.push_back(Message::from_frames(
                        [topic.as_bytes(), &number.to_be_bytes(), &body]
                            .map(Frame::copy_from_slice)
                            .into(),
                    ));
                }
                2 if !blocked => {
                    assert_eq!(out.dropped_for(pipe.key), pipe.dropped);
                    gone += pipe.dropped + pipe.waiting.len() as u64;
                    out.detach(pipe.key, None);
                    *pipe = Expected::attach(&mut out, at);
                }
                _ => take(&mut out, pipe, &mut dice),
            }
            while out.touched().is_some() {}
        }
        if dice.below(200) == 0 || (blocked && dice.below(3) == 0) {
            pipes
                .iter_mut()
                .for_each(|pipe| take(&mut out, pipe, &mut dice));
        }
        assert!(out.common.kept() < 5 * 1024 * 1024);
    }
    pipes
        .iter_mut()
        .for_each(|pipe| take(&mut out, pipe, &mut dice));
    let dropped: u64 = pipes.iter().map(|pipe| pipe.dropped).sum();
    assert_eq!(out.counts().dropped, dropped + gone);
    assert!(out.is_drained());
    // Unless nobody had room for the last one.
    assert!(out.common.kept() < 40_000);
}

#[test]
fn each_pipe_gets_what_it_would_get_alone() {
    let policies = [Overflow::DropNewest, Overflow::DropOldest, Overflow::Block];
    for seed in 0..if cfg!(miri) { 1 } else { 8 } {
        for overflow in policies {
            let messages = [3, 20, 100, 1_000][seed as usize % 4];
            let octets = [16 << 20, 20_000, 200_000][seed as usize % 3];
            play(overflow, HighWaterMark { messages, octets }, seed);
        }
    }
}

#[test]
fn the_last_who_parts_from_others_names_what_comes_next() {
    let mut out = Outgoing::new(SocketType::Pub, SendOptions::default());
    // The first wants less than the others, which take what they get.
    let mut pipes = [2, 0, 1].map(|at| Expected::attach(&mut out, at));
    for (number, topic) in ["a", "b", "a"].into_iter().enumerate() {
        let message = Message::from(topic);
        out.publish(message.frames()).unwrap();
        for (at, pipe) in pipes.iter_mut().enumerate() {
            pipe.publish(&message, HighWaterMark::default(), Overflow::DropNewest);
            if number < 2 && at > 0 {
                take(&mut out, pipe, &mut Dice(1));
            }
        }
    }
    pipes
        .iter_mut()
        .for_each(|pipe| take(&mut out, pipe, &mut Dice(1)));
}

#[test]
fn a_run_ends_where_a_pipe_is_full_or_is_looked_at() {
    let options = SendOptions {
        high_water_mark: HighWaterMark {
            messages: 100,
            ..HighWaterMark::default()
        },
        overflow: Overflow::Block,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Pub, options);
    let pipes = [0, 1].map(|at| Expected::attach(&mut out, at).key);
    let frames = [Frame::from("news")];
    let mut quiet = 0;
    for _ in 0..100 {
        out.publish(&frames).unwrap();
        quiet += usize::from(out.is_settled());
        while out.touched().is_some() {}
    }
    assert!(quiet > 70 && quiet < 100 - LONGEST, "{quiet} at once");
    assert_eq!(out.publish(&frames), Err(NotSent::Full));
    assert_eq!(pipes.map(|key| out.waiting(key)), [100, 100]);
    assert_eq!(out.counts().sent, 200);
}

#[test]
fn who_stops_reading_holds_back_no_more_than_is_kept() {
    let mut out = Outgoing::new(SocketType::Pub, SendOptions::default());
    let [stopped, reads] = [0, 1].map(|at| Expected::attach(&mut out, at).key);
    let frames = [Frame::from(vec![7; 4_000])];
    for _ in 0..20_000 {
        out.publish(&frames).unwrap();
        out.take(reads, Vec::new());
        while out.touched().is_some() {}
        while out.overflown().is_some() {}
        assert!(out.common.kept() < 5 * 1024 * 1024);
    }
    assert_eq!(out.waiting(stopped), 1_000);
    assert_eq!(out.dropped_for(stopped), 19_000);
    assert_eq!(out.dropped_for(reads), 0);
}
