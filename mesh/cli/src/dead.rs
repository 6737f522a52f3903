//! `dead QUEUE`: the dead letters of an acked queue, at the nodes that keep it.
//!
//! ```text
//!  withy dead jobs                      withy node --keep jobs
//!    {"list":{"after":{NODE:ID}}}  ──>    a page: a JSON object, and the octets of all frames
//!    {"take":{"node":NODE,"ids":[]}} ──>  how many it took
//! ```
//!
//! A node that keeps a queue serves `$withy/dead/QUEUE`: whoever may call that sees the letters, which
//! whoever may only pull does not. Each node that has the queue in its store has its own.
//!
//! Invariant: what is looked at stays. A page is bounded, and a reply that does not say what it has to is
//! an error.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use withy::node::queue::{DeadId, DeadLetter, QueueKeeper};
use withy::node::{Client, NameError, Service, ServiceError};
use withy::{Frame, Message, Node};

use crate::args;
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::node;
use crate::session::Interrupt;
use crate::{escape, json};

/// What stands before the queue in the name of the service.
const PREFIX: &str = "$withy/dead/";
/// The most letters of a page.
const PAGE: usize = 256;
/// The most octets of the messages of a page, unless the first has more.
const PAGE_OCTETS: usize = 1024 * 1024;
/// The most letters that are taken at once.
const TAKEN: usize = 4_096;

/// What a node is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// Which there are, of each node after this one.
    List { after: BTreeMap<String, u64> },
    /// Take these, if it is this node.
    Take { node: String, ids: Vec<u64> },
}

/// A page: what is known of letters, and whether there are more.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    letters: Vec<Letter>,
    more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    id: u64,
    cause: String,
    priority: u8,
    deaths: Vec<Died>,
    /// The octets of each frame.
    frames: Vec<usize>,
}

/// That it died in a queue, with times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Died {
    queue: String,
    cause: String,
    count: u32,
    first_ms: u64,
    last_ms: u64,
    reason: String,
}

/// Offers the dead letters of a queue that this node keeps.
pub(crate) fn offer(node: &Node, keeper: &QueueKeeper) -> Result<Service, NameError> {
    node.service(format!("{PREFIX}{}", keeper.name()))
}

/// Answers whoever asks for dead letters, until the node is closed.
pub(crate) async fn serve(service: Service, keeper: QueueKeeper, node: String) {
    while let Ok(request) = service.recv().await {
        let question = request.message().first().as_slice();
        // Who asked may be gone.
        _ = match serde_json::from_slice(question) {
            Ok(question) => request.reply(answer(&question, &keeper, &node)).await,
            Err(error) => request.fail(format!("this is no question: {error}")).await,
        };
    }
}

fn answer(question: &Question, keeper: &QueueKeeper, node: &str) -> Message {
    match question {
        Question::List { after } => {
            let after = after.get(node).copied().map(DeadId::new);
            page(&keeper.dead_letters(after, PAGE + 1))
        }
        Question::Take { node: whose, ids } if whose == node => {
            let ids = ids.iter().take(TAKEN).copied().map(DeadId::new);
            let taken = ids.filter(|id| keeper.take_dead(*id)).count();
            json!(taken).to_string().into()
        }
        Question::Take { .. } => json!(0).to_string().into(),
    }
}

/// The first of these letters, as many as a page has.
fn page(letters: &[DeadLetter]) -> Message {
    let (mut told, mut octets) = (Vec::new(), Vec::new());
    for letter in letters.iter().take(PAGE) {
        if !told.is_empty() && octets.len() + letter.message.size() > PAGE_OCTETS {
            break;
        }
        let frames = letter.message.frames();
        frames.iter().for_each(|it| octets.extend_from_slice(it));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let deaths = letter.history.deaths().iter().map(|death| Died {
            queue: death.queue.to_string(),
            cause: death.cause.as_str().to_owned(),
            count: death.count,
            first_ms: millis(death.first),
            last_ms: millis(death.last),
            reason: death.detail.clone(),
        });
        told.push(Letter {
            id: letter.id.number(),
            cause: letter.cause.as_str().to_owned(),
            priority: letter.priority.number(),
            deaths: deaths.collect(),
            frames: frames.iter().map(|frame| frame.len()).collect(),
        });
    }
    let page = Page {
        more: told.len() < letters.len(),
        letters: told,
    };
    let page = json!(page).to_string();
    [Frame::from(page), Frame::from(octets)]
        .into_iter()
        .collect()
}

