//! The caller's own mistakes: they fail at once, and say which field and which form is right.

use std::time::Duration;

use withy::options::{
    Batching, ConnectionLimits, Heartbeat, HighWaterMark, RateLimit, Reconnect, RequestOptions,
};
use withy::{
    BindError, BuildError, ConnectError, Dealer, Endpoint, Publisher, Pull, Push, Req, Router,
    XPub, generate_key_pair,
};

/// The error names the field and the accepted form.
fn names(built: Result<impl Sized, BuildError>, field: &str, accepted: &str) {
    let Err(error) = built.map(drop) else {
        panic!("{field} was accepted");
    };
    assert_eq!(error.field, field, "{error}");
    let text = error.to_string();
    assert!(text.contains(field) && text.contains(accepted), "{text}");
}

#[test]
fn impossible_options_fail_when_the_socket_is_built() {
    let octets = |octets| HighWaterMark {
        octets,
        ..HighWaterMark::default()
    };
    let messages = |messages| HighWaterMark {
        messages,
        ..HighWaterMark::default()
    };
    names(
        Push::builder().send_high_water_mark(0).build(),
        "high_water_mark",
        "1 to",
    );
    names(
        Push::builder().send_high_water_octets(0).build(),
        "high_water_mark",
        "1 to",
    );
    names(
        Pull::builder().receive_high_water_mark(messages(0)).build(),
        "high_water_mark",
        "1 to",
    );
    names(
        Pull::builder().receive_high_water_mark(octets(0)).build(),
        "high_water_mark",
        "1 to",
    );
    names(Pull::builder().max_parts(0).build(), "max_parts", "1 to");
    let batching = |read, write| Batching {
        read,
        write,
        ..Batching::default()
    };
    for batching in [batching(0, 1), batching(1, 0)] {
        names(
            Push::builder().batching(batching).build(),
            "batching",
            "1 to",
        );
    }
    let limit = |messages, octets| RateLimit { messages, octets };
    for rate in [limit(Some(0), None), limit(None, Some(0))] {
        names(
            Pull::builder().rate_limit(rate).build(),
            "rate_limit",
            "at least 1",
        );
    }
    for id in [vec![7; 256], b"\0abc".to_vec()] {
        names(
            Dealer::builder().routing_id(id).build(),
            "routing_id",
            "1 to 255 octets",
        );
    }
    let long = "x".repeat(256);
    names(
        Push::builder().plain_client(&long[..], "").build(),
        "plain_client",
        "255 octets",
    );
    names(
        Push::builder().plain_client("", &long[..]).build(),
        "plain_client",
        "255 octets",
    );
    names(
        Push::builder().plain_server().zap_domain(&long).build(),
        "zap_domain",
        "255 octets",
    );
    let weak = Push::builder().curve_client(generate_key_pair(), [0; 32].into());
    names(weak.build(), "curve_client", "public key");
    let heartbeat = |interval, timeout| {
        Pull::builder().heartbeat(Heartbeat {
            enabled: Some(true),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
        })
    };
    for (interval, timeout) in [(0, 10), (10, 9), (10, u64::MAX)] {
        names(
            heartbeat(interval, timeout).build(),
            "heartbeat",
            "interval <= timeout",
        );
    }
    let reconnect = |initial, max| {
        Push::builder().reconnect(Reconnect {
            initial: Duration::from_millis(initial),
            max: Duration::from_millis(max),
            enabled: true,
        })
    };
    for (initial, max) in [(0, 10), (10, 9)] {
        names(
            reconnect(initial, max).build(),
            "reconnect",
            "initial <= max",
        );
    }
    let limits = ConnectionLimits::default();
    for limits in [
        ConnectionLimits {
            max_connections: 0,
            ..limits
        },
        ConnectionLimits {
            max_handshakes: 0,
            ..limits
        },
        ConnectionLimits {
            handshake_timeout: Duration::ZERO,
            ..limits
        },
    ] {
        names(
            Pull::builder().connection_limits(limits).build(),
            "connection_limits",
            "above 0",
        );
    }
    names(
        Publisher::builder().max_subscriptions(0).build(),
        "max_subscriptions",
        "1 to",
    );
    names(
        XPub::builder().max_subscriptions(0).build(),
        "max_subscriptions",
        "1 to",
    );
    let relaxed = RequestOptions {
        relaxed: true,
        ..RequestOptions::default()
    };
    names(
        Req::builder().request_options(relaxed).build(),
        "relaxed",
        "correlate",
    );
}

