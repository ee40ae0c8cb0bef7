//! Start to the child's exec and exit, and the helper for contenders that take turns.

use crate::Bench;
use crate::process::{command, rehearse, time};
use crate::report::Report;
use crate::stats::Samples;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of those that take turns: a whole process, from start to exit.
pub struct Contender {
    name: String,
    command: Command,
    /// Removed before each turn, outside the measured time.
    remove: Option<PathBuf>,
    samples: Samples,
}

impl Contender {
    /// A contender that starts from the same state each time.
    pub fn new(name: &str, command: Command) -> Contender {
        Contender { name: name.into(), command, remove: None, samples: Samples::default() }
    }

    /// This file is removed before each turn.
    pub fn without(mut self, file: &Path) -> Contender {
        self.remove = Some(file.to_owned());
        self
    }

    fn turn(&mut self) -> Result<f64> {
        if let Some(file) = &self.remove
            && let Err(error) = fs::remove_file(file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let (ms, status) = time(&mut self.command)?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(ms)
    }
}

/// All contenders of a row.
#[derive(Default)]
pub struct Turns(Vec<Contender>);

impl Turns {
    /// Adds one, unless it does not work: then the report says so.
    pub fn add(&mut self, report: &mut Report, mut contender: Contender) {
        match rehearse(&mut contender.command) {
            Ok(()) => self.0.push(contender),
            Err(error) => {
                eprintln!("bench: {}: {error:#}", contender.name);
                report.skipped(&format!("{}: {error:#}", contender.name));
            }
        }
    }

    /// Each has one turn per round, each round begins with another; `between` runs once per round.
    pub fn play(&mut self, rounds: usize, mut between: impl FnMut() -> Result<()>) -> Result<()> {
        let count = self.0.len();
        for round in 0..rounds {
            for turn in 0..count {
                let contender = &mut self.0[(round + turn) % count];
                let ms = contender.turn()?;
                contender.samples.push(ms);
            }
            between()?;
        }
        Ok(())
    }

    /// What was measured of that contender, if it took part.
    pub fn of(&self, name: &str) -> Option<Samples> {
        self.0.iter().find(|c| c.name == name).map(|c| c.samples.clone())
    }

