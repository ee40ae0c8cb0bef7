//! `proem render`: publish and exit, or keep watching; no process of its own. Or only look what would change.

use super::{Call, dry_run};
use crate::config::Mode;
use crate::config::rendering::{Rendering, below};
use crate::error::Complaint;
use crate::exit::Exit;
use crate::os::inherited;
use crate::worker::{self, Ended, Surroundings};
use std::rc::Rc;

/// Publishes what is configured; with `--watch` until HUP, INT, QUIT or TERM.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    inherited::blocked_signals();
    crate::source::threads::share_the_heap();
    // What is wrong with the command line is said before files are read.
    let how = Rendering::of(&call.cli, &call.environment, call.mode)?;
    let mut plan = super::plan(call)?;
    if plan.groups.is_empty() && plan.dirs.is_empty() {
        let nothing = Complaint::new("there is no template to render");
        return Err(nothing
            .hint("name one, `-t FROM:TO`, or a configuration file, `-c PATH`")
            .exit(Exit::USAGE)
            .into());
    }
    if let Some(dir) = &how.out_dir {
        below(&mut plan, dir);
    }
    if call.mode == Mode::DryRun {
        return dry_run::run(plan, &how);
    }
    let mode = if call.mode == Mode::RenderWatch { worker::Mode::RenderWatch } else { worker::Mode::Render };
    match worker::run(Rc::new(plan), mode, None, Surroundings::default()) {
        Ended::Done(_) | Ended::InitGone | Ended::Renew => Ok(Exit::OK),
        Ended::Signal(signal) => Ok(Exit::by_signal(signal)),
        Ended::Failed(failure) => Err(failure.into()),
    }
}
