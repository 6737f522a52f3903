//! `ping`: who answers at an endpoint, or by a [name](named), how the connection is protected, and how long
//! answers take.
//!
//! At an endpoint, the socket has a type that the peer talks to; which that is, only trying tells. Types that a peer
//! gives messages to unasked, or its only place, are not tried: nothing may be lost by looking.

mod named;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use withy::event::Proven;
use withy::options::Heartbeat;
use withy::{AnySocket, Endpoint, EventKind, Monitor, PeerInfo, SocketType};

use crate::args::Ping;
use crate::exit::{Failure, Outcome};
use crate::format::write_out;
use crate::place::{self, Endpoints};
use crate::session::{Interrupt, connect};

/// The types that are tried: for a REP or ROUTER, a PULL, a PUB or XPUB, a SUB or XSUB.
const TYPES: [SocketType; 4] = [
    SocketType::Req,
    SocketType::Push,
    SocketType::Sub,
    SocketType::Pub,
];

/// How often the peer is asked.
const EVERY: Duration = Duration::from_millis(100);
/// How often this side looks whether it answered.
const LOOK: Duration = Duration::from_millis(2);

/// Asks, and prints what it finds.
pub(crate) async fn run(options: &Ping) -> Outcome {
    let interrupt = Interrupt::listen()?;
    tokio::select! {
        outcome = ping(options) => outcome,
        () = interrupt.wait() => Ok(()),
    }
}

async fn ping(options: &Ping) -> Outcome {
    if !options.endpoint.contains("://") {
        return named::ping(options, &options.endpoint).await;
    }
    let endpoint = place::to_connect(&options.endpoint)?;
    let deadline = Instant::now() + options.timeout;
    let late = || Failure::TimedOut(format!("{endpoint}: nobody answered in time"));
    let there = Endpoints {
        bind: Vec::new(),
        connect: vec![endpoint.clone()],
    };
    let mut refusals = Vec::new();
    for kind in TYPES {
        let reached = tokio::time::timeout_at(deadline, reach(options, &there, kind)).await;
        let (mut socket, mut peer) = match reached.map_err(|_| late())?? {
            Ok(reached) => reached,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        };
        if kind == SocketType::Req {
            // A REQ reads only what it asked for. A DEALER would have been welcome to DEALERs.
            let reaching = reach(options, &there, SocketType::Dealer);
            let reached = tokio::time::timeout_at(deadline, reaching).await;
            (socket, peer) = reached.map_err(|_| late())??.map_err(Failure::Failed)?;
        }
        let trips = measure(&socket, options.count, deadline).await;
        let answers = trips.len() as u64;
        let found = Found::new(endpoint, peer, trips);
        write_out(match options.json {
            true => found.json(),
            false => found.text(),
        })?;
        return match answers < options.count {
            true => Err(Failure::TimedOut(format!(
                "{answers} of {} answers came",
                options.count
            ))),
            false => Ok(()),
        };
    }
    // Of the refusals, those that speak of the type say the least.
    let other = |text: &&String| !text.to_ascii_lowercase().contains("socket");
    Err(Failure::Failed(match refusals.iter().find(other) {
        Some(refusal) => format!("{endpoint}: {refusal}"),
        None => format!(
            "{endpoint}: a PUSH, DEALER or PAIR is there, which would give messages or its only \
             place to a ping"
        ),
    }))
}

/// Shakes hands as a socket of some type: that and the peer, or why it refused.
async fn reach(
    options: &Ping,
    endpoints: &Endpoints,
    kind: SocketType,
) -> Outcome<Result<(AnySocket, PeerInfo), String>> {
    let heartbeat = Heartbeat {
        enabled: Some(true),
        interval: EVERY,
        timeout: options.timeout.max(EVERY),
    };
    let builder = AnySocket::builder(kind).heartbeat(heartbeat);
    let builder = options
        .keys
        .apply(builder, endpoints)?
        .linger(Duration::ZERO);
    let socket = builder.build().map_err(Failure::usage)?;
    let mut monitor = socket.monitor();
    for endpoint in &endpoints.connect {
        connect(&socket, endpoint.clone())?;
    }
    Ok(greet(&mut monitor).await.map(|peer| (socket, peer)))
}

