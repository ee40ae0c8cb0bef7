//! Processes: start, forward, reload, stop. A list from the start; `main` is the one whose end is the container's end.

use super::{Action, Machine, Target, decode};
use crate::error::Failure;
use crate::exit::Exit;
use crate::link::{Outcome, ProcessSpec, ToWorker};
use crate::log::Level;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Signals kept for a process that is about to run; the 31 ordinary ones always fit, each once.
const MAX_KEPT: usize = 128;
/// Beyond these a worker is broken.
pub(super) const MAX_PROCESSES: usize = 64;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    /// What its next start uses; given back once no start can follow.
    pub(super) newest: Option<Box<ProcessSpec>>,
    /// Its process group, as long as something of it may be left.
    pub(super) group: Option<i32>,
    pub(super) rules: Rules,
    pub(super) state: State,
    /// Signals that arrived while it was not there to get them.
    kept: Vec<i32>,
    /// The running one was asked to end, by TERM or its stop signal from outside: it is not restarted any more, because its
    /// end is the container's.
    pub(super) told: bool,
    /// Asked to be restarted as soon as it is released.
    pub(super) restart_wanted: bool,
    /// Reloads that are answered when it runs anew.
    pub(super) replies: Vec<u64>,
}

/// How a running process is treated: from the spec that it was started with.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    stop_signal: Option<i32>,
    stop_timeout: Duration,
    pub(super) shutdown_timeout: Option<Duration>,
    group: bool,
    rewrite: BTreeMap<i32, i32>,
    exit_codes: BTreeMap<u8, u8>,
    pub(super) linger: Duration,
}

#[derive(Debug)]
pub(super) enum State {
    /// Not started yet, or stopped to be started again.
    Waiting,
    /// Between `Spawn` and its outcome.
    Starting,
    Running {
        pid: i32,
        stop: Option<Stop>,
    },
    /// It ended by itself.
    Over,
}

/// A stop protocol that is under way. There is at most one per process.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) purpose: Purpose,
    /// When its group is killed; `None`: it was.
    kill_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Restart,
    Exit(Exit, String),
}

impl Rules {
    fn of(spec: &ProcessSpec) -> Rules {
        Rules {
            stop_signal: spec.stop_signal,
            stop_timeout: spec.stop_timeout,
            shutdown_timeout: spec.shutdown_timeout,
            group: spec.group,
            rewrite: spec.rewrite.clone(),
            exit_codes: spec.exit_codes.clone(),
            linger: spec.linger,
        }
    }

    /// What the process gets for a signal that proem got; `None`: nothing.
    fn rewritten(&self, number: i32) -> Option<i32> {
        match self.rewrite.get(&number) {
            Some(0) => None,
            Some(other) => Some(*other),
            None if number == libc::SIGTERM => Some(self.stop_signal.unwrap_or(number)),
            None => Some(number),
        }
    }

    /// Whether a signal is how the container is stopped.
    pub(super) fn stops(&self, number: i32) -> bool {
        number == libc::SIGTERM || self.stop_signal == Some(number)
    }

    /// Whether a signal asks for the end while there is no process to ask.
    pub(super) fn ends(&self, number: i32) -> bool {
        ends(number) || self.stop_signal == Some(number)
    }
}

pub(super) fn ends(number: i32) -> bool {
    matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
}

