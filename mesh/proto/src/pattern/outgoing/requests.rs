//! Which pipe a REQ's request takes. One whose peer does not match replies by request id takes one
//! request at a time.

use super::{NotSent, Outgoing, PipeKey};

impl Outgoing {
    /// The next pipe in turn that may take a request: its key, and whether the peer matches
    /// replies by request id. A peer that does not is busy until [`Outgoing::replied`].
    pub fn next_for_request(&mut self, correlate_all: bool) -> Option<(PipeKey, bool)> {
        let mark = self.options.high_water_mark;
        let mut index = self.next_in_turn()?;
        while !self.pipes[index as usize].has_room(mark) {
            self.deactivate(index);
            index = self.next_in_turn()?;
        }
        Some(self.claim(index, correlate_all))
    }

    /// As [`Outgoing::next_for_request`], of the pipes that have a `cost` one that costs least, in turn
    /// among equals.
    pub fn best_for_request<C: Ord>(
        &mut self,
        correlate_all: bool,
        mut cost: impl FnMut(PipeKey) -> Option<C>,
    ) -> Option<(PipeKey, bool)> {
        let mark = self.options.high_water_mark;
        loop {
            let count = self.active.len();
            let mut best = None;
            for step in 0..count {
                let at = (self.turn + step) % count;
                let Some(cost) = cost(self.key_at(self.active[at])) else {
                    continue;
                };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, at));
                }
            }
            let (_, at) = best?;
            let index = self.active[at];
            if self.pipes[index as usize].has_room(mark) {
                self.turn = at + 1;
                return Some(self.claim(index, correlate_all));
            }
            self.deactivate(index);
        }
    }

    /// As [`Outgoing::next_for_request`], this pipe: whether its peer matches replies by request id.
    ///
    /// # Errors
    /// It is gone, or may not take a request now.
    pub fn claim_for_request(
        &mut self,
        key: PipeKey,
        correlate_all: bool,
    ) -> Result<bool, NotSent> {
        let mark = self.options.high_water_mark;
        let pipe = self.pipe(key).ok_or(NotSent::PeerGone)?;
        if pipe.busy || !pipe.has_room(mark) {
            return Err(NotSent::Full);
        }
        Ok(self.claim(key.index, correlate_all).1)
    }

    /// Notes that a busy pipe got its reply, and may take the next request.
    pub fn replied(&mut self, key: PipeKey) -> bool {
        let mark = self.options.high_water_mark;
        match self.pipe(key) {
            Some(pipe) if pipe.busy => {
                pipe.busy = false;
                if pipe.has_room(mark) {
                    self.activate(key.index);
                }
                true
            }
            _ => false,
        }
    }

    fn claim(&mut self, index: u32, correlate_all: bool) -> (PipeKey, bool) {
        let key = self.key_at(index);
        let pipe = &mut self.pipes[index as usize];
        let correlated = correlate_all || pipe.peer.correlates;
        if !correlated {
            pipe.busy = true;
            self.deactivate(index);
        }
        (key, correlated)
    }

    fn key_at(&self, index: u32) -> PipeKey {
        PipeKey {
            index,
            generation: self.pipes[index as usize].generation,
        }
    }
}
