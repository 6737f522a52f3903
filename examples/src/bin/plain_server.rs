//! `hello_server` for users with a password: PLAIN, in clear text, so for loopback and ipc.
//!
//! The file has one NAME=PASSWORD a line, and is read again when it changes.
//!
//!     cargo run -p withy-examples --bin plain_server ENDPOINT USERS

use withy::Rep;
use withy::auth::PlainFile;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, users] = &arguments[..] else {
        return Err("usage: plain_server ENDPOINT USERS".into());
    };

    let users = PlainFile::open(users)?;
    let rep = Rep::builder().plain_server().authenticator(users).build()?;
    println!("listening on {}", rep.bind_to(endpoint).await?);
    loop {
        let request = rep.recv().await?;
        println!("{}", request.message().first().as_str().unwrap_or("?"));
        if let Err(error) = request.reply("world").await {
            eprintln!("{error}");
        }
    }
}
