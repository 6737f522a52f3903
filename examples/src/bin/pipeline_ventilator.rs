//! Hands a hundred pieces of work to whichever workers are there.
//!
//!     cargo run -p withy-examples --bin pipeline_ventilator [ENDPOINT [SINK]]

use withy::Push;

const TASKS: u32 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next();
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5557");
    let sink = arguments.next();
    let sink = sink.as_deref().unwrap_or("tcp://127.0.0.1:5558");

    let sink = Push::connect(sink)?;
    sink.send(format!("expect {TASKS}")).await?;

    let workers = Push::new();
    println!("listening on {}", workers.bind_to(endpoint).await?);
    for task in 1..=TASKS {
        // Waits until a worker is there and has room: nothing is dropped.
        workers.send(task.to_string()).await?;
    }
    // What was sent is still on its way; closing waits for it.
    let left = workers.close().await + sink.close().await;
    println!("{TASKS} tasks sent, {left} left behind");
    Ok(())
}
