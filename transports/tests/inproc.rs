//! The `inproc` transport: names of this process.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::collections::VecDeque;
use std::future::poll_fn;

use support::*;
use withy_proto::{Message, zmtp};
use withy_transports::{
    Connected, DialOptions, ListenError, ListenOptions, Parcel, dial, listen, pipe,
};

fn message(text: &str) -> Parcel {
    zmtp::Item::Message(Message::from(text))
}

async fn say_and_hear(one: &Connected, other: &Connected, text: &str) {
    let sent = messages(&one.link).try_send_batch(&mut batch([message(text)]));
    assert_eq!(sent, Ok(1));
    let mut heard = VecDeque::new();
    poll_fn(|cx| messages(&other.link).poll_recv_batch(cx, &mut heard))
        .await
        .unwrap();
    assert_eq!(heard, [message(text)]);
}

#[tokio::test]
async fn a_link_carries_messages_both_ways() {
    let mut listener = bound("inproc://both ways").await;
    assert_eq!(listener.endpoint().to_string(), "inproc://both ways");
    let (ours, theirs) = linked(&mut listener).await;
    for connected in [&ours, &theirs] {
        assert_eq!(connected.local, "inproc:both ways");
        assert_eq!(connected.peer.address, "inproc:both ways");
        assert_eq!(connected.peer.credentials, None);
    }
    say_and_hear(&ours, &theirs, "question").await;
    say_and_hear(&theirs, &ours, "answer").await;
    drop(listener);
    say_and_hear(&ours, &theirs, "the link outlives the listener").await;
    drop(theirs);
    let sent = messages(&ours.link).try_send_batch(&mut batch([message("")]));
    assert_eq!(sent, Err(pipe::Closed));
}

#[tokio::test]
async fn a_dial_waits_until_its_name_is_bound() {
    let dialled: Vec<_> = (0..3)
        .map(|_| tokio::spawn(async { dialled("inproc://later").await }))
        .collect();
    tokio::task::yield_now().await;
    assert!(dialled.iter().all(|dialled| !dialled.is_finished()));
    let mut listener = bound("inproc://later").await;
    for dialled in dialled {
        let (ours, theirs) = (dialled.await.unwrap(), listener.accept().await.unwrap());
        drop((ours, theirs));
    }
}

#[tokio::test]
async fn a_cancelled_dial_leaves_no_link_behind() {
    let (target, options) = (endpoint("inproc://cancelled"), DialOptions::default());
    assert!(is_pending(dial(&target, &options)).await);
    let mut listener = bound("inproc://cancelled").await;
    assert!(is_pending(listener.accept()).await);
    let (ours, theirs) = linked(&mut listener).await;
    say_and_hear(&ours, &theirs, "still works").await;
}

#[tokio::test]
async fn a_name_is_bound_once_and_can_be_bound_again() {
    let target = endpoint("inproc://once");
    let listener = bound("inproc://once").await;
    let error = listen(&target, &ListenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    drop(listener);
    let mut listener = bound("inproc://once").await;
    linked(&mut listener).await;
    drop(listener);
    assert!(is_pending(dial(&target, &DialOptions::default())).await);
}

#[tokio::test]
async fn links_that_nobody_accepted_close_with_the_listener() {
    let listener = bound("inproc://unaccepted").await;
    let ours = dialled("inproc://unaccepted").await;
    drop(listener);
    let mut heard = VecDeque::new();
    let closed = poll_fn(|cx| messages(&ours.link).poll_recv_batch(cx, &mut heard)).await;
    assert_eq!(closed, Err(pipe::Closed));
}

#[tokio::test]
async fn a_full_queue_makes_dials_wait_even_for_the_next_listener() {
    let mut options = ListenOptions::default();
    options.backlog = 1;
    let target = endpoint("inproc://full");
    let mut listener = listen(&target, &options).await.unwrap();
    let _first = dialled("inproc://full").await;
    let second = tokio::spawn(async { dialled("inproc://full").await });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    listener.accept().await.unwrap();
    let _second = second.await.unwrap();

    let third = tokio::spawn(async { dialled("inproc://full").await });
    tokio::task::yield_now().await;
    assert!(!third.is_finished());
    drop(listener);
    let mut listener = listen(&target, &options).await.unwrap();
    let (ours, theirs) = (third.await.unwrap(), listener.accept().await.unwrap());
    say_and_hear(&ours, &theirs, "hello").await;
}

#[tokio::test]
async fn each_side_chooses_what_may_wait_towards_the_other() {
    let (mut listening, mut dialling) = (ListenOptions::default(), DialOptions::default());
    listening.inproc_capacity = 2;
    dialling.inproc_capacity = 3;
    let target = endpoint("inproc://capacity");
    let mut listener = listen(&target, &listening).await.unwrap();
    let ours = dial(&target, &dialling).await.unwrap();
    let theirs = listener.accept().await.unwrap();
    let many = || batch((0..9).map(|_| message("x")));
    assert_eq!(messages(&ours.link).try_send_batch(&mut many()), Ok(3));
    assert_eq!(messages(&theirs.link).try_send_batch(&mut many()), Ok(2));
}

#[test]
fn runtimes_do_not_matter() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let dialling = std::thread::spawn(move || runtime().block_on(dialled("inproc://runtimes")));
    let accepted = runtime().block_on(async {
        let mut listener = bound("inproc://runtimes").await;
        listener.accept().await.unwrap()
    });
    let ours = dialling.join().unwrap();
    runtime().block_on(say_and_hear(&ours, &accepted, "hello"));
}
