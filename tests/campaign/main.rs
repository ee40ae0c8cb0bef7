//! Long series of chance: everything fails that can, at random instants, and what is promised holds. Each part has its
//! promises on top of its file:
//!
//! - `publishes`: publishes of a group of three files while the worker, proem and the check are killed and file systems
//!   fail; `calls`: a KILL at every single system call of a publish. What must hold is in `docs/design/publish.md`.
//! - `starts`: TERM at any moment of a start with five processes.
//! - `clients`: hostile clients of the control socket and of `listen`.
//! - `lines`: what processes write while they, and their loggers, are killed.
//!
//! `cargo test --test campaign` is the short form of all; `scripts/campaign` the long one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod actors;
mod chance;
mod clients;
mod content;
mod each_call;
mod faults;
mod helper;
mod lane;
mod lines;
mod random;
mod starts;

use chance::Summary;
use std::process::ExitCode;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Options {
    long: bool,
    /// How many of whatever the part counts.
    count: Option<u64>,
    seed: u64,
    filter: String,
}

impl Options {
    fn parse() -> Options {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut options =
            Options { long: false, count: None, seed: u64::from(now.subsec_nanos()), filter: String::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number follows");
            match arg.as_str() {
                "--long" => options.long = true,
                "--count" => options.count = Some(number()),
                "--seed" => options.seed = number(),
                // Whatever else cargo passes on for its own harness.
                other if other.starts_with('-') => {}
                other => other.clone_into(&mut options.filter),
            }
        }
        options
    }

    fn count(&self, short: u64, long: u64) -> u64 {
        self.count.unwrap_or(if self.long { long } else { short })
    }
}

type Part = (&'static str, fn(&Options));

const PARTS: [Part; 5] =
    [("publishes", publishes), ("calls", calls), ("starts", starts), ("clients", clients), ("lines", lines)];

fn main() -> ExitCode {
    if let Some(code) = helper::run().or_else(actors::run) {
        return code;
    }
    let options = Options::parse();
    let mut some = false;
    for (name, part) in PARTS.into_iter().filter(|(name, _)| name.contains(&options.filter)) {
        let begun = Instant::now();
        println!("{name}: seed {}", options.seed);
        part(&options);
        println!("  {:>8.1} s\ntest {name} ... ok", begun.elapsed().as_secs_f64());
        some = true;
    }
    if !some && options.long {
        eprintln!("there is no part `{}`", options.filter);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn calls(options: &Options) {
    let killed = each_call::run(options.long);
    let total: u64 = killed.values().sum();
    for (call, n) in &killed {
        println!("  {n:>8} KILL at {call}");
    }
    println!("  {total:>8} in all");
    // Three files are linked, renamed and synced in each form of the check, at least.
    let at = |call: &str| killed.get(call).copied().unwrap_or(0);
    assert!(at("linkat") >= 6 && at("renameat") + at("renameat2") >= 6 && at("fsync") >= 6, "{killed:?}");
}

fn publishes(options: &Options) {
    let count = options.count(280, 2000);
    let kinds = random::kinds(options.long);
    let each = count.div_ceil(kinds.len() as u64);
    let summary = beside_each_other(|scope| {
        let run = |(&kind, seed)| scope.spawn(move || random::run(kind, seed, each));
        kinds.iter().zip(options.seed..).map(run).collect()
    });
    assert!(summary.counts["publishes"] >= count);
}

fn starts(options: &Options) {
    let count = options.count(200, 2000);
    let each = count.div_ceil(starts::KINDS.len() as u64);
    let mut took: [Vec<Duration>; starts::KINDS.len()] = std::array::from_fn(|_| Vec::new());
    let summary = beside_each_other(|scope| {
        let lanes = starts::KINDS.into_iter().zip(options.seed..).zip(&mut took);
        lanes.map(|((kind, seed), took)| scope.spawn(move || starts::run(kind, seed, each, took))).collect()
    });
    for (kind, took) in starts::KINDS.iter().zip(&mut took) {
        println!("  from TERM to the end, {kind:?}: {}", quantiles(took));
    }
    assert!(summary.counts["TERM"] >= count);
    assert!(summary.counts["after readiness"] >= count / 50, "a tenth comes when main is up");
}

fn clients(options: &Options) {
    let count = options.count(3000, 10_000);
    clients::run(options.seed, count);
}

fn lines(options: &Options) {
    let megabytes = options.count(128, 1024);
    let each = megabytes.div_ceil(lines::KINDS.len() as u64);
    beside_each_other(|scope| {
        let run = |(&kind, seed)| scope.spawn(move || lines::run(kind, seed, each));
        lines::KINDS.iter().zip(options.seed..).map(run).collect()
    });
}

/// Lanes at the same time; what they did together is printed.
fn beside_each_other<'env>(
    lanes: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Vec<ScopedJoinHandle<'scope, Summary>>,
) -> Summary {
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let done: Vec<_> = lanes(scope).into_iter().map(ScopedJoinHandle::join).collect();
        for lane in done {
            summary.merge(&lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    for (what, n) in &summary.counts {
        println!("  {n:>8} {what}");
    }
    summary
}

/// Median, 99th of a hundred, and the longest.
fn quantiles(all: &mut [Duration]) -> String {
    all.sort_unstable();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
    let millis = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e3;
    format!(
        "median {:.2} ms, 99 % {:.2} ms, at most {:.2} ms ({})",
        millis(at(50)),
        millis(at(99)),
        millis(at(100)),
        all.len()
    )
}
