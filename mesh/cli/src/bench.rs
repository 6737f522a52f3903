//! `bench`: what this machine does between two processes, as a quick look.
//!
//! This process has the PULL and the REP, a child the PUSH and the REQ's partner; nothing else is
//! compared here. Figures move with whatever else the machine does: for a comparison with other
//! libraries see `tests/bench`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use withy::socket::Socket;
use withy::{
    Builder, Closed, Endpoint, KeyPair, PublicKey, Pull, Push, Rep, Req, generate_key_pair,
};

use crate::args::Bench;
use crate::child::{self, Family};
use crate::exit::{Failure, Outcome};
use crate::format::write_out;
use crate::session::Interrupt;

/// Sizes of messages that are measured unless others are asked for, in octets.
const SIZES: [u32; 3] = [16, 1_024, 65_536];
/// What runs before a figure is taken.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long the child may take to be there.
const START: Duration = Duration::from_secs(10);
/// Messages that are taken at a time.
const BATCH: usize = 1_024;

/// What the child does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Brief {
    part: Part,
    endpoint: String,
    /// The server's public key, where the measurement is encrypted.
    server: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    /// Pushes messages of this size for ever.
    Push { size: u32 },
    /// Replies to requests with themselves.
    Echo,
}

/// The child's side of a measurement.
pub(crate) async fn serve(brief: Brief) -> Outcome {
    let server = brief
        .server
        .as_deref()
        .map(str::parse::<PublicKey>)
        .transpose();
    let server = server.map_err(Failure::failed)?;
    let endpoint = &brief.endpoint;
    match brief.part {
        Part::Push { size } => {
            let push = client(Push::builder(), server)?;
            push.connect_to(endpoint).map_err(Failure::failed)?;
            let body = withy::Frame::from(vec![0; size as usize]);
            loop {
                push.send(body.clone()).await.map_err(Failure::failed)?;
            }
        }
        Part::Echo => {
            let rep = client(Rep::builder(), server)?;
            rep.connect_to(endpoint).map_err(Failure::failed)?;
            loop {
                let mut request = rep.recv().await.map_err(Failure::failed)?;
                let reply = request.take_message();
                request.reply(reply).await.map_err(Failure::failed)?;
            }
        }
    }
}

fn client<S: Socket>(builder: Builder<S>, server: Option<PublicKey>) -> Outcome<S> {
    let builder = match server {
        Some(server) => builder.curve_client(generate_key_pair(), server),
        None => builder,
    };
    builder.build().map_err(Failure::failed)
}

/// Measures, and prints a table or JSON.
pub(crate) async fn run(options: &Bench) -> Outcome {
    let interrupt = Interrupt::listen()?;
    tokio::select! {
        outcome = measure(options) => outcome,
        () = interrupt.wait() => Ok(()),
    }
}

async fn measure(options: &Bench) -> Outcome {
    let sizes = match &options.size[..] {
        [] => &SIZES[..],
        sizes => sizes,
    };
    if !options.json {
        let over = if options.ipc {
            "ipc"
        } else {
            "tcp on loopback"
        };
        let how = if options.curve {
            "CURVE"
        } else {
            "not encrypted"
        };
        let each = crate::duration::show(options.duration);
        write_out(format!(
            "withy {} between two processes over {over}, {how}, {each} a figure\n\n\
             {:>12}  {:>14} {:>12}  {:>10} {:>10}\n{:>12}  {:>14} {:>12}  {:>10} {:>10}\n",
            env!("CARGO_PKG_VERSION"),
            "octets",
            "PUSH/PULL",
            "",
            "REQ/REP",
            "",
            "a message",
            "messages/s",
            "MB/s",
            "p50 us",
            "p99 us",
        ))?;
    }
    for &size in sizes {
        let rate = throughput(options, size).await?;
        let latency = latency(options, size).await?;
        let megabytes = rate * f64::from(size) / 1e6;
        write_out(match options.json {
            true => {
                let figures = json!({
                    "size": size,
                    "transport": if options.ipc { "ipc" } else { "tcp" },
                    "mechanism": if options.curve { "CURVE" } else { "NULL" },
                    "push_pull": { "messages_per_second": rate.round(), "megabytes_per_second": megabytes },
                    "req_rep": { "round_trips": latency.count, "p50_us": latency.p50, "p99_us": latency.p99 },
                });
                format!("{figures}\n")
            }
            false => format!(
                "{size:>12}  {rate:>14.0} {megabytes:>12.1}  {:>10.1} {:>10.1}\n",
                latency.p50, latency.p99
            ),
        })?;
    }
    Ok(())
}

