//! What the socket under attack receives.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use withy::{AnySocket, Rep, SendError, SocketType};

use super::good::parse;

/// How the text of messages begins that are [counted](Victim::noted).
pub(crate) const NOTED: &[u8] = b"noted: ";

/// Who waits for the messages of which good peer.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) numbers: Mutex<HashMap<u64, mpsc::UnboundedSender<u64>>>,
    /// Messages that a peer of a ROUTER had no room for.
    pub(super) unsendable: AtomicU64,
    /// How often each text came that begins with [`NOTED`].
    pub(super) noted: Mutex<HashMap<Vec<u8>, u64>>,
}

impl Inbox {
    /// Receives for the good peers; a ROUTER sends everything back.
    pub(super) async fn serve(&self, socket: &AnySocket) {
        while let Ok(message) = socket.recv().await {
            let text = message.frames().last().map_or(&[][..], |text| text);
            if text.starts_with(NOTED) {
                *self.noted.lock().unwrap().entry(text.to_vec()).or_default() += 1;
            }
            if socket.kind() == SocketType::Router {
                // An offender may be gone, or not read: a server does not wait for one peer.
                if let Err(SendError::Full(_)) = socket.try_send(message) {
                    self.unsendable.fetch_add(1, Ordering::Relaxed);
                }
            } else if let Some((tag, n)) = parse(&message)
                && let Some(numbers) = self.numbers.lock().unwrap().get(&tag)
            {
                let _ = numbers.send(n);
            }
        }
    }
}

pub(super) async fn answer(rep: Rep) {
    while let Ok(mut request) = rep.recv().await {
        let message = request.take_message();
        let _ = request.reply(message).await;
    }
}
