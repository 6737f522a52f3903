use std::path::Path;
use crate::{Failure, callgrind, rows::Row};
pub(crate) fn run(rows: &[&Row], rounds: usize, _accept: bool, _path: &Path) -> Result<bool, Failure> {
    let folder = std::env::current_exe()?.with_file_name("instructions.out");
    std::fs::create_dir_all(&folder)?;
    for row in rows {
        let mut counts = Vec::new();
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            counts.push(callgrind::count(row, &folder)?);
        }
        let low = counts.iter().copied().fold(f64::MAX, f64::min);
        let high = counts.iter().copied().fold(0.0, f64::max);
        println!("{:24} {:?} {:.2}% {:.1}s", row.name, counts.iter().map(|c| c.round()).collect::<Vec<_>>(), (high / low - 1.0) * 100.0, start.elapsed().as_secs_f64() / rounds as f64);
    }
    Ok(true)
}
