//! `proem run`: init, and beside it the worker where there is anything to render or to wait for.

use crate::cli::{Cli, Command};
use crate::config;
use crate::error::Failure;
use crate::exit::Exit;
use crate::link::ToInit;
use crate::os::inherited::Inherited;
use crate::worker::control::Control;
use crate::worker::{self, Ended, Mode};
use std::os::fd::OwnedFd;

/// Runs until the main process has ended.
pub fn run(cli: &Cli, inherited: &Inherited) -> Exit {
    if config::needs_worker(cli) {
        let mut worker = |link: OwnedFd| work(cli, Control::new(link));
        return crate::init::run(None, Some(&mut worker), inherited);
    }
    match plain(cli) {
        Ok(spec) => crate::init::run(Some(spec), None, inherited),
        Err(failure) => super::fail(&failure),
    }
}

/// No templates and no configuration: a plain init, without a worker.
fn plain(cli: &Cli) -> Result<crate::link::ProcessSpec, Failure> {
    let plan = super::plan(cli, config::Mode::Run { once: true })?;
    match plan.processes.first() {
        Some(main) => super::process_spec(main, &plan),
        None => Err(config::no_command()),
    }
}

/// The whole life of a worker, in its own process.
fn work(cli: &Cli, control: Control) -> Exit {
    let once = matches!(cli.command, Command::Run { once: true, .. });
    let ended = match super::plan(cli, config::Mode::Run { once }) {
        Ok(plan) => {
            crate::os::limits::worker_memory(plan.worker_memory);
            let mode = if once { Mode::RunOnce } else { Mode::Run };
            worker::run(&plan, mode, control.clone())
        }
        Err(failure) => Ended::Failed(failure),
    };
    match ended {
        Ended::Done => {
            control.tell(&ToInit::Finished);
            Exit::OK
        }
        // init ends us, and says nothing of it.
        Ended::InitGone | Ended::Signal(_) => Exit::OK,
        Ended::Failed(failure) => {
            let reason = super::complain(&failure);
            control.tell(&ToInit::Exit { code: failure.exit.0, reason });
            failure.exit
        }
    }
}
