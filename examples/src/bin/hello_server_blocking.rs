//! `hello_server` without an async runtime.
//!
//!     cargo run -p withy-examples --bin hello_server_blocking [ENDPOINT]

use withy::blocking::Rep;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5555");

    let rep = Rep::new();
    println!("listening on {}", rep.bind_to(endpoint)?);
    loop {
        let request = rep.recv()?;
        println!("{}", request.message().first().as_str().unwrap_or("?"));
        if let Err(error) = request.reply("world") {
            eprintln!("{error}");
        }
    }
}
