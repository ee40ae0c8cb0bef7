//! Signals, and the way to the end: what is asked of whom, in which order, until main has ended.

use super::process::{Process, Purpose, State, ends};
use super::{Action, Machine};
use crate::exit::Exit;
use crate::link::{Kind, ToWorker};
use std::time::{Duration, Instant};

/// The end was asked for and main has not ended yet.
#[derive(Debug)]
pub(super) struct Leaving {
    asked: Asked,
    /// Until then everything goes on, so that balancers look away.
    drain_until: Option<Instant>,
    /// main has been told.
    told: bool,
}

/// Who asked for the end.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// This signal, which is main's: its answer is the container's code.
    Signal(i32),
    /// The worker: main is stopped, and this is the container's code and what is said of it.
    Exit(Exit, String),
}

impl Leaving {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.drain_until
    }

    /// Whether the worker asked for it.
    pub(super) fn is_exit(&self) -> bool {
        matches!(self.asked, Asked::Exit(..))
    }
}

impl Machine {
    /// All signals but CHLD (KILL and STOP never arrive) are main's; see docs/design/signals.md.
    pub(super) fn on_signal(&mut self, now: Instant, number: i32, from_self: bool, out: &mut Vec<Action>) {
        // init's own SIGPIPE (stderr's reader is gone) says nothing to main.
        let own = from_self && number == libc::SIGPIPE;
        if number == libc::SIGCHLD || own || self.ending.is_some() {
            return;
        }
        let Some(index) = self.main_index() else { return self.signal_without_main(now, number, out) };
        let started = self.started;
        let main = &self.processes[index];
        let asks = main.rules.shuts_down(number);
        if asks {
            self.bound_shutdown(now);
        }
        let main = &self.processes[index];
        let runs = matches!(main.state, State::Running { .. } | State::Starting);
        if asks && runs {
            self.leave(now, Asked::Signal(number), out);
        }
        let waits = self.leaving.as_ref().is_some_and(|leaving| !leaving.told) && asks;
        let main = &mut self.processes[index];
        let restarts = main.stops_for_restart();
        match &main.state {
            State::Starting => main.keep(number),
            State::Running { .. } if restarts || waits => main.keep(number),
            State::Running { .. } => main.forward(number, out),
            State::Waiting | State::Pausing { .. } if main.rules.ends(number) => {
                self.end(now, Exit::by_signal(number), out);
            }
            // Between a restart's two halves, held: the new process gets it. Before the first start there is nobody whom
            // it could have been meant for.
            State::Waiting | State::Pausing { .. } if started => main.keep(number),
            State::Waiting | State::Pausing { .. } | State::Over { .. } | State::Stopped => {}
        }
        if asks && self.leaving.is_some() {
            self.leave_on(now, out);
        }
    }

    /// Without main the essential processes get what main would; the end is proem's to decide.
    fn signal_without_main(&mut self, now: Instant, number: i32, out: &mut Vec<Action>) {
        if !ends(number) {
            for process in self.processes.iter().filter(|process| process.kind() == Kind::Essential) {
                process.forward(number, out);
            }
            return;
        }
        self.leave(now, Asked::Signal(number), out);
        self.leave_on(now, out);
    }

    /// From its first step on the end of all has `shutdown_timeout`.
    pub(super) fn bound_shutdown(&mut self, now: Instant) {
        if self.shutdown_at.is_none() {
            self.shutdown_at = self.longest(|process| process.rules.shutdown_timeout).map(|timeout| now + timeout);
        }
    }

    /// A time of main's; without main the longest of the essential processes.
    fn longest(&self, of: fn(&Process) -> Option<Duration>) -> Option<Duration> {
        match self.main() {
            Some(main) => of(main),
            None => self.processes.iter().filter_map(of).max(),
        }
    }

    /// The end was asked for: nothing but main is started from here on. Asked again by a signal, it is not waited any
    /// longer.
    pub(super) fn leave(&mut self, now: Instant, asked: Asked, out: &mut Vec<Action>) {
        if let Some(leaving) = &mut self.leaving {
            match asked {
                Asked::Signal(_) => leaving.drain_until = None,
                Asked::Exit(..) => leaving.asked = asked,
            }
            return;
        }
        // Who has not started serves nobody yet.
        let drain = self.longest(|process| Some(process.rules.care.drain));
        let drain = drain.filter(|drain| self.started && !drain.is_zero());
        self.bound_shutdown(now);
        let drain_until = drain.map(|drain| now + drain);
        if drain_until.is_some() {
            out.push(Action::Tell(ToWorker::Draining));
        }
        let told = drain_until.is_none() && self.processes.len() == 1;
        self.leaving = Some(Leaving { asked, drain_until, told });
    }

