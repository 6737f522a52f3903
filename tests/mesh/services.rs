//! Instances of a service that die or stop in the middle of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::{JoinHandle, JoinSet};
use withy::Message;
use withy::node::service::{HEARTBEAT, Request};
use withy::node::{Client, ServiceError};
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_tests::deadline::soon;
use withy_tests::scale;

use crate::instance::{Instance, KEEP, User, serve};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

fn ask(client: &Client, request: Request) -> JoinHandle<Result<Message, ServiceError>> {
    let client = client.clone();
    tokio::spawn(async move { client.request(request).await })
}

/// Two instances, one of which keeps a request: that one comes first.
async fn keep(
    client: &Client,
    mut instances: [Instance; 2],
    request: Request,
) -> (JoinHandle<Result<Message, ServiceError>>, [Instance; 2]) {
    soon(client.wait_instances(2)).await.unwrap();
    let asking = ask(client, request);
    let [one, other] = &mut instances;
    let first = tokio::select! {
        () = one.says("kept") => true,
        () = other.says("kept") => false,
    };
    if !first {
        instances.reverse();
    }
    (asking, instances)
}

#[tokio::test]
async fn a_killed_instance_is_replaced_for_what_is_idempotent() {
    if serve().await {
        return;
    }
    let test = "services::a_killed_instance_is_replaced_for_what_is_idempotent";
    let user = User::new();
    let client = user.client().await;
    let instances = [user.start(test).await, user.start(test).await];
    let idempotent = Request::new(KEEP).idempotent();
    let (asking, [one, other]) = keep(&client, instances, idempotent).await;
    one.signal(Signal::SIGKILL);
    let reply = soon(asking).await.unwrap().unwrap();
    assert_eq!(reply.first(), "2", "it was the second attempt");

    let instances = [user.start(test).await, other];
    let (asking, [one, other]) = keep(&client, instances, Request::new(KEEP)).await;
    one.signal(Signal::SIGKILL);
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::PeerGone);
    assert_eq!(client.retried(), 1);
    // The other one is there.
    let reply = soon(ask(&client, Request::new("work"))).await.unwrap();
    assert_eq!(reply.unwrap().first(), "1");
    drop(other);
}

#[tokio::test]
async fn a_stopped_instance_is_given_up_within_the_heartbeats() {
    if serve().await {
        return;
    }
    let test = "services::a_stopped_instance_is_given_up_within_the_heartbeats";
    let user = User::new();
    let client = user.client().await;
    let instances = [user.start(test).await, user.start(test).await];
    let idempotent = Request::new(KEEP).idempotent();
    let (asking, [one, other]) = keep(&client, instances, idempotent).await;
    let start = Instant::now();
    one.signal(Signal::SIGSTOP);
    let reply = soon(asking).await.unwrap().unwrap();
    let took = start.elapsed();
    assert_eq!(reply.first(), "2", "it was the second attempt");
    let limit = HEARTBEAT.timeout + HEARTBEAT.interval;
    // The mesh may notice before the connection does.
    assert!(took <= limit + SLACK, "{took:?}");
    // It comes back.
    one.signal(Signal::SIGCONT);
    soon(client.wait_instances(2)).await.unwrap();

    let (asking, [one, _other]) = keep(&client, [one, other], Request::new(KEEP)).await;
    one.signal(Signal::SIGSTOP);
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!(error, ServiceError::PeerGone);
}

#[tokio::test]
async fn all_are_asked_and_one_that_stopped_costs_no_more_than_the_deadline() {
    if serve().await {
        return;
    }
    let test = "services::all_are_asked_and_one_that_stopped_costs_no_more_than_the_deadline";
    let user = User::new();
    let client = user.client().await;
    let instances = [user.start(test).await, user.start(test).await];
    soon(client.wait_instances(2)).await.unwrap();
    instances[0].signal(Signal::SIGSTOP);
    let second = Duration::from_secs(1);
    let answers = soon(client.ask_all("work", second)).await.unwrap();
    let mut replies: Vec<_> = answers.into_iter().map(|answer| answer.reply).collect();
    replies.sort_by_key(Result::is_err);
    let expected = [Ok(Message::from("1")), Err(ServiceError::TooLate)];
    assert_eq!(replies, expected);
}

/// What is idempotent is done, whatever is killed meanwhile.
#[tokio::test]
async fn no_idempotent_request_fails_while_instances_are_killed() {
    if serve().await {
        return;
    }
    const INSTANCES: usize = 3;
    const CALLERS: usize = 4;
    let test = "services::no_idempotent_request_fails_while_instances_are_killed";
    let user = User::new();
    let client = user.client().await;
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        instances.push(user.start(test).await);
    }
    soon(client.wait_instances(INSTANCES)).await.unwrap();
    let (done, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, done, over) = (client.clone(), Arc::clone(&done), Arc::clone(&over));
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let request = Request::new("work").idempotent();
                client.request(request).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut random = Seeded::new(scale::seed());
    let kills = scale::count(5, 200);
    for _ in 0..kills {
        let before = done.load(Ordering::Relaxed);
        let victim = random.next_u64() as usize % INSTANCES;
        instances[victim].signal(Signal::SIGKILL);
        instances[victim] = user.start(test).await;
        soon(async {
            while done.load(Ordering::Relaxed) < before + 100 {
                assert!(callers.try_join_next().is_none(), "a request failed");
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(caller) = soon(callers.join_next()).await {
        caller.expect("no request failed");
    }
    scale::report("killed instances of a service", kills);
    scale::report("requests answered meanwhile", done.load(Ordering::Relaxed));
    scale::report("of them asked again", client.retried());
}
