//! What the worker asks of processes: hold, release, reload, the container's end.

use super::process::{MAX_PROCESSES, Process, Purpose, State, Stop};
use super::shutdown::Asked;
use super::{Action, Machine};
use crate::exit::Exit;
use crate::link::{Order, Outcome, ReloadAction, ToWorker};
use crate::log::Level;
use crate::os::signals;
use std::time::Instant;

/// Reloads that wait for the same restart: beyond these a worker is broken.
const MAX_REPLIES: usize = 1024;

impl Process {
    /// It does not run anew: whoever waits for that has waited for nothing.
    pub(super) fn answer_restarts(&mut self, out: &mut Vec<Action>) {
        self.restart_wanted = false;
        for id in std::mem::take(&mut self.replies) {
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::NotRunning }));
        }
    }

    /// Answers the operators who wait for its end.
    pub(super) fn answer_stops(&mut self, outcome: &Outcome, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.stops) {
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome: outcome.clone() }));
        }
    }

    /// Answers whoever wants it restarted: the end was asked for, and what ends now is not started again. Otherwise a file
    /// that changes during a shutdown would start main anew, and the TERM that it got would be forgotten.
    fn is_leaving(&mut self, out: &mut Vec<Action>) {
        let text = format!("process `{}` is not restarted: the end was asked for", self.name);
        out.push(Action::Log(Level::Warn, text));
        self.answer_restarts(out);
    }
}

impl Machine {
    pub(super) fn hold(&mut self, names: Vec<String>, out: &mut Vec<Action>) {
        self.held.extend(names);
        if self.held.len() > MAX_PROCESSES {
            self.held.clear();
            self.on_broken(out);
        }
    }

    pub(super) fn release(&mut self, now: Instant, names: &[String], out: &mut Vec<Action>) {
        for name in names {
            self.held.remove(name);
        }
        for index in 0..self.processes.len() {
            if self.held.contains(&self.processes[index].name) {
                continue;
            }
            let process = &mut self.processes[index];
            if std::mem::take(&mut process.restart_wanted) {
                if self.leaving.is_some() {
                    process.is_leaving(out);
                } else {
                    process.stop(now, Purpose::Restart, out);
                }
            }
            self.start_if_due(index, out);
        }
    }

    pub(super) fn reload(&mut self, now: Instant, id: u64, name: &str, action: ReloadAction, out: &mut Vec<Action>) {
        let tell = |outcome| Action::Tell(ToWorker::Reloaded { id, outcome });
        let held = self.held.contains(name);
        let Some(process) = self.processes.iter_mut().find(|process| process.name == name) else {
            return out.push(tell(Outcome::Failed(format!("there is no process `{name}`"))));
        };
        match (&process.state, action) {
            (State::Running { stop: None, pid, .. }, ReloadAction::Signal(signal)) if (1..=64).contains(&signal) => {
                out.push(Action::Reload { id, target: process.target(*pid), signal });
            }
            (State::Running { stop: None, .. }, ReloadAction::Signal(signal)) => {
                out.push(tell(Outcome::Failed(format!("{} is no signal", signals::name(signal)))));
            }
            // It is being stopped, or about to start: it reads the new files anyway.
            (_, ReloadAction::Signal(_))
            | (
                State::Waiting
                | State::Starting
                | State::Pausing { .. }
                | State::Over { .. }
                | State::Stopped
                | State::Running {
                    stop: Some(Stop { purpose: Purpose::Exit(..) | Purpose::Shutdown | Purpose::Operator, .. }),
                    ..
                },
                ReloadAction::Restart,
            ) => {
                out.push(tell(Outcome::NotRunning));
            }
            (State::Running { .. }, ReloadAction::Restart) if process.replies.len() >= MAX_REPLIES => {
                self.on_broken(out);
            }
            (State::Running { .. }, ReloadAction::Restart) => {
                process.replies.push(id);
                if self.leaving.is_some() && !process.stops_for_restart() {
                    process.is_leaving(out);
                } else if held {
                    process.restart_wanted = true;
                } else {
                    process.stop(now, Purpose::Restart, out);
                }
            }
        }
    }

    /// What an operator asks for. A stop is answered when the process has ended, a start or restart when it runs.
    pub(super) fn operate(&mut self, now: Instant, id: u64, name: &str, order: Order, out: &mut Vec<Action>) {
        let tell = |outcome| Action::Tell(ToWorker::Reloaded { id, outcome });
        let Some(index) = self.processes.iter().position(|process| process.name == name) else {
            return out.push(tell(Outcome::Failed(format!("there is no process `{name}`"))));
        };
        let ends = self.leaving.is_some();
        let process = &mut self.processes[index];
        let main = process.is_main();
        if process.replies.len() + process.stops.len() >= MAX_REPLIES {
            return self.on_broken(out);
        }
        let outcome = match (order, &process.state) {
            (Order::Send(signal), _) if !(1..=64).contains(&signal) => {
                Outcome::Failed(format!("{} is no signal", signals::name(signal)))
            }
            (Order::Send(signal), State::Running { pid, .. }) => {
                out.push(Action::Kill { target: process.target(*pid), signal });
                Outcome::Done
            }
            (Order::Start | Order::Restart, _) if ends => {
                Outcome::Failed("the end of the container was asked for".into())
            }
            (Order::Stop, _) if main => {
                Outcome::Failed("the end of main is the end of the container: stop that".into())
            }
            (Order::Stop, State::Running { .. }) if !process.stops_for_good() => {
                process.answer_restarts(out);
                process.stops.push(id);
                process.stop(now, Purpose::Operator, out);
                return self.report(now, index, out);
            }
            (Order::Stop, State::Waiting | State::Pausing { .. }) => {
                process.state = State::Stopped;
                process.answer_restarts(out);
                Outcome::Done
            }
            (Order::Start | Order::Restart, _) if process.stops_for_operator() => {
                process.stop_to_restart();
                process.replies.push(id);
                let overruled = Outcome::Failed("a later order overruled it".into());
                process.answer_stops(&overruled, out);
                return;
            }
            (Order::Restart, State::Running { .. } | State::Starting) if process.is_there() => {
                return self.reload(now, id, name, ReloadAction::Restart, out);
            }
            (Order::Start | Order::Restart, State::Pausing { .. } | State::Over { .. } | State::Stopped) if !main => {
                process.history.in_a_row = 0;
                process.history.recent.clear();
                process.state = State::Waiting;
                self.start_if_due(index, out);
                Outcome::Done
            }
            _ => Outcome::NotRunning,
        };
        self.report(now, index, out);
        out.push(tell(outcome));
    }

    /// `reload = "exit"`, or a start that failed: the worker wants the container to end.
    pub(super) fn on_exit_asked(&mut self, now: Instant, exit: Exit, reason: String, out: &mut Vec<Action>) {
        let may_wait = |main: &Process| matches!(main.state, State::Running { .. } | State::Starting);
        if !self.main().is_none_or(may_wait) {
            out.push(Action::LastWord(exit, reason));
            return self.end(now, exit, out);
        }
        self.leave(now, Asked::Exit(exit, reason.clone()), out);
        if let Some(main) = self.main_index().map(|index| &mut self.processes[index])
            && main.stops_for_restart()
        {
            // It is stopped already: there will be no successor.
            main.stop(now, Purpose::Exit(exit, reason), out);
        }
        self.leave_on(now, out);
    }
}
