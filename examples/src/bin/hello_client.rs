//! Says "hello" ten times, and prints what comes back.
//!
//!     cargo run -p withy-examples --bin hello_client [ENDPOINT]

use std::time::Duration;

use withy::Req;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5555");

    let req = Req::connect(endpoint)?;
    for n in 1..=10 {
        // A request that fails leaves the socket free for the next one.
        let request = req.request_timeout(format!("hello {n}"), Duration::from_secs(5));
        let reply = request.await?;
        println!("{n}: {}", reply.first().as_str().unwrap_or("?"));
    }
    Ok(())
}
