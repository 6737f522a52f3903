//! A dashboard of all sensors: the last value of each at once, and then every change.
//!
//!     cargo run -p withy-examples --bin dashboard
//!
//! Sensors are `sensor`, `web`, and anything else that publishes below `sensors/`, such as
//! `withy pub sensors/door open`; of that, which retains nothing, only what comes from now on.

use withy::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::open().await?;
    // `subscriber` in place of `late_subscriber` would begin with the next change.
    let subscriber = node.late_subscriber("sensors/#")?;
    loop {
        let publication = subscriber.recv().await?;
        let topic = publication.topic.as_str();
        let name = topic.strip_prefix("sensors/").unwrap_or(topic);
        println!("{name} {}", publication.body.as_str().unwrap_or("?"));
    }
}
