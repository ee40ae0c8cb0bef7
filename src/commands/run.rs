//! `proem run`: init, and beside it the worker where there is anything to render or to wait for.

use super::Call;
use crate::config::{self, Mode};
use crate::error::{Failure, reason};
use crate::exit::Exit;
use crate::link::{ProcessSpec, ToInit};
use crate::worker::control::{Control, Init};
use crate::worker::injection::Injected;
use crate::worker::{self, Ended, Surroundings};
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Runs until the main process has ended.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    if config::needs_worker(&call.cli, &call.environment) {
        // init sits in `/` once main runs, and a worker may be forked then.
        let directory = std::env::current_dir().ok();
        let began = Instant::now();
        let mut worker = |link: OwnedFd| work(call, directory.as_deref(), began, &Control::new(link));
        return Ok(crate::init::run(None, Some(&mut worker), call.inherited));
    }
    let spec = plain(call)?;
    Ok(crate::init::run(Some(spec), None, call.inherited))
}

/// No templates and no configuration: a plain init, without a worker.
fn plain(call: &Call<'_>) -> Result<ProcessSpec, Failure> {
    let plan = super::plan(call)?;
    let main = plan.processes.first().ok_or_else(|| Failure::new(Exit::USAGE, "no command to run"))?;
    super::process_spec(main, &plan, &Injected::as_written(main))
}

/// The whole life of a worker, in its own process.
fn work(call: &Call<'_>, directory: Option<&Path>, began: Instant, control: &Control) -> Exit {
    let Some((welcome, reader)) = control.welcome() else { return Exit::OK };
    let (started, probes) = (welcome.started, welcome.probes);
    crate::source::threads::share_the_heap();
    if let Some(directory) = directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        crate::warn!("failed to return to {}: {}", directory.display(), reason(&error));
    }
    // A worker that replaces this one would not come to be with mistakes in its configuration.
    let renewal = || {
        // As that one would read it: from where proem was started, which a path may be relative to.
        // Where that is gone, what it finds of relative paths says so.
        let _ = directory.map(std::env::set_current_dir);
        let checked = super::check_anew(call);
        let _ = std::env::set_current_dir("/");
        checked
    };
    let beside = Init { control: control.clone(), welcome, reader, renewal: &renewal };
    // What is to be said of a configuration was said by the worker that published it.
    let plan = if probes { super::plan_quietly(call) } else { super::plan(call) };
    let ended = match plan {
        Ok(plan) => {
            let data_limit = limit(call, plan.worker_memory);
            let directory = directory.map(Path::to_owned);
            let surroundings = Surroundings { directory, began: Some(began), data_limit };
            let mode = if call.mode == Mode::Run { worker::Mode::Run } else { worker::Mode::RunOnce };
            if probes {
                worker::probing::run(&plan, beside, &surroundings)
            } else {
                worker::run(Rc::new(plan), mode, Some(beside), surroundings)
            }
        }
        Err(failure) => Ended::Failed(failure),
    };
    match ended {
        Ended::Done(_) => {
            control.tell(&ToInit::Finished);
            Exit::OK
        }
        Ended::Renew => {
            control.tell(&ToInit::Renew);
            Exit::OK
        }
        // init ends us, and says nothing of it.
        Ended::InitGone | Ended::Signal(_) => Exit::OK,
        Ended::Failed(failure) if started => {
            // main runs on the last good files. The next worker tries again, after a pause.
            crate::error!("{}", super::complain(&failure));
            failure.exit
        }
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
            crate::warn!("failed to limit the worker's memory: {}", reason(&error));
            None
        }
    }
}