    /// After the drain, what comes after main is stopped, the last first; then main gets the signals that were kept, or is
    /// stopped.
    pub(super) fn leave_on(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(leaving) = &self.leaving else { return };
        let main = self.main_index();
        // Without any of what the container is, there is nobody whom balancers should not find.
        let essential = |process: &Process| process.kind() == Kind::Essential && process.is_there();
        let deserted = main.is_none() && !self.processes.iter().any(essential);
        if leaving.drain_until.is_some() && !deserted {
            return;
        }
        let Some(main) = main else {
            let asked = leaving.asked.clone();
            return self.end_as_asked(now, asked, out);
        };
        if !leaving.told && self.stop_those(now, |machine, index| machine.comes_after(index, main), out) {
            return;
        }
        let restarts = self.processes[main].stops_for_restart();
        if matches!(self.processes[main].state, State::Running { .. }) && !restarts {
            self.tell_main(now, main, out);
            self.processes[main].deliver_kept(out);
        }
    }

    /// Ends without a main whose answer would count.
    fn end_as_asked(&mut self, now: Instant, asked: Asked, out: &mut Vec<Action>) {
        match asked {
            Asked::Signal(number) => self.end(now, Exit::by_signal(number), out),
            Asked::Exit(exit, reason) => {
                out.push(Action::LastWord(exit, reason));
                self.end(now, exit, out);
            }
        }
    }

    /// Nothing is left that comes after main: it is told of the end.
    fn tell_main(&mut self, now: Instant, main: usize, out: &mut Vec<Action>) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.told = true;
        if let Asked::Exit(exit, reason) = &leaving.asked {
            let purpose = Purpose::Exit(*exit, reason.clone());
            self.processes[main].stop(now, purpose, out);
            self.report(now, main, out);
        }
    }

    /// Stops those of a choice that nothing of the choice comes after; whether any of it is still there.
    pub(super) fn stop_those(
        &mut self,
        now: Instant,
        chosen: impl Fn(&Machine, usize) -> bool,
        out: &mut Vec<Action>,
    ) -> bool {
        let there: Vec<usize> = (0..self.processes.len())
            .filter(|&index| self.processes[index].is_there() && chosen(self, index))
            .collect();
        for &index in &there {
            if !there.iter().any(|&other| other != index && self.comes_after(other, index)) {
                self.processes[index].stop(now, Purpose::Shutdown, out);
                self.report(now, index, out);
            }
        }
        !there.is_empty()
    }

    /// Whether a process comes after another, directly or by what it comes after. What is stopped goes in this order even
    /// where one in between is gone already.
    fn comes_after(&self, index: usize, other: usize) -> bool {
        let mut seen = 0_u64;
        let mut todo = vec![index];
        while let Some(at) = todo.pop() {
            for (next, process) in self.processes.iter().enumerate() {
                if seen & (1 << next) == 0 && self.processes[at].rules.care.after.contains(&process.name) {
                    seen |= 1 << next;
                    todo.push(next);
                }
            }
        }
        index != other && seen & (1 << other) != 0
    }

    pub(super) fn stops_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        for process in &mut self.processes {
            process.stop_due(now, out);
        }
    }

    pub(super) fn leaving_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Some(leaving) = &mut self.leaving
            && leaving.drain_until.is_some_and(|at| at <= now)
        {
            leaving.drain_until = None;
        }
        self.leave_on(now, out);
    }

    pub(super) fn shutdown_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.shutdown_at.is_none_or(|at| at > now) {
            return;
        }
        let Some(main) = self.main_index().map(|index| &mut self.processes[index]) else {
            if let Some(leaving) = &mut self.leaving {
                leaving.drain_until = None;
            }
            return self.leave_on(now, out);
        };
        match &main.state {
            State::Starting => return,
            State::Running { .. } => {
                // The container is to end: what was to be restarted is not.
                main.stop_only();
                if let Some(Leaving { asked: Asked::Exit(exit, reason), .. }) = &self.leaving {
                    // Not told yet, because what comes after it is still there: its end is what was asked for all the same.
                    main.stop(now, Purpose::Exit(*exit, reason.clone()), out);
                }
                main.kill(now, out);
                for process in self.processes.iter_mut().filter(|process| !process.is_main()) {
                    process.end_now(now, out);
                }
            }
            // What still runs is killed as soon as this has begun.
            _ => {
                let asked = self.leaving.as_ref().map(|leaving| leaving.asked.clone());
                return self.end_as_asked(now, asked.unwrap_or(Asked::Signal(libc::SIGTERM)), out);
            }
        }
        self.shutdown_at = None;
    }

    pub(super) fn main(&self) -> Option<&Process> {
        self.processes.iter().find(|process| process.is_main())
    }

    pub(super) fn main_index(&self) -> Option<usize> {
        self.processes.iter().position(Process::is_main)
    }
}
