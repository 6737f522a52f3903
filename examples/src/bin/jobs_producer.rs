//! A work queue that forgets no job: this program puts some in, and waits until all are done.
//!
//!     cargo run -p withy-examples --bin jobs_producer [JOBS]
//!     cargo run -p withy-examples --bin jobs_worker              # as many as you like; kill some
//!
//! The queue is in the memory of its first producer, and ends with it. `Node::keep_queue` keeps one
//! on disk.

use std::time::Duration;

use withy::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs: u32 = match std::env::args().nth(1) {
        Some(jobs) => jobs.parse()?,
        None => 10,
    };
    let node = Node::open().await?;
    let producer = node.producer("jobs")?;
    for job in 1..=jobs {
        // It returns once the job is accepted: from here on it is done at least once.
        producer.put(format!("job {job}")).await?;
    }
    println!("{jobs} jobs accepted");

    // If another node keeps the queue, there is no need to stay.
    if let Some(keeper) = producer.keeper() {
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        while keeper.stats().messages > 0 {
            looks.tick().await;
        }
        let counts = keeper.stats().counts;
        println!("{} done, {} came again", counts.acked, counts.redelivered);
    }
    node.close(Duration::from_secs(1)).await;
    Ok(())
}
