//! Sends values of a Rust type, as JSON.
//!
//!     cargo run -p withy-examples --bin typed_sender [ENDPOINT]

use serde::Serialize;
use withy::typed::Json;
use withy::{Push, Typed};

#[derive(Serialize)]
struct Reading {
    town: String,
    degrees: i32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5563");

    // Without `Json` the codec is postcard: smaller, for peers in Rust.
    let push: Typed<Push, Reading, Json> = Typed::new(Push::connect(endpoint)?);
    for (town, degrees) in [("oslo", -3), ("paris", 11)] {
        let town = town.to_owned();
        push.send(&Reading { town, degrees }).await?;
    }
    push.into_inner().close().await;
    Ok(())
}
