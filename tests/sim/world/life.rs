//! Signs of life: when links are pinged, and given up.

use withy_proto::Frame;
use withy_proto::peer::Beat;
use withy_proto::zmtp::Command;

use super::{Event, FAULTS, SECOND, World};
use crate::link::Time;

impl World {
    pub(super) fn wind(&mut self, node: usize, link: usize) {
        if let Some(deadline) = self.nodes[node].up(link).unwrap().pulse.deadline() {
            let time = deadline.as_micros() as Time;
            self.at(time.max(self.now + 1), Event::Beat(node, link));
        }
    }

    pub(super) fn beat(&mut self, node: usize, link: usize) {
        let now = self.moment();
        let stream = 1 - self.links[link].end_of(node);
        let behind = self.links[link].streams[stream].has_arrived();
        let Some(up) = self.nodes[node].up(link) else {
            return;
        };
        let excused = up.paused || behind;
        let key = up.key;
        let (ttl, beat) = (up.pulse.ttl_is_due(now), up.pulse.beat_is_due(now));
        if ttl {
            let heard = std::mem::take(&mut up.heard[1]);
            if up.pulse.expire(now, heard, excused) {
                self.close(link);
                return;
            }
        }
        if beat {
            let heard = std::mem::take(&mut up.heard[0]);
            match up.pulse.beat(now, heard, excused) {
                Beat::Quiet => {}
                Beat::Ping(ttl) => {
                    let context = Frame::new();
                    let ping = Command::Ping { ttl, context };
                    self.nodes[node].out.send_command(key, ping);
                    self.settle(node);
                }
                Beat::GiveUp => {
                    let silent = self.links[link].silent;
                    let quiet = self.now > FAULTS + 2 * SECOND;
                    assert!(silent || !quiet, "link {link} was given up alive");
                    self.close(link);
                    return;
                }
            }
        }
        // Else the deadline has moved, and has an event of its own.
        if ttl || beat {
            self.wind(node, link);
        }
    }
}
