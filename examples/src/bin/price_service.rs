//! An instance of a service: start as many as you like, on as many hosts, and kill some.
//!
//!     cargo run -p withy-examples --bin price_service one
//!     cargo run -p withy-examples --bin price_service two
//!     cargo run -p withy-examples --bin price_client
//!
//! A second argument is how many milliseconds an answer takes.

use std::error::Error;
use std::time::Duration;

use withy::Node;
use withy::node::ServiceRequest;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments
        .next()
        .ok_or("usage: price_service NAME [MILLISECONDS]")?;
    let takes = arguments.next().map_or(Ok(1), |it| it.parse())?;

    let node = Node::open().await?;
    let service = node.service("prices")?;
    println!("serving");
    loop {
        let request = service.recv().await?;
        let (name, takes) = (name.clone(), Duration::from_millis(takes));
        // Requests are answered in any order, by any task.
        tokio::spawn(answer(request, name, takes));
    }
}

async fn answer(mut request: ServiceRequest, name: String, takes: Duration) {
    let asked = request.take_message();
    println!("asked, attempt {}", request.attempt());
    tokio::time::sleep(takes).await; // the work
    let answered = match asked.first().as_str() {
        Some("tea") => request.reply(format!("3.20 from {name}")).await,
        Some("coffee") => request.reply(format!("4.10 from {name}")).await,
        _ => request.fail("there is tea and coffee").await,
    };
    if answered.is_err() {
        println!("who asked is gone");
    }
}
