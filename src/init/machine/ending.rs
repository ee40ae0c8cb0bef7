//! The end: the code is decided. The other processes are stopped in order, each by its own protocol; then what is left
//! over is asked to go, then made to.

use super::process::{AFTER_KILL, State};
use super::{Action, Loggers, Machine};
use crate::exit::Exit;
use std::time::{Duration, Instant};

/// How long a worker that has said goodbye may take to be gone by itself, before what is left over is looked for.
const GOODBYE: Duration = Duration::from_millis(20);
/// How long loggers may take for the last words of what was killed.
const LAST_WORDS: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Ending {
    exit: Exit,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The processes that still run are being stopped, each before those that it came after.
    Stopping,
    /// Waits for the round of reaping that tells whether anything is left.
    Looking,
    /// A worker that has finished and loggers are ending by themselves, and are perhaps all that is left: then nobody is
    /// signalled, and /proc is not searched for whom to signal.
    Parting { until: Instant },
    /// What is left got TERM and CONT.
    Lingering { until: Instant },
    /// What is left but the loggers got KILL: they write out what they have.
    Draining { until: Instant },
    /// What is left got KILL.
    Killing { until: Instant },
    /// `Exit` was given.
    Over,
}

impl Ending {
    /// The stop protocols of the other processes are under way.
    pub(super) fn stops_others(&self) -> bool {
        matches!(self.phase, Phase::Stopping)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Parting { until }
            | Phase::Lingering { until }
            | Phase::Draining { until }
            | Phase::Killing { until } => Some(until),
            Phase::Stopping | Phase::Looking | Phase::Over => None,
        }
    }

    /// Asks all that is left to go. The worker, which ignores TERM, is told by the end of its link: it ends its commands
    /// and removes what it staged.
    fn ask(&mut self, worker: bool, now: Instant, linger: Duration, out: &mut Vec<Action>) {
        if worker {
            out.push(Action::Unlink);
        }
        out.push(Action::Sweep { signal: libc::SIGTERM });
        // What is stopped gets its TERM only when it goes on.
        out.push(Action::Sweep { signal: libc::SIGCONT });
        self.phase = Phase::Lingering { until: now + linger };
    }
}

impl Machine {
    /// Decides the code, once and for all.
    pub(super) fn end(&mut self, now: Instant, exit: Exit, out: &mut Vec<Action>) {
        if self.ending.is_none() {
            self.ending = Some(Ending { exit, phase: Phase::Stopping });
            self.bound_shutdown(now);
            for process in &mut self.processes {
                if matches!(process.state, State::Pausing { .. }) {
                    process.state = State::Waiting;
                }
            }
            self.stop_next(now, out);
        }
    }

    /// Goes on stopping the processes that still run; whether that is what is going on.
    pub(super) fn stop_next(&mut self, now: Instant, out: &mut Vec<Action>) -> bool {
        if !self.ending.as_ref().is_some_and(Ending::stops_others) {
            return false;
        }
        if !self.stop_those(now, |_, _| true, out)
            && let Some(ending) = &mut self.ending
        {
            ending.phase = Phase::Looking;
            if self.loggers == Loggers::Run {
                out.push(Action::EndLogs);
            }
            out.push(Action::Reap);
        }
        true
    }

    /// While a child runs, something is left; with none, nothing is, because what loses its parent becomes ours.
    pub(super) fn on_reaped(&mut self, now: Instant, left: bool, out: &mut Vec<Action>) {
        let linger = self.linger();
        let worker = self.worker.pid().is_some();
        // Loggers end by themselves, too, once nobody is left to write to them.
        let parting = self.worker.is_parting() || self.loggers == Loggers::Run && !worker;
        let Some(ending) = &mut self.ending else { return };
        match ending.phase {
            Phase::Over => {}
            _ if !left => {
                ending.phase = Phase::Over;
                out.push(Action::Exit(ending.exit));
            }
            Phase::Looking if parting => ending.phase = Phase::Parting { until: now + GOODBYE },
            Phase::Parting { .. } if parting => {}
            Phase::Looking | Phase::Parting { .. } => ending.ask(worker, now, linger, out),
            Phase::Stopping | Phase::Lingering { .. } => {}
            Phase::Draining { .. } => out.push(Action::Clear),
            // Children of what was just killed have become ours.
            Phase::Killing { .. } => out.push(Action::Sweep { signal: libc::SIGKILL }),
        }
    }

    pub(super) fn ending_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.ending.as_ref().is_some_and(Ending::stops_others) {
            if self.shutdown_at.take_if(|at| *at <= now).is_some() {
                for process in &mut self.processes {
                    process.end_now(now, out);
                }
            }
            self.stops_due(now, out);
            self.stop_next(now, out);
            return;
        }
        let (linger, worker) = (self.linger(), self.worker.pid().is_some());
        let Some(ending) = &mut self.ending else { return };
        match ending.phase {
            Phase::Parting { until } if until <= now => ending.ask(worker, now, linger, out),
            Phase::Lingering { until } if until <= now && self.loggers == Loggers::Run => {
                out.push(Action::Clear);
                ending.phase = Phase::Draining { until: now + LAST_WORDS };
            }
            Phase::Lingering { until } | Phase::Draining { until } if until <= now => {
                out.push(Action::Sweep { signal: libc::SIGKILL });
                ending.phase = Phase::Killing { until: now + AFTER_KILL };
            }
            Phase::Killing { until } if until <= now => {
                ending.phase = Phase::Over;
                out.push(Action::Exit(ending.exit));
            }
            _ => {}
        }
    }
}
