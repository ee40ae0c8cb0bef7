//! The worker: one loop that owns the state. Sources in, publishes and reloads out.
//!
//! Everything that can block or wait (init's messages, the network, file events, commands) is a small thread that feeds
//! the loop with an [`Event`]; the loop itself only does short file I/O. What decides an order or a time is pure:
//! [`schedule`], [`reload`], [`gate`].
//!
//! The same loop serves `exec` and `render`, which have no init: there [`Control`] goes nowhere.

mod audience;
mod checking;
mod commands;
mod committing;
pub mod control;
mod debts;
mod directories;
pub mod dry_run;
pub mod event;
pub mod gate;
pub mod group;
pub mod health;
pub mod injection;
mod launch;
mod metrics;
mod neighbour;
pub mod owed;
mod owners;
mod post;
pub mod probing;
mod pruning;
mod publishing;
mod quiet;
pub mod refusals;
pub mod relations;
pub mod reload;
pub mod reloading;
pub mod retry;
pub mod reveal;
pub mod schedule;
pub mod seen;
mod service;
pub mod signals;
mod starting;
pub mod starts;
mod status;
mod succession;
mod templates;
mod threads;
mod together;
mod touch;
mod tries;
mod turns;
pub mod variables;
mod verifying;

use crate::config::plan::{Plan, SourcePlan};
use crate::control::server::Server;
use crate::error::{Complaint, Failure};
use crate::os::passwd::Accounts;
use crate::publish::Made;
use crate::publish::preview::DirPreview;
use crate::source::driver::Driver;
use crate::source::layers::Layers;
use crate::source::sampler::Sampler;
use crate::template::Engine;
use control::{Control, Init, Reader, Renewal};
use event::Event;
use gate::Gate;
use group::Group;
use health::Processes;
use injection::Injected;
use metrics::Counts;
use owed::Owed;
use quiet::Quiet;
use seen::Keys;
use service::Operator;
use starts::Starts;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;
use threads::large_thread;
pub(crate) use threads::{builder, thread};

/// What the loop is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Beside init: publish, let init start the processes, then watch.
    Run,
    /// Beside init: publish, let init start the processes, end.
    RunOnce,
    /// No init: publish and end; the caller becomes the command.
    Exec,
    /// No init: publish and end.
    Render,
    /// No init: publish and watch until a signal comes.
    RenderWatch,
    /// No init: look what publishing would do, write and run nothing, end.
    DryRun,
}

impl Mode {
    /// Whether changes are followed after the first publish.
    pub fn watches(self) -> bool {
        matches!(self, Mode::Run | Mode::RenderWatch)
    }
}

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything is published and nothing can change any more. What processes are to be started with, where that depends
    /// on sources and no init was told of it.
    Done(BTreeMap<String, Injected>),
    /// init is gone.
    InitGone,
    /// The next worker is to read the configuration anew.
    Renew,
    /// proem must end with this.
    Failed(Failure),
    /// Without init: this signal asked for the end.
    Signal(i32),
}

/// What commands get back of the surroundings that proem was started in.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The working directory; `None`: the one that the process has.
    pub directory: Option<PathBuf>,
    /// When proem started; `None`: this is proem's start.
    pub began: Option<Instant>,
    /// The soft `RLIMIT_DATA`, bytes, where the worker lowered its own.
    pub data_limit: Option<u64>,
}

/// The state of the loop.
pub struct Worker<'p> {
    /// Replaced as a whole when a directory of templates has other files.
    plan: Rc<Plan>,
    mode: Mode,
    control: Control,
    surroundings: Surroundings,
    /// Variables that commands do not get.
    hidden: Vec<OsString>,
    /// Who owners are; a dry run knows those that it would declare.
    accounts: Accounts,
    engine: Engine,
    sources: Vec<SourcePlan>,
    layers: Layers,
    driver: Driver,
    groups: Vec<Group>,
    /// Groups whose check looks at files in place.
    checked_in_place: BTreeSet<usize>,
    owed: Owed,
    keys: Keys,
    /// Commands that run: id → process group.
    commands: BTreeMap<u64, i32>,
    next_id: u64,
    sampler: Sampler,
    /// Probes of the start gate that are not up, with the last reason.
    gate_probes: BTreeMap<usize, Option<Complaint>>,
    processes: Processes,
    /// What processes are to be started with, until init is told.
    injected: BTreeMap<String, Injected>,
    /// Fingerprints of what init knows of the processes.
    specs: BTreeMap<String, u64>,
    began: Instant,
    counts: Counts,
    /// The control socket, once it is there.
    server: Option<Server>,
    /// The end was asked for.
    draining: bool,
    /// Operators who wait for init's word, by the id of what was asked.
    operators: BTreeMap<u64, Operator>,
    /// Whether a new worker would come to be, and how to find out.
    renewal: Option<&'p Renewal<'p>>,
    /// The deadline of start; `None` once everything was published the first time.
    gate: Option<Gate>,
    /// Why a group is not published yet, at start.
    blocked: BTreeMap<usize, Vec<Complaint>>,
    /// What a dry run noted of each group.
    looks: BTreeMap<usize, dry_run::Look>,
    /// What it noted of directories.
    looked_at: Vec<DirPreview>,
    /// The signal thread, once it runs.
    listener: Option<signals::Listener>,
    /// When changed files are read.
    files: Quiet,
    /// A template file may have changed.
    templates_touched: bool,
    /// Directories with `prune`: what of their targets is in place now and was not noted yet.
    made: BTreeMap<usize, Made>,
    /// Which processes may run, so that changes are to be told to them.
    starts: Starts,
    /// The memory that only the start needed goes back then.
    rest_at: Option<Instant>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    reader: Option<Reader>,
}

/// Publishes a plan, and follows its changes if the mode says so; beside `init` or alone.
pub fn run(plan: Rc<Plan>, mode: Mode, init: Option<Init<'_>>, surroundings: Surroundings) -> Ended {
    let beside_init = init.is_some();
    match Worker::new(plan, mode, init, surroundings) {
        Ok(mut worker) => {
            if beside_init {
                // Every path is absolute by now; a mount that the container was started in can be unmounted.
                let _ = std::env::set_current_dir("/");
            }
            let ended = worker.serve();
            // First: a command that is deaf to TERM may outlast init's patience.
            worker.abandon();
            worker.end_commands();
            if let (Ended::Renew, Some(server)) = (&ended, worker.server.take()) {
                server.leave();
            }
            let signal = worker.last_signal();
            if matches!(ended, Ended::Done(_)) {
                // Nobody answers there any more.
                drop(worker.server.take());
                // Nothing is left that its end would tidy, and main waits for nobody's tidying.
                std::mem::forget(worker);
                return signal.unwrap_or(ended);
            }
            ended
        }
        Err(failure) => Ended::Failed(failure),
    }
}

impl Worker<'_> {
    /// Whether a check runs.
    fn is_checking(&self) -> bool {
        self.groups.iter().any(|group| group.job.check().is_some())
    }

    fn group_named(&self, name: &str) -> Option<usize> {
        self.plan.groups.iter().position(|group| group.name == name)
    }

    fn source_changed(&mut self, source: usize, now: Instant) {
        for group in self.groups.iter_mut().filter(|group| group.uses.contains(&source)) {
            group.schedule.changed(now);
        }
    }

    /// Logs what went wrong once per distinct error and interval.
    fn complain(&mut self, complaints: &[Complaint], now: Instant) {
        for complaint in complaints {
            let text = complaint.to_string();
            if self.sampler.error(&text, now) {
                crate::error!("{text}");
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
