//! Answers every request with "world".
//!
//!     cargo run -p withy-examples --bin hello_server [ENDPOINT]

use withy::Rep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5555");

    let rep = Rep::new();
    println!("listening on {}", rep.bind_to(endpoint).await?);
    loop {
        let request = rep.recv().await?;
        println!("{}", request.message().first().as_str().unwrap_or("?"));
        // A client that left meanwhile is no reason to stop.
        if let Err(error) = request.reply("world").await {
            eprintln!("{error}");
        }
    }
}
