//! How many links a node has to others while nobody sends anything.

use super::*;

fn links(node: &Node) -> usize {
    let peers = node.peers().into_iter();
    peers.filter(|peer| peer.link.is_some()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_links_to_eight_others_or_as_many_as_it_may() {
    const NODES: usize = 14;
    let user = User::new();
    let few = NodeLimits {
        links: 4,
        ..NodeLimits::default()
    };
    let mut nodes = vec![user.builder().limits(few).build().await.unwrap()];
    while nodes.len() < NODES {
        nodes.push(user.node().await);
    }
    for node in &nodes {
        soon(node.wait_peers(NODES - 1)).await.unwrap();
    }
    // Who asks for an answer makes a link: to two of them, from all others.
    let mut events = nodes[1].events();
    let mut linked: BTreeSet<_> = nodes[1]
        .peers()
        .into_iter()
        .filter(|peer| peer.link.is_some())
        .map(|peer| peer.tag)
        .collect();
    for busy in &nodes[..2] {
        for node in nodes.iter().filter(|node| node.id() != busy.id()) {
            // The link may be one too many by the time of the answer.
            let asked = soon(node.ping(busy.tag())).await;
            assert!(matches!(asked, Ok(_) | Err(PingError::Lost)), "{asked:?}");
        }
    }
    while linked.len() < NODES - 1 {
        if let NodeEvent::Linked(tag, _) = soon(events.recv()).await.unwrap() {
            linked.insert(tag);
        }
    }
    let most = |at: usize| if at == 0 { few.links } else { 8 };
    let mut counts = Vec::new();
    let settled = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            counts = nodes.iter().map(links).collect::<Vec<_>>();
            let within = |(at, links): (usize, &usize)| (2..=most(at)).contains(links);
            if counts.iter().enumerate().all(within) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let settled = settled.await;
    settled.unwrap_or_else(|_| panic!("links of each node: {counts:?}"));
    println!("count: links of each of {NODES} nodes: {counts:?}");
    assert!(nodes.iter().all(|node| node.peers().len() == NODES - 1));
}
