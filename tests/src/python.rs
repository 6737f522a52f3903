//! A stock libzmq peer: pyzmq in a process of its own, driven line by line.
//!
//! The process is `tests/interop/peer.py` in the environment that `tests/run` makes. Each socket
//! has a thread there, so calls on different sockets may wait at the same time; calls on one
//! socket run in turn. Every call has a deadline, and dropping the [`Peer`] kills the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::load::Load;

/// How long a call may take beyond what it was told to wait.
const GRACE: Duration = Duration::from_secs(20);

/// Octets kept of what the process last said on its standard error.
const LAST_WORDS: usize = 8 * 1024;

/// What a message consists of.
pub type Frames = Vec<Vec<u8>>;

/// Why a call did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerError {
    /// The name of libzmq's error (`EADDRINUSE`), of a Python exception, `deadline` or `exit`.
    pub kind: String,
    /// What was asked, and what went wrong.
    pub text: String,
}

impl std::fmt::Display for PeerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for PeerError {}

/// The outcome of a call.
pub type Result<T> = std::result::Result<T, PeerError>;

/// A process with libzmq in it, and one context.
#[derive(Debug)]
pub struct Peer {
    link: Arc<Link>,
    /// Dropping it kills the process.
    child: Child,
}

/// A socket of a [`Peer`]. Dropping it leaves the socket open; see [`Socket::close`].
#[derive(Debug, Clone)]
pub struct Socket {
    link: Arc<Link>,
    number: u64,
}

#[derive(Debug)]
struct Link {
    stdin: tokio::sync::Mutex<ChildStdin>,
    numbers: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
    last_words: Mutex<String>,
}

type Waiting = BTreeMap<u64, oneshot::Sender<Value>>;

/// A key pair of CURVE in Z85.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// 40 characters.
    pub public: String,
    /// 40 characters.
    pub secret: String,
    /// The 32 octets of the public key, as ZAP sees them, in a [`latin1`] string.
    pub credential: String,
}

/// What a monitor reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// As in libzmq, without `ZMQ_EVENT_`: `HANDSHAKE_SUCCEEDED`.
    pub name: String,
    /// A file descriptor, an error number or a reason, by event.
    pub value: i64,
    /// Where it happened.
    pub endpoint: String,
}

/// What arrived of a [`Load`], all of it as generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Messages.
    pub messages: u64,
    /// Octets in their frames.
    pub octets: u64,
}

