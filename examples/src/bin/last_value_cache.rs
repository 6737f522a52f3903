//! Keeps the last value of each key, and tells it to those who subscribe late.
//!
//! Updates are pushed to one endpoint as "KEY VALUE", subscribers connect to the other.
//!
//!     cargo run -p withy-examples --bin last_value_cache [UPDATES [SUBSCRIBERS]]
//!     cargo run -p withy-examples --bin last_value_writer [UPDATES]
//!     cargo run -p withy-examples --bin last_value_reader [SUBSCRIBERS [KEY]]

use std::collections::BTreeMap;

use withy::options::Verbose;
use withy::{Message, Pull, XPub};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next();
    let updates_at = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5561");
    let endpoint = arguments.next();
    let subscribers_at = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5562");

    let updates = Pull::new();
    // Every subscription is to be seen here, and not the first of a topic only.
    let subscribers = XPub::builder().verbose(Verbose::Subscriptions).build()?;
    println!("updates at {}", updates.bind_to(updates_at).await?);
    println!(
        "subscribers at {}",
        subscribers.bind_to(subscribers_at).await?
    );

    let mut last: BTreeMap<Vec<u8>, Message> = BTreeMap::new();
    loop {
        tokio::select! {
            update = updates.recv() => {
                let update = update?;
                let key = update.first().split(|octet| *octet == b' ').next();
                last.insert(key.unwrap_or_default().to_vec(), update.clone());
                subscribers.send(update).await?;
            }
            subscription = subscribers.recv() => {
                // 1 and the topic; 0 would take it back.
                if let Some((1, topic)) = subscription?.first().split_first() {
                    for value in last.values().filter(|value| value.first().starts_with(topic)) {
                        subscribers.send(value.clone()).await?;
                    }
                }
            }
        }
    }
}
