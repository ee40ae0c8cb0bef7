//! What a signal that arrives means: for main, for a main that is not there, and for how long the end may take.

use super::process::{Purpose, State, Stop, ends};
use super::{Action, Machine};
use crate::exit::Exit;
use std::time::Instant;

impl Machine {
    /// All signals but CHLD (KILL and STOP never arrive) are main's; see docs/design/signals.md.
    pub(super) fn on_signal(&mut self, now: Instant, number: i32, from_self: bool, out: &mut Vec<Action>) {
        // init's own SIGPIPE (stderr's reader is gone) says nothing to main.
        let own = from_self && number == libc::SIGPIPE;
        if number == libc::SIGCHLD || own || self.ending.is_some() {
            return;
        }
        let started = self.started;
        let Some(index) = self.main_index() else {
            if ends(number) {
                self.end(Exit::by_signal(number), out);
            }
            return;
        };
        let main = &mut self.processes[index];
        if main.rules.stops(number) && self.shutdown_at.is_none() {
            self.shutdown_at = main.rules.shutdown_timeout.map(|timeout| now + timeout);
        }
        match &main.state {
            State::Running { stop: Some(Stop { purpose: Purpose::Restart, .. }), .. } | State::Starting => {
                main.keep(number);
            }
            State::Running { .. } => main.forward(number, out),
            State::Waiting if main.rules.ends(number) => self.end(Exit::by_signal(number), out),
            // Between a restart's two halves, held: the new process gets it. Before the first start there is nobody whom
            // it could have been meant for.
            State::Waiting if started => main.keep(number),
            State::Waiting | State::Over => {}
        }
    }

    pub(super) fn shutdown_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.shutdown_at.is_none_or(|at| at > now) {
            return;
        }
        let Some(main) = self.main_index().map(|index| &mut self.processes[index]) else { return };
        match &mut main.state {
            State::Starting => return,
            State::Running { stop, .. } => {
                // The container is to end: what was to be restarted is not.
                if matches!(stop, Some(Stop { purpose: Purpose::Restart, .. })) {
                    *stop = None;
                }
                main.told = true;
                main.kill(out);
            }
            State::Waiting | State::Over => self.end(Exit::by_signal(libc::SIGTERM), out),
        }
        self.shutdown_at = None;
    }
}
