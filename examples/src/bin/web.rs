//! A web service with a node in it: HTTP on one side, the mesh on the other.
//!
//!     cargo run -p withy-examples --bin web [ADDRESS]
//!     curl -d 21.5 http://127.0.0.1:8080/temp        # publishes
//!     curl http://127.0.0.1:8080/temp                # the last value, whoever published it
//!
//! The topic is `sensors/temp`: `dashboard` shows what is posted here, and `sensor temp` is what is
//! read here. ^C and SIGTERM let requests that are open come to their end.

use std::error::Error;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use withy::Node;
use withy::node::{BusPublisher, BusSubscriber, History, Publication, Topic};

/// What every request gets a clone of.
#[derive(Clone)]
struct App {
    topic: Topic,
    publisher: BusPublisher,
    last: watch::Receiver<Option<String>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let mut terminate = signal(SignalKind::terminate())?;

    let node = Node::builder().history(History::default()).build().await?;
    let topic: Topic = "sensors/temp".parse()?;
    let (sender, last) = watch::channel(None);
    tokio::spawn(follow(node.late_subscriber(topic.as_str())?, sender));
    let app = App {
        publisher: node.publisher(topic.as_str())?,
        topic,
        last,
    };

    let routes = Router::new().route("/temp", get(read).post(write));
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener, routes.with_state(app))
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        })
        .await?;
    node.close(Duration::from_secs(1)).await;
    Ok(())
}

/// Keeps the last value at hand, until the node is closed.
async fn follow(subscriber: BusSubscriber, last: watch::Sender<Option<String>>) {
    while let Ok(publication) = subscriber.recv().await {
        last.send_replace(publication.body.as_str().map(str::to_owned));
    }
}

async fn read(State(app): State<App>) -> Result<String, StatusCode> {
    app.last.borrow().clone().ok_or(StatusCode::NOT_FOUND)
}

async fn write(State(app): State<App>, body: String) -> Result<StatusCode, (StatusCode, String)> {
    let mut publication = Publication::new(app.topic, body);
    publication.header.retain = true;
    match app.publisher.send(publication).await {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}
