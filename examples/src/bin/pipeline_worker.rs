//! Squares the numbers that come from the ventilator, and sends the results to the sink.
//!
//!     cargo run -p withy-examples --bin pipeline_worker [VENTILATOR [SINK]]

use withy::{Pull, Push};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let ventilator = arguments.next();
    let ventilator = ventilator.as_deref().unwrap_or("tcp://127.0.0.1:5557");
    let sink = arguments.next();
    let sink = sink.as_deref().unwrap_or("tcp://127.0.0.1:5558");

    let tasks = Pull::connect(ventilator)?;
    let results = Push::connect(sink)?;
    loop {
        let task = tasks.recv().await?;
        let number: u64 = task.first().as_str().unwrap_or_default().parse()?;
        results.send(format!("result {}", number * number)).await?;
    }
}
