//! The exit codes of proem itself, in one place. They follow `sysexits.h` where it has a word for the case.
//!
//! Everything else that proem exits with is not its own: the code of the main process, 128+n when that died of (or
//! proem was ended by) signal n.

use std::fmt;

/// A code that proem ends with, 0..=255 as `wait(2)` can report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Everything asked for was done.
    pub const OK: Exit = Exit(0);
    /// A probe is down, `proem health` says no.
    pub const DOWN: Exit = Exit(1);
    /// `--exit-code`: something would change.
    pub const WOULD_CHANGE: Exit = Exit(2);
    /// The command line is wrong (`EX_USAGE`).
    pub const USAGE: Exit = Exit(64);
    /// A template failed to render, a value is missing, or a check refused (`EX_DATAERR`).
    pub const DATA: Exit = Exit(65);
    /// A template is missing or cannot be read (`EX_NOINPUT`).
    pub const NO_INPUT: Exit = Exit(66);
    /// A source was not available within `wait` (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: Exit = Exit(69);
    /// proem itself failed (`EX_SOFTWARE`).
    pub const INTERNAL: Exit = Exit(70);
    /// A target cannot be written (`EX_CANTCREAT`).
    pub const CANNOT_WRITE: Exit = Exit(73);
    /// A template with `reload = "exit"` was published: the orchestrator is to start the container anew (`EX_TEMPFAIL`).
    pub const RELOAD: Exit = Exit(75);
    /// The configuration is wrong (`EX_CONFIG`).
    pub const CONFIG: Exit = Exit(78);
    /// The command was found but cannot be executed, as in a shell.
    pub const NOT_EXECUTABLE: Exit = Exit(126);
    /// The command was not found, as in a shell.
    pub const NOT_FOUND: Exit = Exit(127);

    /// The code of a process that ended by signal `n`, as a shell reports it: 128+n.
    pub fn by_signal(n: i32) -> Exit {
        Exit(u8::try_from(128 + n).unwrap_or(255))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
