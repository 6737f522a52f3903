//! Seeds that come while a node runs.

use super::*;

/// Where a node is reached over TCP, as a line of a file of seeds.
fn line(node: &Node) -> String {
    let addresses = node.addresses().into_iter();
    let mut tcp = addresses.filter(|it| it.starts_with("tcp://"));
    tcp.next().unwrap() + "\n"
}

#[tokio::test]
async fn a_seed_that_is_added_to_the_file_is_met() {
    let user = User::new();
    // Nobody finds them but by an address.
    let builder = || user.builder().without_host();
    let listening = || builder().listen("127.0.0.1:0".parse().unwrap()).build();
    let (one, two) = (listening().await.unwrap(), listening().await.unwrap());
    let file = user.0.path().join("seeds");
    std::fs::write(&file, line(&one)).unwrap();
    let node = builder().seed_file(&file).build().await.unwrap();
    soon(node.wait_peers(1)).await.unwrap();
    assert_eq!(node.peers()[0].node, one.id());
    std::fs::write(&file, line(&one) + &line(&two)).unwrap();
    soon(node.wait_peers(2)).await.unwrap();
    soon(two.wait_peers(2)).await.unwrap();
}
