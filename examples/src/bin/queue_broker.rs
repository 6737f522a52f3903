//! A shared queue by hand: clients ask at one endpoint, workers answer at the other.
//!
//! `queue_proxy` does the same with the library's proxy.
//!
//!     cargo run -p withy-examples --bin queue_broker [CLIENTS [WORKERS]]
//!     cargo run -p withy-examples --bin queue_worker [WORKERS]
//!     cargo run -p withy-examples --bin hello_client [CLIENTS]

use std::error::Error;

use withy::{Dealer, Router, SendError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let clients = arguments.next();
    let clients = clients.as_deref().unwrap_or("tcp://127.0.0.1:5559");
    let workers = arguments.next();
    let workers = workers.as_deref().unwrap_or("tcp://127.0.0.1:5560");

    let (router, dealer) = (Router::new(), Dealer::new());
    println!("clients at {}", router.bind_to(clients).await?);
    println!("workers at {}", dealer.bind_to(workers).await?);
    tokio::try_join!(requests(&router, &dealer), replies(&dealer, &router))?;
    Ok(())
}

/// The router puts the client's routing id in front, and the worker returns it unread.
async fn requests(router: &Router, dealer: &Dealer) -> Result<(), Box<dyn Error>> {
    loop {
        dealer.send(router.recv().await?).await?;
    }
}

async fn replies(dealer: &Dealer, router: &Router) -> Result<(), Box<dyn Error>> {
    loop {
        match router.send(dealer.recv().await?).await {
            Err(SendError::Unroutable(_)) => eprintln!("a client left before its reply came"),
            result => result?,
        }
    }
}
