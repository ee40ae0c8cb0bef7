//! The worker's life as init sees it: forked, trusted with nothing, replaced when it dies, let go when it has finished, and
//! called back when somebody is to see that a process is ready again.

use super::process::Process;
use super::shutdown::Leaving;
use super::{Action, Machine, Target, backoff, decode};
use crate::exit::Exit;
use crate::link::{Refused, ToWorker};
use crate::log::Level;
use crate::os::signals;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So many deaths before main's first start are enough.
const MAX_DEATHS: u32 = 3;
/// A worker that lived this long was a good one: the backoff starts anew.
const GOOD_LIFE: Duration = Duration::from_mins(1);
/// How long a worker that closed its link may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// Beyond these a worker is broken: init's memory does not grow at its will.
const MAX_COMMANDS: usize = 1024;
const MAX_OWED: usize = 16_384;
const MAX_NAME: usize = 1024;
/// More than these are not remembered: such content is tried once more after a worker's death.
const MAX_REFUSED: usize = 1024;
/// Groups beside a refused one.
const MAX_BESIDE: usize = 16;

#[derive(Debug)]
pub(super) struct Worker {
    state: State,
    /// Deaths since main started, or before; forgotten after a good life.
    deaths: u32,
    finished: bool,
    /// One has finished: all is published. Those that come after it only probe.
    left: bool,
    /// Its successor is to come at once.
    renews: bool,
    /// Process groups of its commands.
    commands: BTreeSet<i32>,
    /// Groups whose reload is owed: they outlive a worker.
    owed: BTreeSet<String>,
    /// What of each group's content was refused: it outlives a worker.
    refused: BTreeMap<String, Refused>,
}

#[derive(Debug)]
enum State {
    /// There is none, and there will be one only if a process is to be probed again.
    None,
    Forking,
    Alive {
        pid: i32,
        since: Instant,
        /// It closed its link: from then on KILL is due.
        kill_at: Option<Instant>,
    },
    /// The next one is forked then.
    Dead {
        until: Instant,
    },
}

impl Worker {
    pub(super) fn new(wanted: bool) -> Worker {
        let state = if wanted { State::Forking } else { State::None };
        Worker {
            state,
            deaths: 0,
            finished: false,
            left: false,
            renews: false,
            commands: BTreeSet::new(),
            owed: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.state, State::None)
    }

    /// All is published: whoever is forked now is only to see when processes are ready.
    pub(super) fn only_probes(&self) -> bool {
        self.left
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match self.state {
            State::Alive { pid, .. } => Some(pid),
            _ => None,
        }
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = i32> + '_ {
        self.commands.iter().copied()
    }

    pub(super) fn command_ended(&mut self, group: i32) {
        self.commands.remove(&group);
    }

    pub(super) fn paid(&mut self, group: &str) {
        self.owed.remove(group);
    }

    pub(super) fn refused(&mut self, group: String, refused: Refused) {
        self.refused.remove(&group);
        let names = || refused.beside.iter().chain([&group]);
        let fits = names().all(|name| name.len() <= MAX_NAME) && refused.beside.len() <= MAX_BESIDE;
        if refused != Refused::default() && fits && self.refused.len() < MAX_REFUSED {
            self.refused.insert(group, refused);
        }
    }

    /// It has said goodbye and is not reaped yet.
    pub(super) fn is_parting(&self) -> bool {
        self.finished && matches!(self.state, State::Alive { .. })
    }

    pub(super) fn renew(&mut self) {
        self.renews = true;
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// What happened before the first start does not count afterwards.
    pub(super) fn main_started(&mut self) {
        self.deaths = 0;
    }

    /// A process is ready: whoever saw that was of use.
    pub(super) fn probed(&mut self) {
        if self.left {
            self.deaths = 0;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Alive { kill_at, .. } => kill_at,
            State::Dead { until } => Some(until),
            State::None | State::Forking => None,
        }
    }
}

impl Machine {
    pub(super) fn fork_worker(&mut self, out: &mut Vec<Action>) {
        self.worker.state = State::Forking;
        self.worker.finished = false;
        out.push(Action::ForkWorker);
    }

    pub(super) fn on_forked(&mut self, now: Instant, pid: i32, out: &mut Vec<Action>) {
        self.worker.state = State::Alive { pid, since: now, kill_at: None };
        let owed = self.worker.owed.iter().cloned().collect();
        let held = self.held.iter().cloned().collect();
        let specs = self
            .processes
            .iter()
            .filter_map(|process| process.newest.as_ref().map(|spec| (process.name.clone(), spec.fingerprint())));
        let specs = specs.collect();
        let refused = self.worker.refused.iter().map(|(group, refused)| (group.clone(), refused.clone())).collect();
        let allowed = self.processes.iter().filter(|process| process.allowed).map(|process| process.name.clone());
        let (started, allowed, probes) = (self.start_wanted, allowed.collect(), self.worker.left);
        out.push(Action::Tell(ToWorker::Welcome { started, allowed, owed, held, specs, refused, probes }));
    }

    pub(super) fn on_not_forked(&mut self, now: Instant, reason: &str, out: &mut Vec<Action>) {
        self.count_death(now, now, &format!("the worker could not be forked: {reason}"), "", out);
    }

