//! Processes that this one starts: the program itself, told on stdin what to do.
//!
//! The first line of a child's stdin is its [`Brief`]; keys stand there, and so on no command line.
//! Further lines are commands. Stdin stays open for as long as the parent lives, and a child ends
//! at once when it ends: however the parent goes, no child is left. Children let SIGINT pass, which
//! a terminal sends to them as well: the parent decides.

use std::io::{self, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome};
use crate::{bench, demo};

/// The hidden verb of a child.
pub(crate) const VERB: &str = "child-process";
/// How long a child may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an ending child is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Brief {
    /// A process of the demo.
    Demo(Box<demo::Brief>),
    /// The other side of a measurement.
    Bench(bench::Brief),
}

/// Commands that come after the brief.
pub(crate) type Commands = mpsc::UnboundedReceiver<String>;

/// Does what the brief on stdin says, until it is done or stdin ends.
pub(crate) async fn run() -> Outcome {
    let _ignored = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut brief = String::new();
    io::stdin().read_line(&mut brief).map_err(Failure::failed)?;
    let brief = serde_json::from_str(&brief)
        .map_err(|error| Failure::Usage(format!("this verb is for withy itself: {error}")))?;
    let directory = match &brief {
        Brief::Demo(brief) => Some(brief.directory().to_owned()),
        Brief::Bench(_) => None,
    };
    let (sender, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        // A parent that was killed cannot.
        if let Some(directory) = directory {
            let _ = std::fs::remove_dir_all(directory);
        }
        std::process::exit(0);
    });
    match brief {
        Brief::Demo(brief) => demo::play(*brief, commands).await,
        Brief::Bench(brief) => bench::serve(brief).await,
    }
}

/// The children of this process. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Family(Vec<Child>);

#[derive(Debug)]
struct Child {
    name: String,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
}

impl Family {
    /// Starts a child. Returns its process id.
    pub(crate) fn start(&mut self, name: &str, brief: &Brief) -> Outcome<u32> {
        let failed = |error: io::Error| Failure::Failed(format!("cannot start {name}: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let pid = process.id();
        let stdin = process.stdin.take();
        self.0.push(Child {
            name: name.to_owned(),
            process,
            stdin,
        });
        let brief = serde_json::to_string(brief).map_err(Failure::failed)?;
        self.tell(name, &brief)?;
        Ok(pid)
    }

    /// Sends a child a line.
    pub(crate) fn tell(&mut self, name: &str, line: &str) -> Outcome {
        let told = self
            .0
            .iter_mut()
            .filter(|child| child.name == name)
            .try_for_each(|child| {
                let stdin = child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
                stdin.write_all(line.as_bytes())?;
                stdin.write_all(b"\n")?;
                stdin.flush()
            });
        told.map_err(|error: io::Error| Failure::Failed(format!("{name} does not listen: {error}")))
    }

    /// Kills a child, which is none of the family then.
    pub(crate) fn kill(&mut self, name: &str) {
        for child in self.0.extract_if(.., |child| child.name == name) {
            let Child { mut process, .. } = child;
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Fails if a child ended.
    pub(crate) fn check(&mut self) -> Outcome {
        for child in &mut self.0 {
            if let Ok(Some(status)) = child.process.try_wait() {
                return Err(Failure::Failed(format!(
                    "{} ended early: {status}",
                    child.name
                )));
            }
        }
        Ok(())
    }
}

impl Drop for Family {
    /// Ends all children: by the end of their stdin, and what does not listen by force.
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.stdin = None;
        }
        let deadline = Instant::now() + PATIENCE;
        for child in &mut self.0 {
            while let Ok(None) = child.process.try_wait() {
                if Instant::now() >= deadline {
                    let _ = child.process.kill();
                    let _ = child.process.wait();
                    break;
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}
