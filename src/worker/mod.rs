//! The worker: one loop that owns the state. Sources in, publishes and reloads out.
//!
//! Everything that can block or wait (init's messages, the network, file events, commands) is a small thread that feeds
//! the loop with an [`Event`]; the loop itself only does short file I/O. What decides an order or a time is pure:
//! [`schedule`], [`reload`], [`gate`].
//!
//! The same loop serves `exec` and `render`, which have no init: there [`Control`] goes nowhere.

pub mod control;
mod directories;
pub mod dry_run;
pub mod event;
pub mod gate;
pub mod group;
pub mod health;
pub mod injection;
mod metrics;
mod neighbour;
pub mod owed;
mod post;
pub mod probing;
mod pruning;
mod publishing;
mod quiet;
pub mod relations;
pub mod reload;
pub mod retry;
pub mod reveal;
pub mod schedule;
pub mod seen;
mod service;
pub mod signals;
mod starting;
pub mod starts;
mod status;
mod templates;
mod touch;
mod tries;
pub mod variables;
mod verifying;

use crate::config::plan::{Plan, SourcePlan, TargetPlan};
use crate::control::server::Server;
use crate::error::{Complaint, Failure};
use crate::link::{ToInit, ToWorker};
use crate::log::Level;
use crate::publish::command::CommandResult;
use crate::publish::preview::DirPreview;
use crate::publish::{Committed, Made, Outcome, Recovered};
use crate::source::driver::{Driver, Update};
use crate::source::layers::{Applied, Layers, Notice, NoticeKind};
use crate::source::sampler::Sampler;
use crate::template::Engine;
use control::{Control, Init, Reader, Renewal, Welcome};
use directories::When;
use event::Event;
use gate::Gate;
use group::{Files, Group, Job, Then};
use health::Processes;
use injection::Injected;
use metrics::Counts;
use owed::Owed;
use quiet::Quiet;
use relations::{concerns, load_engine, mixed, reloads_are_stated, used};
use seen::Keys;
use service::Operator;
use starts::Starts;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

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

