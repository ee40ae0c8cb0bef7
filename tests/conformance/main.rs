//! What a perfect PID 1 does, case by case, as black-box tests: the same list against proem and, by
//! `scripts/conformance`, against other inits. `cargo test --test conformance` runs it for proem, a sample of the races
//! only; arguments after `--` are parts of the names of cases to run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod exits;
mod helper;
mod inheritance;
mod leftovers;
mod moments;
mod reaping;
mod signals;
mod stand;
mod stopping;
mod surroundings;
mod table;
mod terminal;
mod window;
mod worker;

use stand::{NotApplicable, Stand};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::inits::Init;
use support::namespace::Place;
use support::procs;

/// Cases that run beside each other: most of them wait most of the time.
const BESIDE: usize = 4;

/// A row of the list.
#[derive(Clone, Copy)]
pub struct Row {
    /// What it is about.
    pub section: &'static str,
    /// What is done, and what is expected.
    pub case: &'static str,
    /// It is run in each.
    pub places: &'static [Place],
    /// Whether it says something about inits in general, not about what only proem has.
    pub general: bool,
    /// Panics where the case fails.
    pub check: fn(&Stand),
}

/// All three.
pub const EVERYWHERE: &[Place] = &[Place::Pid1, Place::Subreaper, Place::Neither];
/// Where it inherits all orphans.
pub const ADOPTING: &[Place] = &[Place::Pid1, Place::Subreaper];
/// As an ordinary process.
pub const BESIDE_OTHERS: &[Place] = &[Place::Subreaper];
/// As PID 1.
pub const FIRST: &[Place] = &[Place::Pid1];
/// Where only a case that is run once is wanted.
pub const REFUSED: &[Place] = &[Place::Neither];

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Why not, on one line.
    Failed(String),
    /// This init has no such option.
    NotApplicable,
}

/// A case of an init at a place.
pub struct Outcome {
    /// Which row of the list.
    pub row: usize,
    /// Which of the inits.
    pub init: usize,
    /// Where.
    pub place: Place,
    /// What came of it.
    pub verdict: Verdict,
}

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    inits: Vec<Init>,
    long: bool,
    list: bool,
    tables: Option<PathBuf>,
    names: Vec<String>,
}

thread_local! {
    static REASON: RefCell<String> = const { RefCell::new(String::new()) };
}

fn rows() -> Vec<Row> {
    let sections = [
        exits::ROWS,
        signals::ROWS,
        moments::ROWS,
        terminal::ROWS,
        reaping::ROWS,
        leftovers::ROWS,
        surroundings::ROWS,
        inheritance::ROWS,
        docker::ROWS,
        worker::ROWS,
        stopping::ROWS,
    ];
    sections.into_iter().flatten().copied().collect()
}

fn main() -> ExitCode {
    helper::run();
    let asked = match ask() {
        Ok(asked) => asked,
        Err(text) => {
            eprintln!("conformance: {text}");
            return ExitCode::from(64);
        }
    };
    let rows = rows();
    let mut jobs = Vec::new();
    for (row, init) in (0..rows.len()).flat_map(|row| (0..asked.inits.len()).map(move |init| (row, init))) {
        if !rows[row].general && !asked.inits[init].is_proem() {
            continue;
        }
        for place in rows[row].places {
            // Who gives up where the subreaper is refused gives up in every row: one of them says so.
            if *place == Place::Neither && rows[row].places != REFUSED && !asked.inits[init].is_proem() {
                continue;
            }
            let name = name(&rows[row], &asked.inits[init], *place);
            if asked.names.is_empty() || asked.names.iter().any(|part| name.contains(part)) {
                jobs.push((row, init, *place, name));
            }
        }
    }
    if asked.list {
        for (.., name) in &jobs {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(code) = adopt_what_is_left() {
        return code;
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("panicked").trim().replace('\n', " / ");
        REASON.with(|reason| *reason.borrow_mut() = format!("{text}{place}"));
    }));

    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                while let Some((row, init, place, name)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let stand = Stand { init: asked.inits[*init].clone(), place: *place, long: asked.long };
                    let verdict = run(rows[*row].check, &stand, name);
                    outcomes.lock().unwrap().push(Outcome { row: *row, init: *init, place: *place, verdict });
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    if let Some(path) = &asked.tables {
        let windows: Vec<_> = asked.inits.iter().map(window::measure).collect();
        std::fs::write(path, table::blocks(&rows, &asked.inits, &outcomes, &windows)).unwrap();
    }
    let failed = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_))).count();
    println!("\nconformance: {} passed or not applicable, {failed} failed", outcomes.len() - failed);
    // Others are measured, not judged.
    let judged = outcomes.iter().filter(|outcome| asked.inits[outcome.init].is_proem());
    ExitCode::from(u8::from(judged.into_iter().any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)))))
}

