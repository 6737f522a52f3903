//! REQs and DEALERs: what they ask goes to the service that the first frame names.
//!
//! ```text
//!  [ENVELOPE..., "",] NAME, REQUEST...   -->
//!  [ENVELOPE..., "",] REPLY...           <--   or "", "error: WHY"
//! ```
//!
//! Invariant: every request that can be answered is answered once, with the envelope that it had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use withy_proto::pattern::PipeKey;
use withy_proto::{Frame, Message, SocketType};

use super::hall::{Hall, Offence};
use super::{MAX_ENVELOPE, MAX_NAMES, MAX_PEER_REQUESTS, MAX_REQUEST_OCTETS, MAX_REQUESTS};
use crate::node::Client;
use crate::node::service::Request;
use crate::socket::{Owner, PeerKey};
use crate::trust::Verb;

#[derive(Debug)]
pub(super) struct Callers {
    hall: Arc<Hall>,
    socket: Owner,
    lines: Mutex<Lines>,
    /// What each peer has open.
    open: Mutex<BTreeMap<PipeKey, usize>>,
    room: Arc<Semaphore>,
    /// The octets of all that is open.
    octets: AtomicUsize,
}

/// The services that are talked to.
#[derive(Debug, Default)]
struct Lines {
    of: BTreeMap<Box<str>, Arc<Line>>,
    /// Counts up with each use.
    uses: u64,
}

#[derive(Debug)]
struct Line {
    client: Client,
    used: Mutex<u64>,
}

/// A request that is under way.
struct Asked {
    callers: Arc<Callers>,
    from: PipeKey,
    size: usize,
    _room: OwnedSemaphorePermit,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.callers.octets.fetch_sub(self.size, Relaxed);
        let mut open = self.callers.open.lock();
        if let Some(count) = open.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}

/// A request, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    /// The routing id, and what stands before the name.
    envelope: Vec<Frame>,
    name: Result<String, String>,
    body: Message,
}

impl Callers {
    pub(super) fn open(hall: &Arc<Hall>) -> Arc<Self> {
        let shared = hall.node.shared();
        let mut options = shared.options();
        options.remember_departed = true;
        let callers = Arc::new(Self {
            hall: Arc::clone(hall),
            socket: hall.socket(SocketType::Router, options),
            lines: Mutex::default(),
            open: Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_REQUESTS)),
            octets: AtomicUsize::new(0),
        });
        hall.spawn(Arc::clone(&callers).run());
        callers
    }

    pub(super) fn socket(&self) -> &Owner {
        &self.socket
    }

    /// The services that are talked to.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lines.lock().of.len()
    }

    /// Of these, those that nothing is asked of now.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        let lines = self.lines.lock();
        let idle = lines.of.values().filter(|it| Arc::strong_count(it) == 1);
        idle.count()
    }

    async fn run(self: Arc<Self>) {
        while let Ok((message, from)) = self.socket.recv_from().await {
            self.hall.counts.requests.fetch_add(1, Relaxed);
            let call = Call::read(message);
            if let Err((offence, envelope, why)) = self.take(call, from) {
                let whom = self.hall.sender(self.socket.core(), from);
                self.hall.offended(whom, offence, &why);
                self.fail(envelope, why);
            }
        }
    }

    /// Has a request done, if it may be.
    #[allow(clippy::type_complexity, reason = "it has one caller, beside it")]
    fn take(
        self: &Arc<Self>,
        call: Call,
        from: PeerKey,
    ) -> Result<(), (Offence, Vec<Frame>, String)> {
        let Call {
            envelope,
            name,
            body,
        } = call;
        let name = match name {
            Ok(name) => name,
            Err(why) => return Err((Offence::Malformed, envelope, why)),
        };
        let core = self.socket.core();
        if !self.hall.allows_sender(core, from, Verb::Call, &name) {
            let why = format!("no permission to call {name:?}");
            return Err((Offence::Denied, envelope, why));
        }
        let Some(asked) = self.find_room(from, body.footprint()) else {
            let why = "too many requests are under way".to_owned();
            return Err((Offence::Overflowed, envelope, why));
        };
        let line = match self.line(&name) {
            Ok(line) => line,
            Err((offence, why)) => return Err((offence, envelope, why)),
        };
        let callers = Arc::clone(self);
        self.hall.spawn(async move {
            let _asked = asked;
            let request = Request::new(body).within(callers.hall.within);
            match line.client.request(request).await {
                Ok(reply) => callers.reply(envelope, reply),
                Err(error) => callers.fail(envelope, error.to_string()),
            }
        });
        Ok(())
    }

    /// Room for a request of this size, until what is returned is dropped.
    fn find_room(self: &Arc<Self>, from: PeerKey, size: usize) -> Option<Asked> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let mut open = self.open.lock();
        // Nobody else adds to it.
        let octets = self.octets.load(Relaxed);
        if octets > 0 && octets + size > MAX_REQUEST_OCTETS {
            return None;
        }
        let count = open.entry(from.0).or_default();
        if *count >= MAX_PEER_REQUESTS {
            return None;
        }
        *count += 1;
        self.octets.fetch_add(size, Relaxed);
        drop(open);
        Some(Asked {
            callers: Arc::clone(self),
            from: from.0,
            size,
            _room: room,
        })
    }

    /// The client of a service.
    fn line(&self, name: &str) -> Result<Arc<Line>, (Offence, String)> {
        let mut lines = self.lines.lock();
        lines.uses += 1;
        let now = lines.uses;
        if let Some(line) = lines.of.get(name) {
            *line.used.lock() = now;
            return Ok(Arc::clone(line));
        }
        if lines.of.len() >= MAX_NAMES {
            let idle = lines.of.iter().filter(|it| Arc::strong_count(it.1) == 1);
            let oldest = idle.min_by_key(|it| *it.1.used.lock());
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                let why = format!("requests to {MAX_NAMES} services are under way");
                return Err((Offence::Overflowed, why));
            };
            lines.of.remove(&oldest);
        }
        let client = self.hall.node.client(name);
        let client = client.map_err(|error| (Offence::Malformed, error.to_string()))?;
        let used = Mutex::new(now);
        let line = Arc::new(Line { client, used });
        lines.of.insert(name.into(), Arc::clone(&line));
        Ok(line)
    }

    fn fail(&self, envelope: Vec<Frame>, why: String) {
        self.hall.counts.failed.fetch_add(1, Relaxed);
        let error = Message::from_iter([String::new(), format!("error: {why}")]);
        self.reply(envelope, error);
    }

    /// Replies. Who is gone, or leaves so many replies unread that there is no room, does not get it.
    fn reply(&self, mut envelope: Vec<Frame>, body: Message) {
        envelope.extend(body.into_frames());
        if let Err(error) = self.socket.try_send(Message::from_frames(envelope)) {
            let what = format!("a reply was not taken: {error}");
            self.hall.offended(None, Offence::Undelivered, what);
        }
    }
}

