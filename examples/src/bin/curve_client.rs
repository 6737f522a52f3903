//! Proves its key, checks the server's, and says "hello" once.
//!
//!     cargo run -p withy-examples --bin curve_client tcp://HOST:5555 ada.key server.key.pub

use std::time::Duration;

use withy::Req;
use withy::auth::{read_key_pair, read_public_key};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, key, server_key] = &arguments[..] else {
        return Err("usage: curve_client ENDPOINT KEY_FILE SERVER_KEY_FILE".into());
    };

    let req = Req::builder()
        .curve_client(read_key_pair(key)?, read_public_key(server_key)?)
        .build()?;
    req.connect_to(endpoint)?;
    // A server that refuses is asked again and again, as one that is not there; hence the limit.
    let reply = req.request_timeout("hello", Duration::from_secs(2)).await?;
    println!("{}", reply.first().as_str().unwrap_or("?"));
    Ok(())
}
