//! What the worker is told of the processes, for status, metrics and probes; only when it asked.

use super::process::{Process, State};
use super::{Action, Machine};
use crate::link::{Phase, ProcessState, Readiness, ToWorker};
use std::time::Instant;

impl Machine {
    /// The worker wants to know, from now on.
    pub(super) fn watch(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.watched = true;
        for index in 0..self.processes.len() {
            self.report(now, index, out);
        }
    }

    /// Tells what a process is in.
    pub(super) fn report(&self, now: Instant, index: usize, out: &mut Vec<Action>) {
        if self.watched
            && let Some(process) = self.processes.get(index)
        {
            out.push(Action::Tell(ToWorker::Process(process.told(now))));
        }
    }
}

impl Process {
    fn told(&self, now: Instant) -> ProcessState {
        ProcessState {
            name: self.name.clone(),
            phase: match &self.state {
                State::Waiting | State::Starting => Phase::Waiting,
                State::Running { pid, stop: Some(_), .. } => Phase::Stopping { pid: *pid },
                State::Running { pid, ready: true, .. } => Phase::Ready { pid: *pid },
                State::Running { pid, .. } => Phase::Running { pid: *pid },
                State::Pausing { .. } => Phase::Pausing,
                State::Over { .. } => Phase::Ended,
                State::Stopped => Phase::Stopped,
            },
            age: self.since.map(|since| now.saturating_duration_since(since)).unwrap_or_default(),
            restarts: self.history.restarts,
            last_exit: self.history.exit.map(|exit| exit.0),
            probed: self.rules.care.ready == Readiness::Probe,
        }
    }
}