/// Reads a page, with the message of each letter.
fn read(reply: &Message) -> Result<(Vec<(Letter, Message)>, bool), String> {
    let [page, octets] = reply.frames() else {
        return Err("a page has two frames".to_owned());
    };
    let page: Page = serde_json::from_slice(page).map_err(|error| error.to_string())?;
    let mut rest = octets.as_slice();
    let mut letters = Vec::new();
    for letter in page.letters {
        let mut frames = Vec::new();
        for length in &letter.frames {
            let (frame, others) = rest
                .split_at_checked(*length)
                .ok_or("a page is too short")?;
            frames.push(Frame::from(frame.to_vec()));
            rest = others;
        }
        letters.push((letter, Message::from_frames(frames)));
    }
    if page.more && letters.is_empty() {
        return Err("a page has nothing, and there are more".to_owned());
    }
    Ok((letters, page.more))
}

/// Prints the dead letters of a queue.
pub(crate) async fn run(options: &args::Dead) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let node = node::join(&options.keys, &options.mesh).await?;
    let name = format!("{PREFIX}{}", options.queue);
    let client = node.client(&name).map_err(node::unnamed)?;
    let ended = tokio::select! {
        ended = look(&client, options) => ended,
        () = interrupt.wait() => Ok(()),
    };
    drop(client);
    node.close(node::LEAVE).await;
    ended
}

