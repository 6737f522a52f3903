//! Publishes the weather of three towns for as long as it runs: "oslo -3".
//!
//!     cargo run -p withy-examples --bin weather_server [ENDPOINT]

use std::time::Duration;

use withy::Publisher;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5556");

    let publisher = Publisher::new();
    println!("listening on {}", publisher.bind_to(endpoint).await?);
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for hour in 0.. {
        clock.tick().await;
        let warmth = [0, 1, 2, 1, 0, -1, -2, -1][hour % 8];
        for (town, mean) in [("oslo", -3), ("paris", 11), ("quito", 14)] {
            // Nobody waits here: who has no room misses a reading, and `stats()` counts it.
            publisher.send(format!("{town} {}", mean + warmth)).await?;
        }
    }
    Ok(())
}
