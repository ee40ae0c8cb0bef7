//! `proem probe`: 0 when all are up, else 1. For HEALTHCHECK in images without a shell.

use crate::config::units;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::probe::Probe;
use std::io::Write as _;
use std::time::Duration;

/// How long each may take unless `--timeout` says otherwise. Docker's own default for a health check is 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Probes each, one after the other, and prints one line each: docker shows it.
pub fn run(uris: &[String], timeout: Option<&str>) -> Exit {
    let (probes, timeout) = match parse(uris, timeout) {
        Ok(parsed) => parsed,
        Err(complaints) => return super::fail(&Failure { exit: Exit::USAGE, complaints }),
    };
    let mut exit = Exit::OK;
    for probe in &probes {
        let line = match probe.check(timeout) {
            Ok(()) => format!("{} is up", probe.text),
            Err(complaint) => {
                exit = Exit::DOWN;
                complaint.to_string()
            }
        };
        // Nobody may be listening; the exit code says it all.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    exit
}

fn parse(uris: &[String], timeout: Option<&str>) -> Result<(Vec<Probe>, Duration), Vec<Complaint>> {
    let mut complaints = Vec::new();
    let mut gather = |complaint| complaints.push(complaint);
    let probes: Vec<Probe> = uris.iter().filter_map(|uri| Probe::parse(uri).map_err(&mut gather).ok()).collect();
    let timeout = timeout.map_or(Ok(TIMEOUT), units::duration).map_err(&mut gather);
    match timeout {
        Ok(timeout) if complaints.is_empty() => Ok((probes, timeout)),
        _ => Err(complaints),
    }
}