    /// A table of all, with ratios to the first that is there.
    pub fn table(&self, reference: &str) -> Vec<Vec<String>> {
        let base = self.of(reference).unwrap_or_default();
        let mut rows = vec![
            ["", "p10 ms", "median ms", "p99 ms", "p10 × reference", "median × reference"].map(String::from).to_vec(),
        ];
        for c in &self.0 {
            let s = &c.samples;
            let ratios = [0.1, 0.5].map(|p| s.at(p) / base.at(p));
            let figures = [s.at(0.1), s.median(), s.at(0.99), ratios[0], ratios[1]].map(|v| format!("{v:.2}"));
            rows.push(std::iter::once(c.name.clone()).chain(figures).collect());
        }
        rows
    }
}

/// A static C program that does nothing, or busybox' `true` where there is no compiler.
fn child(dir: &Path) -> Result<Vec<String>> {
    let (source, program) = (dir.join("nothing.c"), dir.join("nothing"));
    fs::write(&source, "int main(void) { return 0; }\n")?;
    let built = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status();
    if built.is_ok_and(|s| s.success()) {
        return Ok(vec![program.display().to_string()]);
    }
    let busybox = crate::peers::which("busybox").context("neither cc nor busybox is there")?;
    Ok(vec![busybox.display().to_string(), "true".into()])
}

const TINI: &str = "`tini-static -s --`";
const PLAIN: &str = "`proem --`";
const RUN_SAME: &str = "`proem run`, 1 template, target unchanged";
const RUN_NEW: &str = "`proem run`, 1 template, target absent";
const EXEC_SAME: &str = "`proem exec`, 1 template, target unchanged";
const EXEC_NEW: &str = "`proem exec`, 1 template, target absent";
const HABIT: &str = "`tini` + `sh` + `envsubst`";
const CT: &str = "consul-template `-once -exec`";

const TERA: &str =
    "server {\n  listen {{ env.BENCH_PORT }};\n  server_name {{ env.BENCH_HOST }};\n  root {{ env.BENCH_ROOT }};\n}\n";
const SHELL: &str = "server {\n  listen ${BENCH_PORT};\n  server_name ${BENCH_HOST};\n  root ${BENCH_ROOT};\n}\n";
const GO: &str = "server {\n  listen {{ env \"BENCH_PORT\" }};\n  server_name {{ env \"BENCH_HOST\" }};\n  root {{ env \"BENCH_ROOT\" }};\n}\n";
const HABIT_SH: &str =
    "#!/bin/sh\nset -e\nenvsubst '$BENCH_PORT $BENCH_HOST $BENCH_ROOT' <\"$1\" >\"$2\"\nshift 2\nexec \"$@\"\n";

/// The rows about start.
pub fn run(bench: &mut Bench) -> Result<()> {
    let dir = bench.folder("start")?;
    let child = child(&dir)?;
    let with_env = |program: &Path| {
        let mut c = command(program);
        c.env("BENCH_PORT", "8080").env("BENCH_HOST", "example.org").env("BENCH_ROOT", "/srv/www");
        c
    };
    let mut turns = Turns::default();
    let mut bare = with_env(Path::new(&child[0]));
    bare.args(&child[1..]);
    let inits = [
        (TINI, bench.peers.tini_static.clone(), &["-s", "--"][..]),
        ("`tini -s --`", bench.peers.tini.clone(), &["-s", "--"]),
        ("`dumb-init --`", bench.peers.dumb_init.clone(), &["--"]),
        ("`catatonit --`", bench.peers.catatonit.clone(), &["--"]),
        (PLAIN, Some(bench.peers.proem.clone()), &["--"]),
    ];
    let report = &mut bench.report;
    turns.add(report, Contender::new("the child alone", bare));
    for (name, program, arguments) in inits {
        let Some(program) = program else { continue };
        let mut c = with_env(&program);
        c.args(arguments).args(&child);
        turns.add(report, Contender::new(name, c));
    }
    let (tera, shell, go, habit) =
        (dir.join("a.tera"), dir.join("a.sh"), dir.join("a.ctmpl"), dir.join("entrypoint.sh"));
    for (path, text) in [(&tera, TERA), (&shell, SHELL), (&go, GO), (&habit, HABIT_SH)] {
        fs::write(path, text)?;
    }
    for (mode, same, new) in [("run", RUN_SAME, RUN_NEW), ("exec", EXEC_SAME, EXEC_NEW)] {
        for (number, name) in [same, new].into_iter().enumerate() {
            let out = dir.join(format!("{mode}-{number}.conf"));
            let mut c = with_env(&bench.peers.proem);
            c.arg(mode).arg("-t").arg(format!("{}:{}", tera.display(), out.display())).arg("--").args(&child);
            let contender = Contender::new(name, c);
            turns.add(report, if number == 0 { contender } else { contender.without(&out) });
        }
    }
    if let (Some(tini), Some(_)) = (&bench.peers.tini, &bench.peers.envsubst) {
        let mut c = with_env(tini);
        c.args(["-s", "--", "/bin/sh"]).args([&habit, &shell, &dir.join("habit.conf")]).args(&child);
        turns.add(report, Contender::new(HABIT, c));
    }
    if let Some(ct) = &bench.peers.ct {
        let out = dir.join("ct.conf");
        let mut c = with_env(ct);
        c.arg("-once").arg("-template").arg(format!("{}:{}", go.display(), out.display())).arg("-exec").arg(&child[0]);
        turns.add(report, Contender::new(CT, c));
    }
    let rounds = bench.rounds(500);
    turns.play(rounds.div_ceil(10), || Ok(()))?;
    for contender in &mut turns.0 {
        contender.samples = Samples::default();
    }
    turns.play(rounds, || Ok(()))?;

    let (tini, habit) = (turns.of(TINI), turns.of(HABIT));
    let goals = [
        ("start, plain init", PLAIN, TINI, &tini, 1.10),
        ("start, one template, `run`", RUN_SAME, TINI, &tini, 1.40),
        ("start, one template, `run`, target absent", RUN_NEW, TINI, &tini, 1.40),
        ("start, one template, `exec`", EXEC_SAME, TINI, &tini, 1.15),
        ("start, one template, `exec`, target absent", EXEC_NEW, TINI, &tini, 1.15),
        ("start, one template, `run`, against the habit", RUN_SAME, HABIT, &habit, 0.6),
    ];
    for (what, ours, name, reference, limit) in goals {
        if let Some(ours) = turns.of(ours) {
            bench.report.ratio(what, name, &ours, reference.as_ref(), limit);
        }
    }
    let note = format!(
        "From before the fork to after the wait, around a static C program that returns at once. {rounds} rounds, in \
         each every contender once. The template has three variables from the environment; the reference is {TINI}."
    );
    bench.report.section("Start", &note, &turns.table(TINI));
    Ok(())
}
