//! A sensor: each line of stdin is a reading, which it publishes to be retained.
//!
//!     while date +%s; do sleep 1; done | cargo run -p withy-examples --bin sensor clock
//!     cargo run -p withy-examples --bin dashboard
//!
//! Who subscribes late gets the last reading at once, from the sensor's own memory.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use withy::Node;
use withy::node::{History, Publication, Topic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: sensor NAME")?;
    let topic: Topic = format!("sensors/{name}").parse()?;

    let node = Node::builder().history(History::default()).build().await?;
    let publisher = node.publisher(topic.as_str())?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(reading) = lines.next_line().await? {
        let mut publication = Publication::new(topic.clone(), reading);
        publication.header.retain = true;
        publisher.send(publication).await?;
        println!("published");
    }
    // With the sensor goes what it retained.
    node.close(Duration::from_secs(1)).await;
    Ok(())
}
