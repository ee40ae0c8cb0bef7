//! What a process writes, through proem's logger, beside the usual filters.

use crate::Bench;
use crate::helper::{LINE, program};
use crate::process::{Running, command};
use crate::stats::ms;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

/// `sed -u` reads byte by byte.
const SLOW: usize = 80_000;

struct Filter {
    name: &'static str,
    command: Command,
    lines: usize,
    /// What it adds to each line, bytes.
    adds: usize,
}

impl Filter {
    /// Bytes that came out for each second, in millions of what went in; that none is missing is looked at, too.
    fn speed(&mut self) -> Result<f64> {
        let began = Instant::now();
        let mut running = Running::start(self.command.stdout(Stdio::piped()))?;
        let mut output = running.child().stdout.take().context("no standard output")?;
        let (mut chunk, mut came) = (vec![0; 1 << 18], 0_usize);
        loop {
            match output.read(&mut chunk)? {
                0 => break,
                count => came += count,
            }
        }
        let took = ms(began, Instant::now());
        let expected = self.lines * (LINE + self.adds);
        if came != expected {
            bail!("{}: {came} bytes came out instead of {expected}", self.name);
        }
        Ok((self.lines * LINE) as f64 / took / 1e3)
    }
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let dir = bench.folder("logs")?;
    let helper = program()?;
    let lines = if bench.quick { 1_000_000 } else { 10_000_000 };
    let proem = |log: &str| -> Result<Command> {
        let path = dir.join(format!("{log}.toml"));
        let text = format!(
            "control = \"none\"\n[process.main]\ncommand = [\"{helper}\", \"lines\", \"{lines}\"]\nlog = \"{log}\"\n"
        );
        fs::write(&path, text)?;
        let mut c = command(&bench.peers.proem);
        c.arg("-c").arg(path);
        Ok(c)
    };
    let shell = |pipe: &str, lines: usize| {
        let mut c = command("/bin/sh");
        c.args(["-c", &format!("'{helper}' lines {lines} | {pipe}")]);
        c
    };
    let json = r#"{"time":"2026-01-31T23:59:59.999Z","process":"main","stream":"stdout","line":""}"#.len();
    let prefix = "main | ".len();
    let mut filters = [
        Filter { name: "`cat`: a pipe more", command: shell("cat", lines), lines, adds: 0 },
        Filter {
            name: "`sed`, which holds lines back",
            command: shell("sed 's/^/main | /'", lines),
            lines,
            adds: prefix,
        },
        Filter {
            name: "`cat`, then `sed -u`",
            command: shell("cat | sed -u 's/^/main | /'", SLOW),
            lines: SLOW,
            adds: prefix,
        },
        Filter { name: "proem, `log = \"prefix\"`", command: proem("prefix")?, lines, adds: prefix },
        Filter { name: "proem, `log = \"json\"`", command: proem("json")?, lines, adds: json },
    ];
    let head = ["", "lines", "bytes in", "MB/s"].map(str::to_owned).to_vec();
    let mut table = vec![head];
    let mut speeds = Vec::new();
    for filter in &mut filters {
        let speed = filter.speed()?;
        let figures = [filter.lines.to_string(), (filter.lines * LINE).to_string(), format!("{speed:.1}")];
        table.push(std::iter::once(filter.name.to_owned()).chain(figures).collect());
        speeds.push(speed);
    }
    let note = "Lines of 100 bytes, written as fast as they are taken, to a pipe that is read as fast as they come; all that \
                went in has come out. `sed -u`, which passes each line on at once as proem does, reads byte by byte and gets \
                fewer of them.";
    bench.report.section("Lines of a process", note, &table);
    for (at, name) in [(3, "prefix"), (4, "json")] {
        let what = format!("log = \"{name}\", {} MB", lines * LINE / 1_000_000);
        let reference = format!("`cat`, then `sed -u`: {:.1} MB/s", speeds[2]);
        let found = format!("{:.0} × ({:.0} MB/s)", speeds[at] / speeds[2], speeds[at]);
        bench.report.goal(&what, reference, "≥ 1 ×", found, Some(speeds[at] >= speeds[2]));
    }
    Ok(())
}
