//! `proxy`: two sockets of any type, connected by the library's proxy.

use serde_json::{Value, json};
use withy::proxy::{Passed, ProxyStatistics};
use withy::{AnySocket, Endpoint, Proxy, SocketType};

use crate::args::{Keys, Relay};
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::place::{self, Endpoints};
use crate::session::{Interrupt, Limit, PATIENCE, Session};

const FORM: &str = "expected TYPE:ENDPOINT, which binds, or TYPE:connect:ENDPOINT, as in router:tcp://127.0.0.1:5559";

/// Types by their names here.
const TYPES: &[(&str, SocketType)] = &[
    ("router", SocketType::Router),
    ("dealer", SocketType::Dealer),
    ("xsub", SocketType::XSub),
    ("xpub", SocketType::XPub),
    ("sub", SocketType::Sub),
    ("pub", SocketType::Pub),
    ("pull", SocketType::Pull),
    ("push", SocketType::Push),
    ("pair", SocketType::Pair),
];

/// Pairs of types that make sense, in either order.
const PAIRS: &[(SocketType, SocketType)] = &[
    (SocketType::Router, SocketType::Dealer),
    (SocketType::Dealer, SocketType::Dealer),
    (SocketType::XSub, SocketType::XPub),
    (SocketType::Sub, SocketType::Pub),
    (SocketType::Sub, SocketType::XPub),
    (SocketType::XSub, SocketType::Pub),
    (SocketType::Pull, SocketType::Push),
    (SocketType::Pair, SocketType::Pair),
];

/// One side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    kind: SocketType,
    endpoints: Endpoints,
}

/// Runs a proxy until it is interrupted.
pub(crate) async fn run(options: &Relay) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let (frontend, backend) = (side(&options.frontend)?, side(&options.backend)?);
    let fits = |pair: &(SocketType, SocketType)| {
        *pair == (frontend.kind, backend.kind) || *pair == (backend.kind, frontend.kind)
    };
    if !PAIRS.iter().any(fits) {
        return Err(Failure::Usage(format!(
            "a {} and a {} have nothing to pass on to each other; router and dealer, xsub and xpub, or pull and push do",
            frontend.kind, backend.kind
        )));
    }
    let capture = options.capture.as_deref().map(side).transpose()?;
    let frontend = open(&frontend, options).await?;
    let backend = open(&backend, options).await?;
    let mut proxy = Proxy::new(frontend.clone(), backend.clone());
    if let Some(capture) = &capture {
        if !matches!(
            capture.kind,
            SocketType::Pub | SocketType::Push | SocketType::Dealer | SocketType::Pair
        ) {
            return Err(Failure::usage(
                "--capture takes a pub, push, dealer or pair",
            ));
        }
        proxy = proxy.capture(open(capture, options).await?);
    }
    let control = proxy.control();
    let limit = Limit::total(options.timeout);
    let running = tokio::spawn(async move { proxy.run().await });
    tokio::select! {
        () = interrupt.wait() => {}
        _ = limit.run(std::future::pending::<()>()) => {}
    }
    control.terminate();
    let ended = running.await.map_err(Failure::failed)?;
    ended.map_err(Failure::failed)?;
    let statistics = control.statistics();
    if !options.talk.quiet {
        let passed = |what: &str, to: Passed| {
            complain(format_args!(
                "{what}: {} messages, {} octets",
                to.messages, to.octets
            ))
        };
        passed("frontend to backend", statistics.backend_sent);
        passed("backend to frontend", statistics.frontend_sent);
        for (what, missed) in [
            ("dropped before the backend", statistics.backend_dropped),
            ("dropped before the frontend", statistics.frontend_dropped),
            ("missed by the capture", statistics.capture_missed),
        ] {
            if missed.messages > 0 {
                passed(what, missed);
            }
        }
    }
    let flushing = async { tokio::join!(frontend.flush(), backend.flush()) };
    Limit::total(Some(PATIENCE)).run(flushing).await;
    let unsent = frontend.close().await + backend.close().await;
    if unsent > 0 {
        complain(format_args!("{unsent} messages were not taken by peers"));
    }
    match options.json {
        true => write_out(format!("{}\n", object(&statistics, unsent))),
        false => Ok(()),
    }
}

fn object(statistics: &ProxyStatistics, unsent: usize) -> Value {
    let passed = |it: Passed| json!({ "messages": it.messages, "octets": it.octets });
    json!({
        "frontend": {
            "received": passed(statistics.frontend_received),
            "sent": passed(statistics.frontend_sent),
            "dropped": passed(statistics.frontend_dropped),
        },
        "backend": {
            "received": passed(statistics.backend_received),
            "sent": passed(statistics.backend_sent),
            "dropped": passed(statistics.backend_dropped),
        },
        "capture": { "missed": passed(statistics.capture_missed) },
        "unsent": unsent,
    })
}

async fn open(side: &Side, options: &Relay) -> Outcome<AnySocket> {
    let builder = AnySocket::builder(side.kind);
    let keys = Keys {
        carries: true,
        ..options.keys.clone()
    };
    let session = Session::open(builder, &keys, &side.endpoints, options.talk).await?;
    if side.kind == SocketType::Sub {
        session.any.subscribe("", true);
    }
    Ok(session.any)
}

fn side(text: &str) -> Outcome<Side> {
    let wrong = || Failure::Usage(format!("{text:?}: {FORM}"));
    let (kind, endpoint) = text.split_once(':').ok_or_else(wrong)?;
    let (_, kind) = TYPES
        .iter()
        .find(|(name, _)| kind.eq_ignore_ascii_case(name))
        .ok_or_else(wrong)?;
    let one = |endpoint: Outcome<Endpoint>| Ok(vec![endpoint?]);
    let mut endpoints = Endpoints::default();
    match (
        endpoint.strip_prefix("connect:"),
        endpoint.strip_prefix("bind:"),
    ) {
        (Some(endpoint), _) => endpoints.connect = one(place::to_connect(endpoint))?,
        (_, Some(endpoint)) => endpoints.bind = one(place::to_bind(endpoint))?,
        _ if endpoint.contains("://") => endpoints.bind = one(place::to_bind(endpoint))?,
        _ => return Err(wrong()),
    }
    Ok(Side {
        kind: *kind,
        endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_bind_unless_they_connect() {
        let bound = side("router:tcp://127.0.0.1:1").unwrap();
        assert_eq!(
            (bound.kind, bound.endpoints.bind.len()),
            (SocketType::Router, 1)
        );
        assert_eq!(side("ROUTER:bind:tcp://127.0.0.1:1").unwrap(), bound);
        let connected = side("dealer:connect:ipc:///x").unwrap();
        assert_eq!(
            (connected.kind, connected.endpoints.connect.len()),
            (SocketType::Dealer, 1)
        );
        for bad in [
            "",
            "router",
            "tcp://127.0.0.1:1",
            "req:tcp://127.0.0.1:1",
            "pull:x",
            "pull:connect:tcp://*:1",
        ] {
            assert!(matches!(side(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
