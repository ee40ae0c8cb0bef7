//! The foreground of the terminal: handed to main only if proem has it, taken back at the end. No error is fatal.

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

    /// Takes the foreground back from a group that is gone, for whatever comes after proem in the same job.
    pub fn take_back(self, group: Option<i32>) {
        // SAFETY: as above.
        if group.is_some() && Some(unsafe { libc::tcgetpgrp(self.fd) }) == group {
            self.give_to(self.own_group);
        }
    }
}
