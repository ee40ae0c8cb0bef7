//! `proem exec`: render once, then become the command. No proem process remains.

use super::Call;
use crate::error::Failure;
use crate::exit::Exit;
use crate::os::inherited;
use crate::worker::control::Control;
use crate::worker::{self, Ended, Surroundings};

/// Renders, then execs; returns only when one of them failed.
pub fn run(call: &Call<'_>) -> Exit {
    inherited::blocked_signals();
    let plan = match super::plan(call) {
        Ok(plan) => plan,
        Err(failure) => return super::fail(&failure),
    };
    match worker::run(&plan, worker::Mode::Exec, Control::none(), Surroundings::default()) {
        Ended::Done | Ended::InitGone => {}
        Ended::Signal(signal) => return Exit::by_signal(signal),
        Ended::Failed(failure) => return super::fail(&failure),
    }
    let main = plan.processes.first().ok_or_else(|| Failure::new(Exit::USAGE, "no command to run"));
    let spec = match main.and_then(|main| super::process_spec(main, &plan)) {
        Ok(spec) => spec,
        Err(failure) => return super::fail(&failure),
    };
    // A signal that came while nothing waited is still blocked: as PID 1 it would be dropped by the unblocking below.
    if let Some(signal) = inherited::pending(&worker::signals::ENDING) {
        return Exit::by_signal(signal);
    }
    super::fail(&crate::os::exec::become_process(&spec, call.inherited))
}
