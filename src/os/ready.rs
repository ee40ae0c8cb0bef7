//! Whether a process is ready for a reload signal: one that would end it, because it has no handler (yet), is no reload.
//!
//! A container's main is often a script that execs the real program in a moment, and a program needs a moment to install
//! its handlers. A HUP in between would end the container.

use super::inherited::bit;
use std::fs::{File, read_to_string};
use std::os::unix::fs::FileExt;

/// What a process would do with a signal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Would {
    /// Handle or ignore it, or its default action is harmless. Also where /proc does not say: nobody is held back.
    Take,
    /// Nothing now: it is blocked. Who waits for it elsewhere (signalfd, another thread's `sigwait(3)`) blocks it for good;
    /// a shell that is just forking blocks everything for a moment, and may end by it after that.
    Wait,
    /// End.
    End,
}

/// What this process would do with `signal` now.
pub fn would(pid: i32, signal: i32) -> Would {
    if DEFAULT_IS_HARMLESS.contains(&signal) {
        return Would::Take;
    }
    let Ok(status) = read_to_string(format!("/proc/{pid}/status")) else { return Would::Take };
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok().map(|set| set & bit(signal) != 0)
    };
    match (has("SigBlk:"), has("SigIgn:"), has("SigCgt:")) {
        (Some(_), Some(true), Some(_)) | (Some(_), Some(_), Some(true)) => Would::Take,
        (Some(true), Some(_), Some(_)) => Would::Wait,
        (Some(false), Some(_), Some(_)) if awaits(pid, signal) => Would::Take,
        (Some(false), Some(_), Some(_)) => Would::End,
        _ => Would::Take,
    }
}

/// Whether its first thread sits in `sigwait(3)`, `sigwaitinfo(2)` or `sigtimedwait(2)` for the signal. While it does, the
/// kernel has the signal unblocked (`do_sigtimedwait` keeps the mask in `real_blocked`, which /proc does not show), so a
/// program that handles its signals by waiting for them (tini) looks like one that knows none.
///
/// Both files ask for as much as ptrace(2) does; where neither is readable (another user's process, without
/// `CAP_SYS_PTRACE`) this is `false`: a reload that stays owed is better than a container that ends by it.
fn awaits(pid: i32, signal: i32) -> bool {
    if let Ok(text) = read_to_string(format!("/proc/{pid}/syscall"))
        && let Some((call, set)) = waiting(&text)
    {
        // Who waits for a child's end only (`sigwait` of SIGCHLD) does not take a HUP.
        return call == libc::SYS_rt_sigtimedwait && awaited(pid, set).is_none_or(|set| set & bit(signal) != 0);
    }
    // Without the number its place in the kernel: compilers add to the name (`do_sigtimedwait.isra.0`).
    read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.starts_with("do_sigtimedwait"))
}

/// The system call that a process sleeps in, and its first argument; `None` where it runs, or /proc does not say.
fn waiting(text: &str) -> Option<(libc::c_long, u64)> {
    let mut fields = text.split_whitespace();
    let call = fields.next()?.parse().ok()?;
    let first = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    Some((call, first))
}

/// The signals at this address of its memory.
fn awaited(pid: i32, address: u64) -> Option<u64> {
    let mut set = [0; 8];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut set, address).ok()?;
    Some(u64::from_ne_bytes(set))
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
    use std::time::{Duration, Instant};

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

    #[test]
    fn one_that_waits_for_the_signal_takes_it_and_no_other() {
        let set = bit(libc::SIGHUP);
        let (none, size) = (std::ptr::null_mut::<u64>(), 8_usize);
        // SAFETY: the child makes system calls only, with a live 8-byte set, and is ended by KILL.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                // SAFETY: as above.
                unsafe {
                    libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const set, none, size);
                    libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set, none, none, size);
                }
            }
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        // At first it is a copy of this process, then it blocks the signal, then it waits.
        while would(pid, libc::SIGHUP) != Would::Take {
            assert!(Instant::now() < deadline, "{:?}", would(pid, libc::SIGHUP));
            std::thread::yield_now();
        }
        assert_eq!(would(pid, libc::SIGUSR1), Would::End);
        // SAFETY: the child that was just forked; nothing else has its number before it is waited for.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }

    #[test]
    fn what_a_process_sleeps_in() {
        assert_eq!(waiting("128 0x7ffe99923d50 0x7ffe99923c80 0x0\n"), Some((128, 0x7ffe_9992_3d50)));
        assert_eq!(waiting("running\n"), None);
        assert_eq!(waiting("-1 0x7ffe99923d50 0x7fa74323ac2f\n"), Some((-1, 0x7ffe_9992_3d50)));
        assert_eq!(waiting("0\n"), None);
        assert_eq!(waiting(""), None);
    }
}
