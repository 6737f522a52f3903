//! The node of a verb that is given a name, and what it sees: `peers`, `services` and `watch`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use withy::Node;
use withy::node::{
    Kind, NameError, NodeBuilder, NodeError, NodeEvent, Peer, PeerLink, PeerTag, Presence, Seed,
};
use withy::trust::Purpose;

use crate::args::{Discovery, Keys, Look, Mesh, Watch};
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::identity::home;
use crate::session::Interrupt;

/// How long a node takes to say goodbye.
pub(crate) const LEAVE: Duration = Duration::from_secs(2);

/// How long a node may take to answer over a link that was just made; longer, and it is told without.
const ANSWER: Duration = Duration::from_millis(250);

/// Makes a node of this user.
pub(crate) async fn join(keys: &Keys, mesh: &Mesh) -> Outcome<Node> {
    let builder = builder(keys, mesh.discovery, &mesh.seed)?;
    builder.build().await.map_err(not_joined)
}

/// As [`join`], and whoever is let in is trusted for more than messages.
pub(crate) async fn join_for(purpose: Purpose, keys: &Keys, mesh: &Mesh) -> Outcome<Node> {
    keys.check_for_mesh()?;
    let trust = keys.trust(&home()?)?;
    trust.set_purpose(purpose);
    let builder = builder(keys, mesh.discovery, &mesh.seed)?.trust(&trust);
    builder.build().await.map_err(not_joined)
}

/// The options of a node of this user.
pub(crate) fn builder(keys: &Keys, discovery: Discovery, seeds: &[Seed]) -> Outcome<NodeBuilder> {
    keys.check_for_mesh()?;
    let home = home()?;
    let identity = keys.own_identity(&home)?;
    let trust = keys.trust(&home)?;
    let builder = Node::builder()
        .home(&home)
        .identity(&identity)
        .trust(&trust);
    let builder = match discovery {
        Discovery::Host => builder,
        Discovery::Mdns => builder.lan(),
        Discovery::Off => builder.without_host(),
    };
    let mut seeds = seeds.iter().cloned();
    seeds
        .try_fold(builder, NodeBuilder::seed)
        .map_err(Failure::usage)
}

pub(crate) fn not_joined(error: NodeError) -> Failure {
    match error {
        NodeError::Identity(error) => Failure::of_identity(error),
        NodeError::Home(error) => Failure::of_home(error),
        NodeError::Host(_) | NodeError::Directory { .. } => Failure::usage(error),
        error => Failure::failed(error),
    }
}

/// A name that cannot be used is an error in the command line.
pub(crate) fn unnamed(error: NameError) -> Failure {
    match error {
        NameError::Topic(_) | NameError::Name { .. } => Failure::usage(error),
        error => Failure::failed(error),
    }
}

/// Lists the nodes that are there.
pub(crate) async fn peers(options: &Look) -> Outcome {
    let node = look(options).await?;
    let mut peers = node.peers();
    peers.sort_by_key(|peer| {
        (
            peer.presence == Presence::Untrusted,
            peer.identity,
            peer.tag,
        )
    });
    let lines = peers.iter().map(|peer| match options.json {
        true => format!("{}\n", object(peer)),
        false => match relay_to(peer, &peers) {
            Some(relay) => format!("{}  (through {relay})\n", line(peer).trim_end()),
            None => line(peer),
        },
    });
    let text: String = lines.collect();
    node.close(LEAVE).await;
    if peers.is_empty() {
        complain("no other node was seen");
    }
    write_out(text)
}

