//! What proem was started with, to be given back to every program that it starts: signal mask and dispositions.
//!
//! Raw system calls throughout: libc hides signals 32 and 33 (its own), and `nohup`-like parents may have set those too.

use std::io;
use std::ptr;

/// Signals whose disposition proem, Rust's library or libc's threads may change while proem runs. All others reach a
/// child untouched, so they need neither be read nor restored: start-up stays a handful of system calls. **Whoever
/// installs a handler for another signal, or ignores one, adds it here.** 32..=34 are the C libraries' own.
const CHANGED: [i32; 12] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGTTOU,
    32,
    33,
    34,
];

/// The signal state that proem was started with. Sets are bit masks: signal n is bit n - 1, as in /proc/PID/status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    mask: u64,
    ignored: u64,
    /// Soft and hard `RLIMIT_DATA` from before [`Inherited::limit_memory`].
    data: Option<[u64; 2]>,
    parent: i32,
}

impl Inherited {
    /// Blocks all 64 signals, then records what there was. The first thing that `main` does.
    pub fn take() -> Inherited {
        let mask = set_mask(u64::MAX);
        let ignored = CHANGED.iter().filter(|n| is_ignored(**n)).fold(0, |set, n| set | bit(*n));
        // SAFETY: cannot fail and touches no memory.
        let parent = unsafe { libc::getppid() };
        Inherited { mask, ignored, data: None, parent }
    }

    /// A clean start: nothing blocked, nothing ignored.
    pub const CLEAN: Inherited = Inherited { mask: 0, ignored: 0, data: None, parent: 0 };

    /// The mask that proem was started with.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Who the parent was; 0 where it is outside of this PID namespace.
    pub fn parent(&self) -> i32 {
        self.parent
    }

    /// Whether this signal was ignored at start (known for the signals that proem may change).
    pub fn ignores(&self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }

    /// Gives mask, dispositions and `RLIMIT_DATA` back: to be called in a child between fork and exec, also from
    /// `CommandExt::pre_exec`. Async-signal-safe: system calls only, no allocation.
    ///
    /// std's own `Command` passes a blocked mask on and leaves 32 and 33 ignored, so every command that the worker
    /// runs needs this call.
    pub fn restore_in_child(&self) {
        for signal in CHANGED {
            set_ignored(signal, self.ignores(signal));
        }
        self.restore_data_limit();
        set_mask(self.mask);
    }

    /// The same for a child of init, which changes SIGCHLD only: see [`own_children`].
    pub(crate) fn restore_in_child_of_init(&self) {
        if self.ignores(libc::SIGCHLD) {
            set_ignored(libc::SIGCHLD, true);
        }
        self.restore_data_limit();
        set_mask(self.mask);
    }

    /// Limits this process's data segment, bytes: the soft limit only, so that a child can have the old one back.
    /// Children must be started with the value that is returned, or they are limited too.
    pub fn limit_memory(self, bytes: u64) -> io::Result<Inherited> {
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `old` is a live rlimit that the call fills.
        if unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut old) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let new = libc::rlimit { rlim_cur: bytes.min(old.rlim_max), rlim_max: old.rlim_max };
        // SAFETY: `new` is a live rlimit that the call reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const new) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let first = self.data.unwrap_or([old.rlim_cur, old.rlim_max]);
        Ok(Inherited { data: Some(first), ..self })
    }

    fn restore_data_limit(&self) {
        if let Some([soft, hard]) = self.data {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            // SAFETY: `limit` is a live rlimit that the call reads. Raising the soft limit to at most the hard one
            // needs no privilege.
            unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
        }
    }
}

/// SIGCHLD to its default: where it was inherited as ignored, the kernel reaps children by itself and their statuses
/// are lost (`nohup`-like parents; tini and catatonit hang there).
pub fn own_children(inherited: &Inherited) {
    if inherited.ignores(libc::SIGCHLD) {
        set_ignored(libc::SIGCHLD, false);
    }
}