impl Process {
    pub(super) fn new(spec: ProcessSpec) -> Process {
        Process {
            name: spec.name.clone(),
            rules: Rules::of(&spec),
            newest: Some(Box::new(spec)),
            group: None,
            state: State::Waiting,
            kept: Vec::new(),
            told: false,
            restart_wanted: false,
            replies: Vec::new(),
        }
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Running { stop: Some(stop), .. } => stop.kill_at,
            _ => None,
        }
    }

    /// Whoever asked for a reload is gone; what it still owed, its successor asks for again.
    pub(super) fn forget_replies(&mut self) {
        self.replies.clear();
        self.restart_wanted = false;
    }

    /// Whether its stop will be the end of the container.
    pub(super) fn stops_for_exit(&self) -> bool {
        matches!(&self.state, State::Running { stop: Some(Stop { purpose: Purpose::Exit(..), .. }), .. })
    }

    pub(super) fn target(&self, pid: i32) -> Target {
        if self.rules.group { Target::Group(pid) } else { Target::Pid(pid) }
    }

    pub(super) fn forward(&mut self, number: i32, out: &mut Vec<Action>) {
        if let (Some(pid), Some(signal)) = (self.pid(), self.rules.rewritten(number)) {
            out.push(Action::Kill { target: self.target(pid), signal });
            self.told |= self.rules.stops(number);
        }
    }

    pub(super) fn keep(&mut self, number: i32) {
        // Ordinary signals do not queue in the kernel either; real-time ones do.
        let queues = number >= libc::SIGRTMIN();
        if queues && self.kept.len() < MAX_KEPT || !queues && !self.kept.contains(&number) {
            self.kept.push(number);
        }
    }

    pub(super) fn deliver_kept(&mut self, out: &mut Vec<Action>) {
        for number in std::mem::take(&mut self.kept) {
            self.forward(number, out);
        }
    }

    /// The stop protocol: stop signal, `stop_timeout`, KILL to the group. A second request sends nothing; that of the
    /// container's end overrules that of a restart.
    pub(super) fn stop(&mut self, now: Instant, purpose: Purpose, out: &mut Vec<Action>) {
        let signal = self.rules.stop_signal.unwrap_or(libc::SIGTERM);
        let kill_at = now + self.rules.stop_timeout;
        let group = self.rules.group;
        let State::Running { pid, stop } = &mut self.state else { return };
        match stop {
            None => {
                let target = if group { Target::Group(*pid) } else { Target::Pid(*pid) };
                out.push(Action::Kill { target, signal });
                *stop = Some(Stop { purpose, kill_at: Some(kill_at) });
            }
            Some(stop) => {
                if matches!((&stop.purpose, &purpose), (Purpose::Restart, Purpose::Exit(..))) {
                    stop.purpose = purpose;
                }
            }
        }
    }

    pub(super) fn kill(&mut self, out: &mut Vec<Action>) {
        if let State::Running { pid, stop } = &mut self.state {
            if let Some(stop) = stop {
                stop.kill_at = None;
            }
            // Otherwise 137 would look like the kernel's out-of-memory killer.
            let late = format!("process `{}` did not end in the time that it had: KILL", self.name);
            out.push(Action::Log(Level::Warn, late));
            out.push(Action::Kill { target: Target::Group(*pid), signal: libc::SIGKILL });
        }
    }
}

impl Machine {
    /// What is left over when main is gone gets this long.
    pub(super) fn linger(&self) -> Duration {
        self.main().map_or(Duration::from_secs(2), |main| main.rules.linger)
    }

    pub(super) fn learn(&mut self, spec: ProcessSpec, out: &mut Vec<Action>) {
        if spec.argv.is_empty() {
            return self.on_broken(out);
        }
        if let Some(process) = self.processes.iter_mut().find(|process| process.name == spec.name) {
            if matches!(process.state, State::Waiting) {
                process.rules = Rules::of(&spec);
            }
            process.newest = Some(Box::new(spec));
        } else if self.processes.len() < MAX_PROCESSES {
            self.processes.push(Process::new(spec));
        } else {
            self.on_broken(out);
        }
    }

    pub(super) fn on_start(&mut self, out: &mut Vec<Action>) {
        if self.main().is_none() {
            return self.on_broken(out);
        }
        // A replacement of a worker that died repeats it: what runs, runs, and what ended is not started again.
        if !self.start_wanted {
            self.start_wanted = true;
            self.start_all(out);
        }
    }

    pub(super) fn start_all(&mut self, out: &mut Vec<Action>) {
        for index in 0..self.processes.len() {
            self.start_if_due(index, out);
        }
    }

