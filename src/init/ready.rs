//! Whether a process is ready for a reload signal: one that would end it, because it has no handler (yet), is no reload.
//!
//! A container's main is often a script that execs the real program in a moment, and a program needs a moment to install
//! its handlers. A HUP in between would end the container.

use crate::os::inherited::bit;

/// Whether `signal` would end this process: its default action is to end it, and the process neither handles, ignores nor
/// blocks it (whoever blocks a signal waits for it elsewhere). Where /proc does not say, nobody is held back.
pub fn would_end(pid: i32, signal: i32) -> bool {
    if DEFAULT_IS_HARMLESS.contains(&signal) {
        return false;
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    match (set("SigBlk:"), set("SigIgn:"), set("SigCgt:")) {
        (Some(blocked), Some(ignored), Some(caught)) => (blocked | ignored | caught) & bit(signal) == 0,
        _ => false,
    }
}

/// Signals whose default action is to be ignored, to stop or to continue (signal(7)); KILL is meant.
const DEFAULT_IS_HARMLESS: [i32; 9] = [
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGKILL,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_handler_would_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(would_end(pid, libc::SIGHUP));
        assert!(!would_end(pid, libc::SIGWINCH));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!would_end(i32::MAX, libc::SIGHUP));
    }
}
