//! The last line, for when proem itself is the reason for the exit.

use crate::exit::Exit;
use std::fs::OpenOptions;
use std::io::Write;

/// Where Kubernetes reads why a container ended (`terminationMessagePath`'s default).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Logs `exit N: reason`, and writes the same to /dev/termination-log where that exists.
pub fn last_word(exit: Exit, reason: &str) {
    crate::error!("exit {exit}: {reason}");
    // Never created: a file of that name means something only where the orchestrator put it.
    if let Ok(mut file) = OpenOptions::new().append(true).open(TERMINATION_LOG) {
        // A full or read-only one changes nothing about the exit.
        let _ = writeln!(file, "proem: exit {exit}: {reason}");
    }
}
