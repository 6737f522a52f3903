//! `ping` with a name: the nodes that offer it, how they are reached, and how long their answers take.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use withy::Node;
use withy::node::Peer;

use super::{Ping, quantiles};
use crate::exit::{Failure, Outcome};
use crate::format::write_out;
use crate::node;

/// How often it is looked who is there.
const LOOK: Duration = Duration::from_millis(20);
/// How long more of them are waited for after the first.
const MORE: Duration = Duration::from_millis(250);

/// Asks all that offer a name.
pub(super) async fn ping(options: &Ping, name: &str) -> Outcome {
    let node = node::join(&options.keys, &options.mesh).await?;
    let deadline = Instant::now() + options.timeout;
    let asked = ask_all(options, &node, name, deadline).await;
    node.close(node::LEAVE).await;
    asked
}

async fn ask_all(options: &Ping, node: &Node, name: &str, deadline: Instant) -> Outcome {
    let found = tokio::time::timeout_at(deadline, find(node, name)).await;
    let Ok(peers) = found else {
        let known = node.peers().len();
        return Err(Failure::TimedOut(format!(
            "nobody offers {name}; {known} nodes known"
        )));
    };
    let (mut missing, all) = (0, peers.len() as u64 * options.count);
    for peer in peers {
        let trips = measure(options, node, &peer, deadline).await;
        missing += options.count - trips.len() as u64;
        // As it is reached now.
        let peers = node.peers();
        let peer = peers.iter().find(|it| it.tag == peer.tag).unwrap_or(&peer);
        write_out(match options.json {
            true => json(name, peer, &trips),
            false => text(peer, &trips),
        })?;
    }
    match missing {
        0 => Ok(()),
        _ => Err(Failure::TimedOut(format!(
            "{} of {all} answers came",
            all - missing
        ))),
    }
}

/// Waits for those that offer a name and are trusted.
async fn find(node: &Node, name: &str) -> Vec<Peer> {
    let offers = |peer: &Peer| {
        let trusted = peer.presence != withy::node::Presence::Untrusted;
        trusted && peer.offers.iter().any(|offered| offered.name == name)
    };
    let mut more = None;
    loop {
        let peers: Vec<Peer> = node.peers().into_iter().filter(offers).collect();
        let now = Instant::now();
        if !peers.is_empty() && now >= *more.get_or_insert(now + MORE) {
            return peers;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// So many round trips, or those that there were in time, in their order.
async fn measure(options: &Ping, node: &Node, peer: &Peer, deadline: Instant) -> Vec<Duration> {
    let mut trips = Vec::new();
    while (trips.len() as u64) < options.count {
        match tokio::time::timeout_at(deadline, node.ping(peer.tag)).await {
            Ok(Ok(trip)) => trips.push(trip),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    trips.sort_unstable();
    trips
}

fn text(peer: &Peer, trips: &[Duration]) -> String {
    let mut text = format!("node        {}\nidentity    {}\n", peer.node, peer.identity);
    if let Some(link) = &peer.link {
        let withstands = match link.post_quantum {
            true => "post-quantum",
            false => "classical",
        };
        text.push_str(&format!(
            "path        {} to {}\nmechanism   {}, {}, {withstands}\n",
            link.transport, link.address, link.mechanism, link.cipher
        ));
    }
    if let Some([least, median, most]) = quantiles(trips) {
        text.push_str(&format!(
            "round trip  {least:.0} us least, {median:.0} us median, {most:.0} us most, of {}\n",
            trips.len()
        ));
    }
    text
}

fn json(name: &str, peer: &Peer, trips: &[Duration]) -> String {
    let link = peer.link.as_ref();
    let [least, median, most] = quantiles(trips).map_or([None; 3], |all| all.map(Some));
    let object = json!({
        "name": name,
        "node": peer.node.to_string(),
        "identity": peer.identity.to_string(),
        "transport": link.map(|it| it.transport),
        "address": link.map(|it| &it.address),
        "mechanism": link.map(|it| it.mechanism),
        "cipher": link.map(|it| it.cipher),
        "post_quantum": link.map(|it| it.post_quantum),
        "round_trips": trips.len(),
        "min_us": least,
        "p50_us": median,
        "max_us": most,
    });
    format!("{object}\n")
}
