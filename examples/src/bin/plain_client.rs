//! Shows a name and a password, and says "hello" once.
//!
//!     HELLO_PASSWORD=… cargo run -p withy-examples --bin plain_client ENDPOINT NAME

use std::time::Duration;

use withy::Req;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, name] = &arguments[..] else {
        return Err("usage: plain_client ENDPOINT NAME".into());
    };
    let password = std::env::var("HELLO_PASSWORD")?;

    let req = Req::builder()
        .plain_client(name.as_str(), password)
        .build()?;
    req.connect_to(endpoint)?;
    // A server that refuses is asked again and again, as one that is not there; hence the limit.
    let reply = req.request_timeout("hello", Duration::from_secs(2)).await?;
    println!("{}", reply.first().as_str().unwrap_or("?"));
    Ok(())
}
