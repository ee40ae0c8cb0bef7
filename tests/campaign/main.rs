//! Publishes of a group of three files while everything fails that can: the worker, proem and the check are killed, at
//! random instants and at every single system call; the file system is full, read-only, out of reach. A reader loops
//! over the files. What must hold is in `docs/design/publish.md`.
//!
//! `cargo test --test campaign` is the short form; `scripts/campaign` the long one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod content;
mod each_call;
mod faults;
mod helper;
mod lane;
mod random;

use random::Summary;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Of the short form.
const A_FEW: u64 = 280;

struct Options {
    long: bool,
    publishes: u64,
    seed: u64,
    filter: String,
}

impl Options {
    fn parse() -> Options {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut options =
            Options { long: false, publishes: A_FEW, seed: u64::from(now.subsec_nanos()), filter: String::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number follows");
            match arg.as_str() {
                "--long" => options.long = true,
                "--publishes" => options.publishes = number(),
                "--seed" => options.seed = number(),
                // Whatever else cargo passes on for its own harness.
                other if other.starts_with('-') => {}
                other => other.clone_into(&mut options.filter),
            }
        }
        options
    }
}

fn main() -> ExitCode {
    if let Some(code) = helper::run() {
        return code;
    }
    let options = Options::parse();
    let wanted = |name: &str| name.contains(&options.filter);
    if wanted("random faults") {
        random_faults(&options);
        println!("test random faults ... ok");
    }
    if wanted("every call") {
        every_call(&options);
        println!("test every call ... ok");
    }
    ExitCode::SUCCESS
}

fn every_call(options: &Options) {
    let begun = Instant::now();
    let killed = each_call::run(options.long);
    let total: u64 = killed.values().sum();
    for (call, n) in &killed {
        println!("  {n:>8} KILL at {call}");
    }
    println!("  {total:>8} in all\n  {:>8} s", begun.elapsed().as_secs());
    // Three files are linked, renamed and synced in each form of the check, at least.
    let at = |call: &str| killed.get(call).copied().unwrap_or(0);
    assert!(at("linkat") >= 6 && at("renameat") + at("renameat2") >= 6 && at("fsync") >= 6, "{killed:?}");
}

fn random_faults(options: &Options) {
    let begun = Instant::now();
    let kinds = random::kinds(options.long);
    let each = options.publishes.div_ceil(kinds.len() as u64);
    println!("random faults: seed {}, {} lanes", options.seed, kinds.len());
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = kinds
            .iter()
            .zip(options.seed..)
            .map(|(&kind, seed)| scope.spawn(move || random::run(kind, seed, each)))
            .collect();
        let done: Vec<_> = lanes.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        for lane in done {
            summary.merge(&lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    for (what, n) in &summary.counts {
        println!("  {n:>8} {what}");
    }
    println!("  {:>8} s", begun.elapsed().as_secs());
    assert!(summary.counts["publishes"] >= options.publishes);
}
