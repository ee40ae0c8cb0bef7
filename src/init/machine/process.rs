//! One process: what it is in, how signals reach it, and its stop protocol.

use super::{Action, Target};
use crate::exit::Exit;
use crate::link::{Care, Kind, ProcessSpec, Readiness, Restart};
use crate::log::Level;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Signals kept for a process that is about to run; the 31 ordinary ones always fit, each once.
const MAX_KEPT: usize = 128;
/// Beyond these a worker is broken.
pub(super) const MAX_PROCESSES: usize = 64;
/// After KILL, what the kernel cannot end (a process in an uninterruptible wait) is not waited for longer.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(1);

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
    /// It may run though not all may.
    pub(super) allowed: bool,
    /// Since when it has been in that; `None` before its first turn.
    pub(super) since: Option<Instant>,
    /// Signals that arrived while it was not there to get them.
    kept: Vec<i32>,
    /// Asked to be restarted as soon as it is released.
    pub(super) restart_wanted: bool,
    /// Reloads and orders that are answered when it runs anew.
    pub(super) replies: Vec<u64>,
    /// Orders that are answered when it has stopped.
    pub(super) stops: Vec<u64>,
    pub(super) history: History,
    /// It is not declared any more.
    pub(super) dropped: bool,
}

/// What was of a process.
#[derive(Debug, Default)]
pub(super) struct History {
    /// How it ended the last time.
    pub(super) exit: Option<Exit>,
    /// Restarts because of its own end, in all.
    pub(super) restarts: u32,
    /// When the latest of them were; no more than its limit counts.
    pub(super) recent: VecDeque<Instant>,
    /// Of them, those since it last ran stably.
    pub(super) in_a_row: u32,
}

/// How a running process is treated: from the spec that it was started with.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    stop_signal: Option<i32>,
    stop_timeout: Duration,
    pub(super) shutdown_timeout: Option<Duration>,
    group: bool,
    rewrite: BTreeMap<i32, i32>,
    pub(super) exit_codes: BTreeMap<u8, u8>,
    pub(super) linger: Duration,
    pub(super) care: Care,
}

#[derive(Debug)]
pub(super) enum State {
    /// Not started yet, or stopped to be started again.
    Waiting,
    /// Between `Spawn` and its outcome.
    Starting,
    Running {
        pid: i32,
        ready: bool,
        stop: Option<Stop>,
    },
    /// It ended too soon; then it is its turn again.
    Pausing {
        until: Instant,
    },
    /// It ended by itself, and is not started again.
    Over {
        /// It was ready when it ended; a setup step: it has done its work.
        ready: bool,
    },
    /// An operator stopped it.
    Stopped,
}

/// A stop protocol that is under way. There is at most one per process.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) purpose: Purpose,
    kill: Kill,
}

/// How far a stop protocol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// Its group is killed then.
    At(Instant),
    /// Its group was killed, and it counts as gone then.
    Done { gone: Instant },
    /// It was killed, and has not gone: nothing is left to be done.
    GivenUp,
}

/// Why a process is stopped; the weightier overrules the other.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To be started again.
    Restart,
    /// Its probe says that it is not alive: as if it had ended by itself.
    Unhealthy,
    /// An operator wants it to be stopped.
    Operator,
    /// The container ends; nobody asks for a code.
    Shutdown,
    /// The container is to end with this.
    Exit(Exit, String),
}

impl Purpose {
    fn weight(&self) -> u8 {
        match self {
            Purpose::Restart => 0,
            Purpose::Unhealthy => 1,
            Purpose::Operator => 2,
            Purpose::Shutdown => 3,
            Purpose::Exit(..) => 4,
        }
    }
}

impl Rules {
    pub(super) fn of(spec: &ProcessSpec) -> Rules {
        Rules {
            stop_signal: spec.stop_signal,
            stop_timeout: spec.stop_timeout,
            shutdown_timeout: spec.shutdown_timeout,
            group: spec.group,
            rewrite: spec.rewrite.clone(),
            exit_codes: spec.exit_codes.clone(),
            linger: spec.linger,
            care: spec.care.clone(),
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

    /// Whether a signal asks for the end while there is no process to ask.
    pub(super) fn ends(&self, number: i32) -> bool {
        ends(number) || self.stop_signal == Some(number)
    }

    /// Whether a signal begins the shutdown of all. One that main is not to hear of does not.
    pub(super) fn shuts_down(&self, number: i32) -> bool {
        (number == libc::SIGTERM || self.stop_signal == Some(number)) && self.rewritten(number).is_some()
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
            allowed: false,
            since: None,
            kept: Vec::new(),
            restart_wanted: false,
            replies: Vec::new(),
            stops: Vec::new(),
            history: History::default(),
            dropped: false,
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

    /// It has a pid, or will have one in a moment; one that survived its KILL is waited for no longer.
    pub(super) fn is_there(&self) -> bool {
        match &self.state {
            State::Running { stop, .. } => stop.as_ref().is_none_or(|stop| stop.kill != Kill::GivenUp),
            State::Starting => true,
            _ => false,
        }
    }

    /// What comes after it may start: it runs and is ready, or it has done its work.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { ready: true, stop: None, .. } | State::Over { ready: true })
    }

    /// It will not become ready any more, unless an operator helps.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Over { ready: false })
    }

    /// It runs, and the worker is to see when it is ready.
    pub(super) fn awaits_probe(&self) -> bool {
        matches!(self.state, State::Running { ready: false, stop: None, .. })
            && self.rules.care.ready == Readiness::Probe
    }

    /// Whether a life of it, this one or a later, is to be seen ready by a worker.
    pub(super) fn may_await_probe(&self) -> bool {
        let next = self.newest.as_ref().is_some_and(|spec| spec.care.ready == Readiness::Probe);
        next || self.awaits_probe()
    }

    pub(super) fn kind(&self) -> Kind {
        self.rules.care.kind
    }

    pub(super) fn is_main(&self) -> bool {
        self.kind() == Kind::Main
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Running { stop: Some(stop), .. } => match stop.kill {
                Kill::At(at) | Kill::Done { gone: at } => Some(at),
                Kill::GivenUp => None,
            },
            State::Pausing { until } => Some(*until),
            _ => None,
        }
    }

