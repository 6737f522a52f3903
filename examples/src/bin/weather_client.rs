//! Takes five readings of one town, and prints their mean.
//!
//!     cargo run -p withy-examples --bin weather_client [ENDPOINT [TOWN]]

use withy::Subscriber;

const READINGS: i32 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next();
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5556");
    let town = arguments.next().unwrap_or_else(|| "oslo".to_owned());

    let subscriber = Subscriber::connect(endpoint)?;
    // The publisher compares the start of each message, so the space is a part of the topic.
    subscriber.subscribe(format!("{town} "));
    let mut sum = 0;
    for _ in 0..READINGS {
        let message = subscriber.recv().await?;
        let reading = message.first().as_str().unwrap_or_default();
        println!("{reading}");
        let (_, degrees) = reading.split_once(' ').ok_or("not TOWN DEGREES")?;
        sum += degrees.parse::<i32>()?;
    }
    println!(
        "mean of {town}: {:.1}",
        f64::from(sum) / f64::from(READINGS)
    );
    Ok(())
}
