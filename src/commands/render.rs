//! `proem render`: publish and exit, or keep watching; no process of its own.

use super::Call;
use crate::config::Mode;
use crate::error::Complaint;
use crate::exit::Exit;
use crate::os::inherited;
use crate::worker::{self, Ended, Surroundings};

/// Publishes what is configured; with `--watch` until HUP, INT, QUIT or TERM.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    inherited::blocked_signals();
    crate::source::threads::share_the_heap();
    let plan = super::plan(call)?;
    if plan.groups.is_empty() {
        let nothing = Complaint::new("there is no template to render");
        return Err(nothing
            .hint("name one, `-t FROM:TO`, or a configuration file, `-c PATH`")
            .exit(Exit::USAGE)
            .into());
    }
    let mode = if call.mode == Mode::RenderWatch { worker::Mode::RenderWatch } else { worker::Mode::Render };
    match worker::run(&plan, mode, None, Surroundings::default()) {
        Ended::Done(_) | Ended::InitGone | Ended::Renew => Ok(Exit::OK),
        Ended::Signal(signal) => Ok(Exit::by_signal(signal)),
        Ended::Failed(failure) => Err(failure.into()),
    }
}
