//! Links that share a connection, and what each gets of it.

use withy::{Pull, Push};

use crate::support::{build, soon};

/// Sockets that send over one connection. Together they have more to send than is let go of at once.
const SENDERS: usize = 48;

/// Octets of a message.
const SIZE: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_link_starves_beside_others_that_send_without_end() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..SENDERS {
        let push = build(Push::builder());
        push.connect_to(endpoint.clone()).unwrap();
        sending.spawn(async move { while push.send(vec![number as u8; SIZE]).await.is_ok() {} });
    }
    let mut counts = [0_usize; SENDERS];
    let take = async |counts: &mut [usize; SENDERS], total: usize| {
        for _ in 0..total {
            let message = soon(pull.recv()).await.unwrap();
            counts[usize::from(message.first().as_slice()[0])] += 1;
        }
    };
    // All are there, and their queues are full.
    take(&mut counts, SENDERS * 200).await;
    counts.fill(0);
    take(&mut counts, SENDERS * 200).await;
    let least = counts.iter().min().unwrap();
    assert!(*least >= 20, "{counts:?}");
}
