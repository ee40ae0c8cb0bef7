//! Supervision: when a process starts, when it is ready, and what follows its end.

use super::process::{MAX_PROCESSES, Process, Purpose, Rules, State, Stop};
use super::{Action, Loggers, Machine, Target, backoff, decode};
use crate::error::Failure;
use crate::exit::Exit;
use crate::link::{Exhausted, Kind, Log, Outcome, ProcessSpec, Readiness, Restart, ToWorker};
use crate::log::Level;
use std::time::{Duration, Instant};

impl Machine {
    pub(super) fn learn(&mut self, spec: ProcessSpec, out: &mut Vec<Action>) {
        // A descriptor is a number of the child's; a limit is memory of init's.
        let fd_is_odd = matches!(spec.care.ready, Readiness::Fd(fd) if !(3..1024).contains(&fd));
        let limit_is_odd = spec.care.limit.is_some_and(|limit| limit.restarts > 1000);
        if spec.argv.is_empty() || fd_is_odd || limit_is_odd {
            return self.on_broken(out);
        }
        if let Some(process) = self.processes.iter_mut().find(|process| process.name == spec.name) {
            if std::mem::take(&mut process.dropped) && matches!(process.state, State::Stopped) {
                process.state = State::Waiting;
            }
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
        if !self.has_a_reason() {
            return self.on_broken(out);
        }
        // A replacement of a worker that died repeats it: what runs, runs, and what ended is not started again; but what is
        // new in its configuration starts.
        self.start_wanted = true;
        self.start_all(out);
    }

    /// What these need is published; of the others, something is still awaited. It stays so over a worker's death.
    pub(super) fn allow(&mut self, names: &[String], out: &mut Vec<Action>) {
        // Signals are main's as soon as anything runs: it has to be known.
        if !self.has_a_reason() {
            return self.on_broken(out);
        }
        for process in self.processes.iter_mut().filter(|process| names.contains(&process.name)) {
            process.allowed = true;
        }
        self.start_all(out);
    }

    /// Whether a process is known whose end is the container's.
    fn has_a_reason(&self) -> bool {
        self.processes.iter().any(|process| matches!(process.kind(), Kind::Main | Kind::Essential))
    }

    /// What is not declared any more is stopped.
    pub(super) fn only(&mut self, now: Instant, names: &[String], out: &mut Vec<Action>) {
        for index in 0..self.processes.len() {
            let process = &mut self.processes[index];
            if process.is_main() || names.contains(&process.name) {
                continue;
            }
            process.dropped = true;
            match process.state {
                State::Running { .. } => process.stop(now, Purpose::Operator, out),
                State::Waiting | State::Pausing { .. } => process.state = State::Stopped,
                State::Starting | State::Over { .. } | State::Stopped => {}
            }
            self.report(now, index, out);
        }
    }

    pub(super) fn start_all(&mut self, out: &mut Vec<Action>) {
        for index in 0..self.processes.len() {
            self.start_if_due(index, out);
        }
    }

    /// Starts a process that waits, when what it comes after is ready.
    pub(super) fn start_if_due(&mut self, index: usize, out: &mut Vec<Action>) {
        let process = &self.processes[index];
        let may = self.start_wanted || process.allowed;
        let free = may && self.ending.is_none() && !self.held.contains(&process.name);
        // Once the end was asked for, nothing starts but a main that was being restarted: its TERM waits for it.
        let late = self.leaving.is_some() && !process.is_main();
        if !free || late || !matches!(process.state, State::Waiting) || !self.has_what_it_needs(process) {
            return;
        }
        let process = &mut self.processes[index];
        let Some(spec) = &process.newest else { return };
        process.rules = Rules::of(spec);
        process.state = State::Starting;
        out.push(Action::Spawn { process: index });
    }

    fn has_what_it_needs(&self, process: &Process) -> bool {
        let Some(spec) = &process.newest else { return false };
        // A name that nobody has was refused by the configuration; here it can only be waited for.
        spec.care.after.iter().all(|name| self.named(name).is_some_and(Process::is_ready))
    }

    pub(super) fn named(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }

    pub(super) fn on_spawned(&mut self, now: Instant, index: usize, pid: i32, out: &mut Vec<Action>) {
        let Some(process) = self.processes.get_mut(index) else { return };
        process.spawned(now, pid);
        if process.newest.as_ref().is_some_and(|spec| spec.log != Log::Inherit) {
            self.loggers = Loggers::Run;
        }
        let is_main = process.is_main();
        if self.ending.is_some() {
            // The end was decided meanwhile: it is a left-over from its first moment.
            if !self.stop_next(now, out) {
                out.push(Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM });
            }
            return;
        }
        for id in std::mem::take(&mut process.replies) {
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::Done }));
        }
        if is_main && self.leaving.is_some() {
            self.leave_on(now, out);
        } else {
            process.deliver_kept(out);
        }
        self.report(now, index, out);
        if is_main || self.main().is_none() && self.processes[index].kind() == Kind::Essential {
            self.started = true;
            self.worker.main_started();
        }
        self.probe_again(out);
        if self.started && !self.worker.is_wanted() {
            self.settle(out);
        }
        if self.processes[index].is_ready() {
            self.start_all(out);
        }
    }

    pub(super) fn on_refused(&mut self, now: Instant, index: usize, failure: &Failure, out: &mut Vec<Action>) {
        let Some(process) = self.processes.get_mut(index) else { return };
        for id in std::mem::take(&mut process.replies) {
            let outcome = Outcome::Failed(failure.to_string());
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome }));
        }
        process.since = Some(now);
        process.history.exit = Some(failure.exit);
        process.state = State::Over { ready: false };
        if self.ending.is_some() {
            self.stop_next(now, out);
            return;
        }
        match self.processes[index].kind() {
            // Once the end was asked for, its code is main's, or the signal's.
            kind if self.leaving.is_some() && kind != Kind::Main => {
                out.push(Action::Log(Level::Error, failure.to_string()));
                self.leave_on(now, out);
            }
            Kind::Main | Kind::Essential | Kind::Setup => {
                out.push(Action::LastWord(failure.exit, failure.to_string()));
                self.end(now, failure.exit, out);
            }
            // A program that is not there is not there the next time either, but a full process table passes.
            Kind::Sidecar => {
                out.push(Action::Log(Level::Error, failure.to_string()));
                self.start_again(now, index, false, failure.exit, out);
            }
        }
    }

    /// A process says that it is ready, or its probe does.
    pub(super) fn on_ready(&mut self, now: Instant, index: usize, pid: i32, out: &mut Vec<Action>) {
        let Some(process) = self.processes.get_mut(index) else { return };
        match &mut process.state {
            // A late answer about an earlier life of the process says nothing about this one.
            State::Running { pid: runs, ready, .. } if *runs == pid && !*ready => *ready = true,
            _ => return,
        }
        process.since = Some(now);
        out.push(Action::Log(Level::Info, format!("process `{}` is ready", process.name)));
        self.worker.probed();
        self.report(now, index, out);
        if self.ending.is_none() {
            self.start_all(out);
        }
    }

    pub(super) fn on_unhealthy(&mut self, now: Instant, name: &str, pid: i32, reason: &str, out: &mut Vec<Action>) {
        let Some(index) = self.processes.iter().position(|process| process.name == name) else { return };
        let process = &mut self.processes[index];
        if process.pid() != Some(pid) || self.leaving.is_some() || self.held.contains(name) {
            return;
        }
        let text = format!("process `{name}` is not alive and is restarted: {reason}");
        out.push(Action::Log(Level::Warn, text));
        process.stop(now, Purpose::Unhealthy, out);
        self.report(now, index, out);
    }

    pub(super) fn on_process_gone(&mut self, now: Instant, index: usize, status: i32, out: &mut Vec<Action>) {
        let Some(exit) = decode(status) else { return };
        let process = &mut self.processes[index];
        let exit = process.rules.exit_codes.get(&exit.0).map_or(exit, |code| Exit(*code));
        let was = std::mem::replace(&mut process.state, State::Over { ready: false });
        let State::Running { pid, ready, stop } = was else { return };
        let ran = now.saturating_duration_since(process.since.unwrap_or(now));
        process.since = Some(now);
        process.history.exit = Some(exit);
        if self.ending.is_some() {
            self.stop_next(now, out);
            return;
        }
        match stop.map(|Stop { purpose, .. }| purpose) {
            Some(Purpose::Restart) => self.stopped_for_restart(now, index, pid, out),
            Some(Purpose::Exit(exit, reason)) => {
                out.push(Action::LastWord(exit, reason));
                self.end(now, exit, out);
            }
            Some(Purpose::Unhealthy) => {
                self.clear_group(index, pid, out);
                self.start_again(now, index, ran >= self.processes[index].rules.care.stable, exit, out);
            }
            Some(Purpose::Operator) => self.processes[index].state = State::Stopped,
            Some(Purpose::Shutdown) => self.processes[index].state = State::Over { ready },
            None => self.ended_by_itself(now, index, (pid, ready, ran), exit, out),
        }
        self.report(now, index, out);
        if self.ending.is_some() {
            return;
        }
        let process = &mut self.processes[index];
        process.answer_stops(&Outcome::Done, out);
        if matches!(process.state, State::Over { .. } | State::Stopped) {
            process.answer_restarts(out);
        }
        if self.leaving.is_some() {
            self.leave_on(now, out);
        }
    }

    fn stopped_for_restart(&mut self, now: Instant, index: usize, pid: i32, out: &mut Vec<Action>) {
        self.clear_group(index, pid, out);
        let process = &mut self.processes[index];
        process.state = State::Waiting;
        let end = process.kept_end().filter(|_| process.is_main() && self.held.contains(&process.name));
        match end {
            Some(number) => self.end(now, Exit::by_signal(number), out),
            None => self.start_if_due(index, out),
        }
    }

    /// What is left of a process's group must not meet its successor: php-fpm's children hold its port.
    fn clear_group(&mut self, index: usize, pid: i32, out: &mut Vec<Action>) {
        out.push(Action::Kill { target: Target::Group(pid), signal: libc::SIGKILL });
        self.processes[index].group = None;
    }

    fn ended_by_itself(
        &mut self,
        now: Instant,
        index: usize,
        (pid, ready, ran): (i32, bool, Duration),
        exit: Exit,
        out: &mut Vec<Action>,
    ) {
        let process = &self.processes[index];
        let (kind, care) = (process.kind(), &process.rules.care);
        let (restart, stable) = (care.restart, ran >= care.stable);
        let what = format!("process `{}` ended (exit {exit})", process.name);
        match kind {
            Kind::Main => self.end(now, exit, out),
            Kind::Setup if exit == Exit::OK => {
                self.processes[index].state = State::Over { ready: true };
                out.push(Action::Log(Level::Info, what));
                self.start_all(out);
            }
            _ if restart == Restart::Always || restart == Restart::OnFailure && exit != Exit::OK => {
                out.push(Action::Log(Level::Warn, what));
                self.clear_group(index, pid, out);
                self.start_again(now, index, stable, exit, out);
            }
            // Once the end was asked for, its code is main's, or the signal's.
            Kind::Essential | Kind::Setup if self.leaving.is_some() => out.push(Action::Log(Level::Warn, what)),
            Kind::Essential => {
                out.push(Action::LastWord(exit, format!("the essential {what}")));
                self.end(now, exit, out);
            }
            Kind::Setup => {
                out.push(Action::LastWord(exit, format!("the setup {what}")));
                self.end(now, exit, out);
            }
            Kind::Sidecar => {
                self.processes[index].state = State::Over { ready };
                out.push(Action::Log(Level::Warn, what));
                self.give_up(now, index, exit, out);
            }
        }
    }

    /// A process that ended is to run again: at once if it ran well, else after a pause, unless that was too often.
    fn start_again(&mut self, now: Instant, index: usize, stable: bool, exit: Exit, out: &mut Vec<Action>) {
        if self.leaving.is_some() && !self.processes[index].is_main() {
            return;
        }
        let jitter = self.jitter();
        let process = &mut self.processes[index];
        let (limit, exhausted) = (process.rules.care.limit, process.rules.care.when_exhausted);
        let history = &mut process.history;
        if let Some(limit) = limit {
            while history.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= limit.within) {
                history.recent.pop_front();
            }
            if history.recent.len() >= limit.restarts as usize {
                let what =
                    format!("process `{}` ended {} times within {:?}", process.name, limit.restarts + 1, limit.within);
                process.state = State::Over { ready: false };
                match exhausted {
                    Exhausted::Exit => {
                        let exit = if exit == Exit::OK { Exit::INTERNAL } else { exit };
                        out.push(Action::LastWord(exit, format!("{what}; the last exit was {exit}")));
                        self.end(now, exit, out);
                    }
                    Exhausted::Ignore => {
                        out.push(Action::Log(Level::Error, format!("{what} and is not started again")));
                        self.give_up(now, index, exit, out);
                    }
                }
                return;
            }
            history.recent.push_back(now);
        }
        history.restarts = history.restarts.saturating_add(1);
        if stable {
            history.in_a_row = 0;
        }
        let pause = match history.in_a_row {
            0 => Duration::ZERO,
            // Between three quarters and all of it, so that what fell together does not rise together.
            failed => backoff(failed - 1).mul_f64(0.75 + jitter / 4.0),
        };
        history.in_a_row = history.in_a_row.saturating_add(1);
        if pause.is_zero() {
            process.state = State::Waiting;
            self.start_if_due(index, out);
        } else {
            let text = format!("process `{}` is started again in {pause:.1?}", process.name);
            out.push(Action::Log(Level::Info, text));
            process.state = State::Pausing { until: now + pause };
        }
    }

    /// A process is over. What waits for it can never start: then the start has failed.
    fn give_up(&mut self, now: Instant, index: usize, exit: Exit, out: &mut Vec<Action>) {
        let process = &self.processes[index];
        if !process.is_lost() {
            return self.start_all(out);
        }
        if self.leaving.is_some() {
            return;
        }
        let waits =
            |other: &&Process| matches!(other.state, State::Waiting) && other.rules.care.after.contains(&process.name);
        if let Some(waiting) = self.processes.iter().find(waits) {
            let exit = if exit == Exit::OK { Exit::INTERNAL } else { exit };
            let text =
                format!("process `{}` ended before it was ready, and `{}` waits for it", process.name, waiting.name);
            out.push(Action::LastWord(exit, text));
            self.end(now, exit, out);
        }
    }

    pub(super) fn pauses_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        for index in 0..self.processes.len() {
            if matches!(self.processes[index].state, State::Pausing { until } if until <= now) {
                self.processes[index].state = State::Waiting;
                self.start_if_due(index, out);
            }
        }
    }

    /// What is left over when all processes are gone gets this long.
    pub(super) fn linger(&self) -> Duration {
        let longest = self.processes.iter().map(|process| process.rules.linger).max();
        self.main().map(|main| main.rules.linger).or(longest).unwrap_or(Duration::from_secs(2))
    }

    /// All of init's memory of how to start is given back where nothing will be started again.
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        for process in &mut self.processes {
            let starts_again = match &process.state {
                State::Waiting | State::Starting | State::Pausing { .. } => true,
                State::Running { .. } => process.restart_wanted || process.stops_for_restart(),
                State::Over { .. } | State::Stopped => false,
            };
            if !starts_again && process.rules.care.restart == Restart::Never {
                process.newest = None;
            }
        }
        out.push(Action::Settle);
    }

    /// From 0 to 1; enough that two containers do not agree.
    fn jitter(&mut self) -> f64 {
        // xorshift64: any seed but 0.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        f64::from(u32::try_from(self.seed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}
