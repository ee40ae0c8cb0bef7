//! Readiness and liveness by probe: the worker asks, init decides.
//!
//! Each life of a process that is probed has one thread, so a probe never overlaps itself, and one that hangs delays nobody
//! else's. It is told when that life is over, and ends after the try that it is in.

use super::Worker;
use super::control::Control;
use super::event::Event;
use crate::config::plan::{AlivePlan, Plan, ProcessPlan, ReadyPlan};
use crate::error::Complaint;
use crate::link::{Phase, ProcessState, ToInit};
use crate::probe::{Group, Surroundings};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is said that a process is not ready yet.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// After the first try to see whether a process is ready; doubled after each, up to what is asked for. What is up within
/// milliseconds, as most servers are, does not hold up what comes after it for a whole interval.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What a probe of a process found.
#[derive(Debug)]
pub enum Health {
    /// Its readiness probe is up.
    Ready,
    /// It is not ready, for a while already.
    NotReady(Complaint),
    /// Its liveness probe failed as often as is too often.
    Unhealthy(Complaint),
}

/// What is known of the processes, and who probes them.
#[derive(Debug, Default)]
pub struct Processes {
    /// What init said last, and when.
    states: BTreeMap<String, (ProcessState, Instant)>,
    probers: BTreeMap<String, Prober>,
}

/// The thread that probes one life of a process.
#[derive(Debug)]
struct Prober {
    pid: i32,
    over: Arc<Over>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.over.set();
    }
}

/// That a life is over.
#[derive(Debug, Default)]
struct Over {
    is: Mutex<bool>,
    told: Condvar,
}

