//! What publishing itself costs: measured by `benches/publish`, an optimised program that calls it.

use crate::Bench;
use crate::stats::Samples;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The rows. `PROEM_PUBLISH_BENCH` is that program.
pub fn run(bench: &mut Bench) -> Result<()> {
    let program = std::env::var_os("PROEM_PUBLISH_BENCH").context("PROEM_PUBLISH_BENCH is not set")?;
    // Not in memory, where the others are: fsync is most of what is measured.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench-publish.{}", std::process::id()));
    let rounds = bench.rounds(500);
    let output = Command::new(program).arg(&dir).arg(rounds.to_string()).output();
    // Whatever came of it.
    let _ = std::fs::remove_dir_all(&dir);
    let output = output?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut samples: BTreeMap<String, Samples> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (name, value) = line.split_once(' ').context("a line without a number")?;
        samples.entry(name.to_owned()).or_default().push(value.parse()?);
    }
    let of = |name: &str| samples.get(name).with_context(|| format!("nothing was said of `{name}`"));
    let (bare, ours, compare) = (of("bare")?, of("publish")?, of("compare")?);
    let row = |name: &str, samples: &Samples| {
        let figures = [0.1, 0.5, 0.99].map(|p| format!("{:.3}", samples.at(p)));
        [name.to_owned()].into_iter().chain(figures).collect::<Vec<_>>()
    };
    let head = ["", "p10 ms", "median ms", "p99 ms"].map(str::to_owned).to_vec();
    let table = vec![
        head,
        row("bare: create, write, fsync, rename, fsync of the directory", bare),
        row("publish of the same 10 kB: compare, stage, commit, finish", ours),
        row("compare of 1,000 unchanged targets of 10 kB", compare),
    ];
    let note = format!("In a folder of this checkout, interleaved. {rounds} rounds.");
    bench.report.section("Publishing", &note, &table);
    let ratio = ours.median() / bare.median();
    let reference = format!("bare write, fsync, rename: {:.2} ms", bare.median());
    let found = format!("{ratio:.2} × ({:.2} ms)", ours.median());
    bench.report.goal("publish of one 10 kB file", reference, "≤ 2 ×", found, Some(ratio <= 2.0));
    let found = format!("{:.1} ms", compare.median());
    bench.report.goal(
        "compare of 1,000 unchanged targets",
        "–".into(),
        "≤ 50 ms",
        found,
        Some(compare.median() <= 50.0),
    );
    Ok(())
}
