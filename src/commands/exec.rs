//! `proem exec`: render once, then become the command. No proem process remains.

use super::Call;
use crate::error::Failure;
use crate::exit::Exit;
use crate::os::inherited;
use crate::worker::injection::Injected;
use crate::worker::{self, Ended, Surroundings};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Renders, then execs; returns only when one of them failed.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    inherited::blocked_signals();
    let plan = Rc::new(super::plan(call)?);
    let mut injected = match worker::run(Rc::clone(&plan), worker::Mode::Exec, None, Surroundings::default()) {
        Ended::Done(injected) => injected,
        Ended::InitGone | Ended::Renew => BTreeMap::new(),
        Ended::Signal(signal) => return Ok(Exit::by_signal(signal)),
        Ended::Failed(failure) => return Err(failure.into()),
    };
    let main = plan.processes.first().ok_or_else(|| Failure::new(Exit::USAGE, "no command to run"))?;
    let injected = injected.remove(&main.name).unwrap_or_else(|| Injected::as_written(main));
    let spec = super::process_spec(main, &plan, &injected)?;
    // A signal that came while nothing waited is still blocked: as PID 1 it would be dropped by the unblocking below.
    if let Some(signal) = inherited::pending(&worker::signals::ending(&plan)) {
        return Ok(Exit::by_signal(signal));
    }
    Err(crate::os::exec::become_process(&spec, call.inherited).into())
}