impl Peer {
    /// Starts a process.
    ///
    /// # Panics
    /// There is no environment yet, or the process does not start.
    pub fn start() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = tests.join(".venv/bin/python");
        assert!(
            python.exists(),
            "tests/.venv is missing: run tests/run once, which makes it"
        );
        let mut child = Command::new(python)
            .arg("-u")
            .arg(tests.join("interop/peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("tests/.venv/bin/python: {error}"));
        let piped = "the standard streams are pipes";
        let link = Arc::new(Link {
            stdin: tokio::sync::Mutex::new(child.stdin.take().expect(piped)),
            numbers: AtomicU64::new(0),
            waiting: Mutex::new(Some(BTreeMap::new())),
            last_words: Mutex::new(String::new()),
        });
        let stdout = child.stdout.take().expect(piped);
        let stderr = child.stderr.take().expect(piped);
        tokio::spawn(listen(link.clone(), stderr));
        tokio::spawn(answers(link.clone(), stdout));
        Self { link, child }
    }

    /// Stops the whole process as it is, connections open, until [`Peer::thaw`].
    ///
    /// # Panics
    /// The process is gone.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets the process go on.
    ///
    /// # Panics
    /// The process is gone.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let number = self.child.id().expect("it runs until it is dropped");
        let status = std::process::Command::new("kill")
            .args([format!("-{name}"), number.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// The version of libzmq.
    ///
    /// # Errors
    /// The process fails.
    pub async fn version(&self) -> Result<String> {
        let answer = self.call("version", json!({})).await?;
        Ok(string(&answer["libzmq"]))
    }

    /// Opens a socket of a type (`PUSH`) with options (`SNDHWM`, without `ZMQ_`) in order. Its
    /// LINGER is 0 unless set.
    ///
    /// # Errors
    /// libzmq knows the type or an option not, or refuses its value.
    pub async fn socket(&self, kind: &str, options: &[(&str, Value)]) -> Result<Socket> {
        let number = self.link.number();
        let arguments = json!({"socket": number, "kind": kind, "options": options});
        self.call("socket", arguments).await?;
        Ok(Socket {
            link: self.link.clone(),
            number,
        })
    }

    /// Makes a key pair for CURVE.
    ///
    /// # Errors
    /// The process fails.
    pub async fn key_pair(&self) -> Result<KeyPair> {
        let answer = self.call("keypair", json!({})).await?;
        Ok(KeyPair {
            public: string(&answer["public"]),
            secret: string(&answer["secret"]),
            credential: string(&answer["raw"]),
        })
    }

    /// Starts the context's ZAP handler, or gives it other rules. `rules` maps mechanisms to
    /// `"any"` or a list of credentials ([`latin1`] strings, a list each); what it does not name
    /// gets `rules["status"]`, by default 400. Whom it allows is `user-of-zap`, and has no name in
    /// the domain `nameless`.
    ///
    /// # Errors
    /// The process fails.
    pub async fn zap(&self, rules: Value) -> Result<()> {
        self.call("zap", json!({"rules": rules})).await.map(drop)
    }

    /// The requests that the ZAP handler has answered so far.
    ///
    /// # Errors
    /// There is none.
    pub async fn zap_requests(&self) -> Result<Vec<Value>> {
        let answer = self.call("zap_requests", json!({})).await?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    async fn call(&self, op: &str, arguments: Value) -> Result<Value> {
        self.link.call(op, None, arguments, Duration::ZERO).await
    }
}

impl Socket {
    /// Binds; returns the endpoint with its real port.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn bind(&self, endpoint: &str) -> Result<String> {
        let answer = self.call("bind", json!({"endpoint": endpoint})).await?;
        Ok(string(&answer))
    }

    /// Stops listening.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn unbind(&self, endpoint: &str) -> Result<()> {
        let arguments = json!({"endpoint": endpoint});
        self.call("unbind", arguments).await.map(drop)
    }

    /// Connects, which does not wait for the peer.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn connect(&self, endpoint: &str) -> Result<()> {
        let arguments = json!({"endpoint": endpoint});
        self.call("connect", arguments).await.map(drop)
    }

    /// Undoes a connect.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn disconnect(&self, endpoint: &str) -> Result<()> {
        let arguments = json!({"endpoint": endpoint});
        self.call("disconnect", arguments).await.map(drop)
    }