/// Extreme values that mean something are none of these.
#[tokio::test]
async fn the_limits_of_options_are_accepted() {
    let push = Push::builder()
        .send_high_water_mark(usize::MAX)
        .send_high_water_octets(usize::MAX)
        .max_message_size(usize::MAX)
        .max_parts(1)
        .linger(Duration::MAX)
        .build()
        .unwrap();
    let pull = Pull::builder()
        .max_message_size(0)
        .connection_limits(ConnectionLimits {
            handshake_timeout: Duration::MAX,
            ..ConnectionLimits::default()
        })
        .build()
        .unwrap();
    let endpoint = pull.bind_to("tcp://127.0.0.1:*").await.unwrap();
    push.connect_to(endpoint).unwrap();
    push.send("").await.unwrap();
    assert_eq!(pull.recv().await.unwrap().first().len(), 0);
    push.close().await;
    // Two connections that are being made have twice the mark.
    let push = Push::builder()
        .send_high_water_mark(usize::MAX)
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    for name in ["nobody", "nobody-else"] {
        push.connect_to(format!("inproc://{name}")).unwrap();
    }
    push.try_send("waits").unwrap();
    // A connection that owes a reply may do so without end.
    let router = Router::bind("tcp://127.0.0.1:*").await.unwrap();
    let patient = RequestOptions {
        grace: Duration::MAX,
        ..RequestOptions::default()
    };
    let req = Req::builder().request_options(patient).build().unwrap();
    req.connect_to(router.endpoints().remove(0)).unwrap();
    req.ready().await.unwrap();
    for _ in 0..2 {
        let short = Duration::from_millis(50);
        assert!(req.request_timeout("nobody replies", short).await.is_err());
    }
    let req = Req::builder()
        .request_timeout(Duration::MAX)
        .build()
        .unwrap();
    let endless = req.request_timeout("nobody is there", Duration::MAX);
    let waited = tokio::time::timeout(Duration::from_millis(10), endless).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn malformed_endpoints_fail_at_once_and_name_the_accepted_form() {
    for (text, field, accepted) in [
        ("", "scheme", "tcp"),
        ("127.0.0.1:5555", "scheme", "tcp"),
        ("http://127.0.0.1:80", "scheme", "tcp"),
        ("TCP//127.0.0.1:80", "scheme", "tcp"),
        ("tcp://", "port", "PORT"),
        ("tcp://127.0.0.1", "port", "PORT"),
        ("tcp://127.0.0.1:", "port", "65535"),
        ("tcp://127.0.0.1:65536", "port", "65535"),
        ("tcp://127.0.0.1:-1", "port", "65535"),
        ("tcp://127.0.0.1:http", "port", "65535"),
        ("tcp://:5555", "host", ""),
        ("tcp://[::1:5555", "host", ""),
        ("tcp://a b:5555", "host", ""),
        ("ipc://", "path", ""),
        ("inproc://", "name", ""),
        ("fd://x", "number", ""),
    ] {
        let parsed = text.parse::<Endpoint>().unwrap_err();
        let said = parsed.to_string();
        assert!(said.contains(field), "{said}");
        assert!(
            said.contains("expected") && said.contains(accepted),
            "{said}"
        );
        assert!(
            matches!(Pull::bind(text).await, Err(BindError::Endpoint(error)) if error == parsed)
        );
        assert!(
            matches!(Push::connect(text), Err(ConnectError::Endpoint(error)) if error == parsed)
        );
    }
    let long = format!("ipc:///{}", "x".repeat(100_000));
    let said = Push::connect(&long[..]).unwrap_err().to_string();
    assert!(said.len() < 1_000, "it repeats what it was given");
}
