//! Two networks on one LAN: a member of both passes on what is said in one to the other.
//!
//! Members of different networks do not see each other, though they share the LAN and the host:
//!
//!     withy network create garden && withy network invite garden     # one ticket for each member
//!     withy network join                                             # by the others, with theirs
//!     cargo run -p withy-examples --bin chat ada --lan --network garden
//!     cargo run -p withy-examples --bin chat cyd --lan --network house
//!
//! Nothing crosses, until somebody who is in both lets it:
//!
//!     cargo run -p withy-examples --bin network_bridge garden house [--lan]
//!
//! There may be one bridge between two networks: two of them would pass on each other's words.

use std::error::Error;

use withy::Node;
use withy::node::Group;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(one), Some(other)) = (arguments.next(), arguments.next()) else {
        return Err("usage: network_bridge NETWORK NETWORK [--lan]".into());
    };
    let is_lan = arguments.next().is_some_and(|option| option == "--lan");

    // A node in each: the only thing that they share is this program.
    let (one, other) = (join(&one, is_lan).await?, join(&other, is_lan).await?);
    println!("between two networks");
    tokio::try_join!(pass_on(&one, &other), pass_on(&other, &one))?;
    Ok(())
}

async fn join(network: &str, is_lan: bool) -> Result<Group, Box<dyn Error>> {
    let builder = Node::builder().network(&network.parse()?);
    let builder = if is_lan { builder.lan() } else { builder };
    // The node lives for as long as its group does.
    Ok(builder.build().await?.join("chat")?)
}

/// What is said to all in one network is said to all in the other; whispers are nobody else's.
async fn pass_on(from: &Group, to: &Group) -> Result<(), Box<dyn Error>> {
    loop {
        let heard = from.recv().await?;
        if heard.message.first() == "said" {
            to.shout(heard.message);
        }
    }
}
