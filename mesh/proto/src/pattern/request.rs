//! REQ: the envelope of a request and of its reply (RFC 28).
//!
//! Every request starts with an empty delimiter frame. Where replies are matched, a request id of
//! four octets stands before it; a REP or ROUTER returns it unread (libzmq: REQ_CORRELATE).

use std::collections::BTreeMap;
use std::time::Duration;

use super::pipe::PipeKey;
use crate::message::{Frame, Message};

/// Requests that wait for their replies, and connections that owe one to nobody. `R` is whom the
/// reply goes to.
#[derive(Debug)]
pub struct Requests<R> {
    next: u32,
    /// The one that waits, mostly: it needs no memory of its own.
    alone: Option<(u32, Waiting<R>)>,
    /// The others.
    waiting: BTreeMap<u32, Waiting<R>>,
    /// Connections without request ids that are not free.
    plain: BTreeMap<PipeKey, Plain>,
    /// What each connection that was asked owes.
    asked: BTreeMap<PipeKey, Burden>,
}

/// What was asked of a connection: the more, the later it comes to the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Burden {
    /// Requests without a reply, those that nobody waits for any more included: who leaves requests
    /// unanswered gets fewer.
    pub open: u32,
    /// How busy it says to be: 0 is idle, 255 is full.
    pub load: u8,
}

#[derive(Debug)]
struct Waiting<R> {
    to: PipeKey,
    asker: R,
}

/// What a connection without request ids still has to bring.
#[derive(Debug)]
enum Plain {
    /// The reply to this request.
    Asked(u32),
    /// A reply that nobody waits for, since then.
    Owes(Duration),
}

impl Plain {
    fn owes_since(&self) -> Option<Duration> {
        match self {
            Self::Asked(_) => None,
            Self::Owes(since) => Some(*since),
        }
    }
}

/// What came of a message that a REQ received.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<R> {
    /// It answers a request. `frees` says that its connection may take the next one.
    Answers {
        /// The request.
        id: u32,
        /// Who asked.
        asker: R,
        /// The reply, without its envelope.
        message: Message,
        /// Whether the connection had room for this one request.
        frees: bool,
    },
    /// Nobody waits for it, or not any more.
    Late {
        /// Whether the connection owed it, and may take the next request now.
        frees: bool,
    },
    /// Its envelope is none.
    Malformed,
}

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self {
            next: 0,
            alone: None,
            waiting: BTreeMap::new(),
            plain: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }
}

impl<R> Requests<R> {
    /// Notes a request to a pipe, and returns its id.
    pub fn start(&mut self, to: PipeKey, correlated: bool, asker: R) -> u32 {
        self.next = self.next.wrapping_add(1);
        let waiting = Waiting { to, asker };
        if self.alone.is_none() {
            self.alone = Some((self.next, waiting));
        } else {
            self.waiting.insert(self.next, waiting);
        }
        if !correlated {
            self.plain.insert(to, Plain::Asked(self.next));
        }
        let burden = self.asked.entry(to).or_default();
        burden.open = burden.open.saturating_add(1);
        self.next
    }

    fn waiting(&mut self, id: u32) -> Option<&mut Waiting<R>> {
        match &mut self.alone {
            Some((alone, waiting)) if *alone == id => Some(waiting),
            _ => self.waiting.get_mut(&id),
        }
    }

    fn take(&mut self, id: u32) -> Option<Waiting<R>> {
        match self.alone.take_if(|(alone, _)| *alone == id) {
            Some((_, waiting)) => Some(waiting),
            None => self.waiting.remove(&id),
        }
    }

    /// What was asked of a connection.
    pub fn burden(&self, key: PipeKey) -> Burden {
        self.asked.get(&key).copied().unwrap_or_default()
    }

    /// Notes how busy a connection that was asked says to be.
    pub fn note_load(&mut self, key: PipeKey, load: u8) {
        if let Some(burden) = self.asked.get_mut(&key) {
            burden.load = load;
        }
    }

