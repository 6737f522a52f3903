//! Changes two values a hundred times.
//!
//!     cargo run -p withy-examples --bin last_value_writer [UPDATES]

use withy::Push;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5561");

    let push = Push::connect(endpoint)?;
    for value in 1..=100 {
        push.send(format!("temperature {value}")).await?;
        push.send(format!("pressure {}", 1000 + value)).await?;
    }
    println!("{} left behind", push.close().await);
    Ok(())
}
