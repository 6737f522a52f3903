//! An instance of a service in a process of its own: the same test once more, which serves there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use withy::node::{BusPublisher, Client};
use withy::{Home, Node, NodeBuilder};
use withy_tests::deadline::soon;

/// The name that all serve.
const NAME: &str = "orders";

/// The topics that all subscribe to.
const TOPICS: &str = "orders/#";

/// A request that is kept unanswered, unless another instance had it before.
pub(crate) const KEEP: &str = "keep";

/// Set in the process that serves: the directory of the user whose node it is.
const SERVES: &str = "WITHY_MESH_SERVES";

/// How the lines begin that it says.
const SAID: &str = "serving: ";

/// A user of this host, who has an identity and a runtime directory.
pub(crate) struct User(TempDir);

fn builder(directory: &Path) -> NodeBuilder {
    let home = Home::at(directory.join("home"));
    let runtime = directory.join("run");
    Node::builder().home(&home).runtime_directory(runtime)
}

impl User {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A client on a node in this process.
    pub(crate) async fn client(&self) -> Client {
        let node = builder(self.0.path()).build().await.unwrap();
        node.client(NAME).unwrap()
    }

    /// A publisher of what the others subscribe to, on a node in this process.
    pub(crate) async fn publisher(&self) -> BusPublisher {
        let node = builder(self.0.path()).build().await.unwrap();
        node.publisher(TOPICS).unwrap()
    }

    /// Starts the test of this name in another process, where it serves.
    pub(crate) async fn start(&self, test: &str) -> Instance {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(SERVES, self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut instance = Instance { child, said };
        instance.says("ready").await;
        instance
    }
}

/// Serves if this process is to, until it is killed; whether it is to.
pub(crate) async fn serve() -> bool {
    let Some(directory) = std::env::var_os(SERVES) else {
        return false;
    };
    let node = builder(Path::new(&directory)).build().await.unwrap();
    let service = node.service(NAME).unwrap();
    let _subscriber = node.subscriber(TOPICS).unwrap();
    say("ready");
    let mut kept = Vec::new();
    loop {
        let request = service.recv().await.unwrap();
        if request.message().first() == KEEP && request.attempt() == 1 {
            kept.push(request);
            say("kept");
        } else {
            let reply = request.attempt().to_string();
            // Who asked may be gone.
            let _ = request.reply(reply).await;
        }
    }
}

fn say(text: &str) {
    // The harness may have left the cursor within a line.
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "\n{SAID}{text}\n").unwrap();
    stdout.flush().unwrap();
}

/// The other process, until it is dropped.
pub(crate) struct Instance {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Instance {
    /// Waits until it says this.
    pub(crate) async fn says(&mut self, text: &str) {
        soon(async {
            loop {
                let line = self.said.next_line().await.unwrap();
                if line.expect("it serves").strip_prefix(SAID) == Some(text) {
                    return;
                }
            }
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("nobody has waited for it");
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
        // Its threads stop one by one, and one that runs may still answer.
        while signal == Signal::SIGSTOP && !is_stopped(id) {
            std::thread::yield_now();
        }
    }
}

/// Whether all threads of a process are stopped (`proc_pid_stat(5)`).
fn is_stopped(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let stopped = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The name before it is in brackets, and may have any.
        stat.rsplit_once(") ")
            .is_none_or(|(_, state)| state.starts_with('T'))
    };
    threads.flatten().all(|thread| stopped(&thread.path()))
}
