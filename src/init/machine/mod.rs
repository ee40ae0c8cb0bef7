//! The pure machine: events in, actions out, time as a parameter. Everything about order is decided here; nothing here
//! makes a system call.
//!
//! Its life: *before main's first start* (a signal that ends, ends at once), *running*, *leaving* (the end was asked for and
//! main has not ended yet), and *ending* (the code is decided and does not change any more; the other processes are
//! stopped in order, then what is left over is ended). From *leaving* on nothing but main is started, from *ending* on
//! nothing at all.

mod ending;
mod process;
mod reload;
mod report;
mod shutdown;
mod supervise;
mod worker;

#[cfg(test)]
mod any_order;
#[cfg(test)]
mod tests;

use crate::error::Failure;
use crate::exit::Exit;
use crate::link::{ProcessSpec, ToInit, ToWorker};
use crate::log::Level;
use ending::Ending;
use process::Process;
use shutdown::Leaving;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use worker::Worker;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A signal arrived at proem.
    Signal {
        /// 1..=64.
        number: i32,
        /// init itself caused it (SIGPIPE from a log line).
        from_self: bool,
    },
    /// A child ended and was reaped.
    Exited {
        /// Which one.
        pid: i32,
        /// As `wait4` gave it.
        status: i32,
    },
    /// A round of reaping is over.
    Reaped {
        /// There are children that still run.
        left: bool,
    },
    /// [`Action::Spawn`] worked: the program runs.
    Spawned {
        /// Index of the process.
        process: usize,
        /// Its pid, which is its process group too.
        pid: i32,
    },
    /// [`Action::Spawn`] failed.
    Refused {
        /// Index of the process.
        process: usize,
        /// Why.
        failure: Failure,
    },
    /// A process said on its descriptor or socket that it is ready.
    Ready {
        /// Index of the process.
        process: usize,
        /// Which of its lives said so.
        pid: i32,
    },
    /// [`Action::ForkWorker`] worked.
    Forked {
        /// The worker's pid, which is its process group too.
        pid: i32,
    },
    /// [`Action::ForkWorker`] failed.
    NotForked {
        /// Why.
        reason: String,
    },
    /// From the worker.
    Message(ToInit),
    /// The worker closed its end of the link.
    Closed,
    /// The worker does not keep to the protocol.
    Broken,
    /// Time has passed: [`Machine::deadline`] may be due.
    Due,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this process from [`Machine::spec`]; answered by `Spawned` or `Refused`.
    Spawn {
        /// Index of the process.
        process: usize,
    },
    /// Send a signal. That the target is gone already is not an error.
    Kill {
        /// To whom.
        target: Target,
        /// 1..=64.
        signal: i32,
    },
    /// Send a signal, then tell the worker what came of it.
    Reload {
        /// The worker's id.
        id: u64,
        /// To whom.
        target: Target,
        /// 1..=64.
        signal: i32,
    },
    /// Fork the worker; answered by `Forked` or `NotForked`.
    ForkWorker,
    /// Close init's end of the link.
    Unlink,
    /// Send to the worker.
    Tell(ToWorker),
    /// Reap once more, so that `Reaped` tells whether anything is left.
    Reap,
    /// Signal everything that is left over.
    Sweep {
        /// 1..=64.
        signal: i32,
    },
    /// Nobody writes to the loggers any more but what is left over: they are to end with that.
    EndLogs,
    /// KILL everything that is left over but the loggers.
    Clear,
    /// One log line.
    Log(Level, String),
    /// The last line: proem itself is the reason for the exit.
    LastWord(Exit, String),
    /// There is no worker any more: init is at its smallest from here on, until a process is started again.
    Settle,
    /// The end. The last action there is.
    Exit(Exit),
}

/// Whom a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One process.
    Pid(i32),
    /// A process group.
    Group(i32),
}

/// Processes between a process and proem's own output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loggers {
    /// There never was one.
    None,
    /// They end by themselves when nobody is left to write to them.
    Run,
}

