//! What the worker asks of processes: hold, release, reload, the container's end.

use super::process::{MAX_PROCESSES, Process, Purpose, State, Stop};
use super::{Action, Machine};
use crate::exit::Exit;
use crate::link::{Outcome, ReloadAction, ToWorker};
use crate::log::Level;
use crate::os::signals;
use std::time::Instant;

/// Reloads that wait for the same restart: beyond these a worker is broken.
const MAX_REPLIES: usize = 1024;

impl Process {
    /// Answers whoever wants it restarted: it was asked to end, and its end is awaited.
    fn is_ending(&mut self, out: &mut Vec<Action>) {
        let text = format!("process `{}` was asked to end and is not restarted", self.name);
        out.push(Action::Log(Level::Warn, text));
        for id in std::mem::take(&mut self.replies) {
            out.push(Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::NotRunning }));
        }
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
            match std::mem::take(&mut process.restart_wanted) {
                true if process.told => process.is_ending(out),
                true => process.stop(now, Purpose::Restart, out),
                false => {}
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
            (State::Running { stop: None, pid }, ReloadAction::Signal(signal)) if (1..=64).contains(&signal) => {
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
                | State::Over
                | State::Running { stop: Some(Stop { purpose: Purpose::Exit(..), .. }), .. },
                ReloadAction::Restart,
            ) => {
                out.push(tell(Outcome::NotRunning));
            }
            (State::Running { .. }, ReloadAction::Restart) if process.replies.len() >= MAX_REPLIES => {
                self.on_broken(out);
            }
            (State::Running { .. }, ReloadAction::Restart) => {
                process.replies.push(id);
                if process.told {
                    process.is_ending(out);
                } else if held {
                    process.restart_wanted = true;
                } else {
                    process.stop(now, Purpose::Restart, out);
                }
            }
        }
    }

    /// `reload = "exit"`, or a start that failed: the worker wants the container to end.
    pub(super) fn on_exit_asked(&mut self, now: Instant, exit: Exit, reason: String, out: &mut Vec<Action>) {
        let Some(main) = self.main_index().map(|index| &mut self.processes[index]) else {
            out.push(Action::LastWord(exit, reason));
            return self.end(exit, out);
        };
        match main.state {
            State::Running { .. } => {
                main.stop(now, Purpose::Exit(exit, reason), out);
                // Those that were kept for a successor: there will be none.
                main.deliver_kept(out);
            }
            State::Starting => {
                self.exit_asked.get_or_insert((exit, reason));
            }
            State::Waiting | State::Over => {
                out.push(Action::LastWord(exit, reason));
                self.end(exit, out);
            }
        }
    }
}
