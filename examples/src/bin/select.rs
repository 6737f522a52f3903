//! Receives from two sockets in turn, so that a busy one cannot starve the other.
//!
//!     cargo run -p withy-examples --bin select [UPDATES [WEATHER]]
//!
//! Feed it with `last_value_writer` and `weather_server`.

use withy::{Pull, Select, Subscriber};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next();
    let updates_at = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5561");
    let endpoint = arguments.next();
    let weather_at = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5556");

    let updates = Pull::new();
    println!("listening on {}", updates.bind_to(updates_at).await?);
    let weather = Subscriber::connect(weather_at)?;
    weather.subscribe("oslo ");

    let mut select = Select::new().with(&updates).with(&weather);
    loop {
        let (index, message) = select.recv().await?;
        let text = message.first().as_str().unwrap_or("?");
        println!("{}: {text}", ["update", "weather"][index]);
    }
}
