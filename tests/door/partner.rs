//! A node of the mesh in a process of its own: the same test once more, which does there what it is told.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use withy::node::{Client, ServiceRequest};
use withy::{Frame, Message, Node};
use withy_tests::deadline::soon;

use crate::house::builder;

/// Set in the process of the partner: the directory of the user whose node it is.
const DIRECTORY: &str = "WITHY_DOOR_PARTNER";
/// What it says when it is ready.
const READY: &str = "partner: ready";

/// What it gets is told to who pulls from here.
pub(crate) const SEEN: &str = "seen";

/// The other process, until it is dropped, and the way to tell it what to do.
pub(crate) struct Partner {
    _child: Child,
    orders: Client,
}

impl Partner {
    /// Starts the test of this name in another process, as the partner of a node.
    pub(crate) async fn start(test: &str, directory: &Path, node: &Node) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        soon(async { while said.next_line().await.unwrap().expect("it runs") != READY {} }).await;
        Self {
            _child: child,
            orders: node.client("partner").unwrap(),
        }
    }

    /// Has it do something, and returns what came of it.
    pub(crate) async fn order(&self, words: &[&str]) -> Message {
        soon(
            self.orders
                .request(words.iter().copied().collect::<Message>()),
        )
        .await
        .unwrap()
    }
}

/// Acts as the partner if this process is to be one, until it is killed; whether it is.
pub(crate) async fn act() -> bool {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return false;
    };
    let node = builder(Path::new(&directory)).build().await.unwrap();
    let seen = node.push(SEEN).unwrap();
    let echo = node.service("echo").unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = echo.recv().await {
            let mut reply = request.take_message();
            reply.push_front("partner");
            let _ = request.reply(reply).await;
        }
    });
    let (heard, told) = (node.subscriber("to/#").unwrap(), seen.clone());
    tokio::spawn(async move {
        while let Ok(it) = heard.recv().await {
            let told = told.send(Message::from_iter([it.topic.into_frame(), it.body]));
            told.await.unwrap();
        }
    });
    let (jobs, told) = (node.pull("jobs").unwrap(), seen);
    tokio::spawn(async move {
        while let Ok(mut job) = jobs.recv().await {
            job.push_front("jobs");
            told.send(job).await.unwrap();
        }
    });
    let orders = node.service("partner").unwrap();
    println!("\n{READY}");
    std::io::stdout().flush().unwrap();
    while let Ok(request) = orders.recv().await {
        let node = node.clone();
        tokio::spawn(async move { obey(&node, request).await });
    }
    true
}

async fn obey(node: &Node, mut request: ServiceRequest) {
    let message = request.take_message();
    let words: Vec<&str> = message.frames().iter().map(text).collect();
    let reply = match words[..] {
        ["publish", topic, body] => {
            let publisher = node.publisher(topic).unwrap();
            publisher.wait_subscribed(1).await.unwrap();
            publisher.publish(body).await.unwrap();
            publisher.flush().await;
            Message::from("published")
        }
        ["ask", service, body] => match node.client(service).unwrap().request(body).await {
            Ok(reply) => reply,
            Err(error) => Message::from(error.to_string()),
        },
        ["push", queue, body] => {
            let push = node.push(queue).unwrap();
            push.send(body).await.unwrap();
            push.flush().await;
            Message::from("pushed")
        }
        _ => panic!("unknown order {words:?}"),
    };
    request.reply(reply).await.unwrap();
}

fn text(frame: &Frame) -> &str {
    frame.as_str().unwrap()
}
