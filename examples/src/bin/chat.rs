//! A chat without a server: who joins is there for all others.
//!
//!     cargo run -p withy-examples --bin chat ada
//!     cargo run -p withy-examples --bin chat ada --lan
//!     cargo run -p withy-examples --bin chat ada --network garden
//!
//! Each line of stdin is said to all; `/w NAME TEXT` whispers to one, `/who` lists who is there, and
//! the end of stdin leaves. Without options it talks to your own programs on this host, with `--lan`
//! to those on the local network as well. Others are let in with `withy trust ID` on both sides, or
//! are members of a network: see `network_bridge`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use withy::node::{Group, Heard, PeerTag};
use withy::{Message, Node};

const USAGE: &str = "usage: chat NAME [--lan] [--network NETWORK]";

/// Who is there: what they call themselves. That it is the same node each time is proven.
type Names = BTreeMap<PeerTag, String>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or(USAGE)?;
    let mut builder = Node::builder();
    while let Some(option) = arguments.next() {
        builder = match option.as_str() {
            "--lan" => builder.lan(),
            "--network" => builder.network(&arguments.next().ok_or(USAGE)?.parse()?),
            _ => return Err(USAGE.into()),
        };
    }
    let node = builder.build().await?;
    let group = node.join("chat")?;
    let mut lines = BufReader::new(stdin()).lines();
    let (mut names, mut members) = (Names::new(), BTreeSet::new());
    loop {
        tokio::select! {
            changed = group.wait_changed(&members) => {
                let now = changed?;
                for newcomer in now.difference(&members) {
                    // Who has left again need not hear it.
                    let _ = group.whisper(*newcomer, Message::from_iter(["here", &name]));
                }
                for name in members.difference(&now).filter_map(|tag| names.remove(tag)) {
                    println!("* {name} left");
                }
                members = now;
            }
            heard = group.recv() => show(heard?, &mut names),
            line = lines.next_line() => match line? {
                Some(line) => say(&line, &name, &group, &names),
                None => break,
            },
        }
    }
    node.close(Duration::from_secs(1)).await;
    Ok(())
}

/// Prints what somebody said.
fn show(heard: Heard, names: &mut Names) {
    let texts: Option<Vec<&str>> = heard
        .message
        .frames()
        .iter()
        .map(|it| it.as_str())
        .collect();
    match texts.as_deref() {
        Some(["here", name]) => {
            println!("* {name} is here");
            names.insert(heard.from, (*name).to_owned());
        }
        Some(["said", name, text]) => println!("{name}: {text}"),
        Some(["whispered", name, text]) => println!("{name} whispers: {text}"),
        _ => println!("* {} says something in another language", heard.from),
    }
}

/// Does what a line of stdin asks for.
fn say(line: &str, own: &str, group: &Group, names: &Names) {
    if line == "/who" {
        let all: Vec<&str> = names.values().map(String::as_str).collect();
        println!("* here: {own} {}", all.join(" "));
    } else if let Some((to, text)) = line.strip_prefix("/w ").and_then(|it| it.split_once(' ')) {
        let message = Message::from_iter(["whispered", own, text]);
        let found = names.iter().find(|(_, name)| *name == to);
        if found.is_none_or(|(tag, _)| group.whisper(*tag, message).is_err()) {
            println!("* {to} is not here");
        }
    } else {
        group.shout(Message::from_iter(["said", own, line]));
    }
}
