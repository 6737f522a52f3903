//! Asks a service by name, and sees no error when an instance is killed.
//!
//!     cargo run -p withy-examples --bin price_client [REQUESTS]
//!
//! Since each request says that it may be done twice, another instance is asked when one is lost.

use std::time::Duration;

use withy::Node;
use withy::node::service::Request;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let requests: u32 = match std::env::args().nth(1) {
        Some(requests) => requests.parse()?,
        None => 100,
    };
    let node = Node::open().await?;
    let client = node.client("prices")?;
    for n in 1..=requests {
        // The deadline is for all attempts together, and for a first instance to be found.
        let request = Request::new("tea")
            .within(Duration::from_secs(15))
            .idempotent();
        let reply = client.request(request).await?;
        println!("{n}: {}", reply.first().as_str().unwrap_or("?"));
    }
    println!("{requests} answers, {} asked again", client.retried());
    node.close(Duration::from_secs(1)).await;
    Ok(())
}
