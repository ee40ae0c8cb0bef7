//! What supervising costs: ten idle processes, the way from TERM to the end, a restart.

use crate::Bench;
use crate::helper::{noted, now, program};
use crate::memory::watch_for;
use crate::process::{Running, command, halves, send, until};
use crate::stats::{Samples, ms};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
/// How long main takes to end after TERM, ms.
const OWN: u64 = 50;

/// The rows.
pub fn run(bench: &mut Bench) -> Result<()> {
    at_rest(bench)?;
    end(bench)?;
    restart(bench)
}

/// main, as these words say, and ten idle sidecars; `more` is added.
fn start(bench: &Bench, main: &[&str], more: &str) -> Result<Running> {
    let path = bench.dir.join("supervising.toml");
    let main = main.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let mut text = format!("control = \"none\"\n[process.main]\ncommand = [{main}]\n{more}");
    for number in 0..10 {
        write!(text, "[process.idle{number}]\ncommand = [\"sleep\", \"100000\"]\n")?;
    }
    fs::write(&path, text)?;
    let mut c = command(&bench.peers.proem);
    if std::env::var_os("BENCH_STDERR").is_some() {
        c.stderr(std::process::Stdio::inherit());
    }
    Running::start(c.arg("-c").arg(path))
}

fn at_rest(bench: &mut Bench) -> Result<()> {
    let running = start(bench, &["sleep", "100000"], "")?;
    sleep(Duration::from_secs(2));
    let window = Duration::from_secs(if bench.quick { 3 } else { 10 });
    let usage = watch_for(&[halves(running.pid())], window)[0];
    let found = format!(
        "{} process, {} kB RSS, {} kB anonymous, {} wakeups in {} s",
        usage.processes,
        usage.rss,
        usage.anonymous,
        usage.wakeups,
        window.as_secs()
    );
    let met = usage.processes == 1 && usage.rss <= 1536 && usage.wakeups == 0;
    bench.report.goal("ten idle processes", "–".into(), "init ≤ 1.5 MB RSS, 0 wakeups", found, Some(met));
    Ok(())
}

fn end(bench: &mut Bench) -> Result<()> {
    let (helper, file) = (program()?, bench.folder("end")?.join("own"));
    let (own, path) = (OWN.to_string(), file.display().to_string());
    let mut beyond = Samples::default();
    for _ in 0..bench.rounds(40) {
        let _ = fs::remove_file(&file);
        let mut running = start(bench, &[&helper, "stops", &own, &path], "")?;
        until("main is ready", SOON, || read(&file) == "ready")?;
        let began = Instant::now();
        send(running.pid(), libc::SIGTERM);
        running.child().wait()?;
        let all = ms(began, Instant::now());
        let own: f64 = read(&file).parse().context("main did not say how long it took")?;
        beyond.push(all - own / 1e6);
    }
    goal(bench, "TERM → all of eleven stopped, beyond main's own time", &format!("main: {OWN} ms"), &beyond);
    Ok(())
}

fn restart(bench: &mut Bench) -> Result<()> {
    let (helper, file) = (program()?, bench.folder("restart")?.join("lives"));
    let path = file.display().to_string();
    // What ran stably is started again at once; here all did.
    let more = format!(
        "[process.side]\ncommand = [\"{helper}\", \"lives\", \"{path}\"]\nstable = \"1ms\"\nmax_restarts = 1000\n"
    );
    let running = start(bench, &["sleep", "100000"], &more)?;
    let (mut back, mut alone) = (Samples::default(), Samples::default());
    for round in 0..bench.rounds(100) {
        until("it lives", SOON, || noted(&file).is_ok_and(|lives| lives.len() > round))?;
        sleep(Duration::from_millis(50));
        let (_, pid) = noted(&file)?[round];
        let died = now();
        send(pid, libc::SIGKILL);
        until("it lives again", SOON, || noted(&file).is_ok_and(|lives| lives.len() > round + 1))?;
        let (born, _) = noted(&file)?[round + 1];
        back.push(born.saturating_sub(died) as f64 / 1e6);
        alone.push(start_alone(&helper, bench.dir.join("alone").as_path())?);
    }
    drop(running);
    let reference = format!("its own start: {:.2} ms", alone.median());
    goal(bench, "a sidecar's death → its next life runs", &reference, &back);
    Ok(())
}

/// The program's own start, from before the fork until it says that it lives.
fn start_alone(helper: &str, file: &Path) -> Result<f64> {
    let _ = fs::remove_file(file);
    let began = now();
    let running = Running::start(command(helper).arg("lives").arg(file))?;
    until("it lives", SOON, || noted(file).is_ok_and(|lives| !lives.is_empty()))?;
    let (born, _) = noted(file)?[0];
    drop(running);
    Ok(born.saturating_sub(began) as f64 / 1e6)
}

fn goal(bench: &mut Bench, what: &str, reference: &str, samples: &Samples) {
    let found = format!("{:.2} ms, p99 {:.2} ms", samples.median(), samples.at(0.99));
    bench.report.goal(what, reference.to_owned(), "≤ 5 ms", found, Some(samples.median() <= 5.0));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
