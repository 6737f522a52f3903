//! `hello_server`, encrypted, for the clients on a list: CURVE.
//!
//!     withy keygen -o server.key
//!     withy keygen -o ada.key > allowed
//!     cargo run -p withy-examples --bin curve_server 'tcp://*:5555' server.key allowed
//!
//! The list has one public key a line, and is read again when it changes.

use withy::Rep;
use withy::auth::{CurveAllowList, read_key_pair};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, key, allowed] = &arguments[..] else {
        return Err("usage: curve_server ENDPOINT KEY_FILE ALLOWED".into());
    };

    let rep = Rep::builder()
        .curve_server(read_key_pair(key)?)
        .authenticator(CurveAllowList::open(allowed)?)
        .build()?;
    println!("listening on {}", rep.bind_to(endpoint).await?);
    loop {
        let request = rep.recv().await?;
        println!("{}", request.message().first().as_str().unwrap_or("?"));
        if let Err(error) = request.reply("world").await {
            eprintln!("{error}");
        }
    }
}