/// Messages a second.
async fn throughput(options: &Bench, size: u32) -> Outcome<f64> {
    let keys = options.curve.then(generate_key_pair);
    let pull = server(Pull::builder(), &keys)?;
    let endpoint = pull.bind_to(any(options)).await.map_err(Failure::failed)?;
    let mut family = Family::default();
    start(&mut family, Part::Push { size }, &endpoint, &keys)?;
    let mut batch = Vec::with_capacity(BATCH);
    here(pull.ready()).await?;
    let (mut counted, mut started) = (0, Instant::now());
    let mut warm = false;
    loop {
        let taken = pull
            .recv_many(&mut batch, BATCH)
            .await
            .map_err(Failure::failed)?;
        batch.clear();
        let elapsed = started.elapsed();
        if warm {
            counted += taken;
            if elapsed >= options.duration {
                return Ok(counted as f64 / elapsed.as_secs_f64());
            }
        } else if elapsed >= WARM_UP {
            (warm, started) = (true, Instant::now());
        }
    }
}

/// Round trips, in microseconds.
struct Latency {
    count: usize,
    p50: f64,
    p99: f64,
}

async fn latency(options: &Bench, size: u32) -> Outcome<Latency> {
    let keys = options.curve.then(generate_key_pair);
    let req = server(Req::builder(), &keys)?;
    let endpoint = req.bind_to(any(options)).await.map_err(Failure::failed)?;
    let mut family = Family::default();
    start(&mut family, Part::Echo, &endpoint, &keys)?;
    here(req.ready()).await?;
    let body = withy::Frame::from(vec![0; size as usize]);
    let mut times = Vec::new();
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        req.request(body.clone()).await.map_err(Failure::failed)?;
        let elapsed = started.elapsed();
        if elapsed >= WARM_UP {
            times.push(asked.elapsed());
        }
        if elapsed >= WARM_UP + options.duration {
            break;
        }
    }
    times.sort_unstable();
    let at = |quantile: f64| {
        let index = (times.len() as f64 * quantile) as usize;
        times[index.min(times.len() - 1)].as_nanos() as f64 / 1e3
    };
    Ok(Latency {
        count: times.len(),
        p50: at(0.5),
        p99: at(0.99),
    })
}

fn server<S: Socket>(builder: Builder<S>, keys: &Option<KeyPair>) -> Outcome<S> {
    let builder = match keys {
        Some(keys) => builder.curve_server(keys.clone()).allow_any_client(),
        None => builder,
    };
    builder.build().map_err(Failure::failed)
}

fn start(family: &mut Family, part: Part, endpoint: &Endpoint, keys: &Option<KeyPair>) -> Outcome {
    let brief = Brief {
        part,
        endpoint: endpoint.to_string(),
        server: keys.as_ref().map(|keys| keys.public().to_string()),
    };
    family
        .start("the other side", &child::Brief::Bench(brief))
        .map(|_| ())
}

fn any(options: &Bench) -> &'static str {
    match options.ipc {
        true => "ipc://*",
        false => "tcp://127.0.0.1:*",
    }
}

async fn here(ready: impl Future<Output = Result<(), Closed>>) -> Outcome {
    match tokio::time::timeout(START, ready).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Failure::failed("the other side did not start")),
    }
}
