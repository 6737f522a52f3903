//! `serve NAME --exec CMD`: a command answers each request.
//!
//! ```text
//!  request --> sh -c CMD: stdin --> stdout --> reply
//!                         stderr, exit code --> why it failed
//! ```
//!
//! Only peers that are trusted for commands are let in, since their requests run code here. A command
//! runs in a process group of its own, which is gone with its request: when it ends, takes too long, or
//! this process is told to end.
//!
//! Invariant: no more than `--jobs` commands run at a time, [`WAITING`] requests wait for one to end,
//! and of what a command writes [`MAX_REPLY`] octets are kept.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use withy::Message;
use withy::node::{Service, ServiceRequest};
use withy::trust::Purpose;

use crate::args::Serve;
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::format::Format;
use crate::node;
use crate::session::Interrupt;

/// How many requests wait for a command to end; of more, whoever asks hears that this instance is busy.
const WAITING: usize = 64;
/// The longest reply, in octets.
const MAX_REPLY: usize = 16 * 1024 * 1024;
/// What is kept of stderr, in octets: its end.
const MAX_STDERR: usize = 4 * 1024;
/// How long commands may go on when this process is told to end.
const GRACE: Duration = Duration::from_secs(2);

/// What is run, and how.
#[derive(Debug)]
struct Job {
    command: String,
    format: Format,
    timeout: Duration,
    quiet: bool,
}

/// Serves a name until it is told to end.
pub(crate) async fn run(options: &Serve) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let node = node::join_for(Purpose::Command, &options.keys, &options.mesh).await?;
    let service = node.service(&options.name).map_err(node::unnamed)?;
    service.set_capacity(usize::from(options.jobs) + WAITING);
    if !options.talk.quiet {
        complain(format_args!("serving {}", options.name));
    }
    let job = Arc::new(Job {
        command: options.exec.clone(),
        format: options.format(),
        timeout: options.timeout,
        quiet: options.talk.quiet,
    });
    let mut running = JoinSet::new();
    let ended = tokio::select! {
        ended = take_all(&service, &job, options, &mut running) => ended,
        () = interrupt.wait() => Ok(()),
    };
    // Nothing more is taken up; what runs is waited for, and then killed.
    drop(service);
    let rest = async { while running.join_next().await.is_some() {} };
    let limit = match ended {
        Ok(()) if !interrupt.is_on() => job.timeout,
        _ => GRACE,
    };
    tokio::select! {
        _ = tokio::time::timeout(limit, rest) => {}
        () = interrupt.wait_after(GRACE) => {}
    }
    running.shutdown().await;
    node.close(node::LEAVE).await;
    ended
}

/// Takes requests, as many at a time as commands may run.
async fn take_all(
    service: &Service,
    job: &Arc<Job>,
    options: &Serve,
    running: &mut JoinSet<()>,
) -> Outcome {
    let places = Arc::new(Semaphore::new(usize::from(options.jobs)));
    let mut taken = 0;
    while options.count.is_none_or(|count| taken < count) {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.map_err(Failure::failed)?;
        // Those that are done leave nothing behind.
        while running.try_join_next().is_some() {}
        let request = service.recv().await.map_err(Failure::failed)?;
        taken += 1;
        let job = Arc::clone(job);
        running.spawn(async move {
            answer(&job, request).await;
            drop(place);
        });
    }
    Ok(())
}

/// Runs the command for a request, and replies.
async fn answer(job: &Job, request: ServiceRequest) {
    let limit = request
        .time_left()
        .map_or(job.timeout, |left| left.min(job.timeout));
    let done = match tokio::time::timeout(limit, execute(job, &request)).await {
        Ok(done) => done,
        Err(_) => Err(format!(
            "the command took longer than {}",
            duration::show(limit)
        )),
    };
    let told = match done {
        Ok(reply) => request.reply(reply).await,
        Err(reason) => {
            if !job.quiet {
                complain(format_args!("a request failed: {reason}"));
            }
            request.fail(reason).await
        }
    };
    if told.is_err() && !job.quiet {
        complain("who asked is gone before the reply");
    }
}

