//! The one tokio runtime of an asynchronous peer's process: two workers, as many as the pair of
//! processes gets cores on the machine that the goals were set on, or one thread where a row asks for it.

use std::{future::Future, sync::OnceLock};

use tokio::runtime::{Builder, Runtime};

use super::{Endless, Failure};
use crate::{
    job::Caller,
    probe::{Probe, Stage},
};

const WORKERS: usize = 2;

static CALLER: OnceLock<Caller> = OnceLock::new();

/// Chooses the runtime, once and before a part runs.
pub(super) fn choose(caller: Caller) {
    CALLER.get_or_init(|| caller);
}

/// Runs a part on the runtime, and blocks the calling thread until it fails.
pub(super) fn run(part: impl Future<Output = Endless> + Send + 'static) -> Endless {
    let runtime = runtime();
    runtime.block_on(runtime.spawn(part))?
}

/// Waits on a thread of its own until the runner has reached `stage`.
pub(super) async fn wait_for(probe: &'static Probe, stage: Stage) -> Result<(), Failure> {
    Ok(tokio::task::spawn_blocking(move || probe.wait_for(stage)).await?)
}

/// Waits for the first of several tasks to fail.
pub(super) async fn first_failure(mut tasks: tokio::task::JoinSet<Endless>) -> Endless {
    match tasks.join_next().await {
        Some(ended) => ended?,
        None => Err("no task to wait for".into()),
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = match CALLER.get() {
            Some(Caller::OneThread) => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .expect("a process with two threads to spare can start a runtime")
    })
}