/// init's whole state.
#[derive(Debug)]
pub struct Machine {
    processes: Vec<Process>,
    /// Names of processes that are neither started nor restarted now.
    held: BTreeSet<String>,
    worker: Worker,
    /// All processes may run.
    start_wanted: bool,
    /// main ran at least once; without main, an essential process.
    started: bool,
    /// When everything is killed because the shutdown took too long.
    shutdown_at: Option<Instant>,
    leaving: Option<Leaving>,
    ending: Option<Ending>,
    /// A process was started whose lines go through a logger.
    loggers: Loggers,
    /// The worker wants to know what the processes are in.
    watched: bool,
    /// Of the jitter of pauses.
    seed: u64,
}

impl Machine {
    /// A machine that runs `main` at once (plain init) or waits for a worker to say what and when.
    pub fn new(main: Option<ProcessSpec>, with_worker: bool) -> Machine {
        Machine {
            start_wanted: main.is_some() && !with_worker,
            processes: main.into_iter().map(Process::new).collect(),
            held: BTreeSet::new(),
            worker: Worker::new(with_worker),
            started: false,
            shutdown_at: None,
            leaving: None,
            ending: None,
            loggers: Loggers::None,
            watched: false,
            seed: 1,
        }
    }

    /// The same machine with other jitter.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Machine {
        self.seed = seed.max(1);
        self
    }

    /// The first actions.
    pub fn begin(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.worker.is_wanted() {
            self.fork_worker(out);
        } else if self.start_wanted {
            self.start_all(out);
        } else {
            self.end(now, Exit::OK, out);
        }
    }

    /// One event.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Signal { number, from_self } => self.on_signal(now, number, from_self, out),
            Event::Exited { pid, status } => self.on_exited(now, pid, status, out),
            Event::Reaped { left } => self.on_reaped(now, left, out),
            Event::Spawned { process, pid } => self.on_spawned(now, process, pid, out),
            Event::Refused { process, failure } => self.on_refused(now, process, &failure, out),
            Event::Ready { process, pid } => self.on_ready(now, process, pid, out),
            Event::Forked { pid } => self.on_forked(now, pid, out),
            Event::NotForked { reason } => self.on_not_forked(now, &reason, out),
            Event::Message(message) => self.on_message(now, message, out),
            Event::Closed => self.on_closed(now),
            Event::Broken => self.on_broken(out),
            Event::Due => self.on_due(now, out),
        }
    }

    /// When [`Event::Due`] is to be delivered at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(ending) = &self.ending {
            let stops = self.processes.iter().filter_map(Process::deadline).chain(self.shutdown_at);
            return if ending.stops_others() { stops.min() } else { ending.deadline() };
        }
        // While main is between fork and exec there is nothing to kill: its outcome comes first.
        let shutdown = self.shutdown_at.filter(|_| self.main().is_none_or(|main| !main.is_starting()));
        let stops = self.processes.iter().filter_map(Process::deadline).min();
        let leaving = self.leaving.as_ref().and_then(Leaving::deadline);
        [shutdown, stops, leaving, self.worker.deadline()].into_iter().flatten().min()
    }

    /// Whether a `Spawn` is still to be carried out. The end may have been decided since, by the failure of the one before
    /// it; then it is answered as refused.
    pub fn is_to_start(&self, process: usize) -> bool {
        self.ending.is_none() && self.processes.get(process).is_some_and(Process::is_starting)
    }

    /// What the process is to be started with; there while its `Spawn` is being carried out.
    pub fn spec(&self, process: usize) -> Option<&ProcessSpec> {
        self.processes.get(process)?.newest.as_deref()
    }

    /// A process's name, for messages.
    pub fn name(&self, process: usize) -> &str {
        self.processes.get(process).map_or("?", |process| &process.name)
    }

    /// Whether this process is the one whose end is the container's end.
    pub fn is_main(&self, process: usize) -> bool {
        self.processes.get(process).is_some_and(Process::is_main)
    }

    /// The worker's pid, while it has not been reaped.
    pub fn worker_pid(&self) -> Option<i32> {
        self.worker.pid()
    }

    /// Whether a child is one that init started: not an orphan.
    pub fn knows(&self, pid: i32) -> bool {
        self.worker.pid() == Some(pid) || self.processes.iter().any(|process| process.pid() == Some(pid))
    }

    /// Process groups that are known to be ours, for where /proc cannot tell.
    pub fn groups(&self) -> Vec<i32> {
        let worker = self.worker.pid().into_iter().chain(self.worker.commands());
        self.processes.iter().filter_map(|process| process.group).chain(worker).collect()
    }

    /// Whether a process is to be started again though there is no worker any more.
    pub fn starts_again(&self) -> bool {
        self.processes.iter().any(|process| process.newest.is_some())
    }

    /// Whether a process may be started later: then what its start needs is kept.
    pub fn may_start(&self) -> bool {
        self.worker.is_wanted() || self.processes.len() > 1 || self.processes.iter().any(Process::may_start)
    }

    /// Whether a worker may be forked again, to see when a process is ready.
    pub fn may_probe(&self) -> bool {
        self.worker.is_wanted() || self.processes.iter().any(Process::may_await_probe)
    }

    fn on_exited(&mut self, now: Instant, pid: i32, status: i32, out: &mut Vec<Action>) {
        if self.worker.pid() == Some(pid) {
            self.on_worker_gone(now, status, out);
        } else if let Some(index) = self.processes.iter().position(|process| process.pid() == Some(pid)) {
            self.on_process_gone(now, index, status, out);
        }
    }

    fn on_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return self.ending_due(now, out);
        }
        self.worker_due(now, out);
        self.stops_due(now, out);
        self.pauses_due(now, out);
        self.leaving_due(now, out);
        self.shutdown_due(now, out);
    }

    fn on_message(&mut self, now: Instant, message: ToInit, out: &mut Vec<Action>) {
        match message {
            ToInit::Command(group) => self.command_started(group, out),
            ToInit::CommandEnded(group) => self.worker.command_ended(group),
            ToInit::Finished => self.worker.finish(),
            // The code is decided; nothing that a worker says changes that.
            _ if self.ending.is_some() => {}
            ToInit::Watch => self.watch(now, out),
            ToInit::Ready { process, pid } => {
                let index = self.processes.iter().position(|known| known.name == process);
                if let Some(index) = index {
                    self.on_ready(now, index, pid, out);
                }
            }
            // What only probes has nothing else to say, and what a start needs may have been given back.
            _ if self.worker.only_probes() => self.on_broken(out),
            ToInit::Process(spec) => self.learn(*spec, out),
            ToInit::Start => self.on_start(out),
            ToInit::Allow(names) => self.allow(&names, out),
            ToInit::Renew => self.worker.renew(),
            ToInit::Only(names) => self.only(now, &names, out),
            ToInit::Unhealthy { process, pid, reason } => self.on_unhealthy(now, &process, pid, &reason, out),
            ToInit::Hold(names) => self.hold(names, out),
            ToInit::Release(names) => self.release(now, &names, out),
            ToInit::Reload { id, process, action } => self.reload(now, id, &process, action, out),
            ToInit::Operate { id, process, order } => self.operate(now, id, &process, order, out),
            ToInit::Owe(group) => self.owe(group, out),
            ToInit::Paid(group) => self.worker.paid(&group),
            ToInit::Refused(group, refused) => self.worker.refused(group, refused),
            ToInit::Exit { code, reason } => self.on_exit_asked(now, Exit(code), reason, out),
        }
    }
}

/// What a raw wait status says; `None` for a stop, which is no end.
///
/// By hand, because nix's `waitpid` has no value for a death by a real-time signal. The encoding is wait(2)'s: the low
/// seven bits are the signal, 0 for an exit, 0x7f for a stop; the second byte is the exit code.
pub fn decode(status: i32) -> Option<Exit> {
    match status & 0x7f {
        0 => Some(Exit(u8::try_from((status >> 8) & 0xff).unwrap_or(u8::MAX))),
        0x7f => None,
        signal => Some(Exit::by_signal(signal)),
    }
}

/// Doubles from 100 ms with each death, up to a minute.
fn backoff(deaths: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(1 << deaths.min(16)).min(Duration::from_mins(1))
}
