//! `proem probe`: 0 when all are up, else 1. For HEALTHCHECK in images without a shell.

use crate::config;
use crate::error::Failure;
use crate::exit::Exit;
use crate::os::environ::Environment;
use crate::probe::Probe;
use std::io::Write as _;
use std::time::Duration;

/// Probes each, one after the other, and prints one line each: docker shows it.
pub fn run(uris: &[String], timeout: Option<&str>, environment: &Environment) -> anyhow::Result<Exit> {
    let (probes, timeout) = parse(uris, timeout, environment)?;
    let mut exit = Exit::OK;
    for probe in &probes {
        let line = match probe.check(timeout) {
            Ok(()) => probe.up(),
            Err(complaint) => {
                exit = Exit::DOWN;
                complaint.to_string()
            }
        };
        // Nobody may be listening; the exit code says it all.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    Ok(exit)
}

fn parse(uris: &[String], timeout: Option<&str>, environment: &Environment) -> Result<(Vec<Probe>, Duration), Failure> {
    let mut complaints = Vec::new();
    let mut probes = Vec::new();
    for uri in uris {
        match Probe::parse(uri) {
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
