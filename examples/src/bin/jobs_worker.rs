//! A worker of the queue of `jobs_producer`: takes one job at a time, and says when it is done.
//!
//!     cargo run -p withy-examples --bin jobs_worker [MILLISECONDS]
//!
//! What a worker holds that is killed comes again, to another one, and says so: a job is to be one
//! that may be done twice.

use std::time::Duration;

use withy::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let takes = match std::env::args().nth(1) {
        Some(milliseconds) => Duration::from_millis(milliseconds.parse()?),
        None => Duration::from_millis(500),
    };
    let node = Node::open().await?;
    let worker = node.worker_with("jobs", 1)?;
    loop {
        let job = worker.recv().await?;
        let name = job.message.first().as_str().unwrap_or("?").to_owned();
        match job.redelivered {
            false => println!("begin {name}"),
            true => println!("begin {name}, attempt {}", job.attempt),
        }
        tokio::time::sleep(takes).await; // the work
        match job.ack() {
            Ok(()) => println!("end {name}"),
            // It took too long, and somebody else has it.
            Err(stale) => println!("{name}: {stale}"),
        }
    }
}
