//! Sending to the pipe that the first frame names: ROUTER (RFC 28).

use super::{NotSent, Outgoing, Overflown, PipeKey, SocketType};
use crate::message::{Frame, Message};
use crate::zmtp::Peer;

impl Outgoing {
    pub(super) fn send_by_identity(&mut self, message: &mut Message) -> Result<(), NotSent> {
        let Some(identity) = message.pop_front() else {
            return Err(NotSent::NoIdentity);
        };
        let mark = self.options.high_water_mark;
        let Some(&index) = self.by_identity.get(&identity) else {
            if self.options.mandatory {
                message.push_front(identity);
                return Err(NotSent::Unroutable);
            }
            self.counts.dropped += 1;
            return Ok(());
        };
        let pipe = &mut self.pipes[index as usize];
        let key = PipeKey {
            index,
            generation: pipe.generation,
        };
        if !pipe.has_room(mark) {
            if self.options.mandatory {
                self.deactivate(index);
                message.push_front(identity);
                return Err(NotSent::Full);
            }
            if pipe.count_drops(1) {
                self.overflown.push((key, Overflown::Drops));
            }
            self.counts.dropped += 1;
            return Ok(());
        }
        pipe.push(message);
        self.counts.sent += 1;
        self.touch(key);
        Ok(())
    }

    /// The routing id that a ROUTER gives a peer.
    pub(super) fn identity_for(&mut self, peer: &Peer) -> Option<Frame> {
        if self.kind != SocketType::Router {
            return None;
        }
        if !peer.identity.is_empty() {
            return Some(Frame::copy_from_slice(&peer.identity));
        }
        loop {
            self.auto_identity = self.auto_identity.wrapping_add(1);
            let [a, b, c, d] = self.auto_identity.to_be_bytes();
            let identity = Frame::from([0, a, b, c, d]);
            if !self.by_identity.contains_key(&identity) {
                return Some(identity);
            }
        }
    }
}
