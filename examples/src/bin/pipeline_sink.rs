//! Adds up the workers' results until the number that the ventilator announced is there.
//!
//!     cargo run -p withy-examples --bin pipeline_sink [ENDPOINT]

use withy::Pull;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5558");

    let pull = Pull::new();
    println!("listening on {}", pull.bind_to(endpoint).await?);
    let (mut expected, mut results, mut sum) = (None, 0, 0);
    // The ventilator and the workers are different peers: their messages come in any order.
    while expected != Some(results) {
        let message = pull.recv().await?;
        let text = message.first().as_str().unwrap_or_default();
        match text.split_once(' ') {
            Some(("expect", count)) => expected = Some(count.parse::<u32>()?),
            Some(("result", number)) => {
                results += 1;
                sum += number.parse::<u64>()?;
            }
            _ => eprintln!("passed over: {text:?}"),
        }
    }
    println!("{results} results, sum {sum}");
    Ok(())
}