    /// Sets an option; octets are [`latin1`] strings.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn set(&self, option: &str, value: impl Into<Value>) -> Result<()> {
        let arguments = json!({"name": option, "value": value.into()});
        self.call("set", arguments).await.map(drop)
    }

    /// Reads an option.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn value(&self, option: &str) -> Result<Value> {
        self.call("get", json!({"name": option})).await
    }

    /// Subscribes to a prefix (SUB).
    ///
    /// # Errors
    /// libzmq's.
    pub async fn subscribe(&self, prefix: &[u8]) -> Result<()> {
        self.set("SUBSCRIBE", latin1(prefix)).await
    }

    /// Takes a subscription back (SUB).
    ///
    /// # Errors
    /// libzmq's.
    pub async fn unsubscribe(&self, prefix: &[u8]) -> Result<()> {
        self.set("UNSUBSCRIBE", latin1(prefix)).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// `EAGAIN` when it could not be queued within the default of 10 seconds; libzmq's.
    pub async fn send(&self, frames: &[impl AsRef<[u8]>]) -> Result<()> {
        self.send_within(frames, Duration::from_secs(10)).await
    }

    /// Sends a message, or fails with `EAGAIN` when it could not be queued in time.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn send_within(&self, frames: &[impl AsRef<[u8]>], wait: Duration) -> Result<()> {
        let frames: Vec<_> = frames.iter().map(|frame| latin1(frame.as_ref())).collect();
        let arguments = json!({"frames": frames, "timeout": millis(wait)});
        self.wait("send", arguments, wait).await.map(drop)
    }

    /// Receives a message; `None` when none came in time.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn recv(&self, wait: Duration) -> Result<Option<Frames>> {
        let answer = self.wait("recv", json!({"timeout": millis(wait)}), wait);
        Ok(answer.await?.as_array().map(|frames| message(frames)))
    }

    /// Receives until nothing came for `quiet`.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn recv_all(&self, quiet: Duration) -> Result<Vec<Frames>> {
        let answer = self.wait("recv_all", json!({"quiet": millis(quiet)}), quiet);
        let messages = answer.await?;
        let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
        let frames = |frames: &Value| frames.as_array().map(|frames| message(frames));
        Ok(messages.iter().filter_map(frames).collect())
    }

    /// Sends generated messages behind a prefix of frames (a ROUTER's peer, a REQ's delimiter);
    /// returns how many went out in time.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn send_load(&self, load: &Load, prefix: &[&[u8]], wait: Duration) -> Result<u64> {
        let prefix: Vec<_> = prefix.iter().map(|frame| latin1(frame)).collect();
        let arguments = json!({"load": load.json(), "prefix": prefix, "timeout": millis(wait)});
        let answer = self.wait("send_load", arguments, wait).await?;
        Ok(answer.as_u64().unwrap_or(0))
    }

    /// Receives generated messages in order, less their first `skip` frames, until all are there
    /// or the time is over.
    ///
    /// # Errors
    /// `ValueError` at the first message that is not as generated; libzmq's.
    pub async fn recv_load(&self, load: &Load, skip: usize, wait: Duration) -> Result<Received> {
        let arguments = json!({"load": load.json(), "skip": skip, "timeout": millis(wait)});
        let answer = self.wait("recv_load", arguments, wait).await?;
        Ok(Received {
            messages: answer["messages"].as_u64().unwrap_or(0),
            octets: answer["octets"].as_u64().unwrap_or(0),
        })
    }

    /// Sends the messages of a load, each once the one before came back as it was; returns how many
    /// did within `wait`.
    ///
    /// # Errors
    /// One came back different, or the process is gone.
    pub async fn ask_load(&self, load: &Load, wait: Duration) -> Result<u64> {
        let arguments = json!({"load": load.json(), "timeout": millis(wait)});
        let answer = self.wait("ask_load", arguments, wait).await?;
        Ok(answer.as_u64().unwrap_or_default())
    }

    /// Sends messages back as they came until there were `count`, the time is over or
    /// [`Socket::stop`]; returns how many.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn echo(&self, count: u64, wait: Duration) -> Result<u64> {
        let arguments = json!({"count": count, "timeout": millis(wait)});
        let answer = self.wait("echo", arguments, wait).await?;
        Ok(answer.as_u64().unwrap_or(0))
    }

    /// Starts libzmq's proxy between this socket and `back`, neither of which may be used any
    /// more; `capture` gets a copy of all messages. It runs until the process ends.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn proxy(&self, back: &Self, capture: Option<&Self>) -> Result<()> {
        let capture = capture.map(|socket| socket.number);
        let arguments = json!({"back": back.number, "capture": capture});
        self.call("proxy", arguments).await.map(drop)
    }

    /// Ends a call of this socket that waits, and all that come after; it may still be closed.
    ///
    /// # Errors
    /// The process fails.
    pub async fn stop(&self) -> Result<()> {
        let arguments = json!({"target": self.number});
        let answer = self.link.call("stop", None, arguments, Duration::ZERO);
        answer.await.map(drop)
    }

    /// Opens the socket's monitor; read it with [`Socket::event`].
    ///
    /// # Errors
    /// libzmq's.
    pub async fn monitor(&self) -> Result<Self> {
        let number = self.link.number();
        self.call("monitor", json!({"socket": number})).await?;
        Ok(Self {
            link: self.link.clone(),
            number,
        })
    }

    /// The next event of a monitor; `None` when none came in time.
    ///
    /// # Errors
    /// This is no monitor; libzmq's.
    pub async fn event(&self, wait: Duration) -> Result<Option<Event>> {
        let answer = self.wait("event", json!({"timeout": millis(wait)}), wait);
        let event = answer.await?;
        Ok((!event.is_null()).then(|| Event {
            name: string(&event["event"]),
            value: event["value"].as_i64().unwrap_or(0),
            endpoint: string(&event["endpoint"]),
        }))
    }

    /// Waits for an event of a name, and passes over others.
    ///
    /// # Errors
    /// `deadline` with the names of those that came instead; libzmq's.
    pub async fn expect_event(&self, name: &str, wait: Duration) -> Result<Event> {
        let mut others = Vec::new();
        while let Some(event) = self.event(wait).await? {
            if event.name == name {
                return Ok(event);
            }
            others.push(event.name);
        }
        Err(PeerError {
            kind: "deadline".to_owned(),
            text: format!("no {name}, but {others:?}"),
        })
    }

    /// Closes the socket, which honours its LINGER only while the process lives.
    ///
    /// # Errors
    /// libzmq's.
    pub async fn close(self) -> Result<()> {
        self.call("close", json!({})).await.map(drop)
    }

    async fn call(&self, op: &str, arguments: Value) -> Result<Value> {
        self.wait(op, arguments, Duration::ZERO).await
    }

    async fn wait(&self, op: &str, arguments: Value, wait: Duration) -> Result<Value> {
        self.link.call(op, Some(self.number), arguments, wait).await
    }
}

