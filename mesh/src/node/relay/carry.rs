//! What runs over legs: between two of them at a relay, and between one and the pipe of a connection at an
//! end.
//!
//! Invariant: octets stay in order, and the end of a circuit comes after all that was sent before it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use withy_transports::Far;

use super::Relaying;
use super::leg::Leg;

/// Joins two legs until one of them ends, nothing comes for too long, or it is stopped.
pub(super) async fn join(
    relaying: &Relaying,
    one: Leg,
    other: Leg,
    idle: Duration,
    stop: &CancellationToken,
) {
    let count = tokio::sync::watch::Sender::new(0_u64);
    let heard = |octets: &Bytes| {
        count.send_modify(|count| *count += 1);
        let octets_count = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        relaying.octets.fetch_add(octets_count, Ordering::Relaxed);
        #[cfg(test)]
        relaying.seen.lock().extend_from_slice(octets);
    };
    let quiet = async {
        let mut counted = count.subscribe();
        loop {
            counted.mark_unchanged();
            if tokio::time::timeout(idle, counted.changed()).await.is_err() {
                relaying.idle.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    };
    tokio::select! {
        () = pass(&one, &other, heard) => {}
        () = pass(&other, &one, heard) => {}
        () = quiet => {}
        () = stop.cancelled() => {}
    }
    tokio::join!(one.end(), other.end());
}

/// Passes on what one leg brings, until it ends.
async fn pass(from: &Leg, to: &Leg, heard: impl Fn(&Bytes)) {
    while let Some(octets) = from.next().await {
        if octets.is_empty() {
            return;
        }
        heard(&octets);
        if !to.send(octets).await {
            return;
        }
    }
}

/// Carries a connection over a leg, until one of them ends.
pub(super) async fn carry(leg: Leg, far: Far) {
    let up = async {
        let mut chunks = VecDeque::new();
        while poll_fn(|cx| far.poll_take(cx, &mut chunks)).await.is_ok() {
            for chunk in chunks.drain(..) {
                if !leg.send(chunk).await {
                    return;
                }
            }
        }
    };
    let down = async {
        let mut chunks = VecDeque::new();
        while let Some(octets) = leg.next().await {
            if octets.is_empty() {
                return;
            }
            chunks.push_back(octets);
            while !chunks.is_empty() {
                if poll_fn(|cx| far.poll_give(cx, &mut chunks)).await.is_err() {
                    // Nobody reads any more; what was written before that is taken.
                    return std::future::pending().await;
                }
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    far.close();
    leg.end().await;
}