impl<'p> Worker<'p> {
    fn new(
        plan: Rc<Plan>,
        mode: Mode,
        init: Option<Init<'p>>,
        surroundings: Surroundings,
    ) -> Result<Worker<'p>, Failure> {
        let (control, welcome, reader, renewal) = match init {
            Some(Init { control, welcome, reader, renewal }) => (control, welcome, Some(reader), Some(renewal)),
            None => (Control::none(), Welcome::default(), None, None),
        };
        // Whatever a predecessor left half-done comes first, before anything is read from any store.
        let starts = Starts::new(welcome.started, welcome.allowed);
        // Where nothing runs yet there is nobody to verify with: what starts, starts on what is there.
        let recover = if starts.has_begun() { crate::publish::recover_unverified } else { crate::publish::recover };
        let recovered = match mode {
            Mode::DryRun => Vec::new(),
            _ => recover(&plan.groups, plan.state_dir.as_deref()),
        };
        let mixed = mixed(&plan, &recovered);
        let free: Vec<String> = welcome.held.iter().filter(|held| !mixed.contains(*held)).cloned().collect();
        if !free.is_empty() {
            control.tell(&ToInit::Release(free));
        }
        if !mixed.is_empty() {
            control.tell(&ToInit::Hold(mixed));
        }
        let engine = load_engine(&plan)?;
        let (sources, groups) = used(&plan, &engine, &[]);
        if mode == Mode::Run {
            reloads_are_stated(&plan, &sources, &groups)?;
        }
        let (sender, events) = channel();
        let feed = sender.clone();
        let driver = Driver::start(&sources, &plan.stores, mode.watches(), move |update| {
            // The loop is gone: so is the process, in a moment.
            let _ = feed.send(Event::Source(update));
        })?;
        let now = Instant::now();
        let began = surroundings.began.unwrap_or(now);
        let mut worker = Worker {
            mode,
            control,
            surroundings,
            hidden: crate::config::environment::hidden(&plan, &crate::os::environ::raw()),
            engine,
            layers: Layers::new(&sources),
            sources,
            driver,
            groups,
            checked_in_place: relations::checked_in_place(&plan),
            owed: Owed::default(),
            keys: Keys::default(),
            commands: BTreeMap::new(),
            next_id: 0,
            sampler: Sampler::default(),
            // A dry run starts nothing that could need what is probed, and an `exec:` probe would run something.
            gate_probes: if starts.has_begun() || mode == Mode::DryRun {
                BTreeMap::new()
            } else {
                (0..plan.wait_for.len()).map(|index| (index, None)).collect()
            },
            processes: Processes::default(),
            injected: BTreeMap::new(),
            specs: welcome.specs,
            began,
            counts: Counts::default(),
            server: None,
            draining: false,
            operators: BTreeMap::new(),
            renewal,
            // Once all may run nothing is waited for to the death: a worker that follows another has no deadline.
            gate: (!starts.is_over()).then(|| Gate::new(now, plan.wait)),
            blocked: BTreeMap::new(),
            looks: BTreeMap::new(),
            looked_at: Vec::new(),
            listener: None,
            files: Quiet::default(),
            templates_touched: false,
            made: BTreeMap::new(),
            starts,
            rest_at: welcome.started.then(|| now + starting::REST),
            sender,
            events,
            reader,
            plan,
        };
        worker.take_over(&recovered, &welcome.owed)?;
        Ok(worker)
    }

    /// What those before this worker left: in an earlier container, or in this one.
    fn take_over(&mut self, recovered: &[Recovered], owed: &[String]) -> Result<(), Failure> {
        if self.starts.is_over() {
            self.start_processes()?;
        } else {
            self.tell_stop_signals();
            if self.starts.has_begun() {
                self.watch_processes();
            }
        }
        for done in recovered {
            let Some(index) = self.group_named(&done.group) else { continue };
            if let Outcome::Mixed(_) = done.outcome {
                self.groups[index].files = Files::Mixed;
                self.groups[index].held = true;
            }
            if done.unverified {
                let committed = Committed::resume(&self.plan.groups[index], self.plan.state_dir.as_deref());
                self.groups[index].then = if committed.is_some() { Then::Verify } else { Then::Done };
                self.groups[index].committed = committed;
            }
            if done.reload_owed {
                self.take_over_debt(index);
            }
        }
        for name in owed {
            match self.group_named(name) {
                Some(index) => self.owe(index, self.plan.groups[index].splay),
                // The configuration has changed since: nobody is left to be told.
                None => self.control.tell(&ToInit::Paid(name.clone())),
            }
        }
        for index in 0..self.groups.len() {
            if self.groups[index].then == Then::Verify && !self.owed.owes(index) {
                self.verify(index, Instant::now());
            }
        }
        Ok(())
    }

    /// A journal says that a group's reload is owed.
    fn take_over_debt(&mut self, index: usize) {
        // With a publish that is taken up, the journal that says so is that publish's, and goes with it.
        self.groups[index].remembered = self.groups[index].then == Then::Done;
        match self.mode {
            _ if self.is_used(index) => self.owe(index, self.plan.groups[index].splay),
            Mode::Run | Mode::RunOnce | Mode::RenderWatch => self.owe_from_before(index),
            // Nobody stays to try again.
            Mode::Exec | Mode::Render | Mode::DryRun => self.forgive(index),
        }
    }

    /// Whether a check runs.
    fn is_checking(&self) -> bool {
        self.groups.iter().any(|group| group.job.check().is_some())
    }

    /// Whether a change of a group is to be told: somebody may use its files by now.
    fn tells(&self, group: usize) -> bool {
        self.is_used(group) || self.mode == Mode::RenderWatch && self.gate.is_none()
    }

    /// Whether a process may run that a group concerns.
    fn is_used(&self, group: usize) -> bool {
        let may_run = |process: &String| self.starts.may_run(process);
        self.starts.is_over()
            || self.starts.has_begun()
                && match &self.plan.groups[group].environment_of {
                    Some(whose) => may_run(&whose.process),
                    None => concerns(&self.plan, group).iter().any(may_run),
                }
    }

    /// Whether somebody else may use what the first publish replaces: `render --watch` may have been started again beside a
    /// neighbour that has run all the while. Nobody runs on files that are not there yet.
    fn may_be_in_use(&self, group: usize) -> bool {
        let is_there = |target: &TargetPlan| matches!(target, TargetPlan::File(path) if path.exists());
        self.mode == Mode::RenderWatch
            && self.plan.groups[group].templates.iter().any(|template| is_there(&template.to))
    }

    /// Whether there may be anybody to be told of anything.
    fn may_tell(&self) -> bool {
        self.gate.is_none() || self.starts.has_begun()
    }

    fn group_named(&self, name: &str) -> Option<usize> {
        self.plan.groups.iter().position(|group| group.name == name)
    }

    fn serve(&mut self) -> Ended {
        let now = Instant::now();
        if let Err(failure) = self.make_directories(When::First, now) {
            return Ended::Failed(failure);
        }
        for group in &mut self.groups {
            group.schedule.changed(now);
        }
        for update in self.driver.read_all(now) {
            self.update(update, now);
        }
        self.watch_templates(now);
        self.start_probes();
        self.serve_control();
        loop {
            match self.turn() {
                Ok(Some(ended)) => return ended,
                Ok(None) => {}
                Err(failure) => return Ended::Failed(failure),
            }
            if let Some(ended) = self.wait() {
                return ended;
            }
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> Result<Option<Ended>, Failure> {
        let now = Instant::now();
        // What a check is about stays what it is until it ends.
        if !self.is_checking() && std::mem::take(&mut self.templates_touched) {
            self.templates_changed(now);
        }
        self.publish_due(now)?;
        self.note_made();
        self.start_gate(now)?;
        if self.may_tell()
            && let Some(failure) = self.reload_due(now)
        {
            return Ok(Some(Ended::Failed(failure)));
        }
        self.verify_due(now);
        if self.rest_at.is_some_and(|at| at <= now) {
            self.rest_at = None;
            crate::os::memory::give_back();
        }
        Ok(self.nothing_left().then(|| Ended::Done(std::mem::take(&mut self.injected))))
    }

    /// Nothing can change, nothing is owed, nothing runs. `render --watch` was asked to stay.
    fn nothing_left(&self) -> bool {
        self.mode != Mode::RenderWatch
            && self.gate.is_none()
            && !self.probes_processes()
            && !self.serves()
            && self.owed.is_empty()
            && self.commands.is_empty()
            && self.groups.iter().all(|group| {
                group.done && !group.held && matches!(group.job, Job::Idle) && group.schedule.due().is_none()
            })
            && (!self.mode.watches() || (0..self.sources.len()).all(|source| !self.layers.can_change(source)))
    }

    /// Sleeps until something happens or is due, and takes in all that happened.
    fn wait(&mut self) -> Option<Ended> {
        self.listen();
        let first = match self.next_due() {
            Some(due) => self.events.recv_timeout(due.saturating_duration_since(Instant::now())).ok(),
            None => self.events.recv().ok(),
        };
        let now = Instant::now();
        let mut updates = self.driver.due(now);
        if self.files.is_over(self.driver.last_event(), now) {
            updates.extend(self.driver.files_changed(now));
        }
        for update in updates {
            self.update(update, now);
        }
        // A burst (many files, many layers) is one batch: fewer publishes, one reload.
        let rest: Vec<Event> = self.events.try_iter().collect();
        let mut ended = None;
        for event in first.into_iter().chain(rest) {
            // Also after the one that ends the loop: a command that has ended must not be taken for one that runs.
            let this = self.take(event, now);
            ended = ended.or(this);
        }
        ended
    }

    fn next_due(&self) -> Option<Instant> {
        let checking = self.is_checking();
        // What waits for a check to end is not due: its end is an event.
        let gate = self.gate.as_ref().filter(|_| !checking).map(|gate| gate.due(self.is_unread()));
        let owed = if checking || !self.may_tell() { None } else { self.owed.due() };
        let groups = (0..self.groups.len()).filter_map(|index| self.publish_at(index)).min();
        let files = self.files.due();
        let verify = self.groups.iter().filter_map(|group| match &group.job {
            Job::Verify(verify) => verify.due(),
            _ => None,
        });
        [gate, groups, owed, verify.min(), files, self.driver.next_due(), self.rest_at].into_iter().flatten().min()
    }

    /// Takes in one event; `Some` ends the loop.
    fn take(&mut self, event: Event, now: Instant) -> Option<Ended> {
        match event {
            Event::InitGone => return Some(Ended::InitGone),
            Event::Signal(signal) => return Some(Ended::Signal(signal)),
            Event::Init(ToWorker::Reloaded { id, outcome }) => match self.operators.remove(&id) {
                Some(operator) => operator.answer(outcome),
                None => self.reloaded(id, outcome, now),
            },
            Event::Asked(asked) => return self.asked(asked, now),
            Event::Init(ToWorker::Process(state)) => self.process_is(state, now),
            Event::Init(ToWorker::Draining) => self.draining = true,
            Event::Init(ToWorker::Welcome { .. }) => {}
            Event::Health(process, pid, health) => self.health(process, pid, health, now),
            Event::Source(update) => self.update(update, now),
            Event::Probe(index, Ok(())) => {
                self.gate_probes.remove(&index);
            }
            Event::Probe(index, Err(complaint)) => {
                if let Some(reason) = self.gate_probes.get_mut(&index) {
                    *reason = Some(complaint);
                }
            }
            Event::Command(id, result) => {
                if let Err(failure) = self.command_ended(id, &result, now) {
                    return Some(Ended::Failed(failure));
                }
            }
            Event::Verified(id, outcome) => self.tried(id, outcome, now),
            Event::Told(id, outcome) => self.told_others(id, outcome, now),
        }
        None
    }

    fn update(&mut self, update: Update, now: Instant) {
        match update {
            Update::Files => self.files.begin(now),
            Update::Path(_) => self.templates_touched = true,
            Update::Read(layer, answer) => {
                if answer.is_err() {
                    metrics::count(&mut self.counts.source_failures, self.layers.source_of(layer));
                }
                let Applied { changed, notices } = self.layers.apply(layer, answer, now);
                self.tell(notices);
                if changed {
                    self.source_changed(self.layers.source_of(layer), now);
                }
            }
            Update::Fresh(layer) => {
                let notices = self.layers.fresh(layer, now);
                self.tell(notices);
            }
        }
    }

    fn tell(&self, notices: Vec<Notice>) {
        // At start the gate names what is missing, again and again; once would be enough.
        let starting = self.gate.is_some();
        for Notice { level, kind, complaint } in notices {
            let level = if starting && kind == NoticeKind::Trouble { Level::Debug } else { level };
            crate::log::event(level, &complaint.to_string());
        }
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

    fn command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) -> Result<(), Failure> {
        if let Some(pgid) = self.commands.remove(&id) {
            self.control.tell(&ToInit::CommandEnded(pgid));
        }
        if let Some(index) = self.groups.iter().position(|group| group.job.check() == Some(id)) {
            return self.checked(index, result, now);
        }
        if !self.verify_command_ended(id, result, now) {
            self.reload_command_ended(id, result, now);
        }
        Ok(())
    }
}

/// Starts a small thread that feeds the loop.
pub(crate) fn thread(name: &str, body: impl FnOnce() + Send + 'static) {
    start(builder(name), name, body);
}

/// The same for one that needs more stack, bytes.
fn large_thread(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) {
    start(builder(name).stack_size(stack), name, body);
}

fn start(builder: std::thread::Builder, name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = builder.spawn(body) {
        crate::error!("failed to start thread `{name}`: {}", crate::error::reason(&error));
        // The loop cannot do its work without it; init starts a new worker.
        std::process::abort();
    }
}

/// A thread of the worker: named, with a small stack.
pub(crate) fn builder(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK)
}

/// They copy messages and wait; none recurses.
const THREAD_STACK: usize = 128 * 1024;
