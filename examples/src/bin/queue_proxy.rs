//! A shared queue in three lines: [`withy::Proxy`] between a ROUTER and a DEALER.
//!
//!     cargo run -p withy-examples --bin queue_proxy [CLIENTS [WORKERS]]

use withy::{Dealer, Proxy, Router};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let clients = arguments.next();
    let clients = clients.as_deref().unwrap_or("tcp://127.0.0.1:5559");
    let workers = arguments.next();
    let workers = workers.as_deref().unwrap_or("tcp://127.0.0.1:5560");

    let (router, dealer) = (Router::new(), Dealer::new());
    println!("clients at {}", router.bind_to(clients).await?);
    println!("workers at {}", dealer.bind_to(workers).await?);
    Proxy::new(router, dealer).run().await?;
    Ok(())
}
