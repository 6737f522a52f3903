//! Counts rows, and says what came of it.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Failure;
use crate::baseline::{Baseline, Verdict, written};
use crate::callgrind;
use crate::ground::Ground;
use crate::rows::{ROWS, Row};

/// A count that is to become the baseline, or that differs from it, is the middle one of so many.
const TO_BE_SURE: usize = 3;

/// The counts of a row, in order of size.
struct Counted<'a> {
    row: &'a Row,
    counts: Vec<f64>,
}

impl Counted<'_> {
    fn middle(&self) -> f64 {
        self.counts[self.counts.len() / 2]
    }

    /// How far the counts differ, in percent of the least.
    fn spread(&self) -> f64 {
        (self.counts[self.counts.len() - 1] / self.counts[0] - 1.0) * 100.0
    }

    fn count(&mut self, times: usize, folder: &Path) -> Result<(), Failure> {
        for _ in 0..times {
            self.counts.push(callgrind::count(self.row, folder)?);
        }
        self.counts.sort_by(f64::total_cmp);
        Ok(())
    }
}

/// Counts each row `rounds` times and compares with the baseline, or makes it the baseline. Whether all is
/// well.
pub(crate) fn run(
    rows: &[&Row],
    rounds: usize,
    accept: bool,
    path: &Path,
) -> Result<bool, Failure> {
    let folder = std::env::current_exe()?.with_file_name("instructions.out");
    fs::create_dir_all(&folder)?;
    let mut baseline = if path.exists() {
        Baseline::parse(&fs::read_to_string(path)?)?
    } else {
        Baseline::default()
    };
    let here = Ground::of_this_machine();
    let same = here == baseline.ground;
    let compares = here.compares(&baseline.ground);
    if accept && !same && rows.len() < ROWS.len() {
        return Err("the other rows were counted elsewhere: accept all of them".into());
    }
    let allowed = |row: &Row| row.tolerance * if same { 1.0 } else { 2.0 };
    let judge = |counted: &Counted<'_>| {
        let row = counted.row;
        match baseline.judge(row.name, counted.middle(), allowed(row)) {
            Verdict::Slower | Verdict::Faster if !compares => Verdict::Holds,
            Verdict::Faster if !same => Verdict::Holds,
            verdict => verdict,
        }
    };
    let count = |row| {
        let mut counted = Counted {
            row,
            counts: Vec::new(),
        };
        let rounds = if accept {
            rounds.max(TO_BE_SURE)
        } else {
            rounds
        };
        counted.count(rounds, &folder)?;
        if !accept && counted.counts.len() < TO_BE_SURE && judge(&counted) != Verdict::Holds {
            counted.count(TO_BE_SURE - counted.counts.len(), &folder)?;
        }
        Ok(counted)
    };
    let all = in_parallel(rows, count)?;

    if !same {
        println!("the baseline is from elsewhere; there, then here:");
        print!("{}{here}", baseline.ground);
    }
    if !compares && !accept {
        println!("nothing is compared: programs run other instructions on this processor");
    }
    let mut well = true;
    for counted in &all {
        show(counted, &baseline);
        let verdict = judge(counted);
        if !accept && verdict != Verdict::Holds {
            well = false;
            complain(counted, &baseline, verdict, allowed(counted.row));
            let profile = callgrind::profile(counted.row, &folder);
            println!("    callgrind_annotate {}", profile.display());
        }
    }
    if accept {
        let all = all.iter();
        let counts = all.map(|counted| (counted.row.name.to_owned(), counted.middle()));
        baseline.counts.extend(counts);
        baseline.counts.retain(|name, _| crate::row(name).is_ok());
        baseline.ground = here;
        fs::write(path, baseline.render())?;
    } else if !well {
        println!("what is meant to be so becomes the baseline by:");
        println!("    tests/instructions/run --accept [--rows TEXT]");
    }
    Ok(well)
}

/// As many rows at a time as there are processors; the results are in their order.
fn in_parallel<'a>(
    rows: &[&'a Row],
    count: impl Fn(&'a Row) -> Result<Counted<'a>, Failure> + Sync,
) -> Result<Vec<Counted<'a>>, Failure> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            let counted = count(row);
            // Nothing panics while it is locked.
            if let Ok(mut results) = results.lock() {
                results.push(counted);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().map_err(|error| error.to_string())?;
    let mut all = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|counted| rows.iter().position(|row| row.name == counted.row.name));
    Ok(all)
}

/// The line of a row in the table.
fn show(counted: &Counted<'_>, baseline: &Baseline) {
    let (name, middle) = (counted.row.name, counted.middle());
    print!("count: {name:<24}{:>10} instructions", written(middle));
    if let Some(change) = baseline.change(name, middle) {
        print!(", {change:+.1} %");
    }
    if counted.counts.len() > 1 {
        print!(
            ", {} counts within {:.1} %",
            counted.counts.len(),
            counted.spread()
        );
    }
    println!();
}

/// Says what is wrong with a count, which may differ by `allowed` percent.
fn complain(counted: &Counted<'_>, baseline: &Baseline, verdict: Verdict, allowed: f64) {
    let (name, now) = (counted.row.name, written(counted.middle()));
    let Some(before) = baseline.counts.get(name) else {
        println!("{name}: {now} instructions for a message, and not in the baseline");
        return;
    };
    let change = baseline.change(name, counted.middle()).unwrap_or_default();
    let what = match verdict {
        Verdict::Faster => "faster; take it over, so that it is not lost unseen",
        _ => "slower",
    };
    println!(
        "{name}: {} instructions for a message in the baseline, {now} now: {change:+.1} %, where {allowed} % \
         are allowed: {what}",
        written(*before),
    );
}