    pub(super) fn on_worker_gone(&mut self, now: Instant, status: i32, out: &mut Vec<Action>) {
        let Some(exit) = decode(status) else { return };
        let State::Alive { since, .. } = self.worker.state else { return };
        // Its commands are nobody's now, and a check that ends late must not be taken for one of the next worker.
        // At the end they have had TERM like everybody, and `linger` like everybody.
        let commands = std::mem::take(&mut self.worker.commands);
        for group in commands.into_iter().filter(|_| self.ending.is_none()) {
            out.push(Action::Kill { target: Target::Group(group), signal: libc::SIGKILL });
        }
        for process in &mut self.processes {
            process.forget_replies();
        }
        self.watched = false;
        out.push(Action::Unlink);
        // Who leaves has released what it held: nobody who follows would.
        let expected = self.worker.finished && exit == Exit::OK && self.held.is_empty();
        let leaves = self.leaving.as_ref().is_some_and(Leaving::is_exit);
        let ends = self.ending.is_some() || leaves;
        self.worker.state = State::None;
        if expected {
            self.worker.left = true;
            // Nobody publishes any more.
            self.worker.refused.clear();
        }
        let renews = std::mem::take(&mut self.worker.renews);
        if ends {
            return;
        }
        if self.worker.left && !self.needs_prober() {
            // Of one that only probed, a death now is as good as a goodbye: there is nothing left to do.
            return self.settle(out);
        }
        if expected {
            return self.probe_on(now, since, out);
        }
        if renews && exit == Exit::OK {
            // Whoever asked for that may have mended what refused it.
            self.worker.refused.clear();
            return self.fork_worker(out);
        }
        let how = match status & 0x7f {
            0 => format!("exit {exit}"),
            signal => format!("signal {}", signals::name(signal)),
        };
        // What the standard library says when memory gives out is above.
        let hint = match status & 0x7f {
            libc::SIGABRT => "\n  hint: its last words are above; where they are about memory, raise `worker_memory`",
            _ => "",
        };
        self.count_death(now, since, &format!("the worker died ({how})"), hint, out);
    }

    /// Whether somebody is to see when a process is ready.
    fn needs_prober(&self) -> bool {
        let open = self.ending.is_none() && self.leaving.is_none();
        open && self.processes.iter().any(Process::awaits_probe)
    }

    /// Calls a worker back for a process that was started again after the last one had left.
    pub(super) fn probe_again(&mut self, out: &mut Vec<Action>) {
        if self.worker.left && matches!(self.worker.state, State::None) && self.needs_prober() {
            self.fork_worker(out);
        }
    }

    /// The worker left while a process was being started again. One that leaves again and again without having seen
    /// anything ready counts as dying: init must not fork for ever.
    fn probe_on(&mut self, now: Instant, since: Instant, out: &mut Vec<Action>) {
        if self.worker.deaths == 0 {
            self.worker.deaths = 1;
            self.fork_worker(out);
        } else {
            self.count_death(now, since, "the worker left before all processes were ready", "", out);
        }
    }

    fn count_death(&mut self, now: Instant, since: Instant, what: &str, hint: &str, out: &mut Vec<Action>) {
        if now.saturating_duration_since(since) >= GOOD_LIFE {
            self.worker.deaths = 0;
        }
        let deaths = self.worker.deaths + 1;
        self.worker.deaths = deaths;
        if !self.started && deaths >= MAX_DEATHS {
            self.worker.state = State::None;
            out.push(Action::LastWord(Exit::INTERNAL, format!("{what}, {deaths} times before the first start{hint}")));
            return self.end(now, Exit::INTERNAL, out);
        }
        let pause = backoff(deaths - 1);
        out.push(Action::Log(Level::Warn, format!("{what}; the next one starts in {pause:?}{hint}")));
        self.worker.state = State::Dead { until: now + pause };
    }

    pub(super) fn on_closed(&mut self, now: Instant) {
        // Whoever finished may take its time; whoever is dying has a status on its way that says more than KILL would.
        let finished = self.worker.finished;
        if let State::Alive { kill_at, .. } = &mut self.worker.state
            && !finished
        {
            *kill_at = Some(now + GRACE);
        }
    }

    pub(super) fn on_broken(&mut self, out: &mut Vec<Action>) {
        self.worker.finished = false;
        if let State::Alive { pid, .. } = self.worker.state {
            out.push(Action::Unlink);
            out.push(Action::Log(Level::Error, "the worker broke the protocol and is killed".to_owned()));
            out.push(Action::Kill { target: Target::Pid(pid), signal: libc::SIGKILL });
        }
    }

    pub(super) fn worker_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        match &mut self.worker.state {
            State::Dead { until } if *until <= now => {
                if self.worker.left && !self.needs_prober() {
                    self.worker.state = State::None;
                    self.settle(out);
                } else {
                    self.fork_worker(out);
                }
            }
            State::Alive { pid, kill_at, .. } if kill_at.is_some_and(|at| at <= now) => {
                *kill_at = None;
                out.push(Action::Kill { target: Target::Pid(*pid), signal: libc::SIGKILL });
            }
            _ => {}
        }
    }

    pub(super) fn command_started(&mut self, group: i32, out: &mut Vec<Action>) {
        // 0, 1 and negative numbers would be somebody else's groups to kill(2).
        if group <= 1 || self.worker.commands.len() >= MAX_COMMANDS {
            return self.on_broken(out);
        }
        self.worker.commands.insert(group);
    }

    pub(super) fn owe(&mut self, group: String, out: &mut Vec<Action>) {
        if group.len() > MAX_NAME || self.worker.owed.len() >= MAX_OWED {
            return self.on_broken(out);
        }
        self.worker.owed.insert(group);
    }
}
