//! Links within one process, by name.
//!
//! ```text
//!  dial   -> Waiting on the slot until it has an offer -> one End into the offer's queue
//!  listen -> an offer into the slot                    -> accept takes the Ends of the queue
//! ```
//!
//! Invariant: a slot is in the registry exactly as long as someone listens on it or waits for it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use withy_proto::Endpoint;

use crate::pipe::{self, End};
use crate::{
    AcceptError, Connected, DialError, DialOptions, Link, ListenError, ListenOptions, Listener,
    Parcel, Peer, WRONG_ROW,
};

/// The names of this process. It grows with the sockets of the program, not with what peers do.
static REGISTRY: Mutex<BTreeMap<Box<str>, Slot>> = Mutex::new(BTreeMap::new());

/// What dialling a name leads to, if someone listens on it.
type Slot = watch::Sender<Option<Offer>>;

#[derive(Debug, Clone)]
struct Offer {
    queue: mpsc::Sender<End<Parcel>>,
    /// The capacity of a link from the listener's side to the dialler's.
    capacity: usize,
}

pub(crate) async fn dial(
    endpoint: &Endpoint,
    options: &DialOptions,
) -> Result<Connected, DialError> {
    let Endpoint::Inproc(name) = endpoint else {
        return Err(DialError::not_dialable(endpoint, WRONG_ROW));
    };
    let mut waiting = Waiting::new(name.as_str());
    loop {
        let offer = waiting.offer().await;
        // The listener may leave while its queue is full; then its name may be bound anew.
        if let Ok(place) = offer.queue.reserve().await {
            let (ours, theirs) = pipe::pair(options.inproc_capacity, offer.capacity);
            place.send(theirs);
            return Ok(connected(name.as_str(), ours));
        }
    }
}

pub(crate) fn listen(
    endpoint: &Endpoint,
    options: &ListenOptions,
) -> Result<Listener, ListenError> {
    let endpoint = endpoint.clone();
    let Endpoint::Inproc(name) = &endpoint else {
        let reason = WRONG_ROW;
        return Err(ListenError::NotBindable { endpoint, reason });
    };
    let name: Box<str> = name.as_str().into();
    let backlog = (options.backlog as usize).clamp(1, Semaphore::MAX_PERMITS);
    let (queue, arriving) = mpsc::channel(backlog);
    let mut registry = REGISTRY.lock();
    let slot = registry
        .entry(name.clone())
        .or_insert_with(|| watch::Sender::new(None));
    if slot.borrow().is_some() {
        return Err(ListenError::AddressInUse { endpoint });
    }
    slot.send_replace(Some(Offer {
        queue,
        capacity: options.inproc_capacity,
    }));
    let accepting = Accepting { name, arriving };
    Ok(Listener {
        endpoint,
        accepting: crate::Accepting::Inproc(accepting),
    })
}

/// A name that is listened on.
#[derive(Debug)]
pub(crate) struct Accepting {
    name: Box<str>,
    arriving: mpsc::Receiver<End<Parcel>>,
}

impl Accepting {
    pub(crate) async fn accept(&mut self) -> Result<Connected, AcceptError> {
        match self.arriving.recv().await {
            Some(end) => Ok(connected(&self.name, end)),
            None => Err(AcceptError::Failed(std::io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Drop for Accepting {
    /// Withdraws the offer before the queue goes, so that nobody finds an offer without a queue twice.
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        if let Some(slot) = registry.get(&self.name) {
            slot.send_replace(None);
            if slot.receiver_count() == 0 {
                registry.remove(&self.name);
            }
        }
    }
}

/// A dialler that waits for a name to be bound.
struct Waiting<'a> {
    name: &'a str,
    /// Present until dropped.
    slot: Option<watch::Receiver<Option<Offer>>>,
}

impl<'a> Waiting<'a> {
    fn new(name: &'a str) -> Self {
        let mut registry = REGISTRY.lock();
        let slot = registry
            .entry(name.into())
            .or_insert_with(|| watch::Sender::new(None));
        let slot = Some(slot.subscribe());
        Self { name, slot }
    }

    async fn offer(&mut self) -> Offer {
        let slot = self
            .slot
            .as_mut()
            .expect("the slot is present until dropped");
        let offer = slot.wait_for(Option::is_some).await;
        let offer = offer.expect("a slot stays in the registry while someone waits for it");
        offer.clone().expect("this is what was waited for")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        self.slot = None;
        if let Some(slot) = registry.get(self.name)
            && slot.receiver_count() == 0
            && slot.borrow().is_none()
        {
            registry.remove(self.name);
        }
    }
}

fn connected(name: &str, end: End<Parcel>) -> Connected {
    let address = format!("inproc:{name}");
    Connected {
        link: Link::Messages(end),
        local: address.clone(),
        peer: Peer {
            address,
            ..Peer::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_registered(name: &str) -> bool {
        REGISTRY.lock().contains_key(name)
    }

    #[tokio::test]
    async fn the_registry_keeps_no_name_that_nobody_uses() {
        let name = "registry-test";
        let endpoint: Endpoint = format!("inproc://{name}").parse().unwrap();
        let (dialling, listening) = (DialOptions::default(), ListenOptions::default());

        let dialled = dial(&endpoint, &dialling);
        let mut dialled = Box::pin(dialled);
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(dialled.as_mut().poll(cx)));
        assert!(poll.await.is_pending());
        assert!(is_registered(name));
        drop(dialled);
        assert!(!is_registered(name));

        let listener = listen(&endpoint, &listening).unwrap();
        drop(dial(&endpoint, &dialling).await.unwrap());
        assert!(is_registered(name));
        drop(listener);
        assert!(!is_registered(name));
    }
}
