//! A link: two streams of octets that take their time.

use std::collections::VecDeque;

use crate::dice::Dice;

/// Microseconds since the world began.
pub(crate) type Time = u64;

/// One direction.
pub(crate) struct Stream {
    /// What is under way, with the time of its arrival.
    flying: VecDeque<(Time, Vec<u8>)>,
    /// What arrived and was not read.
    arrived: Vec<u8>,
    octets: usize,
    capacity: usize,
    latency: Time,
    /// Nothing arrives before.
    not_before: Time,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (octets, room, arrived) = (self.octets, self.room(), self.arrived.len());
        write!(f, "{octets} octets ({arrived} arrived), room for {room}")
    }
}

impl Stream {
    fn new(dice: &mut Dice) -> Self {
        Self {
            flying: VecDeque::new(),
            arrived: Vec::new(),
            octets: 0,
            capacity: dice.within(2_000, 200_000) as usize,
            latency: dice.within(10, 5_000),
            not_before: 0,
        }
    }

    /// How much may be written.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.octets)
    }

    /// Writes; returns when the pieces arrive.
    pub(crate) fn write(&mut self, mut octets: &[u8], now: Time, dice: &mut Dice) -> Vec<Time> {
        self.octets += octets.len();
        let mut arrivals = Vec::new();
        while !octets.is_empty() {
            let most = if arrivals.len() > 3 || dice.percent(50) {
                octets.len()
            } else {
                octets.len().min(dice.within(1, 9_000) as usize)
            };
            let (piece, rest) = octets.split_at(dice.within(1, most as u64 + 1) as usize);
            let at = (now + self.latency + dice.within(0, 300)).max(self.not_before);
            self.not_before = at;
            self.flying.push_back((at, piece.to_vec()));
            arrivals.push(at);
            octets = rest;
        }
        arrivals
    }

    /// Holds everything up until a moment.
    pub(crate) fn stall(&mut self, until: Time) {
        self.not_before = self.not_before.max(until);
    }

    /// Takes what has arrived by now off its way.
    pub(crate) fn land(&mut self, now: Time) {
        while let Some((_, piece)) = self.flying.pop_front_if(|(at, _)| *at <= now) {
            self.arrived.extend(piece);
        }
    }

    /// Reads at most `most` octets.
    pub(crate) fn read(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.arrived.len());
        self.octets -= count;
        let later = self.arrived.split_off(count);
        std::mem::replace(&mut self.arrived, later)
    }

    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }
}

/// Both directions, and who is at the ends: first who dialled.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [usize; 2],
    pub(crate) edge: usize,
    /// `streams[n]` goes from `ends[n]` to the other.
    pub(crate) streams: [Stream; 2],
    pub(crate) up: bool,
    /// Nothing arrives any more, and nobody is told.
    pub(crate) silent: bool,
    /// Messages that left `ends[n]` for good, and that the other end decoded.
    pub(crate) gone: [u64; 2],
    pub(crate) decoded: [u64; 2],
}

impl Link {
    pub(crate) fn new(ends: [usize; 2], edge: usize, dice: &mut Dice) -> Self {
        Self {
            ends,
            edge,
            streams: [Stream::new(dice), Stream::new(dice)],
            up: true,
            silent: false,
            gone: [0; 2],
            decoded: [0; 2],
        }
    }

    /// Which end a node is.
    pub(crate) fn end_of(&self, node: usize) -> usize {
        usize::from(self.ends[0] != node)
    }
}
