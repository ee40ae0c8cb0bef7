//! `proem render`: publish and exit, or keep watching; no process of its own.

use super::Call;
use crate::config::Mode;
use crate::exit::Exit;
use crate::os::inherited;
use crate::worker::control::Control;
use crate::worker::{self, Ended, Surroundings};

/// Publishes what is configured; with `--watch` until TERM, INT or QUIT.
pub fn run(call: &Call<'_>) -> Exit {
    inherited::blocked_signals();
    let plan = match super::plan(call) {
        Ok(plan) => plan,
        Err(failure) => return super::fail(&failure),
    };
    let mode = if call.mode == Mode::RenderWatch { worker::Mode::RenderWatch } else { worker::Mode::Render };
    match worker::run(&plan, mode, Control::none(), Surroundings::default()) {
        Ended::Done | Ended::InitGone => Exit::OK,
        Ended::Signal(signal) => Exit::by_signal(signal),
        Ended::Failed(failure) => super::fail(&failure),
    }
}
