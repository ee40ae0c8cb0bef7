//! `proem probe`: 0 when all are up, else 1. For HEALTHCHECK in images without a shell.

use crate::config::{self, expand};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::os::environ::Environment;
use crate::probe::Probe;
use std::io::Write as _;
use std::time::Duration;

/// Probes all of them at once, within one timeout, and prints one line: docker shows it.
pub fn run(uris: &[String], timeout: Option<&str>, environment: &Environment) -> anyhow::Result<Exit> {
    let (probes, timeout) = parse(uris, timeout, environment)?;
    let outcomes = check(&probes, timeout);
    let exit = if outcomes.iter().all(Result::is_ok) { Exit::OK } else { Exit::DOWN };
    // Nobody may be listening; the exit code says it all.
    let _ = writeln!(std::io::stdout(), "{}", line(&probes, &outcomes));
    Ok(exit)
}

/// One needs no thread; of several the slowest decides how long it takes, and not their sum.
fn check(probes: &[Probe], timeout: Duration) -> Vec<Result<(), Complaint>> {
    let Some((first, others)) = probes.split_first() else { return Vec::new() };
    std::thread::scope(|scope| {
        let others: Vec<_> = others
            .iter()
            .map(|probe| (probe, std::thread::Builder::new().spawn_scoped(scope, || probe.check(timeout))))
            .collect();
        let first = first.check(timeout);
        let others = others.into_iter().map(|(probe, thread)| match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            // No thread was to be had (a limit of processes), or it died: here and now, later than the others.
            Ok(Err(_)) | Err(_) => probe.check(timeout),
        });
        std::iter::once(first).chain(others).collect()
    })
}

/// What is down first, since long lines are cut; each with its remedy.
fn line(probes: &[Probe], outcomes: &[Result<(), Complaint>]) -> String {
    let down = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(|complaint| match &complaint.hint {
        Some(hint) => format!("{} ({hint})", complaint.message),
        None => complaint.message.clone(),
    });
    let up = probes.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(probe, _)| probe.up());
    let line = down.chain(up).collect::<Vec<_>>().join("; ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn parse(uris: &[String], timeout: Option<&str>, environment: &Environment) -> Result<(Vec<Probe>, Duration), Failure> {
    let mut complaints = Vec::new();
    let mut probes = Vec::new();
    for uri in uris {
        // There is no shell where a HEALTHCHECK is a list.
        match Probe::parse_expanding(uri, |part| expand::expand(part, environment)) {
            Ok(probe) => probes.push(probe),
            Err(complaint) => complaints.push(complaint),
        }
    }
    let timeout = config::probe_timeout(timeout, environment);
    match timeout {
        Ok(timeout) if complaints.is_empty() => Ok((probes, timeout)),
        Ok(_) => Err(Failure { exit: Exit::USAGE, complaints }),
        Err(failure) => {
            complaints.extend(failure.complaints);
            Err(Failure { exit: Exit::USAGE, complaints })
        }
    }
}