impl Call {
    /// Takes a request apart. What stands up to the first empty frame is for the way back; a DEALER may
    /// do without, if no frame is empty.
    fn read(message: Message) -> Self {
        let mut envelope = message.into_frames();
        let mut rest = match envelope.is_empty() {
            true => Vec::new(),
            false => envelope.split_off(1),
        };
        let delimiter = rest.iter().position(Frame::is_empty);
        if let Some(at) = delimiter.filter(|at| *at < MAX_ENVELOPE) {
            envelope.extend(rest.drain(..=at));
        }
        let mut rest = rest.into_iter();
        let name = match (rest.next(), delimiter) {
            (_, Some(at)) if at >= MAX_ENVELOPE => Err(format!(
                "more than {MAX_ENVELOPE} frames stand before the name"
            )),
            (None, _) => Err("a request names a service in its first frame".to_owned()),
            (Some(name), _) => String::from_utf8(name.to_vec())
                .map_err(|_| "the name of a service is text".to_owned()),
        };
        Self {
            envelope,
            name,
            body: rest.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_name_goes_back() {
        let read = |frames: &[&str]| {
            let call = Call::read(frames.iter().copied().collect());
            let text = |frame: &Frame| String::from_utf8(frame.to_vec()).unwrap();
            let envelope: Vec<String> = call.envelope.iter().map(text).collect();
            let body: Vec<String> = call.body.frames().iter().map(text).collect();
            (
                envelope.join("|"),
                call.name.unwrap_or_default(),
                body.join("|"),
            )
        };
        let is = |envelope: &str, name: &str, body: &str| {
            (envelope.to_owned(), name.to_owned(), body.to_owned())
        };
        assert_eq!(
            read(&["id", "", "adder", "1", "2"]),
            is("id|", "adder", "1|2")
        );
        assert_eq!(read(&["id", "7", "", "adder"]), is("id|7|", "adder", ""));
        assert_eq!(read(&["id", "adder", "1"]), is("id", "adder", "1"));
        assert_eq!(read(&["id", "", "adder", ""]), is("id|", "adder", ""));
        for none in [&["id"][..], &["id", ""], &["id", "x", ""]] {
            assert_eq!(read(none).1, "", "{none:?}");
        }
        let mut long = vec!["id"];
        long.extend(["x"; MAX_ENVELOPE]);
        long.extend(["", "adder"]);
        assert_eq!(read(&long).1, "");
        assert_eq!(
            Call::read(Message::new()).envelope.len(),
            1,
            "of one empty frame"
        );
    }
}