impl Over {
    fn set(&self) {
        *self.is.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Waits for so long; true as soon as the life is over.
    fn within(&self, time: Duration) -> bool {
        let is = self.is.lock().unwrap_or_else(PoisonError::into_inner);
        *self.told.wait_timeout_while(is, time, |over| !*over).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Health {
    /// Tells init; what is to be said in the log instead.
    pub(super) fn tell(self, process: String, pid: i32, control: &Control) -> Option<Complaint> {
        match self {
            Health::Ready => control.tell(&ToInit::Ready { process, pid }),
            Health::NotReady(complaint) => {
                return Some(complaint.reworded(|message| format!("process `{process}` is not ready: {message}")));
            }
            Health::Unhealthy(complaint) => {
                control.tell(&ToInit::Unhealthy { process, pid, reason: complaint.message });
            }
        }
        None
    }
}

impl Processes {
    /// What init said last of each, and when.
    pub(super) fn told(&self) -> impl Iterator<Item = (&ProcessState, Instant)> {
        self.states.values().map(|(state, told)| (state, *told))
    }

    /// Whether one of these, of which init is going to speak, or any of which it spoke, has yet to be seen ready. A process
    /// that is over, or that an operator stopped, is not waited for.
    pub(super) fn awaits_any<'n>(&self, mut names: impl Iterator<Item = &'n String>) -> bool {
        names.any(|name| !self.states.contains_key(name))
            || self.states.values().any(|(state, _)| {
                state.probed && !matches!(state.phase, Phase::Ready { .. } | Phase::Ended | Phase::Stopped)
            })
    }

    /// init said what a process is in. `with`: what a probe reports to, and is surrounded by.
    pub(super) fn is(
        &mut self,
        plan: &Plan,
        state: ProcessState,
        now: Instant,
        control: &Control,
        with: impl FnOnce() -> (Sender<Event>, Surroundings),
    ) {
        let plan = plan.processes.iter().find(|process| process.name == state.name);
        let wanted = plan.and_then(|plan| match state.phase {
            Phase::Running { pid } if plan.ready.is_some() => Some((plan, pid, plan.ready.clone())),
            Phase::Ready { pid } if plan.alive.is_some() => Some((plan, pid, None)),
            _ => None,
        });
        match wanted {
            // The thread that found it ready goes on to see whether it stays alive.
            Some((_, pid, _)) if self.probers.get(&state.name).is_some_and(|prober| prober.pid == pid) => {}
            Some((plan, pid, ready)) => {
                let over = Arc::new(Over::default());
                let prober = Prober { pid, over: over.clone() };
                probe(plan, pid, ready, over, with());
                self.probers.insert(state.name.clone(), prober);
            }
            None => {
                self.probers.remove(&state.name);
            }
        }
        if let (Phase::Running { pid }, true) = (state.phase, state.probed)
            && plan.is_none_or(|plan| plan.ready.is_none())
        {
            // The configuration has changed since it was started, and names nothing that it could be asked.
            control.tell(&ToInit::Ready { process: state.name.clone(), pid });
        }
        self.states.insert(state.name.clone(), (state, now));
    }
}

/// What a probe's program gets, as checks and reload commands do; init ends its group when this worker dies.
pub(super) fn surroundings(control: &Control, hidden: &[OsString], of_worker: &super::Surroundings) -> Surroundings {
    let control = control.clone();
    Surroundings {
        env_remove: hidden.to_vec(),
        dir: of_worker.directory.clone(),
        data_limit: of_worker.data_limit,
        groups: Some(Box::new(move |group| match group {
            Group::Begins(pgid) => control.tell(&ToInit::Command(pgid)),
            Group::Ended(pgid) => control.tell(&ToInit::CommandEnded(pgid)),
        })),
    }
}

impl Worker<'_> {
    /// Asks init what the processes are in, where that decides something here.
    pub(super) fn watch_processes(&self) {
        if self.plan.processes.iter().any(|process| process.ready.is_some() || process.alive.is_some()) {
            self.control.tell(&ToInit::Watch);
        }
    }

    /// Whether a probe is still needed. Whoever is to be seen ready again later is seen by a worker of its own
    /// ([`super::probing`]).
    pub(super) fn probes_processes(&self) -> bool {
        let processes = &self.plan.processes;
        let mut probed =
            processes.iter().filter(|process| process.ready.is_some()).map(|process| &process.name).peekable();
        self.control.has_init()
            && (processes.iter().any(|process| process.alive.is_some())
                || probed.peek().is_some() && self.processes.awaits_any(probed))
    }

    /// init said what a process is in.
    pub(super) fn process_is(&mut self, state: ProcessState, now: Instant) {
        let with = || (self.sender.clone(), surroundings(&self.control, &self.hidden, &self.surroundings));
        self.processes.is(&self.plan, state, now, &self.control, with);
    }

    /// A probe of a process found something.
    pub(super) fn health(&mut self, process: String, pid: i32, health: Health, now: Instant) {
        if let Some(complaint) = health.tell(process, pid, &self.control) {
            self.complain(&[complaint], now);
        }
    }
}

fn probe(
    plan: &ProcessPlan,
    pid: i32,
    ready: Option<ReadyPlan>,
    over: Arc<Over>,
    (feed, surroundings): (Sender<Event>, Surroundings),
) {
    let (name, alive) = (plan.name.clone(), plan.alive.clone());
    super::thread("health", move || {
        let tell = |health| feed.send(Event::Health(name.clone(), pid, health)).is_ok();
        if let Some(ready) = ready
            && !until_ready(&ready, &surroundings, &over, &tell)
        {
            return;
        }
        if let Some(alive) = alive {
            while_alive(&alive, &surroundings, &over, &tell);
        }
    });
}

/// Probes until it is up; false: it does not matter any more.
fn until_ready(plan: &ReadyPlan, surroundings: &Surroundings, over: &Over, tell: &impl Fn(Health) -> bool) -> bool {
    let mut say_at = Instant::now() + SAY_EVERY;
    let mut pause = FIRST_PAUSE.min(plan.every);
    loop {
        match plan.probe.check_in(plan.timeout, surroundings) {
            Ok(()) => return tell(Health::Ready),
            Err(complaint) if Instant::now() >= say_at => {
                say_at = Instant::now() + SAY_EVERY;
                if !tell(Health::NotReady(complaint)) {
                    return false;
                }
            }
            Err(_) => {}
        }
        if over.within(pause) {
            return false;
        }
        pause = (pause * 2).min(plan.every);
    }
}

/// Probes until it was down too often in a row.
fn while_alive(plan: &AlivePlan, surroundings: &Surroundings, over: &Over, tell: &impl Fn(Health) -> bool) {
    let mut failures = 0;
    while !over.within(plan.every) {
        match plan.probe.check_in(plan.timeout, surroundings) {
            Ok(()) => failures = 0,
            Err(complaint) => {
                failures += 1;
                if failures >= plan.failures {
                    // init stops it; its next life has another thread.
                    tell(Health::Unhealthy(complaint));
                    return;
                }
            }
        }
    }
}