fn name(row: &Row, init: &Init, place: Place) -> String {
    format!("{}: {}, {} [{}]", row.section, row.case, place.name(), init.name())
}

fn run(check: fn(&Stand), stand: &Stand, name: &str) -> Verdict {
    let begun = Instant::now();
    let verdict = match catch_unwind(AssertUnwindSafe(|| check(stand))) {
        Ok(()) => Verdict::Passed,
        Err(payload) if payload.is::<NotApplicable>() => Verdict::NotApplicable,
        Err(_) => Verdict::Failed(REASON.with(RefCell::take)),
    };
    let word = match &verdict {
        Verdict::Passed => "ok".to_owned(),
        Verdict::NotApplicable => "not applicable".to_owned(),
        Verdict::Failed(reason) => format!("FAILED\n    {reason}"),
    };
    println!("test {name} ... {word} ({:.1} s)", begun.elapsed().as_secs_f64());
    verdict
}

/// Goes on in a child, where there is nothing to return. This process inherits what a case or an init leaves behind, reaps it while the cases run (an init
/// that adopts nobody leaves as many zombies as there are process ids), ends it when they have, and ends as they do.
fn adopt_what_is_left() -> Option<ExitCode> {
    // SAFETY: plain numbers; there is one thread.
    let cases = unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::fork()
    };
    assert!(cases >= 0, "fork: {}", std::io::Error::last_os_error());
    if cases == 0 {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
        return None;
    }
    let mut status = 0;
    loop {
        // SAFETY: reaps whatever has ended; `status` is live.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == cases || ended < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
            break;
        }
    }
    end_what_is_left();
    let passed = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    Some(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends what descends from this process, and only that; for a moment, because the ended leave orphans of their own.
fn end_what_is_left() {
    let own = i32::try_from(std::process::id()).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        // SAFETY: reaps whatever has ended; no status is wanted.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        let left = stand::descendants(own);
        if left.is_empty() {
            return;
        }
        for pid in left {
            if procs::get(pid).is_some_and(|process| process.state != 'Z') {
                // SAFETY: kill(2) touches no memory; the id was just seen below this process.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `--init NAME[=PATH]`…, `--long`, `--tables FILE`, `--list`, names. Options of cargo's own harness are ignored.
fn ask() -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--init" => {
                let text = value()?;
                asked.inits.push(Init::named(&text).ok_or(format!("there is no init called `{text}`"))?);
            }
            "--tables" => asked.tables = Some(value()?.into()),
            "--long" => asked.long = true,
            "--list" => asked.list = true,
            "--test-threads" | "--skip" | "--format" | "--color" => drop(value()?),
            option if option.starts_with('-') => {}
            _ => asked.names.push(arg),
        }
    }
    if asked.inits.is_empty() {
        asked.inits.extend(Init::named("proem"));
    }
    match asked.inits.iter().find(|init| !init.is_installed()) {
        Some(init) => Err(format!("no {}: run scripts/setup --bench", init.program)),
        None => Ok(asked),
    }
}