async fn look(client: &Client, options: &args::Dead) -> Outcome {
    let until = Instant::now() + options.timeout;
    tokio::time::sleep(options.wait.min(options.timeout)).await;
    let mut after = BTreeMap::new();
    let (mut left, mut trouble) = (options.count.unwrap_or(u64::MAX), None);
    loop {
        let question = Question::List {
            after: after.clone(),
        };
        let answers = ask(client, &question, until, &options.queue).await?;
        let mut is_done = true;
        for (whose, reply) in answers {
            let read = reply.and_then(|reply| read(&reply).map_err(|error| odd(&whose, error)));
            let (mut letters, more) = match read {
                Ok(read) => read,
                // The others are asked all the same.
                Err(failure) => {
                    trouble = Some(failure);
                    continue;
                }
            };
            letters.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= letters.len() as u64;
            is_done &= !more;
            print(&letters, &whose, options)?;
            if let Some((last, _)) = letters.last() {
                after.insert(whose.clone(), last.id);
            }
            if options.take {
                take(client, whose, &letters, until, &options.queue).await?;
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        if is_done || left == 0 {
            return Ok(());
        }
    }
}

/// Takes what was printed away.
async fn take(
    client: &Client,
    node: String,
    letters: &[(Letter, Message)],
    until: Instant,
    queue: &str,
) -> Outcome {
    if letters.is_empty() {
        return Ok(());
    }
    let ids = letters.iter().map(|(letter, _)| letter.id).collect();
    let question = Question::Take {
        node: node.clone(),
        ids,
    };
    for (whose, reply) in ask(client, &question, until, queue).await? {
        if whose != node {
            continue;
        }
        let taken = serde_json::from_slice::<usize>(reply?.first());
        let taken = taken.map_err(|error| odd(&whose, error))?;
        let gone = letters.len().saturating_sub(taken);
        if gone > 0 {
            complain(format_args!("{gone} of the letters were gone already"));
        }
    }
    Ok(())
}

/// What each node that keeps the queue answers.
async fn ask(
    client: &Client,
    question: &Question,
    until: Instant,
    queue: &str,
) -> Outcome<Vec<(String, Outcome<Message>)>> {
    let within = until.saturating_duration_since(Instant::now());
    let asked = client.ask_all(json!(question).to_string(), within).await;
    let answers = asked.map_err(|error| match error {
        ServiceError::NoInstance { .. } | ServiceError::NotReached => Failure::TimedOut(format!(
            "no node that shows its dead letters keeps the queue {queue}; `withy node --keep {queue}` does"
        )),
        error => Failure::failed(error),
    })?;
    let answers = answers.into_iter().map(|answer| {
        let node = answer.instance.node.to_string();
        let reply = answer.reply.map_err(|error| match error {
            // Who is not let in hears no more.
            ServiceError::NotReached => Failure::TimedOut(format!(
                "the node {node} was not reached in time; it may not let us `call` {PREFIX}{queue}"
            )),
            error => Failure::Failed(format!("the node {node} does not tell: {error}")),
        });
        (node, reply)
    });
    Ok(answers.collect())
}

fn odd(node: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("the node {node} says what is no answer: {error}"))
}

fn print(letters: &[(Letter, Message)], node: &str, options: &args::Dead) -> Outcome {
    let mut out = Vec::new();
    for (letter, message) in letters {
        match options.json {
            true => out.extend(
                object(letter, message, node, &options.queue)
                    .to_string()
                    .bytes(),
            ),
            false => line(letter, message, &mut out),
        }
        out.push(b'\n');
    }
    write_out(out)
}

/// The cause, the reason of who rejected it, and the message.
fn line(letter: &Letter, message: &Message, out: &mut Vec<u8>) {
    let reason = letter.deaths.last().map_or("", |death| &death.reason);
    let mut frames = vec![
        Frame::from(letter.cause.clone()),
        Frame::from(reason.to_owned()),
    ];
    frames.extend_from_slice(message.frames());
    escape::encode(&Message::from_frames(frames), out);
}

fn object(letter: &Letter, message: &Message, node: &str, queue: &str) -> Value {
    let mut text = Vec::new();
    json::encode(message, &mut text);
    let mut object: Value = serde_json::from_slice(&text).unwrap_or_default();
    let last = letter.deaths.last();
    let reason = last.map(|death| &death.reason).filter(|it| !it.is_empty());
    object["queue"] = json!(queue);
    object["node"] = json!(node);
    object["id"] = json!(letter.id);
    object["cause"] = json!(letter.cause);
    object["reason"] = json!(reason);
    object["priority"] = json!(letter.priority);
    object["deaths"] = json!(letter.deaths);
    object
}

#[cfg(test)]
mod tests {
    use withy::node::queue::{Cause, History, Priority};

    use super::*;

    fn letter(number: u64, message: Message) -> DeadLetter {
        DeadLetter {
            id: DeadId::new(number),
            cause: Cause::Rejected,
            priority: Priority::default(),
            history: History::default(),
            message,
        }
    }

    #[test]
    fn a_page_has_what_fits_and_says_whether_there_are_more() {
        let frames: Message = ["a", "", "\n"].into_iter().map(Frame::from).collect();
        let large = Message::from(vec![0; PAGE_OCTETS]);
        for (letters, has, more) in [
            (vec![], 0, false),
            (vec![frames.clone(), Message::new()], 2, false),
            // One that is larger than a page is a page.
            (vec![large.clone(), frames.clone()], 1, true),
            (vec![frames.clone(), large], 1, true),
            (vec![Message::new(); PAGE + 1], PAGE, true),
        ] {
            let letters = letters.into_iter().enumerate();
            let letters: Vec<_> = letters.map(|(at, it)| letter(at as u64, it)).collect();
            let (read, is_more) = read(&page(&letters)).unwrap();
            assert_eq!((read.len(), is_more), (has, more));
            for ((told, message), letter) in read.iter().zip(&letters) {
                assert_eq!((told.id, message), (letter.id.number(), &letter.message));
            }
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let whole = page(&[letter(1, Message::from("body"))]);
        let header = whole.first().clone();
        let of = |frames: Vec<Frame>| Message::from_frames(frames);
        assert!(read(&whole).is_ok());
        for bad in [
            Message::new(),
            of(vec![header.clone()]),
            of(vec![header, Frame::from("bod")]),
            of(vec![Frame::from("{}"), Frame::new()]),
            // One would ask for ever.
            of(vec![
                Frame::from(r#"{"letters":[],"more":true}"#),
                Frame::new(),
            ]),
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
