//! Whether a process is ready for a reload signal: one that would end it, because it has no handler (yet), is no reload.
//!
//! A container's main is often a script that execs the real program in a moment, and a program needs a moment to install
//! its handlers. A HUP in between would end the container.

use crate::os::inherited::bit;

/// What a process would do with a signal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Would {
    /// Handle or ignore it, or its default action is harmless. Also where /proc does not say: nobody is held back.
    Take,
    /// Nothing now: it is blocked. Who waits for it elsewhere (`sigwait(3)`, signalfd) blocks it for good; a shell that is
    /// just forking blocks everything for a moment, and may end by it after that.
    Wait,
    /// End.
    End,
}

/// What this process would do with `signal` now.
pub fn would(pid: i32, signal: i32) -> Would {
    if DEFAULT_IS_HARMLESS.contains(&signal) {
        return Would::Take;
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return Would::Take };
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok().map(|set| set & bit(signal) != 0)
    };
    match (has("SigBlk:"), has("SigIgn:"), has("SigCgt:")) {
        (Some(_), Some(true), Some(_)) | (Some(_), Some(_), Some(true)) => Would::Take,
        (Some(true), Some(_), Some(_)) => Would::Wait,
        (Some(false), Some(_), Some(_)) => Would::End,
        _ => Would::Take,
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
        assert_eq!(would(pid, libc::SIGHUP), Would::End);
        assert_eq!(would(pid, libc::SIGWINCH), Would::Take);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(would(i32::MAX, libc::SIGHUP), Would::Take);
    }
}
