//! The nodes of a test, as it sees them: what it tells them, and what they said.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use withy::Home;
use withy_tests::namespace::{self, Namespace};

use crate::node::{self, ROLE, Role, SAYS};

/// Where the files of nodes are: empty at first, and short enough for the paths of sockets.
const FOLDER: &str = "/run";

/// More than anything takes, on a machine that does other things as well.
pub(crate) const LONG: Duration = Duration::from_secs(240);

static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test in a namespace of its own, with no other of them beside it: they measure time. In a process
/// that is to be a node, it is one.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if node::was_node() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    namespace::inside(test, body);
}

/// Something that a node said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) node: usize,
    /// In microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) what: String,
}

/// The nodes. Dropping it ends them.
pub(crate) struct Swarm {
    test: &'static str,
    nodes: BTreeMap<usize, Process>,
    said: Receiver<Said>,
    say: Sender<Said>,
    log: Vec<Said>,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    /// Its tag, its own id and that of its identity.
    names: Vec<String>,
}

/// A home with an identity, which nodes share.
pub(crate) fn home(name: &str) -> PathBuf {
    let path = Path::new(FOLDER).join(name);
    Home::at(&path).identity().unwrap();
    path
}

/// A runtime directory.
pub(crate) fn runtime(name: &str) -> Option<PathBuf> {
    Some(Path::new(FOLDER).join(name))
}

impl Swarm {
    /// No nodes, of a test.
    pub(crate) fn new(test: &'static str) -> Self {
        let (say, said) = channel();
        Self {
            test,
            nodes: BTreeMap::new(),
            said,
            say,
            log: Vec::new(),
        }
    }

    /// Starts a node on a host, or in this namespace; when it is built is seen later.
    pub(crate) fn start(&mut self, host: Option<&Namespace>, role: &Role) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", self.test, "--nocapture"])
            .env(ROLE, role.encode())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = match host {
            Some(host) => host.within(move || command.spawn()),
            None => command.spawn(),
        }
        .unwrap();
        let (number, say) = (role.number, self.say.clone());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some(said) = line.strip_prefix(SAYS) else {
                    continue;
                };
                let (at, what) = said.split_once(' ').unwrap();
                let said = Said {
                    node: number,
                    at: at.parse().unwrap(),
                    what: what.to_owned(),
                };
                if say.send(said).is_err() {
                    return;
                }
            }
        });
        let process = Process {
            stdin: child.stdin.take().unwrap(),
            child,
            names: Vec::new(),
        };
        self.nodes.insert(role.number, process);
    }

    /// Waits until all are built, and says when the last one was.
    pub(crate) fn built(&mut self, limit: Duration) -> u64 {
        let last = self.all_say(limit, 0, |what| what.starts_with("built "));
        for said in &self.log {
            if let Some(tag) = said.what.strip_prefix("built ")
                && let Some(node) = self.nodes.get_mut(&said.node)
            {
                node.names = tag.split(' ').map(str::to_owned).collect();
            }
        }
        last
    }

    /// Has nodes open that wait for it, once the process of each is there, and says when.
    pub(crate) fn go(&mut self) -> u64 {
        self.all_say(LONG, 0, |what| what == "ready");
        let at = node::now();
        self.tell_all("go");
        at
    }

    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.nodes.keys().copied().collect()
    }

    /// What a node is called by others.
    pub(crate) fn tag(&self, number: usize) -> String {
        self.nodes[&number].names[0].clone()
    }

    /// The tag of a node, its id, and that of its identity.
    pub(crate) fn names(&self, number: usize) -> &[String] {
        &self.nodes[&number].names
    }

    /// The time for which processors worked for all nodes so far.
    pub(crate) fn worked(&self) -> Duration {
        let processes = self.nodes.values().map(|node| node.child.id());
        processes.map(worked).sum()
    }

    /// Tells a node to do something.
    pub(crate) fn tell(&mut self, number: usize, command: &str) {
        let node = self.nodes.get_mut(&number).unwrap();
        writeln!(node.stdin, "{command}").unwrap();
    }

    pub(crate) fn tell_all(&mut self, command: &str) {
        for number in self.numbers() {
            self.tell(number, command);
        }
    }

    /// Ends a node as `kill -9` does, and says when.
    pub(crate) fn kill(&mut self, number: usize) -> u64 {
        let mut node = self.nodes.remove(&number).unwrap();
        let at = node::now();
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        at
    }

    /// Waits until all nodes have said something since a moment, and says when the last one did.
    pub(crate) fn all_say(
        &mut self,
        limit: Duration,
        since: u64,
        is: impl Fn(&str) -> bool,
    ) -> u64 {
        let numbers = self.numbers();
        self.say_all(&numbers, limit, since, is)
    }

    /// As [`all_say`](Self::all_say), some nodes.
    pub(crate) fn say_all(
        &mut self,
        numbers: &[usize],
        limit: Duration,
        since: u64,
        is: impl Fn(&str) -> bool,
    ) -> u64 {
        let end = Instant::now() + limit;
        let mut missing: BTreeMap<usize, Option<u64>> =
            numbers.iter().map(|number| (*number, None)).collect();
        let mut at = 0;
        loop {
            for said in &self.log[at..] {
                if let Some(first) = missing.get_mut(&said.node)
                    && first.is_none()
                    && said.at >= since
                    && is(&said.what)
                {
                    *first = Some(said.at);
                }
            }
            at = self.log.len();
            if missing.values().all(Option::is_some) {
                return missing.into_values().flatten().max().unwrap_or(since);
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(said) => self.log.push(said),
                Err(error) => {
                    missing.retain(|_, first| first.is_none());
                    self.fail(
                        &missing.into_keys().collect::<Vec<_>>(),
                        since,
                        &error.to_string(),
                    );
                }
            }
        }
    }

    /// Tells what the nodes that are missing said last.
    fn fail(&self, missing: &[usize], since: u64, error: &str) -> ! {
        for number in missing.iter().take(3) {
            let said = self.log.iter().filter(|said| said.node == *number);
            let said: Vec<_> = said.collect();
            for said in &said[said.len().saturating_sub(40)..] {
                let after = said.at as f64 / 1e6 - since as f64 / 1e6;
                eprintln!("node {number}, {after:.3} s: {}", said.what);
            }
        }
        panic!(
            "{error}: {missing:?} did not say it, of {:?}",
            self.numbers()
        );
    }

    /// All that was said so far.
    pub(crate) fn log(&mut self) -> &[Said] {
        self.log.extend(self.said.try_iter());
        &self.log
    }
}

/// The time for which processors worked for a process.
fn worked(process: u32) -> Duration {
    let of_thread = |thread: fs::DirEntry| {
        let figures = fs::read_to_string(thread.path().join("schedstat"));
        // One that ended meanwhile has none.
        let figures = figures.unwrap_or_default();
        let nanoseconds = figures.split(' ').next().and_then(|it| it.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    };
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(|thread| of_thread(thread.unwrap())).sum()
}

impl Drop for Swarm {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            let _ = node.child.kill();
        }
        for node in self.nodes.values_mut() {
            let _ = node.child.wait();
        }
    }
}

/// How long something may take: so many seconds, or for as long as we wait where nothing is optimised and
/// the processors are the limit.
pub(crate) fn limit(seconds: u64) -> Duration {
    match cfg!(debug_assertions) {
        true => LONG,
        false => Duration::from_secs(seconds),
    }
}

/// The time from one moment to another.
pub(crate) fn between(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}
