//! `proem run`: init, and beside it the worker where there is anything to render or to wait for.

use super::Call;
use crate::config::{self, Mode};
use crate::error::Failure;
use crate::exit::Exit;
use crate::link::{ProcessSpec, ToInit};
use crate::worker::control::Control;
use crate::worker::{self, Ended, Surroundings};
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::OwnedFd;

/// Runs until the main process has ended.
pub fn run(call: &Call<'_>) -> Exit {
    if config::needs_worker(&call.cli, &call.environment) {
        let mut worker = |link: OwnedFd| work(call, &Control::new(link));
        return crate::init::run(None, Some(&mut worker), call.inherited);
    }
    match plain(call) {
        Ok(spec) => crate::init::run(Some(spec), None, call.inherited),
        Err(failure) => super::fail(&failure),
    }
}

/// No templates and no configuration: a plain init, without a worker.
fn plain(call: &Call<'_>) -> Result<ProcessSpec, Failure> {
    let plan = super::plan(call)?;
    let main = plan.processes.first().ok_or_else(|| Failure::new(Exit::USAGE, "no command to run"))?;
    super::process_spec(main, &plan)
}

/// The whole life of a worker, in its own process.
fn work(call: &Call<'_>, control: &Control) -> Exit {
    let ended = match super::plan(call) {
        Ok(plan) => {
            let surroundings =
                Surroundings { directory: std::env::current_dir().ok(), data_limit: limit(call, plan.worker_memory) };
            let mode = if call.mode == Mode::Run { worker::Mode::Run } else { worker::Mode::RunOnce };
            worker::run(&plan, mode, control.clone(), surroundings)
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

/// Limits the worker's memory, so that a runaway template or value ends the worker and not the container. Returns the
/// limit that its commands get back.
fn limit(call: &Call<'_>, bytes: Option<u64>) -> Option<u64> {
    let bytes = bytes?;
    let (soft, _) = getrlimit(Resource::RLIMIT_DATA).ok()?;
    match call.inherited.limit_memory(bytes) {
        Ok(_) => Some(soft),
        Err(error) => {
            crate::warn!("failed to limit the worker's memory: {error}");
            None
        }
    }
}
