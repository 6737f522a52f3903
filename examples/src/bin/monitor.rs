//! Prints what happens to a socket's connections, and its counters when a peer is gone.
//!
//!     cargo run -p withy-examples --bin monitor [ENDPOINT]

use withy::{EventKind, Pull};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5563");

    let pull = Pull::new();
    let mut monitor = pull.monitor();
    println!("listening on {}", pull.bind_to(endpoint).await?);
    loop {
        tokio::select! {
            message = pull.recv() => println!("{} octets", message?.size()),
            Some(event) = monitor.next() => {
                println!("{event}");
                if let EventKind::Disconnected { .. } = event.kind {
                    let stats = pull.stats();
                    println!("{} peers, {} messages", stats.peers, stats.received);
                }
            }
        }
    }
}
