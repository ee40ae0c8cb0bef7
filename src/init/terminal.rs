//! The foreground of the terminal: handed to main only if proem has it, taken back at the end. No error is fatal.

use crate::os::inherited::{pending, take_pending};
use std::os::fd::RawFd;

/// A terminal that proem started with the foreground of.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    fd: RawFd,
    own_group: i32,
}

impl Terminal {
    /// The controlling terminal on standard input, output or error, if proem's group is in its foreground. A terminal
    /// of another session, and one in whose background proem is, are left alone.
    pub fn in_foreground() -> Option<Terminal> {
        // SAFETY: cannot fail and touches no memory.
        let own_group = unsafe { libc::getpgrp() };
        // SAFETY: asks the kernel about a descriptor; ENOTTY or EBADF where it is none.
        (0..3).find(|fd| unsafe { libc::tcgetpgrp(*fd) } == own_group).map(|fd| Terminal { fd, own_group })
    }

    /// Whether the foreground may be given to a successor of `group`: it is still that group's, or proem's.
    pub fn is_ours(self, group: Option<i32>) -> bool {
        // SAFETY: as above.
        let foreground = unsafe { libc::tcgetpgrp(self.fd) };
        foreground == self.own_group || Some(foreground) == group
    }

    /// Puts a group in the foreground. Async-signal-safe. From the background this needs TTOU blocked, as it is in
    /// init and, until its exec, in init's child.
    pub fn give_to(self, group: i32) {
        // SAFETY: changes the terminal's foreground group; refused where that is not ours to do.
        unsafe { libc::tcsetpgrp(self.fd, group) };
    }

    /// Gives the terminal up, so that a new session can have it; whether that was proem's to do. It is when proem leads the
    /// terminal's session. The kernel then sends HUP and CONT to the foreground group, which is proem's own: what comes of
    /// the giving up is taken out of the pending signals again, as long as every signal is blocked.
    pub fn release(self) -> bool {
        // SAFETY: these calls touch no memory.
        if unsafe { libc::getsid(0) != libc::getpid() } {
            return false;
        }
        let before: Vec<i32> = [libc::SIGHUP, libc::SIGCONT].into_iter().filter(|n| pending(&[*n]).is_none()).collect();
        // SAFETY: takes no argument; refused where the terminal is not the controlling one.
        let released = unsafe { libc::ioctl(self.fd, libc::TIOCNOTTY) } == 0;
        if released {
            take_pending(&before);
        }
        released
    }

    /// Makes it the controlling terminal of the calling process, which leads a session that has none. Async-signal-safe.
    pub fn acquire(self) {
        // SAFETY: takes a plain number; refused where another session has the terminal.
        unsafe { libc::ioctl(self.fd, libc::TIOCSCTTY, 0) };
    }

    /// Takes the foreground back from a group that is gone, for whatever comes after proem in the same job.
    pub fn take_back(self, group: Option<i32>) {
        // SAFETY: as above.
        if group.is_some() && Some(unsafe { libc::tcgetpgrp(self.fd) }) == group {
            self.give_to(self.own_group);
        }
    }
}
