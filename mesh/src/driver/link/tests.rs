//! A link whose connection is lost, as its task sees it.

use std::task::Waker;

use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::mechanism::Opener;
use withy_proto::quic::Priority;
use withy_proto::zmtp::{Decoder, Limits};
use withy_transports::{Connected, DialOptions, ListenOptions};

use super::*;

/// The end of a link over QUIC that was taken over.
fn taken_over(connected: Connected) -> Arc<Items> {
    let withy_transports::Link::Bytes(reader, writer) = connected.link else {
        panic!("a link of messages");
    };
    let (ByteReader::Quic(reader), ByteWriter::Quic(writer)) = (reader, writer) else {
        panic!("a link of another transport");
    };
    reader.admit();
    let limits = Limits::default();
    let decoder = Decoder::new(limits, Opener::Clear);
    let streams = Streams::new(*reader, *writer, decoder, limits, true, Priority::Normal);
    Arc::new(Items::Streams(Box::new(streams)))
}

/// Streams that came with the last packets are on their way through other tasks, which somebody who
/// reads commands alone does not wait for.
#[tokio::test]
async fn nothing_comes_any_more_once_a_lost_link_has_settled() {
    let mut options = ListenOptions::default();
    options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &[1; 32]));
    options.quic.idle_timeout = Duration::from_millis(500);
    let endpoint = "quic://127.0.0.1:*".parse().unwrap();
    let mut listener = withy_transports::listen(&endpoint, &options).await.unwrap();
    let endpoint = listener.endpoint().clone();
    // The peer goes without a word: all that it has stands still with its runtime.
    let peer = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dialling = peer.spawn(async move {
        let mut options = DialOptions::default();
        options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &[2; 32]));
        let connected = withy_transports::dial(&endpoint, &options).await;
        taken_over(connected.unwrap())
    });
    let end = taken_over(listener.accept().await.unwrap());
    let theirs = dialling.await.unwrap();
    peer.shutdown_background();

    let link = Link::new(Writer::Items(Arc::clone(&end)), Arc::default());
    // As a task of its own it hears of the loss in its turn, before those that sort streams.
    let reading = tokio::spawn(async move {
        let mut items = VecDeque::new();
        let lost = poll_fn(|cx| match end.poll_commands(cx, &mut items) {
            Ok(()) => Poll::Pending,
            Err(reason) => Poll::Ready(reason),
        });
        assert!(lost.await.is_loss());
        link.settled().await;
        let polled = end.poll_recv(&mut Context::from_waker(Waker::noop()), &mut items);
        assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
    });
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    read.unwrap().unwrap();
    drop(theirs);
}