impl Link {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    async fn call(
        &self,
        op: &str,
        thread: Option<u64>,
        mut request: Value,
        wait: Duration,
    ) -> Result<Value> {
        let id = self.number();
        request["id"] = id.into();
        request["op"] = op.into();
        request["thread"] = thread.into();
        let (answered, answer) = oneshot::channel();
        match &mut *lock(&self.waiting) {
            Some(waiting) => drop(waiting.insert(id, answered)),
            None => return Err(self.gone(op)),
        }
        let line = format!("{request}\n");
        let exchange = async {
            let written = self.stdin.lock().await.write_all(line.as_bytes()).await;
            written.map_err(|_| self.gone(op))?;
            answer.await.map_err(|_| self.gone(op))
        };
        let answer = tokio::time::timeout(wait + GRACE, exchange).await;
        let mut answer = answer.map_err(|_| PeerError {
            kind: "deadline".to_owned(),
            text: format!("{op} of {:?} said nothing: {request}", wait + GRACE),
        })??;
        match answer.get("error") {
            None => Ok(answer["ok"].take()),
            Some(error) => Err(PeerError {
                kind: string(&error["kind"]),
                text: format!("{op}: {}", string(&error["text"])),
            }),
        }
    }

    fn gone(&self, op: &str) -> PeerError {
        PeerError {
            kind: "exit".to_owned(),
            text: format!("{op}: {}", lock(&self.last_words)),
        }
    }
}

/// Hands answers to those who wait, until the process ends.
async fn answers(link: Arc<Link>, stdout: ChildStdout) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(answer) = serde_json::from_str::<Value>(&line) else {
            break;
        };
        let id = answer["id"].as_u64().unwrap_or(u64::MAX);
        let waiting = lock(&link.waiting).as_mut().and_then(|all| all.remove(&id));
        // Whoever gave up waiting needs no answer.
        waiting.map(|waiting| waiting.send(answer));
    }
    lock(&link.waiting).take();
}

/// Keeps the end of the standard error.
async fn listen(link: Arc<Link>, mut stderr: ChildStderr) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let mut words = lock(&link.last_words);
        words.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let excess = words.len().saturating_sub(LAST_WORDS);
        let start = words.ceil_char_boundary(excess);
        words.drain(..start);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Octets as a string of the characters U+0000 to U+00FF, as the process takes and gives them.
pub fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|&octet| char::from(octet)).collect()
}

/// The octets of a string as [`latin1`] makes it.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|octet| octet as u8).collect()
}

fn message(frames: &[Value]) -> Frames {
    frames
        .iter()
        .map(|frame| octets(frame.as_str().unwrap_or_default()))
        .collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
