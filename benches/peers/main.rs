//! proem beside its peers, in one run: `scripts/bench` starts this and puts what it prints into `docs/benchmarks.md`.
//!
//! Nothing is asserted: every row says what the goal was and whether it was met. What is not installed is skipped and
//! said so. All contenders of a row take turns within one round, so that a busy machine disturbs them alike; what
//! counts is the ratio of medians, not the milliseconds.
//!
//! It does not use proem's library: what is measured is the release binary named by `PROEM`.

#![allow(clippy::cast_precision_loss, reason = "figures for people to read, far below 2^52")]

mod consul;
mod helper;
mod http;
mod logs;
mod many;
mod memory;
mod once;
mod orphans;
mod pair;
mod peers;
mod process;
mod publish;
mod report;
mod start;
mod stats;
mod supervising;
mod watch;
mod watching;

use anyhow::{Context, Result, bail};
use peers::Peers;
use report::Report;
use std::path::PathBuf;

/// What every row needs.
pub struct Bench {
    /// The programs that are there.
    pub peers: Peers,
    /// A folder on tmpfs, removed at the end: no disk in any timing.
    pub dir: PathBuf,
    /// Fewer rounds: for a look, not for the page.
    pub quick: bool,
    /// What was found.
    pub report: Report,
}

impl Bench {
    /// `full` rounds, or a tenth of them for a quick look.
    pub fn rounds(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(3) } else { full }
    }

    /// A folder of files below [`Bench::dir`], emptied but kept where it exists: somebody may watch it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        for entry in std::fs::read_dir(&path)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(path)
    }
}

type Row = (&'static str, fn(&mut Bench) -> Result<()>);

const ROWS: [Row; 13] = [
    ("start", start::run),
    ("rest", memory::at_rest),
    ("watching", memory::watching),
    ("latency", many::one_key),
    ("prefix", many::big_prefix),
    ("templates", many::many_templates),
    ("once", once::run),
    ("publish", publish::run),
    ("size", report::sizes),
    ("orphans", orphans::run),
    ("pair", pair::run),
    ("supervising", supervising::run),
    ("logs", logs::run),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Some rows run this program again, under the init that is measured.
    if let Some(done) = helper::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        return done;
    }
    // `cargo bench` says `--bench`; `cargo test --all-targets` does not, and must not take minutes.
    if !arguments.iter().any(|a| a == "--bench") {
        println!("peers: run by scripts/bench");
        return Ok(());
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|w| !ROWS.iter().any(|(name, _)| name == *w)) {
        bail!("no row `{unknown}`; there are: {}", ROWS.map(|(name, _)| name).join(", "));
    }
    let dir = PathBuf::from(format!("/dev/shm/proem-bench.{}", std::process::id()));
    let quick = arguments.iter().any(|a| a == "--quick");
    let mut bench = Bench { peers: Peers::find()?, dir, quick, report: Report::default() };
    std::fs::create_dir_all(&bench.dir).with_context(|| format!("failed to create {}", bench.dir.display()))?;
    bench.report.machine(&bench.peers);
    for (name, row) in ROWS {
        if wanted.is_empty() || wanted.contains(&name) {
            eprintln!("bench: {name}");
            if let Err(error) = row(&mut bench) {
                eprintln!("bench: {name}: {error:#}");
                bench.report.skipped(&format!("`{name}`: {error:#}"));
            }
        }
    }
    std::fs::remove_dir_all(&bench.dir)?;
    print!("{}", bench.report);
    Ok(())
}
