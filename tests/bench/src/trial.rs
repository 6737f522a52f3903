//! One measurement: the processes of a row, for one peer, in one round.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    child::Child,
    job::{Job, Transport},
    snapshot::Snapshot,
};

/// How long a round runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From the first message to the window.
    pub(crate) warm_up: Duration,
    /// What is measured.
    pub(crate) window: Duration,
}

/// How often a case that has not started is looked at, for every thousand lanes.
const LOOK: Duration = Duration::from_millis(5);

/// The processes of one measurement; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Trial {
    peer: &'static str,
    pub(crate) timing: Timing,
    endpoint: String,
    children: Vec<Child>,
    /// One that does not run any more and is not read.
    stopped: Option<Child>,
}

impl Trial {
    /// Prepares a measurement; no process is started yet.
    pub(crate) fn new(peer: &'static str, timing: Timing) -> Self {
        Self {
            peer,
            timing,
            endpoint: String::new(),
            children: Vec::new(),
            stopped: None,
        }
    }

    /// Starts the process that binds, waits until it is bound, and reads its counters.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says what took too long.
    pub(crate) fn bind(&mut self, job: &Job, scratch: &Scratch) -> Result<Snapshot, String> {
        let job = Job {
            endpoint: scratch.endpoint(job.transport),
            ..job.clone()
        };
        let mut child = Child::start(self.peer, &job)?;
        self.endpoint = child.ready()?;
        let counts = child.mark()?;
        self.children.push(child);
        Ok(counts)
    }

    /// Starts the process that connects.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says what took too long.
    pub(crate) fn connect(&mut self, job: &Job) -> Result<&mut Child, String> {
        let job = Job {
            endpoint: self.endpoint.clone(),
            ..job.clone()
        };
        self.children.push(Child::start(self.peer, &job)?);
        self.children
            .last_mut()
            .ok_or_else(|| "no process".to_owned())
    }

    /// Stops the process that was started last; it is not read any more.
    ///
    /// # Errors
    ///
    /// Fails if it is gone.
    pub(crate) fn stop_last(&mut self) -> Result<(), String> {
        self.stopped = self.children.pop();
        self.stopped.as_ref().map_or(Ok(()), Child::stop)
    }

    /// Tells every process one word.
    ///
    /// # Errors
    ///
    /// Fails if one is gone.
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), String> {
        self.children
            .iter_mut()
            .try_for_each(|child| child.tell(word))
    }

    /// Reads all processes' counters at the same moment, or nearly.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says what took too long.
    pub(crate) fn mark(&mut self) -> Result<Vec<Snapshot>, String> {
        self.tell("mark")?;
        self.children.iter_mut().map(Child::counts).collect()
    }

    /// Waits until every lane of the process numbered `counting` has counted something, at most
    /// `limit` for one more to do so.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says how many lanes have.
    pub(crate) fn flows(&mut self, counting: usize, limit: Duration) -> Result<(), String> {
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let counts = &self.mark()?[counting].counts;
            let (moving, all) = (
                counts.iter().filter(|count| **count > 0).count(),
                counts.len(),
            );
            if moving == all {
                return Ok(());
            }
            if moving > most {
                (most, since) = (moving, Instant::now());
            }
            if since.elapsed() > limit {
                let whose = if all == 1 {
                    String::new()
                } else {
                    format!("{} of {all} got ", all - moving)
                };
                return Err(format!("{whose}nothing in {} s", limit.as_secs()));
            }
            sleep(LOOK * (1 + all / 1000) as u32);
        }
    }

    /// Measures one window, and returns what each process did in it.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says that the process numbered `counting` counted nothing.
    pub(crate) fn window(&mut self, counting: usize) -> Result<Window, String> {
        sleep(self.timing.warm_up);
        let before = self.mark()?;
        sleep(self.timing.window);
        let after = self.mark()?;
        let processes: Vec<_> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.since(before))
            .collect();
        if processes[counting].total() == 0 {
            return Err("stalled: nothing in the window".to_owned());
        }
        Ok(Window {
            processes,
            counting,
        })
    }
}

/// What the processes did in a window.
#[derive(Debug)]
pub(crate) struct Window {
    /// In the order in which they were started.
    pub(crate) processes: Vec<Snapshot>,
    counting: usize,
}

impl Window {
    /// Returns the process that counted.
    pub(crate) fn counted(&self) -> &Snapshot {
        &self.processes[self.counting]
    }

    /// Returns what was counted, per second.
    pub(crate) fn rate(&self) -> f64 {
        self.counted().total() as f64 / self.counted().at.as_secs_f64()
    }

    /// Returns processor seconds of all processes per million of what was counted.
    pub(crate) fn cpu(&self) -> f64 {
        let busy = |process: &Snapshot| process.cpu.as_secs_f64() / process.at.as_secs_f64();
        self.processes.iter().map(busy).sum::<f64>() / self.rate() * 1e6
    }
}

/// A directory for Unix-domain sockets, removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: PathBuf,
    used: AtomicUsize,
}

impl Scratch {
    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub(crate) fn new() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("withy-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            used: AtomicUsize::new(0),
        })
    }

    /// Returns an address that nothing is bound to.
    fn endpoint(&self, transport: Transport) -> String {
        let number = self.used.fetch_add(1, Relaxed);
        match transport {
            Transport::Tcp => "tcp://127.0.0.1:0".to_owned(),
            Transport::Ipc => format!("ipc://{}/{number}", self.directory.display()),
            Transport::Inproc => format!("inproc://{number}"),
            Transport::Quic => "quic://127.0.0.1:0".to_owned(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is empty socket files in the system's own temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