    pub(super) fn start_if_due(&mut self, index: usize, out: &mut Vec<Action>) {
        let process = &mut self.processes[index];
        let free = self.start_wanted && self.ending.is_none() && !self.held.contains(&process.name);
        if free && matches!(process.state, State::Waiting) {
            let Some(spec) = &process.newest else { return };
            process.rules = Rules::of(spec);
            process.state = State::Starting;
            out.push(Action::Spawn { process: index });
        }
    }

    pub(super) fn on_spawned(&mut self, now: Instant, index: usize, pid: i32, out: &mut Vec<Action>) {
        let is_main = self.is_main(index);
        let Some(process) = self.processes.get_mut(index) else { return };
        process.state = State::Running { pid, stop: None };
        process.told = false;
        process.group = Some(pid);
        if self.ending.is_some() {
            // The end was decided meanwhile: it is a left-over from its first moment.
            out.push(Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM });
            return;
        }
        for id in std::mem::take(&mut process.replies) {
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::Done }));
        }
        process.deliver_kept(out);
        if is_main {
            self.started = true;
            self.worker.main_started();
            if !self.worker.is_wanted() {
                self.settle(out);
            }
            if let Some((exit, reason)) = self.exit_asked.take() {
                self.on_exit_asked(now, exit, reason, out);
            }
        }
    }

    pub(super) fn on_refused(&mut self, index: usize, failure: &Failure, out: &mut Vec<Action>) {
        let is_main = self.is_main(index);
        let Some(process) = self.processes.get_mut(index) else { return };
        process.state = State::Over;
        for id in std::mem::take(&mut process.replies) {
            let outcome = Outcome::Failed(failure.to_string());
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome }));
        }
        if !is_main {
            out.push(Action::Log(Level::Error, failure.to_string()));
        } else if self.ending.is_none() {
            out.push(Action::LastWord(failure.exit, failure.to_string()));
            self.end(failure.exit, out);
        }
    }

    /// All of init's memory of how to start is given back: nothing will be started again.
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        for process in &mut self.processes {
            let starts_again = match &process.state {
                State::Waiting | State::Starting => true,
                State::Running { stop, .. } => {
                    process.restart_wanted || stop.as_ref().is_some_and(|stop| matches!(stop.purpose, Purpose::Restart))
                }
                State::Over => false,
            };
            if !starts_again {
                process.newest = None;
            }
        }
        out.push(Action::Settle);
    }

    pub(super) fn on_process_gone(&mut self, index: usize, status: i32, out: &mut Vec<Action>) {
        let Some(exit) = decode(status) else { return };
        let is_main = self.is_main(index);
        let process = &mut self.processes[index];
        let exit = process.rules.exit_codes.get(&exit.0).map_or(exit, |code| Exit(*code));
        let State::Running { pid, stop } = std::mem::replace(&mut process.state, State::Over) else { return };
        if self.ending.is_some() {
            return;
        }
        match stop.map(|stop| stop.purpose) {
            Some(Purpose::Restart) => {
                // What is left of its group must not meet its successor.
                out.push(Action::Kill { target: Target::Group(pid), signal: libc::SIGKILL });
                process.group = None;
                process.state = State::Waiting;
                let end = process.kept.iter().copied().find(|number| process.rules.ends(*number));
                match end.filter(|_| is_main && self.held.contains(&process.name)) {
                    Some(number) => self.end(Exit::by_signal(number), out),
                    None => self.start_if_due(index, out),
                }
            }
            Some(Purpose::Exit(exit, reason)) => {
                out.push(Action::LastWord(exit, reason));
                self.end(exit, out);
            }
            None if is_main => self.end(exit, out),
            None => out.push(Action::Log(Level::Warn, format!("process `{}` ended ({exit})", process.name))),
        }
    }

    pub(super) fn stops_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        for process in &mut self.processes {
            if process.deadline().is_some_and(|at| at <= now) {
                process.kill(out);
            }
        }
    }
}
