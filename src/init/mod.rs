//! init: PID 1. Signals, reaping, starting and stopping processes; nothing else. One thread, no network, no template
//! code, no allocation that grows.
//!
//! [`machine`] decides, without a system call; [`shell`] carries out. The other files are one system matter each. Why
//! each signal is or is not forwarded, and which races there are, is in `docs/design/signals.md`.

mod last_word;
mod logs;
pub mod machine;
mod pause;
mod readiness;
mod shell;
mod spawn;
mod sweep;
mod terminal;
mod wait;
mod worker;

pub use last_word::last_word;
pub use pause::pause;

use crate::exit::Exit;
use crate::link::ProcessSpec;
use crate::log::Level;
use crate::os::inherited::{self, Inherited};
use std::os::fd::OwnedFd;

/// The worker's whole life, given its end of the link (blocking, closed on exec); what it returns is its exit code.
///
/// It is called in a forked child, before any thread exists, with: its own process group; no signal blocked, all at
/// their defaults but PIPE and TTOU, which are ignored; standard input /dev/null; every descriptor from 3 up closed but
/// the link; the working directory that proem was started in. EOF on the link means that init is gone. Every command
/// that it starts needs [`Inherited::restore_in_child`].
pub type WorkerMain<'a> = dyn FnMut(OwnedFd) -> Exit + 'a;

/// Runs as init until main has ended, and says what to end proem with.
///
/// With a worker, it is forked first and says what main is and when it starts (`main` may be known already; the worker
/// may replace it). Without one, `main` starts at once: the plain init. Must be called while there is one thread only,
/// with every signal blocked ([`Inherited::take`]).
pub fn run(main: Option<ProcessSpec>, worker: Option<&mut WorkerMain<'_>>, inherited: &Inherited) -> Exit {
    with(main, worker, Level::Debug, inherited)
}

/// The plain init; a reaped orphan is logged at this level.
pub fn run_alone(main: ProcessSpec, orphans: Level, inherited: &Inherited) -> Exit {
    with(Some(main), None, orphans, inherited)
}

fn with(main: Option<ProcessSpec>, worker: Option<&mut WorkerMain<'_>>, orphans: Level, inherited: &Inherited) -> Exit {
    inherited::own_children(inherited);
    sweep::adopt_orphans();
    match shell::Shell::new(main, worker, orphans, inherited) {
        Ok(shell) => shell.run(),
        Err(error) => {
            last_word(Exit::INTERNAL, &format!("failed to set up init: {}", crate::error::reason(&error)));
            Exit::INTERNAL
        }
    }
}