    /// Whoever asked for a reload is gone; what it still owed, its successor asks for again.
    pub(super) fn forget_replies(&mut self) {
        self.replies.clear();
        self.stops.clear();
        self.restart_wanted = false;
    }

    /// Whether an operator is having it stopped.
    pub(super) fn stops_for_operator(&self) -> bool {
        matches!(&self.state, State::Running { stop: Some(Stop { purpose: Purpose::Operator, .. }), .. })
    }

    /// Whether its stop is the container's end, which no order changes.
    pub(super) fn stops_for_good(&self) -> bool {
        matches!(
            &self.state,
            State::Running { stop: Some(Stop { purpose: Purpose::Shutdown | Purpose::Exit(..), .. }), .. }
        )
    }

    /// An operator who had it stopped wants it back: it is started when it has gone.
    pub(super) fn stop_to_restart(&mut self) {
        if let State::Running { stop: Some(stop), .. } = &mut self.state
            && matches!(stop.purpose, Purpose::Operator)
        {
            stop.purpose = Purpose::Restart;
        }
    }

    /// Whether it is being stopped in order to run again.
    pub(super) fn stops_for_restart(&self) -> bool {
        matches!(&self.state, State::Running { stop: Some(stop), .. }
            if matches!(stop.purpose, Purpose::Restart | Purpose::Unhealthy))
    }

    /// Whether it may run again after its end, or has yet to run.
    pub(super) fn may_start(&self) -> bool {
        self.rules.care.restart != Restart::Never
    }

    pub(super) fn spawned(&mut self, now: Instant, pid: i32) {
        let ready = self.rules.care.ready == Readiness::AtOnce && self.kind() != Kind::Setup;
        self.state = State::Running { pid, ready, stop: None };
        self.since = Some(now);
        self.group = Some(pid);
    }

    pub(super) fn target(&self, pid: i32) -> Target {
        if self.rules.group { Target::Group(pid) } else { Target::Pid(pid) }
    }

    pub(super) fn forward(&self, number: i32, out: &mut Vec<Action>) {
        if let (Some(pid), Some(signal)) = (self.pid(), self.rules.rewritten(number)) {
            out.push(Action::Kill { target: self.target(pid), signal });
        }
    }

    pub(super) fn keep(&mut self, number: i32) {
        // Ordinary signals do not queue in the kernel either; real-time ones do.
        let queues = number >= libc::SIGRTMIN();
        if queues && self.kept.len() < MAX_KEPT || !queues && !self.kept.contains(&number) {
            self.kept.push(number);
        }
    }

    /// The first of the kept signals that asks for the end.
    pub(super) fn kept_end(&self) -> Option<i32> {
        self.kept.iter().copied().find(|number| self.rules.ends(*number))
    }

    pub(super) fn deliver_kept(&mut self, out: &mut Vec<Action>) {
        for number in std::mem::take(&mut self.kept) {
            self.forward(number, out);
        }
    }

    /// The stop protocol: stop signal, `stop_timeout`, KILL to the group. A second request sends nothing; the weightier
    /// purpose counts.
    pub(super) fn stop(&mut self, now: Instant, purpose: Purpose, out: &mut Vec<Action>) {
        let signal = self.rules.stop_signal.unwrap_or(libc::SIGTERM);
        let kill = Kill::At(now + self.rules.stop_timeout);
        let group = self.rules.group;
        let State::Running { pid, stop, .. } = &mut self.state else { return };
        match stop {
            None => {
                let target = if group { Target::Group(*pid) } else { Target::Pid(*pid) };
                out.push(Action::Kill { target, signal });
                *stop = Some(Stop { purpose, kill });
                self.since = Some(now);
            }
            Some(stop) if stop.purpose.weight() < purpose.weight() => stop.purpose = purpose,
            Some(_) => {}
        }
    }

    /// What was stopped to run again is not any more: the container ends with it.
    pub(super) fn stop_only(&mut self) {
        if self.stops_for_restart()
            && let State::Running { stop, .. } = &mut self.state
        {
            *stop = None;
        }
    }

    pub(super) fn kill(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let State::Running { pid, stop, .. } = &mut self.state {
            if let Some(stop) = stop {
                stop.kill = Kill::Done { gone: now + AFTER_KILL };
            }
            // Otherwise 137 would look like the kernel's out-of-memory killer.
            let late = format!("process `{}` did not end in the time that it had: KILL", self.name);
            out.push(Action::Log(Level::Warn, late));
            out.push(Action::Kill { target: Target::Group(*pid), signal: libc::SIGKILL });
        }
    }

    /// The time of all is over: it is killed, asked before or not.
    pub(super) fn end_now(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let State::Running { stop, .. } = &mut self.state
            && stop.as_ref().is_none_or(|stop| matches!(stop.kill, Kill::At(_)))
        {
            *stop = Some(Stop { purpose: Purpose::Shutdown, kill: Kill::At(now) });
            self.kill(now, out);
        }
    }

    /// The stop protocol's timer.
    pub(super) fn stop_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        let State::Running { stop: Some(stop), .. } = &mut self.state else { return };
        match stop.kill {
            Kill::At(at) if at <= now => self.kill(now, out),
            Kill::Done { gone } if gone <= now => stop.kill = Kill::GivenUp,
            _ => {}
        }
    }
}
