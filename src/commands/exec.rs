//! `proem exec`: render once, then become the command. No proem process remains.

use crate::cli::Cli;
use crate::config;
use crate::exit::Exit;
use crate::os::inherited::{self, Inherited};
use crate::worker::control::Control;
use crate::worker::{self, Ended, Mode};

/// Renders, then execs; returns only when one of them failed.
pub fn run(cli: &Cli, inherited: &Inherited) -> Exit {
    let plan = match super::plan(cli, config::Mode::Exec) {
        Ok(plan) => plan,
        Err(failure) => return super::fail(&failure),
    };
    let Some(main) = plan.processes.first() else { return super::fail(&config::no_command()) };
    match worker::run(&plan, Mode::Exec, Control::none()) {
        Ended::Done | Ended::InitGone => {}
        Ended::Signal(signal) => return Exit::by_signal(signal),
        Ended::Failed(failure) => return super::fail(&failure),
    }
    let spec = match super::process_spec(main, &plan) {
        Ok(spec) => spec,
        Err(failure) => return super::fail(&failure),
    };
    // A signal that came while nothing waited is still blocked: as PID 1 it would be dropped by the unblocking below.
    if let Some(signal) = inherited::pending_end() {
        return Exit::by_signal(signal);
    }
    super::fail(&crate::init::become_process(&spec, inherited))
}
