//! The fuzzers' bodies on stable: every input of the committed corpora, cut short and changed,
//! and seeded random input.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;
use withy_proto::crypto::{Randomness, Seeded};
use withy_tests::scale;

// A workspace of its own cannot be a dependency from within this one.
#[path = "fuzz/src/lib.rs"]
pub mod fuzz;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a corpus, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(corpora().join(target))
        .unwrap_or_else(|error| panic!("the corpus of {target}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let entries = std::fs::read_dir(corpora()).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let kept: BTreeSet<_> = entries.map(|entry| name(entry.unwrap())).collect();
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(kept, known);
    assert!(TARGETS.iter().all(|(name, _)| !corpus(name).is_empty()));
}

#[test]
fn committed_inputs_find_nothing() {
    for (target, run) in TARGETS {
        corpus(target).iter().for_each(|input| run(input));
    }
}

#[test]
fn changed_inputs_find_nothing() {
    let mut random = Seeded::new(scale::seed());
    let rounds = scale::count(20, 2_000);
    for (target, run) in TARGETS {
        for input in corpus(target) {
            for _ in 0..rounds {
                let mut changed = input.clone();
                changed.truncate(random.next_u64() as usize % (input.len() + 1));
                for _ in 0..random.next_u64() % 4 {
                    let at = random.next_u64() as usize % changed.len().max(1);
                    if let Some(octet) = changed.get_mut(at) {
                        *octet ^= 1 << (random.next_u64() % 8);
                    }
                }
                run(&changed);
            }
        }
    }
}

#[test]
fn random_inputs_find_nothing() {
    let mut random = Seeded::new(scale::seed());
    let inputs = scale::count(500, 100_000);
    for (target, run) in TARGETS {
        for _ in 0..inputs {
            let mut input = vec![0; random.next_u64() as usize % 1024];
            random.fill(&mut input);
            run(&input);
        }
        scale::report(&format!("random inputs of {target}"), inputs);
    }
}
