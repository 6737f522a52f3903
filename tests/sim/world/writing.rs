//! What nodes write to their links, as their sending halves ask for.

use std::time::Duration;

use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::Overflown;
use withy_proto::pattern::pipe::{Flush, Load};

use super::{Event, MILLISECOND, World};

impl World {
    /// Does what the sending half asks for.
    pub(super) fn settle(&mut self, node: usize) {
        while let Some((key, flush)) = self.nodes[node].out.touched() {
            self.schedule(node, key, flush);
        }
        while let Some((key, overflown)) = self.nodes[node].out.overflown() {
            if overflown != Overflown::Kicked {
                continue;
            }
            if let Some(link) = self.nodes[node].link_of(key) {
                self.close(link);
            }
        }
    }

    pub(super) fn schedule(&mut self, node: usize, key: PipeKey, flush: Flush) {
        let Some(link) = self.nodes[node].link_of(key) else {
            return;
        };
        match flush {
            Flush::Now => self.at(self.now, Event::Flush(node, link)),
            Flush::Soon => self.later(0, 3 * MILLISECOND, Event::Flush(node, link)),
            // Its flush is on the way.
            Flush::Later => {}
        }
    }

    pub(super) fn flush(&mut self, node: usize, link: usize) {
        let Some(up) = self.nodes[node].up(link) else {
            return;
        };
        let key = up.key;
        let mut load = up.load.take();
        if load.is_none() {
            load = self.nodes[node].out.take(key, Vec::new()).0;
            self.settle(node);
        }
        let Some(Load::Batch(mut batch)) = load else {
            return;
        };
        let now = Duration::from_micros(self.now);
        let Some(up) = self.nodes[node].up(link) else {
            unreachable!("taking a load closes no link");
        };
        batch.seal(&mut up.sealer, || now).unwrap();
        let end = self.links[link].end_of(node);
        while !batch.is_done() && self.links[link].streams[end].room() > 0 {
            let room = self.links[link].streams[end].room();
            let most = self.dice.within(1, 40_000) as usize;
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let filled = batch.slices(&mut slices, room.min(most));
            let slices: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
            let now = slices.concat();
            self.write(node, link, &now);
            batch.advance(now.len());
        }
        let this = &mut self.nodes[node];
        let Some(up) = this.up(link) else {
            unreachable!("writing closes no link");
        };
        if !batch.is_done() {
            up.load = Some(Load::Batch(batch));
            return;
        }
        let (messages, size) = (batch.messages(), batch.size());
        this.out.written(key, messages, size);
        this.gone += messages as u64;
        self.links[link].gone[end] += messages as u64;
        if this.out.is_waiting(key) {
            self.at(self.now, Event::Flush(node, link));
        }
    }

    pub(super) fn write(&mut self, node: usize, link: usize, octets: &[u8]) {
        let end = self.links[link].end_of(node);
        let stream = &mut self.links[link].streams[end];
        let arrivals = stream.write(octets, self.now, &mut self.dice);
        for time in arrivals {
            self.at(time, Event::Arrive(link, end));
        }
    }
}
