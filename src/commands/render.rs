//! `proem render`: publish and exit, or keep watching; no process of its own.

use crate::cli::{Cli, Command};
use crate::config;
use crate::exit::Exit;
use crate::os::inherited::Inherited;
use crate::worker::control::Control;
use crate::worker::{self, Ended, Mode};

/// Publishes what is configured; with `--watch` until TERM, INT or QUIT.
pub fn run(cli: &Cli, _inherited: &Inherited) -> Exit {
    let watch = matches!(cli.command, Command::Render { watch: true });
    let plan = match super::plan(cli, config::Mode::Render { watch }) {
        Ok(plan) => plan,
        Err(failure) => return super::fail(&failure),
    };
    let mode = if watch { Mode::RenderWatch } else { Mode::Render };
    match worker::run(&plan, mode, Control::none()) {
        Ended::Done | Ended::InitGone => Exit::OK,
        Ended::Signal(signal) => Exit::by_signal(signal),
        Ended::Failed(failure) => super::fail(&failure),
    }
}