/// Lists what is offered, by name.
pub(crate) async fn services(options: &Look) -> Outcome {
    let node = look(options).await?;
    let mut all: BTreeMap<(&str, String), Vec<Peer>> = BTreeMap::new();
    for peer in node.peers() {
        for offered in &peer.offers {
            let key = (kind(offered.kind), offered.name.clone());
            all.entry(key).or_default().push(peer.clone());
        }
    }
    let lines = all.iter().map(|((kind, name), peers)| {
        let nodes: Vec<String> = peers.iter().map(|peer| peer.node.to_string()).collect();
        let untrusted = peers.iter().all(|it| it.presence == Presence::Untrusted);
        match options.json {
            true => format!(
                "{}\n",
                json!({ "kind": kind, "name": name, "nodes": nodes, "trusted": !untrusted })
            ),
            false => {
                let mark = if untrusted { "  (not trusted)" } else { "" };
                format!("{kind:<9}  {:>2}  {name}{mark}\n", nodes.len())
            }
        }
    });
    let text: String = lines.collect();
    node.close(LEAVE).await;
    if all.is_empty() {
        complain("nothing is offered");
    }
    write_out(text)
}

/// Prints what happens on the mesh.
pub(crate) async fn watch(options: &Watch) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let node = join(&options.keys, &options.mesh).await?;
    let mut events = node.events();
    let watching = async {
        let mut printed = 0;
        // Who was quick is there already, and may be among the events all the same.
        let mut here: VecDeque<Peer> = node.peers().into();
        let mut told = BTreeMap::new();
        while options.count.is_none_or(|count| printed < count) {
            if let Some(peer) = here.pop_front() {
                let stranger = peer.presence == Presence::Untrusted;
                told.insert(peer.tag, stranger);
                let event = match stranger {
                    true => NodeEvent::Stranger(Box::new(peer)),
                    false => NodeEvent::Joined(Box::new(peer)),
                };
                write_out(tell(&event, options.json))?;
                printed += 1;
                continue;
            }
            match events.recv().await {
                Ok(mut event) => {
                    if let NodeEvent::Linked(tag, link) = &mut event {
                        let answer = tokio::time::timeout(ANSWER, node.ping(*tag)).await;
                        link.round_trip = answer.ok().and_then(Result::ok);
                    }
                    let about = match &event {
                        NodeEvent::Joined(peer) => Some((peer.tag, Some(false))),
                        NodeEvent::Stranger(peer) => Some((peer.tag, Some(true))),
                        NodeEvent::Changed(peer) => Some((peer.tag, None)),
                        NodeEvent::Suspected(tag)
                        | NodeEvent::Returned(tag)
                        | NodeEvent::Left(tag)
                        | NodeEvent::Died(tag) => Some((*tag, None)),
                        _ => None,
                    };
                    // Whatever happens to it ends what was told before it.
                    let before = about.and_then(|(tag, _)| told.remove(&tag));
                    if before.is_some() && about.is_some_and(|(_, now)| now == before) {
                        continue;
                    }
                    write_out(tell(&event, options.json))?;
                }
                Err(RecvError::Lagged(missed)) => {
                    complain(format_args!("{missed} events were missed"));
                    continue;
                }
                Err(RecvError::Closed) => break,
            }
            printed += 1;
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = watching => ended,
        () = interrupt.wait() => Ok(()),
        () = sleep(options.timeout) => match options.count {
            None => Ok(()),
            Some(_) => Err(Failure::timed_out("the time was up")),
        },
    };
    node.close(LEAVE).await;
    ended
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// A node that has looked around for a while.
async fn look(options: &Look) -> Outcome<Node> {
    let node = join(&options.keys, &options.mesh).await?;
    tokio::time::sleep(options.wait).await;
    Ok(node)
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "present",
        Presence::Suspected => "suspected",
        Presence::Untrusted => "untrusted",
        _ => "unknown",
    }
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Publisher => "topic",
        Kind::Service => "service",
        Kind::Queue => "queue",
        Kind::Pull => "pull",
        Kind::Pair => "pair",
        Kind::Group => "group",
        Kind::Relay => "relay",
        Kind::Socket(_) => "socket",
        Kind::Other(_) => "other",
    }
}