/// The signals of a process that runs ordinary Rust code (the worker, `render`, `probe`…): nothing blocked, all that
/// could end or disturb it at its default, a broken pipe an error instead of a death, and writing to a terminal from
/// the background (`stty tostop`) no reason to stop.
pub fn ordinary_signals() {
    for signal in CHANGED {
        set_ignored(signal, signal == libc::SIGPIPE || signal == libc::SIGTTOU);
    }
    set_mask(0);
}

/// Ignores a signal that [`Inherited::restore_in_child`] puts back.
pub fn ignore(signal: i32) {
    set_ignored(signal, true);
}

/// The signals of a process that is going to become another program (`exec`) or may wait as PID 1 (`render`): all stay
/// blocked, so that none is lost before somebody listens; a broken pipe is an error, and leaves nothing pending that
/// would end the next program.
pub fn blocked_signals() {
    set_ignored(libc::SIGPIPE, true);
    set_ignored(libc::SIGTTOU, true);
}

/// Unblocks these in the calling thread.
pub fn unblock(signals: &[i32]) {
    let set = signals.iter().fold(0, |set, signal| set | bit(*signal));
    // SAFETY: the pointer is to a live 8-byte set, which is the size that is passed; no old set is asked for.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &raw const set, ptr::null_mut::<u64>(), 8usize)
    };
}

/// A blocked signal that has arrived and asks for the end, if there is one.
pub fn pending(signals: &[i32]) -> Option<i32> {
    let mut set = 0u64;
    // SAFETY: the pointer is to a live 8-byte set, which is the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, 8usize) };
    signals.iter().copied().find(|signal| set & bit(*signal) != 0)
}

/// Takes these out of the blocked signals that have arrived, once each, without waiting.
pub fn take_pending(signals: &[i32]) {
    for signal in signals {
        let set = bit(*signal);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a live 8-byte set, which is the size that is passed, and a live time; no siginfo is asked for.
        unsafe {
            let (set, now) = (&raw const set, &raw const now);
            libc::syscall(libc::SYS_rt_sigtimedwait, set, ptr::null_mut::<libc::siginfo_t>(), now, 8usize)
        };
    }
}

/// Signal n's bit.
pub fn bit(signal: i32) -> u64 {
    1 << (signal - 1).clamp(0, 63)
}

/// Sets the thread's mask and returns the one before.
fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: both pointers are to live 8-byte sets, which is the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, 8usize) };
    old
}

/// Room for the kernel's `struct sigaction` of every architecture; its first word is the handler.
type KernelSigaction = [usize; 8];

fn is_ignored(signal: i32) -> bool {
    let mut old: KernelSigaction = [0; 8];
    // SAFETY: `old` is larger than the kernel's struct; the set size is 8.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, ptr::null::<usize>(), old.as_mut_ptr(), 8usize) };
    old[0] == libc::SIG_IGN
}

fn set_ignored(signal: i32, ignored: bool) {
    let new: KernelSigaction = [if ignored { libc::SIG_IGN } else { libc::SIG_DFL }, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `new` is larger than the kernel's struct: no flags, an empty mask, no restorer, which neither
    // disposition needs; the set size is 8.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new.as_ptr(), ptr::null_mut::<usize>(), 8usize) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_proc_status() {
        assert_eq!(bit(1), 1);
        assert_eq!(bit(64), 1 << 63);
    }

    #[test]
    fn a_memory_limit_is_undone_for_children() {
        // In a child, so that the test process keeps its own limits.
        // SAFETY: the child only makes system calls and ends by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            let mut after = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: live structs that the calls fill.
            unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut before) };
            let limited = Inherited::CLEAN.limit_memory(1 << 30).and_then(|one| one.limit_memory(1 << 29));
            if let Ok(limited) = limited {
                limited.restore_in_child();
            }
            // SAFETY: as above.
            unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut after) };
            let same = limited.is_ok() && before.rlim_cur == after.rlim_cur && before.rlim_max == after.rlim_max;
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(!same)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child that was just forked.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}
