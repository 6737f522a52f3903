use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::HashSet;

use super::*;

const ID: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx";

fn parse(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn tcp(text: &str) -> Tcp {
    match parse(text) {
        Endpoint::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn prints_back_what_it_parsed() {
    for text in [
        "tcp://127.0.0.1:5555",
        "tcp://*:5555",
        "tcp://*:*",
        "tcp://0.0.0.0:*",
        "tcp://[::1]:5555",
        "tcp://[::]:*",
        "tcp://[fe80::1%eth0]:65535",
        "tcp://[fe80::1%2]:1",
        "tcp://eth0:5555",
        "tcp://eth0.100:5555",
        "tcp://my_host-1.example.org:5555",
        "tcp://example.org.:5555",
        "tcp://10.0.0.1:*;example.org:5555",
        "tcp://eth0:1234;[2001:db8::1]:5555",
        "tcp://[::1]:*;[::1]:5555",
        "quic://127.0.0.1:5555",
        "quic://*:*",
        "quic://[fe80::1%eth0]:65535",
        "quic://eth0:5555",
        "quic://abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx@[::1]:5555",
        "quic://abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx@my_host-1.example.org:5555",
        "ipc:///tmp/socket",
        "ipc://relative/socket",
        "ipc:///with space/and:colon/ünïcode",
        "ipc://@name",
        "ipc://@@",
        "ipc://*",
        "ipc://./*",
        "inproc://a",
        "inproc://#1 any text://at all",
        "relay://0123456789abcdef0123456789abcdef",
        "fd://0",
        "fd://2147483647",
        "systemd://withy.socket",
        "systemd://7",
        "systemd://with space:0",
    ] {
        let endpoint = parse(text);
        assert_eq!(endpoint.to_string(), text);
        assert_eq!(parse(&endpoint.to_string()), endpoint);
        assert!(text.starts_with(&format!("{}://", endpoint.scheme())));
    }
}

#[test]
fn prints_the_canonical_form() {
    for (text, printed) in [
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*"),
        ("tcp://127.0.0.1:0080", "tcp://127.0.0.1:80"),
        ("tcp://[0:0:0:0:0:0:0:1]:1", "tcp://[::1]:1"),
        ("tcp://[2001:DB8::1]:1", "tcp://[2001:db8::1]:1"),
        ("tcp://eth0:0;h:1", "tcp://eth0:*;h:1"),
        ("quic://[0:0:0:0:0:0:0:1]:0", "quic://[::1]:*"),
        ("fd://03", "fd://3"),
    ] {
        assert_eq!(parse(text).to_string(), printed);
        assert_eq!(parse(printed), parse(text));
    }
}

#[test]
fn tells_the_parts_apart() {
    let endpoint = tcp("tcp://eth0:7;[fe80::1%eth1]:5555");
    let source = endpoint.source.expect("a source");
    assert_eq!(source.host, Host::Name(Text::new("eth0")));
    assert_eq!(source.port, 7);
    let scope = Some(Text::new("eth1"));
    let address = "fe80::1".parse().unwrap();
    assert_eq!(endpoint.host, Host::V6 { address, scope });
    assert_eq!(endpoint.port, 5555);

    let Endpoint::Quic(quic) = parse(&format!("quic://{ID}@*:7")) else {
        panic!("it is quic");
    };
    assert_eq!(quic.peer.as_ref().map(Text::as_str), Some(ID));
    assert_eq!((quic.host, quic.port), (Host::Any, 7));

    assert_eq!(tcp("tcp://*:*").host, Host::Any);
    assert_eq!(
        tcp("tcp://1.2.3.4:5").host,
        Host::V4(Ipv4Addr::new(1, 2, 3, 4))
    );
    assert_eq!(
        parse("ipc://@x"),
        Endpoint::Ipc(Ipc::Abstract(Text::new("x")))
    );
    assert_eq!(
        parse("ipc://./@x"),
        Endpoint::Ipc(Ipc::Path(Text::new("./@x")))
    );
    let systemd = |name, index| {
        let name = Text::new(name);
        Endpoint::Inherited(Inherited::Systemd { name, index })
    };
    assert_eq!(parse("systemd://a.b"), systemd("a.b", None));
    assert_eq!(parse("systemd://a.b:2"), systemd("a.b", Some(2)));
    assert_eq!(
        parse("fd://3"),
        Endpoint::Inherited(Inherited::Descriptor(3))
    );
}

#[test]
fn knows_what_stays_on_this_machine() {
    for (text, locality) in [
        ("tcp://127.0.0.1:1", Locality::Local),
        ("tcp://127.255.0.9:1", Locality::Local),
        ("tcp://[::1]:1", Locality::Local),
        ("tcp://[::ffff:127.0.0.1]:1", Locality::Local),
        ("tcp://localhost:1", Locality::Local),
        ("tcp://LocalHost:1", Locality::Local),
        ("tcp://10.0.0.1:*;127.0.0.1:1", Locality::Local),
        ("quic://127.0.0.1:1", Locality::Local),
        ("quic://localhost:1", Locality::Local),
        ("ipc://*", Locality::Local),
        ("ipc:///a", Locality::Local),
        ("ipc://@a", Locality::Local),
        ("inproc://a", Locality::Local),
        ("tcp://*:1", Locality::Remote),
        ("tcp://0.0.0.0:1", Locality::Remote),
        ("tcp://[::]:1", Locality::Remote),
        ("tcp://[::ffff:10.0.0.1]:1", Locality::Remote),
        ("tcp://10.0.0.1:1", Locality::Remote),
        ("tcp://127.0.0.1:1;10.0.0.1:1", Locality::Remote),
        ("tcp://lo:1", Locality::Remote),
        ("tcp://localhost.:1", Locality::Remote),
        ("tcp://a.localhost:1", Locality::Remote),
        ("tcp://localhost.example.org:1", Locality::Remote),
        ("quic://*:1", Locality::Remote),
        ("quic://10.0.0.1:1", Locality::Remote),
        ("fd://3", Locality::Unknown),
        ("systemd://a", Locality::Unknown),
    ] {
        assert_eq!(parse(text).locality(), locality, "{text}");
        assert_eq!(
            parse(text).is_local(),
            locality == Locality::Local,
            "{text}"
        );
    }
}

#[test]
fn refuses_malformed_texts_and_names_the_part() {
    let long = "a".repeat(254);
    let (long_host, long_inproc) = (format!("tcp://{long}:1"), format!("inproc://{long}aa"));
    let long_systemd = format!("systemd://{long}aa");
    let (long_id, upper_id) = (
        format!("quic://{ID}a@h:1"),
        format!("quic://{}@h:1", ID.to_uppercase()),
    );
    let twice = format!("quic://{ID}@{ID}@h:1");
    let whole = format!("ipc:///{}", "a".repeat(Endpoint::MAX_LEN));
    for (text, field, part) in [
        ("", Field::Scheme, ""),
        ("tcp", Field::Scheme, "tcp"),
        ("tcp:", Field::Scheme, "tcp:"),
        ("tcp:/127.0.0.1:1", Field::Scheme, "tcp:/127.0.0.1:1"),
        ("TCP://127.0.0.1:1", Field::Scheme, "TCP"),
        (" tcp://127.0.0.1:1", Field::Scheme, " tcp"),
        ("127.0.0.1:5555", Field::Scheme, "127.0.0.1:5555"),
        ("://", Field::Scheme, ""),
        ("udp://127.0.0.1:1", Field::Scheme, "udp"),
        ("tcp://", Field::Port, ""),
        ("tcp://host", Field::Port, "host"),
        ("tcp://[::1]", Field::Port, "[::1]"),
        ("tcp://[::1]5555", Field::Port, "[::1]5555"),
        ("tcp://host:", Field::Port, ""),
        ("tcp://host:-1", Field::Port, "-1"),
        ("tcp://host:+1", Field::Port, "+1"),
        ("tcp://host:1 ", Field::Port, "1 "),
        ("tcp://host:65536", Field::Port, "65536"),
        (
            "tcp://host:99999999999999999999",
            Field::Port,
            "99999999999999999999",
        ),
        ("tcp://host:http", Field::Port, "http"),
        ("tcp://host:1/path", Field::Port, "1/path"),
        ("tcp://host:**", Field::Port, "**"),
        ("tcp://:1", Field::Host, ""),
        ("tcp://.:1", Field::Host, "."),
        ("tcp://::1:5555", Field::Host, "::1"),
        ("tcp://a:b:1", Field::Host, "a:b"),
        ("tcp://[::1:5555", Field::Host, "[::1:5555"),
        ("tcp://[]:1", Field::Host, ""),
        ("tcp://[*]:1", Field::Host, "*"),
        ("tcp://[127.0.0.1]:1", Field::Host, "127.0.0.1"),
        ("tcp://[fe80::1%]:1", Field::Host, "fe80::1%"),
        ("tcp://[fe80::1%a%b]:1", Field::Host, "fe80::1%a%b"),
        (
            "tcp://[fe80::1%sixteen-octets-x]:1",
            Field::Host,
            "fe80::1%sixteen-octets-x",
        ),
        ("tcp://[::1]]:1", Field::Port, "[::1]]:1"),
        ("tcp://256.0.0.1:1", Field::Host, "256.0.0.1"),
        ("tcp://127.1:1", Field::Host, "127.1"),
        ("tcp://127.0.0.1.:1", Field::Host, "127.0.0.1."),
        ("tcp://0x7f.1:1", Field::Host, "0x7f.1"),
        ("tcp://2130706433:1", Field::Host, "2130706433"),
        ("tcp://user@host:1", Field::Host, "user@host"),
        ("tcp://ho st:1", Field::Host, "ho st"),
        ("tcp://hôte:1", Field::Host, "hôte"),
        ("tcp://h\0:1", Field::Host, "h\0"),
        (&long_host, Field::Host, &long[..80]),
        ("tcp://;host:1", Field::Source, ""),
        ("tcp://eth0;host:1", Field::Source, "eth0"),
        ("tcp://eth0:x;host:1", Field::Source, "eth0:x"),
        ("tcp://eth0:1;", Field::Port, ""),
        ("tcp://a:1;b:2;c:3", Field::Host, "b:2;c"),
        ("quic://", Field::Port, ""),
        ("quic://host", Field::Port, "host"),
        ("quic://a:1;b:2", Field::Host, "a:1;b"),
        ("quic://@host:1", Field::Id, ""),
        ("quic://ada@host:1", Field::Id, "ada"),
        (&long_id, Field::Id, &long_id[7..64]),
        (&upper_id, Field::Id, &upper_id[7..63]),
        (&twice, Field::Host, &twice[64..122]),
        ("ipc://", Field::Path, ""),
        ("ipc:///a\0b", Field::Path, "/a\0b"),
        ("ipc://@", Field::Name, ""),
        ("ipc://@\0", Field::Name, "\0"),
        ("inproc://", Field::Name, ""),
        (&long_inproc, Field::Name, &long[..80]),
        ("fd://", Field::Number, ""),
        ("fd://-1", Field::Number, "-1"),
        ("fd://+1", Field::Number, "+1"),
        ("fd://2147483648", Field::Number, "2147483648"),
        ("fd://stdin", Field::Number, "stdin"),
        ("systemd://", Field::Name, ""),
        ("systemd://:0", Field::Name, ""),
        ("systemd://a:", Field::Number, ""),
        ("systemd://a:b", Field::Number, "b"),
        ("systemd://a:1:2", Field::Number, "1:2"),
        ("systemd://a\n", Field::Name, "a\n"),
        (&long_systemd, Field::Name, &long[..80]),
        (&whole, Field::Length, &whole[..80]),
    ] {
        let error = match text.parse::<Endpoint>() {
            Err(error) => error,
            Ok(endpoint) => panic!("{text:?} was accepted as {endpoint:?}"),
        };
        assert_eq!(error.field(), field, "{error}");
        assert_eq!(error.text().trim_end_matches('…'), part, "{error}");
        assert!(!error.expected().is_empty());
        let printed = error.to_string();
        assert!(printed.contains(error.expected()), "{printed}");
    }
}

#[test]
fn no_text_panics_and_every_accepted_one_prints_back() {
    // Every text of up to five pieces, which covers all the separators next to each other.
    let pieces = [
        "tcp", "ipc", "inproc", "fd", "systemd", "://", ":", ";", "[", "]", "%", "*", "@", ".",
        "::1", "1", "é", "\0", "",
    ];
    let mut accepted = HashSet::new();
    for number in 0..pieces.len().pow(4) {
        for scheme in ["", "tcp://", "quic://", "ipc://", "systemd://", "fd://"] {
            let mut text = scheme.to_owned();
            let mut rest = number;
            for _ in 0..4 {
                text.push_str(pieces[rest % pieces.len()]);
                rest /= pieces.len();
            }
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                assert_eq!(parse(&endpoint.to_string()), endpoint, "{text:?}");
                accepted.insert(endpoint);
            }
        }
    }
    assert!(accepted.len() > 1000);
}

#[test]
fn every_convenient_type_converts() {
    fn bind(
        endpoint: impl TryInto<Endpoint, Error: Into<EndpointError>>,
    ) -> Result<Endpoint, EndpointError> {
        endpoint.try_into().map_err(Into::into)
    }
    let expected = parse("tcp://127.0.0.1:5555");
    let text = expected.to_string();
    assert_eq!(bind("tcp://127.0.0.1:5555").as_ref(), Ok(&expected));
    assert_eq!(bind(&text).as_ref(), Ok(&expected));
    assert_eq!(bind(text).as_ref(), Ok(&expected));
    assert_eq!(bind(&expected).as_ref(), Ok(&expected));
    assert_eq!(bind(expected.clone()).as_ref(), Ok(&expected));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5555));
    assert_eq!(bind(address).as_ref(), Ok(&expected));
    assert!(bind("nonsense").is_err());
}

#[test]
fn an_address_becomes_an_endpoint() {
    let address = core::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 0, 4);
    let endpoint = Endpoint::from(SocketAddr::V6(address));
    assert_eq!(endpoint.to_string(), "tcp://[::1%4]:9");
    assert_eq!(parse("tcp://[::1%4]:9"), endpoint);
    assert_eq!(
        Endpoint::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9))).to_string(),
        "tcp://0.0.0.0:9"
    );
}
