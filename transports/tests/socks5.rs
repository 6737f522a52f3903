//! `tcp` through a SOCKS5 proxy, against a small one in this file.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::time::Duration;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use withy_transports::{DialError, DialOptions, Login, Socks5, Socks5Error, dial};

/// What the proxy does with the one connection that it serves.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Connect,
    Refuse(u8),
    TalkNonsense,
    HangUp,
    Nothing,
}

struct Proxy {
    options: DialOptions,
    /// Resolves to what the proxy was asked for: the kind of address, the address, the port.
    asked: JoinHandle<Option<(u8, Vec<u8>, u16)>>,
}

/// A proxy that connects everything to `target`, and wants `login` if there is one.
async fn proxy(target: &str, login: Option<(&'static str, &'static str)>, does: Does) -> Proxy {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut options = DialOptions::default();
    options.socks5 = Some(Socks5 {
        proxy: endpoint(&format!("tcp://{}", listener.local_addr().unwrap())),
        login: None,
    });
    let target = target.strip_prefix("tcp://").unwrap().to_owned();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.ok()?;
        serve(&mut stream, &target, login, does).await
    });
    Proxy { options, asked }
}

async fn serve(
    stream: &mut TcpStream,
    target: &str,
    login: Option<(&str, &str)>,
    does: Does,
) -> Option<(u8, Vec<u8>, u16)> {
    match does {
        Does::HangUp => return None,
        Does::TalkNonsense => {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .ok()?;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return None;
        }
        Does::Nothing => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return None;
        }
        Does::Connect | Does::Refuse(_) => {}
    }
    assert_eq!(stream.read_u8().await.ok()?, 5);
    let methods = read_string(stream).await?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        stream.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    stream.write_all(&[5, method]).await.ok()?;
    if let Some((user, password)) = login {
        assert_eq!(stream.read_u8().await.ok()?, 1);
        let given = (read_string(stream).await?, read_string(stream).await?);
        let right = given == (user.into(), password.into());
        stream.write_all(&[1, u8::from(!right)]).await.ok()?;
        if !right {
            return None;
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.ok()?;
    assert_eq!(request[..3], [5, 1, 0]);
    let address = match request[3] {
        3 => read_string(stream).await?,
        kind => {
            let mut address = vec![0; if kind == 1 { 4 } else { 16 }];
            stream.read_exact(&mut address).await.ok()?;
            address
        }
    };
    let asked = (request[3], address, stream.read_u16().await.ok()?);
    if let Does::Refuse(reply) = does {
        stream
            .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
            .await
            .ok()?;
        return Some(asked);
    }
    let mut onward = TcpStream::connect(target).await.unwrap();
    // A reply with a name, the longest form; then at once what the target says.
    stream
        .write_all(&[5, 0, 0, 3, 4, b'n', b'a', b'm', b'e', 0, 80])
        .await
        .ok()?;
    tokio::spawn({
        let mut stream = std::mem::replace(stream, TcpStream::connect(target).await.unwrap());
        async move { copy_bidirectional(&mut stream, &mut onward).await }
    });
    Some(asked)
}

async fn read_string(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut text = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut text).await.ok()?;
    Some(text)
}

