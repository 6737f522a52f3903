//! `hello_client` without an async runtime.
//!
//!     cargo run -p withy-examples --bin hello_client_blocking [ENDPOINT]

use std::time::Duration;

use withy::blocking::Req;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5555");

    let req = Req::connect(endpoint)?;
    for n in 1..=10 {
        let reply = req.request_timeout(format!("hello {n}"), Duration::from_secs(5))?;
        println!("{n}: {}", reply.first().as_str().unwrap_or("?"));
    }
    Ok(())
}
