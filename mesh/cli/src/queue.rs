//! `push --acked` and `pull --acked`: an acked queue of the mesh.

use std::time::Duration;

use withy::Message;
use withy::node::queue::{Put, PutError, QueueKeeper};
use withy::node::{Producer, Worker};

use crate::args::Traffic;
use crate::exit::{Failure, Outcome, complain};
use crate::format::Printer;
use crate::input::Input;
use crate::node;
use crate::receive::judge;
use crate::session::{Interrupt, Limit};

/// Messages that are put and not accepted yet: what is under way while the next line is read.
const AHEAD: usize = 128;

/// How often a queue that this node keeps is looked at while workers empty it.
const LOOK: Duration = Duration::from_millis(20);

/// Puts messages, and waits until the keeper has accepted all. If that is this node, it stays until
/// workers have acked them.
pub(crate) async fn push(traffic: &Traffic, queue: &str, messages: Vec<Message>) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    let producer = node.producer(queue).map_err(node::unnamed)?;
    let mut input = Input::new(messages, traffic.format(), traffic.count);
    let limit = Limit::of_sender(traffic.timeout, input.is_given());
    let mut accepted = 0;
    let putting = async {
        put_all(&producer, &mut input, limit, &mut accepted).await?;
        match producer.keeper().filter(|it| it.held().is_some()) {
            Some(keeper) => limit.run(emptied(&keeper)).await.ok_or_else(|| {
                let left = keeper.stats().messages;
                Failure::TimedOut(format!(
                    "the time was up; nobody else keeps the queue, and {left} messages that no worker \
                     has acked are lost; `withy node --keep {queue}` keeps it"
                ))
            }),
            None => Ok(()),
        }
    };
    let ended = tokio::select! {
        ended = putting => ended,
        () = interrupt.wait() => Ok(()),
    };
    drop(producer);
    node.close(node::LEAVE).await;
    let taken = input.taken();
    match (ended, traffic.count) {
        (Err(error), _) => Err(error),
        (Ok(()), _) if accepted < taken => Err(Failure::Failed(format!(
            "{} of {taken} messages were not accepted",
            taken - accepted
        ))),
        (Ok(()), Some(count)) if taken < count => Err(Failure::TimedOut(format!(
            "{taken} messages were put, fewer than {count}"
        ))),
        (Ok(()), _) => Ok(()),
    }
}

async fn put_all(
    producer: &Producer,
    input: &mut Input,
    limit: Limit,
    accepted: &mut u64,
) -> Outcome {
    let late = || Failure::timed_out("nobody keeps the queue, or its keeper does not answer");
    let mut under_way = std::collections::VecDeque::new();
    loop {
        let next = limit.overall().run(input.next()).await;
        let early = || Failure::timed_out("the time was up before stdin ended");
        let next = next.ok_or_else(early)??;
        let is_last = next.is_none();
        if let Some(message) = next {
            let put = Put {
                message,
                ..Put::default()
            };
            let putting = limit.run(producer.start(put)).await.ok_or_else(late)?;
            under_way.push_back(putting.map_err(refused)?);
            input.accept();
        }
        while under_way.len() > if is_last { 0 } else { AHEAD }
            && let Some(putting) = under_way.pop_front()
        {
            limit
                .run(putting)
                .await
                .ok_or_else(late)?
                .map_err(refused)?;
            *accepted += 1;
        }
        if is_last {
            return Ok(());
        }
    }
}

fn refused(error: PutError) -> Failure {
    Failure::failed(error)
}

async fn emptied(keeper: &QueueKeeper) {
    let mut look = tokio::time::interval(LOOK);
    while keeper.stats().messages > 0 {
        look.tick().await;
    }
}

/// Takes jobs, prints them, and acks what was printed.
pub(crate) async fn pull(traffic: &Traffic, queue: &str) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let limit = Limit::total(traffic.timeout);
    let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
    // What is taken and not printed is not to wait here.
    let worker = node.worker_with(queue, 1).map_err(node::unnamed)?;
    let mut printer = Printer::new(traffic.format());
    let mut received = 0;
    let ended = {
        let printing = print_all(&worker, &mut printer, traffic.count, &mut received);
        tokio::select! {
            ended = limit.run(printing) => {
                ended.unwrap_or_else(|| Err(Failure::timed_out("the time was up")))
            }
            () = interrupt.wait() => Ok(()),
        }
    };
    drop(worker);
    node.close(node::LEAVE).await;
    judge(ended, traffic.count, received)
}

async fn print_all(
    worker: &Worker,
    printer: &mut Printer,
    count: Option<u64>,
    received: &mut u64,
) -> Outcome {
    while count.is_none_or(|count| *received < count) {
        let job = worker.recv().await.map_err(Failure::failed)?;
        printer.print(&job.message)?;
        printer.flush()?;
        *received += 1;
        if job.ack().is_err() {
            complain("a message that was printed will come again");
        }
    }
    Ok(())
}
