//! A worker of the shared queue: a REP that connects instead of binding.
//!
//!     cargo run -p withy-examples --bin queue_worker [WORKERS]

use withy::Rep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5560");

    let rep = Rep::connect(endpoint)?;
    loop {
        let request = rep.recv().await?;
        println!("{}", request.message().first().as_str().unwrap_or("?"));
        if let Err(error) = request.reply("world").await {
            eprintln!("{error}");
        }
    }
}
