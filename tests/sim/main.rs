//! The sockets' engines in a world without a clock, a network or luck: everything follows from a
//! seed.
//!
//! Two to sixteen peers of random patterns exchange messages over links that deliver in pieces of
//! random size, stall, fall silent or are cut; peers die and return. The engines are those of
//! `withy-proto`; [`node`] does for them what the driver of the façade does. [`laws`] says what
//! must hold at every step and at the end.
//!
//! A seed that fails is named; `WITHY_SIM_SEED=n cargo test -p withy-tests --test sim` runs it
//! alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod content;
mod dice;
mod laws;
mod link;
mod node;
mod scenario;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use withy_tests::scale;

use world::{Outcome, World};

/// Threads that run seeds side by side.
const THREADS: u64 = 2;

/// Every so many seeds one is run twice, and must leave the same trace.
const TWICE: u64 = 10;

fn run(seed: u64) -> Outcome {
    World::new(seed).run()
}

fn run_named(seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        eprintln!("seed {seed} failed: WITHY_SIM_SEED={seed} cargo test -p withy-tests --test sim");
        resume_unwind(panic)
    })
}

#[test]
fn the_laws_hold_for_every_seed() {
    if let Ok(seed) = std::env::var("WITHY_SIM_SEED") {
        println!("{:#?}", run(seed.parse().unwrap()));
        return;
    }
    let seeds = scale::count(500, 10_000);
    let first = scale::seed().wrapping_mul(1_000_000);
    let (ran, messages, cuts, deaths) = Default::default();
    let (ran, messages, cuts, deaths): (AtomicU64, AtomicU64, AtomicU64, AtomicU64) =
        (ran, messages, cuts, deaths);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ran, messages, cuts, deaths) = (&ran, &messages, &cuts, &deaths);
            scope.spawn(move || {
                for seed in (thread..seeds).step_by(THREADS as usize) {
                    let seed = first + seed;
                    let outcome = run_named(seed);
                    if seed.is_multiple_of(TWICE) {
                        assert_eq!(run_named(seed).trace, outcome.trace, "seed {seed}");
                    }
                    ran.fetch_add(1, Ordering::Relaxed);
                    messages.fetch_add(outcome.delivered, Ordering::Relaxed);
                    cuts.fetch_add(outcome.cuts, Ordering::Relaxed);
                    deaths.fetch_add(outcome.deaths, Ordering::Relaxed);
                }
            });
        }
    });
    let (ran, messages) = (ran.into_inner(), messages.into_inner());
    let (cuts, deaths) = (cuts.into_inner(), deaths.into_inner());
    scale::report(
        "seeds run",
        format!("{ran} / {seeds} expected, from {first}"),
    );
    scale::report("messages delivered", messages);
    scale::report("links cut", cuts);
    scale::report("peers that died", deaths);
    assert_eq!(ran, seeds);
    assert!(messages > seeds * 20 && cuts > seeds / 2 && deaths > seeds / 4);
}

#[test]
fn a_seed_leaves_the_same_trace_each_time() {
    let one = run_named(7);
    assert_eq!(one.trace, run_named(7).trace);
    assert_ne!(one.trace, run_named(8).trace);
}
