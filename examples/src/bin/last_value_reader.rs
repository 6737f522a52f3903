//! Prints the newest value of a key, each time that it has the leisure to look.
//!
//!     cargo run -p withy-examples --bin last_value_reader [SUBSCRIBERS [KEY]]

use std::time::Duration;

use withy::Subscriber;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next();
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5562");
    let key = arguments.next().unwrap_or_else(|| "temperature".to_owned());

    // What was overtaken while this program was busy is of no interest.
    let subscriber = Subscriber::builder().conflate().build()?;
    subscriber.subscribe(format!("{key} "));
    subscriber.connect_to(endpoint)?;
    loop {
        let value = subscriber.recv().await?;
        println!("{}", value.first().as_str().unwrap_or("?"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