async fn failure(options: &DialOptions, text: &str) -> Socks5Error {
    match dial(&endpoint(text), options).await {
        Err(DialError::Proxy { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn login(user: &str, password: &str) -> Option<Login> {
    Some(Login {
        user: user.into(),
        password: password.into(),
    })
}

#[tokio::test]
async fn the_proxy_resolves_names_and_gets_addresses_as_they_are() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let real = listener.endpoint().to_string();
    for (target, kind, address) in [
        ("printer.test", 3, b"printer.test".to_vec()),
        ("localhost", 3, b"localhost".to_vec()),
        ("192.0.2.7", 1, vec![192, 0, 2, 7]),
        ("[::1]", 4, [[0; 15].as_slice(), &[1]].concat()),
    ] {
        let proxy = proxy(&real, None, Does::Connect).await;
        let mut ours = dial(&endpoint(&format!("tcp://{target}:80")), &proxy.options)
            .await
            .unwrap();
        assert_eq!(ours.peer.address, format!("{target}:80"));
        assert_eq!(proxy.asked.await.unwrap(), Some((kind, address, 80)));
        let mut theirs = listener.accept().await.unwrap();
        talk(&mut ours, &mut theirs).await;
        // The proxy's other connection, of which it makes no use.
        listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn a_login_is_offered_and_used_if_the_proxy_wants_it() {
    let mut listener = bound("tcp://127.0.0.1:*").await;
    let real = listener.endpoint().to_string();
    for wanted in [None, Some(("ada", "secret"))] {
        let mut proxy = proxy(&real, wanted, Does::Connect).await;
        proxy.options.socks5.as_mut().unwrap().login = login("ada", "secret");
        let mut ours = dial(&endpoint("tcp://printer.test:80"), &proxy.options)
            .await
            .unwrap();
        let mut theirs = listener.accept().await.unwrap();
        talk(&mut ours, &mut theirs).await;
        listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_says_whether_to_retry() {
    let text = "tcp://printer.test:80";
    let wanted = Some(("ada", "secret"));

    let without = proxy(text, wanted, Does::Connect).await;
    let error = failure(&without.options, text).await;
    assert!(
        matches!(error, Socks5Error::NoMethod) && !error.is_permanent(),
        "{error}"
    );

    let mut wrong = proxy(text, wanted, Does::Connect).await;
    wrong.options.socks5.as_mut().unwrap().login = login("ada", "guess");
    let error = failure(&wrong.options, text).await;
    assert!(
        matches!(error, Socks5Error::LoginRefused) && !error.is_permanent(),
        "{error}"
    );

    for (reply, refused) in [(1, false), (5, true), (200, false)] {
        let refusing = proxy(text, None, Does::Refuse(reply)).await;
        let error = failure(&refusing.options, text).await;
        assert!(
            matches!(error, Socks5Error::Refused(it) if it == reply),
            "{error}"
        );
        assert_eq!(error.is_refused(), refused);
        assert!(!error.is_permanent());
    }

    let nonsense = proxy(text, None, Does::TalkNonsense).await;
    let error = failure(&nonsense.options, text).await;
    assert!(matches!(error, Socks5Error::Protocol), "{error}");

    let gone = proxy(text, None, Does::HangUp).await;
    let error = failure(&gone.options, text).await;
    assert!(matches!(error, Socks5Error::Io(_)), "{error}");
}

#[tokio::test]
async fn a_silent_proxy_is_given_up() {
    let mut silent = proxy("tcp://printer.test:80", None, Does::Nothing).await;
    silent.options.connect_timeout = Duration::from_millis(300);
    let error = failure(&silent.options, "tcp://printer.test:80").await;
    let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
    assert!(
        matches!(&error, Socks5Error::Io(error) if timed_out(error)),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_local_misuse() {
    let text = "tcp://printer.test:80";
    for bad in ["", &"x".repeat(256)] {
        let mut proxy = proxy(text, None, Does::Connect).await;
        proxy.options.socks5.as_mut().unwrap().login = login("ada", bad);
        let error = failure(&proxy.options, text).await;
        assert!(
            matches!(error, Socks5Error::LoginLength) && error.is_permanent(),
            "{error}"
        );
    }
    let scoped = proxy(text, None, Does::Connect).await;
    let error = failure(&scoped.options, "tcp://[fe80::1%1]:80").await;
    assert!(
        matches!(error, Socks5Error::Host) && error.is_permanent(),
        "{error}"
    );

    let mut misplaced = DialOptions::default();
    misplaced.socks5 = Some(Socks5 {
        proxy: endpoint("ipc:///proxy"),
        login: None,
    });
    let error = dial(&endpoint(text), &misplaced).await.unwrap_err();
    assert!(matches!(error, DialError::NotDialable { .. }), "{error}");
}