fn line(peer: &Peer) -> String {
    let offers = peer.offers.iter();
    let offers: Vec<String> = offers
        .map(|it| format!("{}:{}", kind(it.kind), it.name))
        .collect();
    let line = format!(
        "{:<9}  {}  {}  {:<14}  {}",
        presence(peer.presence),
        peer.node,
        peer.identity,
        path(peer),
        offers.join(" ")
    );
    format!("{}\n", line.trim_end())
}

/// How a peer is reached, and how long it takes to answer.
fn path(peer: &Peer) -> String {
    peer.link.as_ref().map_or_else(|| "-".to_owned(), run)
}

/// What carries a link, and how long an answer takes over it.
fn run(link: &PeerLink) -> String {
    let trip = link.round_trip.map(|trip| trip.as_secs_f64() * 1e3);
    let trip = trip.map(|millis| format!(" {millis:.1} ms"));
    format!("{}{}", link.transport, trip.unwrap_or_default())
}

/// The relay that a peer is reached through: its node, if that is known.
fn relay_to(peer: &Peer, all: &[Peer]) -> Option<String> {
    let tag = peer.link.as_ref()?.address.strip_prefix("relay:")?;
    let relay = all.iter().find(|it| it.tag.to_string() == tag);
    Some(relay.map_or_else(|| tag.to_owned(), |relay| relay.node.to_string()))
}

fn object(peer: &Peer) -> Value {
    let offers = peer.offers.iter();
    let offers: Vec<Value> = offers
        .map(|it| json!({ "kind": kind(it.kind), "name": it.name }))
        .collect();
    json!({
        "node": peer.node.to_string(),
        "identity": peer.identity.to_string(),
        "tag": peer.tag.to_string(),
        "presence": presence(peer.presence),
        "addresses": peer.addresses,
        "offers": offers,
        "link": peer.link.as_ref().map(link_object),
    })
}

fn link_object(link: &PeerLink) -> Value {
    json!({
        "transport": link.transport,
        "address": link.address,
        "mechanism": link.mechanism,
        "cipher": link.cipher,
        "post_quantum": link.post_quantum,
        "round_trip_us": link.round_trip.map(|it| it.as_micros()),
    })
}

/// An event as a line.
pub(crate) fn tell(event: &NodeEvent, as_json: bool) -> String {
    let (name, peer, tag) = match event {
        NodeEvent::Joined(peer) => ("joined", Some(peer), peer.tag),
        NodeEvent::Changed(peer) => ("changed", Some(peer), peer.tag),
        NodeEvent::Stranger(peer) => ("stranger", Some(peer), peer.tag),
        NodeEvent::Suspected(tag) => ("suspected", None, *tag),
        NodeEvent::Returned(tag) => ("returned", None, *tag),
        NodeEvent::Left(tag) => ("left", None, *tag),
        NodeEvent::Died(tag) => ("died", None, *tag),
        NodeEvent::Unlinked(tag) => ("unlinked", None, *tag),
        NodeEvent::Linked(tag, link) => return tell_link(*tag, link, as_json),
        _ => return String::new(),
    };
    if as_json {
        let peer = peer.map(|peer| object(peer));
        let object = json!({ "event": name, "tag": tag.to_string(), "peer": peer });
        return format!("{object}\n");
    }
    let peer = peer.map(|peer| format!("  {}", line(peer).trim_end()));
    format!("{name:<9}  {tag}{}\n", peer.unwrap_or_default())
}

/// How a link to a node runs, as a line.
fn tell_link(tag: PeerTag, link: &PeerLink, as_json: bool) -> String {
    if as_json {
        let (tag, link) = (tag.to_string(), link_object(link));
        let object = json!({ "event": "linked", "tag": tag, "link": link });
        return format!("{object}\n");
    }
    let keys = match link.post_quantum {
        true => "post-quantum",
        false => "classical",
    };
    format!(
        "linked     {tag}  {:<14}  {} {} {keys}  {}\n",
        run(link),
        link.mechanism,
        link.cipher,
        link.address
    )
}
