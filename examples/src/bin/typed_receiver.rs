//! Receives values of a Rust type, as JSON, and stays with whatever else comes.
//!
//!     cargo run -p withy-examples --bin typed_receiver [ENDPOINT]

use serde::Deserialize;
use withy::typed::{Json, TypedError};
use withy::{Pull, Typed};

#[derive(Deserialize)]
struct Reading {
    town: String,
    degrees: i32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:5563");

    let pull = Pull::new();
    println!("listening on {}", pull.bind_to(endpoint).await?);
    let readings: Typed<Pull, Reading, Json> = Typed::new(pull);
    loop {
        match readings.recv().await {
            Ok(Reading { town, degrees }) => println!("{degrees} in {town}"),
            // What one peer sends wrong is no reason to stop.
            Err(TypedError::Decode { error, .. }) => println!("passed over: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
}