/// Waits for the end of the first handshake.
async fn greet(monitor: &mut Monitor) -> Result<PeerInfo, String> {
    while let Some(event) = monitor.next().await {
        match event.kind {
            EventKind::Connected(peer) => return Ok(PeerInfo::clone(&peer)),
            EventKind::HandshakeFailed { reason, .. } => return Err(reason.to_string()),
            _ => {}
        }
    }
    Err("the connection was closed".to_owned())
}

/// So many round trips, or those that there were in time.
async fn measure(socket: &AnySocket, count: u64, deadline: Instant) -> Vec<Duration> {
    let mut trips = Vec::new();
    let looking = async {
        let mut known = 0;
        while (trips.len() as u64) < count && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            let stats = socket.stats();
            if stats.heartbeats > known {
                known = stats.heartbeats;
                trips.push(stats.round_trip);
            }
        }
    };
    // Answers are read at once where somebody receives. What comes is for nobody.
    let receiving = async {
        while socket.recv().await.is_ok() {}
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = looking => {}
        () = receiving => {}
    }
    trips.sort_unstable();
    trips
}

/// Least, median and most of round trips in their order, in microseconds.
fn quantiles(trips: &[Duration]) -> Option<[f64; 3]> {
    let last = trips.len().checked_sub(1)?;
    Some([0, last / 2, last].map(|at| trips[at].as_nanos() as f64 / 1e3))
}

/// What was found.
struct Found {
    endpoint: Endpoint,
    peer: PeerInfo,
    /// In their order.
    trips: Vec<Duration>,
}

impl Found {
    fn new(endpoint: Endpoint, peer: PeerInfo, trips: Vec<Duration>) -> Self {
        Self {
            endpoint,
            peer,
            trips,
        }
    }

    fn transport(&self) -> String {
        let endpoint = self.endpoint.to_string();
        let scheme = endpoint.split("://").next();
        scheme.unwrap_or_default().to_owned()
    }

    fn json(&self) -> String {
        let peer = &self.peer;
        let proven = peer.proven.as_deref();
        let shown = proven.map(|proven| proven.shown);
        let network = shown.and_then(|shown| shown.network());
        let [least, median, most] = quantiles(&self.trips).map_or([None; 3], |all| all.map(Some));
        let object = json!({
            "endpoint": self.endpoint.to_string(),
            "address": peer.address,
            "type": peer.kind.to_string(),
            "transport": self.transport(),
            "mechanism": peer.mechanism,
            "cipher": proven.map(|proven| proven.suite.name()),
            "post_quantum": proven.map(|proven| proven.post_quantum),
            "identity": shown.map(|shown| shown.identity.to_string()),
            "node": shown.map(|shown| shown.node.to_string()),
            "network": network.map(|network| network.to_string()),
            "roles": network.and(shown).map(|shown| shown.roles().to_string()),
            "round_trips": self.trips.len(),
            "min_us": least,
            "p50_us": median,
            "max_us": most,
        });
        format!("{object}\n")
    }

    fn text(&self) -> String {
        let PeerInfo {
            kind,
            address,
            mechanism,
            proven,
            ..
        } = &self.peer;
        let transport = self.transport();
        let mut text = format!("peer        {kind} at {address}\ntransport   {transport}\n");
        match proven {
            Some(proven) => text.push_str(&shown(mechanism, proven)),
            None => text.push_str(&format!("mechanism   {mechanism}\n")),
        }
        if let Some([least, median, most]) = quantiles(&self.trips) {
            text.push_str(&format!(
                "round trip  {least:.0} us least, {median:.0} us median, {most:.0} us most, of {}\n",
                self.trips.len()
            ));
        }
        text
    }
}

fn shown(mechanism: &str, proven: &Proven) -> String {
    let cipher = proven.suite.name();
    let withstands = match proven.post_quantum {
        true => "post-quantum",
        false => "classical",
    };
    let shown = &proven.shown;
    let network = shown
        .network()
        .map(|network| format!("network     {network} as {}\n", shown.roles()));
    format!(
        "mechanism   {mechanism}, {cipher}, {withstands}\nidentity    {}\nnode        {}\n{}",
        shown.identity,
        shown.node,
        network.unwrap_or_default()
    )
}