    /// Nobody waits for a reply any more. Returns whether a connection now owes one that it must
    /// bring before it may be asked again, and who had asked.
    pub fn abandon(&mut self, id: u32, now: Duration) -> (bool, Option<R>) {
        let Some(Waiting { to, asker }) = self.take(id) else {
            return (false, None);
        };
        let owes = match self.plain.get_mut(&to) {
            Some(plain @ Plain::Asked(_)) => {
                *plain = Plain::Owes(now);
                true
            }
            _ => false,
        };
        (owes, Some(asker))
    }

    /// Finds the request that a message from a pipe answers.
    pub fn reply(&mut self, from: PipeKey, message: Message) -> Reply<R> {
        let Some((id, message)) = unwrap(message) else {
            return Reply::Malformed;
        };
        if let Some(burden) = self.asked.get_mut(&from) {
            burden.open = burden.open.saturating_sub(1);
        }
        let (id, frees) = match (id, self.plain.get(&from)) {
            (None, Some(&Plain::Asked(asked))) => (asked, true),
            (None, Some(Plain::Owes(_))) => {
                self.plain.remove(&from);
                return Reply::Late { frees: true };
            }
            (Some(id), None) => (id, false),
            (None, None) | (Some(_), Some(_)) => return Reply::Late { frees: false },
        };
        let asked = self.waiting(id).is_some_and(|waiting| waiting.to == from);
        let Some(Waiting { asker, .. }) = asked.then(|| self.take(id)).flatten() else {
            return Reply::Late { frees: false };
        };
        if frees {
            self.plain.remove(&from);
        }
        Reply::Answers {
            id,
            asker,
            message,
            frees,
        }
    }

    /// Who waits for the reply to a request; `None` when nobody does any more.
    pub fn asker(&mut self, id: u32) -> Option<&mut R> {
        Some(&mut self.waiting(id)?.asker)
    }

    /// Takes the requests of a pipe that is gone: they have no reply.
    pub fn lost(&mut self, key: PipeKey) -> impl Iterator<Item = (u32, R)> {
        self.plain.remove(&key);
        self.asked.remove(&key);
        let alone = self.alone.take_if(|(_, waiting)| waiting.to == key);
        let others = self
            .waiting
            .extract_if(.., move |_, waiting| waiting.to == key);
        let lost = alone.into_iter().chain(others);
        lost.map(|(id, waiting)| (id, waiting.asker))
    }

    /// Since when the first connection owes a reply.
    pub fn owing_since(&self) -> Option<Duration> {
        self.plain.values().filter_map(Plain::owes_since).min()
    }

