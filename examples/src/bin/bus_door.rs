//! A node of the mesh with a door for ZeroMQ sockets: it turns a fan on when the kitchen is warm, and
//! says how warm it is when it is asked.
//!
//!     cargo run -p withy-examples --bin bus_door [ENDPOINT]

use std::sync::atomic::{AtomicU32, Ordering};

use withy::Node;
use withy::node::ZmtpDoor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5555");

    let node = Node::open().await?;
    // Any other node of the mesh could have these.
    let temperatures = node.subscriber("home/+/temp")?;
    let fan = node.publisher("home/kitchen/fan")?;
    let thermometer = node.service("thermometer")?;

    let door = ZmtpDoor::builder(&node).listen(endpoint).open().await?;
    println!("listening on {}", door.endpoints()[0]);
    let degrees = AtomicU32::new(0);
    loop {
        tokio::select! {
            publication = temperatures.recv() => {
                let text = publication?.body;
                let Some(Ok(now)) = text.as_str().map(str::parse) else {
                    continue;
                };
                degrees.store(now, Ordering::Relaxed);
                fan.publish(if now > 25 { "on" } else { "off" }).await?;
            }
            request = thermometer.recv() => {
                let now = degrees.load(Ordering::Relaxed);
                // Who asked may be gone.
                let _ = request?.reply(now.to_string()).await;
            }
        }
    }
}
