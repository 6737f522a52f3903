//! A socket in a process of its own: the same test once more, which serves there. What it takes of
//! memory and time is its alone.

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use withy::Endpoint;

use crate::memory::resident;
use crate::victim::within;

/// Set in the process that serves.
const SERVES: &str = "WITHY_SERVES";

/// How the lines begin that it says.
const SAID: &str = "serving: ";

/// Whether this process is to serve.
pub(crate) fn serves() -> bool {
    std::env::var_os(SERVES).is_some()
}

/// Serves until nobody wants it: says the endpoint, and whenever it is asked what it has used.
pub(crate) async fn serve(endpoint: &Endpoint) {
    say(&endpoint.to_string());
    let asked = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while std::io::stdin().lock().read_line(&mut line).unwrap() > 0 {
            say(&format!("{} {}", resident(), busy().as_millis()));
        }
    });
    asked.await.unwrap();
}

fn say(text: &str) {
    // The harness may have left the cursor within a line.
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "\n{SAID}{text}\n").unwrap();
    stdout.flush().unwrap();
}

/// The time that this process had a processor, all its threads together.
fn busy() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let times = [usage.user_time(), usage.system_time()];
    let microseconds: i64 = times.iter().map(TimeVal::num_microseconds).sum();
    Duration::from_micros(microseconds.try_into().unwrap())
}

/// The other process, until it is dropped.
pub(crate) struct Other {
    pub(crate) endpoint: Endpoint,
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What it has used at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Octets in memory.
    pub(crate) memory: usize,
    /// The time that it had a processor, all its threads together.
    pub(crate) busy: Duration,
}

impl Other {
    /// Starts the test of this name in another process.
    pub(crate) async fn start(test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(SERVES, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoint = answer(&mut answers).await.parse().unwrap();
        Self {
            endpoint,
            _child: child,
            questions,
            answers,
        }
    }

    pub(crate) async fn usage(&mut self) -> Usage {
        self.questions.write_all(b"\n").await.unwrap();
        let answer = answer(&mut self.answers).await;
        let (memory, busy) = answer.split_once(' ').unwrap();
        Usage {
            memory: memory.parse().unwrap(),
            busy: Duration::from_millis(busy.parse().unwrap()),
        }
    }
}

async fn answer(answers: &mut Lines<BufReader<ChildStdout>>) -> String {
    within(20, async {
        loop {
            let line = answers.next_line().await.unwrap();
            if let Some(said) = line.expect("it serves").strip_prefix(SAID) {
                return said.to_owned();
            }
        }
    })
    .await
}