/// A process group, which ends with this.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the command; the error is what who asked hears.
async fn execute(job: &Job, request: &ServiceRequest) -> Result<Message, String> {
    let mut command = Command::new("sh");
    command
        .args(["-c", &job.command])
        .env("WITHY_CALLER", caller(request))
        .env("WITHY_ATTEMPT", request.attempt().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let failed = |error| format!("the command cannot be run: {error}");
    let mut child = command.spawn().map_err(failed)?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.map(Pid::from_raw));
    let (Some(stdin), Some(out), Some(err)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("the command has no pipes".to_owned());
    };
    let talk = async {
        tokio::join!(
            feed(stdin, job.format, request.message()),
            read(out),
            last(err)
        )
    };
    let mut talk = std::pin::pin!(talk);
    let (status, ((), out, err)) = tokio::select! {
        talked = &mut talk => (child.wait().await, talked),
        status = child.wait() => {
            // What it left behind would hold its pipes open.
            group.kill();
            (status, talk.await)
        }
    };
    let status = status.map_err(|error| format!("the command is lost: {error}"))?;
    // First: that nobody reads on makes it fail, too.
    let out = out.ok_or_else(|| format!("the reply is longer than {MAX_REPLY} octets"))?;
    if !status.success() {
        return Err(reason(status, &err));
    }
    let reply = decode(job.format, &out);
    reply.map_err(|error| format!("what the command wrote is no reply: {error}"))
}

/// Who asks; nothing within the process, where nothing is proven.
fn caller(request: &ServiceRequest) -> String {
    request
        .identity()
        .map(|it| it.to_string())
        .unwrap_or_default()
}

async fn feed(mut stdin: ChildStdin, format: Format, message: &Message) {
    let mut text = Vec::new();
    format.encode(message, &mut text);
    if format == Format::Raw {
        text.pop();
    }
    // It need not read.
    let _ = stdin.write_all(&text).await;
}

/// Reads all; `None` if that is too much.
async fn read(from: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let limit = MAX_REPLY as u64 + 1;
    // What breaks off shows in the exit code.
    let _ = from.take(limit).read_to_end(&mut octets).await;
    (octets.len() <= MAX_REPLY).then_some(octets)
}

/// Reads all, and keeps the end.
async fn last(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let over = kept.len().saturating_sub(MAX_STDERR);
        kept.drain(..over);
    }
    kept
}

fn decode(format: Format, octets: &[u8]) -> Result<Message, String> {
    match format {
        Format::Raw => format.decode(octets),
        Format::Lines | Format::Json => format.decode(octets.strip_suffix(b"\n").unwrap_or(octets)),
    }
}

/// Why a command failed: the last line that it wrote to stderr, else how it ended.
fn reason(status: ExitStatus, err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let line = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    line.map_or_else(|| status.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_stderr_the_end_is_kept() {
        let long: Vec<u8> = (0..MAX_STDERR * 3).map(|at| at as u8).collect();
        let kept = last(&long[..]).await;
        assert_eq!(kept.len(), MAX_STDERR);
        assert!(long.ends_with(&kept));
    }

    #[tokio::test]
    async fn a_reply_that_is_too_long_is_none() {
        assert!(read(&vec![0; MAX_REPLY][..]).await.is_some());
        assert!(read(&vec![0; MAX_REPLY + 1][..]).await.is_none());
    }

    #[test]
    fn the_reason_is_the_last_line_or_the_status() {
        use std::os::unix::process::ExitStatusExt as _;
        let status = ExitStatus::from_raw(3 << 8);
        assert_eq!(reason(status, b"a\nb \n\n"), "b");
        assert_eq!(reason(status, b" \n"), "exit status: 3");
    }

    #[test]
    fn replies_are_lines_objects_or_octets() {
        let frames = Message::from_iter(["a", "b\n"]);
        assert_eq!(decode(Format::Lines, b"a\tb\\n\n").unwrap(), frames);
        assert_eq!(decode(Format::Raw, b"a\n").unwrap(), Message::from("a\n"));
        assert_eq!(
            decode(Format::Json, b"{\"text\":\"a\"}\n").unwrap(),
            Message::from("a")
        );
        assert!(decode(Format::Json, b"a").is_err());
    }
}