    /// Takes the connections that owe a reply since `then` or before: they are to be replaced.
    pub fn overdue(&mut self, then: Duration) -> Vec<PipeKey> {
        let overdue = self.plain.extract_if(.., |_, plain| {
            plain.owes_since().is_some_and(|since| since <= then)
        });
        overdue.map(|(key, _)| key).collect()
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        usize::from(self.alone.is_some()) + self.waiting.len()
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Wraps a request: the id when there is one, the delimiter, the message.
pub fn wrap(message: Message, id: Option<u32>) -> Message {
    let mut frames = Vec::with_capacity(2 + message.len());
    frames.extend(id.map(|id| Frame::from(id.to_be_bytes())));
    frames.push(Frame::new());
    message.append_to(&mut frames);
    Message::from_frames(frames)
}

/// Unwraps a reply: the id, when there is one, and the message. `None` when the delimiter is not
/// where it belongs.
pub fn unwrap(mut message: Message) -> Option<(Option<u32>, Message)> {
    let (id, envelope) = match message.frames() {
        [first, _, ..] if first.is_empty() => (None, 1),
        [first, second, _, ..] if second.is_empty() => {
            let id = first.as_slice().try_into().ok()?;
            (Some(u32::from_be_bytes(id)), 2)
        }
        _ => return None,
    };
    message.drop_front(envelope);
    Some((id, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> PipeKey {
        PipeKey {
            index,
            generation: 1,
        }
    }

    fn answers(id: u32, asker: &str, frees: bool) -> Reply<&str> {
        Reply::Answers {
            id,
            asker,
            message: Message::from("reply"),
            frees,
        }
    }

    #[test]
    fn replies_find_their_requests_by_id_or_by_connection() {
        let mut requests = Requests::default();
        let one = requests.start(key(1), true, "one");
        let two = requests.start(key(1), true, "two");
        let plain = requests.start(key(2), false, "plain");
        let reply = |id| wrap(Message::from("reply"), id);
        let late = Reply::Late { frees: false };
        *requests.asker(two).unwrap() = "second";
        assert_eq!(requests.reply(key(2), reply(Some(one))), late);
        assert_eq!(
            requests.reply(key(1), reply(Some(two))),
            answers(two, "second", false)
        );
        assert_eq!(requests.asker(two), None);
        assert_eq!(requests.len(), 2);
        assert_eq!(
            requests.reply(key(1), reply(Some(one))),
            answers(one, "one", false)
        );
        assert_eq!(requests.reply(key(1), reply(Some(one))), late);
        assert_eq!(requests.reply(key(2), reply(Some(plain))), late);
        assert_eq!(
            requests.reply(key(2), reply(None)),
            answers(plain, "plain", true)
        );
        assert!(!requests.abandon(plain, Duration::ZERO).0);
        assert_eq!(requests.reply(key(2), Message::from("x")), Reply::Malformed);
        assert!(requests.is_empty());
    }

    #[test]
    fn a_connection_is_burdened_until_it_replies() {
        let mut requests = Requests::default();
        let open = |requests: &Requests<()>| requests.burden(key(1)).open;
        let one = requests.start(key(1), true, ());
        let two = requests.start(key(1), true, ());
        requests.note_load(key(1), 9);
        requests.note_load(key(2), 9);
        assert_eq!(requests.burden(key(1)), Burden { open: 2, load: 9 });
        assert_eq!(requests.burden(key(2)), Burden::default());
        requests.abandon(one, Duration::ZERO);
        assert_eq!(open(&requests), 2, "it owes the reply");
        let reply = |id| wrap(Message::from("reply"), Some(id));
        assert_eq!(
            requests.reply(key(1), reply(one)),
            Reply::Late { frees: false }
        );
        requests.reply(key(1), reply(two));
        requests.reply(key(1), reply(two));
        assert_eq!(open(&requests), 0, "one too many is no credit");
        requests.start(key(1), true, ());
        assert_eq!(requests.lost(key(1)).count(), 1);
        assert_eq!(requests.burden(key(1)), Burden::default());
    }

    #[test]
    fn an_abandoned_request_leaves_a_debt() {
        let mut requests = Requests::default();
        let second = Duration::from_secs(1);
        let one = requests.start(key(1), false, ());
        let two = requests.start(key(2), false, ());
        assert!(requests.abandon(one, second).0);
        assert!(requests.abandon(two, 2 * second).0);
        assert_eq!(requests.owing_since(), Some(second));
        let late = || wrap(Message::from("late"), None);
        let other = wrap(Message::from("other"), Some(9));
        assert_eq!(requests.reply(key(1), other), Reply::Late { frees: false });
        assert_eq!(requests.reply(key(1), late()), Reply::Late { frees: true });
        assert_eq!(requests.reply(key(1), late()), Reply::Late { frees: false });
        assert_eq!(requests.owing_since(), Some(2 * second));
        assert_eq!(requests.overdue(second), []);
        assert_eq!(requests.overdue(2 * second), [key(2)]);
        requests.start(key(3), false, ());
        assert_eq!(requests.lost(key(3)).count(), 1);
    }

    #[test]
    fn a_wrapped_message_unwraps() {
        for id in [None, Some(7)] {
            for message in [
                Message::from("ask"),
                Message::new(),
                ["", "b"].into_iter().collect(),
            ] {
                assert_eq!(unwrap(wrap(message.clone(), id)), Some((id, message)));
            }
        }
        assert_eq!(unwrap(Message::from("no delimiter")), None);
        assert_eq!(unwrap(["long id", "", "x"].into_iter().collect()), None);
        assert_eq!(unwrap(["1234", "x", "y"].into_iter().collect()), None);
    }
}
