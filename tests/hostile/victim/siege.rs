//! An attack while good peers use the socket.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use withy::SocketType;

use super::config::patiently;
use super::good::WINDOW;
use super::{Config, Victim};
use crate::memory;

/// Messages that a good peer exchanges during an attack.
const EXCHANGED: u64 = 1_000;

/// Attacks a socket while good peers use it: the attack is repeated for as long as they take.
pub(crate) async fn siege(config: Config, attack: impl AsyncFn(&Victim)) {
    let _shared = memory::shared().await;
    siege_alone(config, attack).await;
}

/// As [`siege`], for a test that has [`memory::Growth`] to itself.
pub(crate) async fn siege_alone(config: Config, attack: impl AsyncFn(&Victim)) {
    let victim = Victim::new(config).await;
    let before = victim.good();
    victim.exchange(&before, 1).await;
    let over = Cell::new(false);
    let peace = async {
        victim.exchange(&before, EXCHANGED).await;
        let mut before = Some(before);
        if victim.config.kind == SocketType::Pair {
            // There is one place only.
            before.take().unwrap().close().await;
        }
        let during = victim.good();
        victim.exchange(&during, EXCHANGED).await;
        over.set(true);
        (before, during)
    };
    let war = async {
        loop {
            attack(&victim).await;
            if over.get() {
                return;
            }
        }
    };
    let ((before, during), ()) = within(60, async { tokio::join!(peace, war) }).await;
    within(20, async {
        if let Some(before) = &before {
            victim.exchange(before, WINDOW).await;
        }
        victim.exchange(&during, WINDOW).await;
    })
    .await;
    victim.acquit().await;
}

/// Attacks several sockets at the same time, for attacks that mostly wait.
pub(crate) async fn sieges(
    configs: impl IntoIterator<Item = Config>,
    attack: impl AsyncFn(&Victim),
) {
    let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for config in configs {
        all.push(Box::pin(siege(config, &attack)));
    }
    poll_fn(|cx| {
        all.retain_mut(|siege| siege.as_mut().poll(cx).is_pending());
        if all.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Runs a future that must be over within so many seconds.
pub(crate) async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    let limit = patiently(Duration::from_secs(seconds));
    match tokio::time::timeout(limit, what).await {
        Ok(value) => value,
        Err(_) => panic!("not over within {limit:?}"),
    }
}
