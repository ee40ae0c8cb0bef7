//! The shell around the machine: one loop that waits, turns what happened into events and carries the actions out.

use super::logs::Logs;
use super::machine::{Action, Event, Machine, Target};
use super::readiness::{self, Offer, Teller, Told};
use super::terminal::Terminal;
use super::wait::{self, Signals};
use super::worker::{self, Link, Received};
use super::{WorkerMain, last_word, spawn, sweep};
use crate::exit::Exit;
use crate::link::{Outcome, ProcessSpec, ToWorker};
use crate::log::{self, Level};
use crate::os::exec::{self, Image};
use crate::os::inherited::Inherited;
use crate::os::ready::Would;
use crate::os::{confine, fds, memory, signals};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

/// Messages that are read from the link before signals are looked at again: a worker cannot keep init from them.
const MESSAGES_A_ROUND: usize = 64;

/// From the last that starting needed to giving its memory back: the one time that init wakes up for itself.
const REST: Duration = Duration::from_millis(20);
/// The same beside a worker, which has more to say at the start.
const REST_BESIDE: Duration = Duration::from_secs(1);

pub struct Shell<'a, 'w> {
    machine: Machine,
    worker: Option<&'a mut WorkerMain<'w>>,
    link: Option<Link>,
    signals: Signals,
    inherited: &'a Inherited,
    actions: VecDeque<Action>,
    /// Filled by the machine, then moved to `actions`; kept for its memory.
    decided: Vec<Action>,
    terminal: Option<Terminal>,
    /// main's latest process group, for the terminal.
    main_group: Option<i32>,
    /// Descriptors of socket activation, kept for the next start of main.
    listen_fds: Option<Vec<RawFd>>,
    /// What proem inherited beside them, kept from the processes that start before main.
    reserved: Option<Vec<RawFd>>,
    /// Processes that may tell that they are ready.
    tellers: Vec<Teller>,
    /// Of the processes whose lines are not simply proem's.
    logs: Logs,
    /// main has been started: init sits in `/` and has closed what it inherited.
    apart: bool,
    /// Where proem was started, for restarts. The path, not a descriptor: that would pin the mount.
    cwd: Option<Vec<u8>>,
    reap_wanted: bool,
    /// How a reaped orphan is logged.
    orphans: Level,
    /// The memory that starts took is given back then, unless all is over before.
    rest_at: Option<Instant>,
    /// The process and signal that were found blocked when a reload was asked for last.
    blocks: Option<(i32, i32)>,
    exit: Option<Exit>,
}

impl<'a, 'w> Shell<'a, 'w> {
    pub fn new(
        main: Option<ProcessSpec>,
        worker: Option<&'a mut WorkerMain<'w>>,
        orphans: Level,
        inherited: &'a Inherited,
    ) -> io::Result<Shell<'a, 'w>> {
        // Before init opens anything: what is open from 3 up is not init's.
        let listen_fds = listen_fds();
        Ok(Shell {
            machine: Machine::new(main, worker.is_some()).seeded(seed()),
            worker,
            link: None,
            signals: Signals::new()?,
            inherited,
            actions: VecDeque::new(),
            decided: Vec::new(),
            terminal: Terminal::in_foreground(),
            main_group: None,
            listen_fds,
            reserved: None,
            tellers: Vec::new(),
            logs: Logs::default(),
            apart: false,
            cwd: None,
            reap_wanted: false,
            orphans,
            rest_at: None,
            blocks: None,
            exit: None,
        })
    }

    /// The loop.
    pub fn run(mut self) -> Exit {
        self.machine.begin(Instant::now(), &mut self.decided);
        self.perform_all();
        loop {
            // A decided end asks for a round of reaping: nothing may be left, and then nothing will wake us.
            while std::mem::take(&mut self.reap_wanted) && self.exit.is_none() {
                self.reap();
            }
            if let Some(exit) = self.exit {
                if let Some(terminal) = self.terminal {
                    terminal.take_back(self.main_group);
                }
                return exit;
            }
            let deadline = self.machine.deadline();
            let wake_at = [deadline, self.rest_at, self.logs.deadline()].into_iter().flatten().min();
            let ready = {
                let tellers = self.tellers.iter().map(Teller::fd);
                wait::wait(&self.signals, self.link.as_ref().map(Link::fd), tellers, wake_at)
            };
            if ready.signals {
                self.read_signals();
            }
            if ready.link {
                self.read_link(MESSAGES_A_ROUND);
            }
            if ready.others != 0 {
                self.read_tellers(ready.others);
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.feed(Event::Due);
            }
            self.logs.due(Instant::now());
            if self.rest_at.is_some_and(|at| at <= Instant::now()) {
                self.rest_at = None;
                memory::give_back();
            }
        }
    }

    /// Whether a process is ready for a reload signal. One that has it blocked is, if it had it blocked the last time it was
    /// asked, too.
    fn takes(&mut self, pid: i32, signal: i32) -> bool {
        let before = self.blocks.take();
        match crate::os::ready::would(pid, signal) {
            Would::Take => true,
            Would::Wait => {
                self.blocks = Some((pid, signal));
                before == self.blocks
            }
            Would::End => false,
        }
    }

    /// One event, and all that follows from it.
    fn feed(&mut self, event: Event) {
        self.machine.handle(Instant::now(), event, &mut self.decided);
        self.perform_all();
    }

    fn perform_all(&mut self) {
        self.actions.extend(self.decided.drain(..));
        while let Some(action) = self.actions.pop_front() {
            if let Some(answer) = self.perform(action) {
                self.machine.handle(Instant::now(), answer, &mut self.decided);
                self.actions.extend(self.decided.drain(..));
            }
        }
    }

    fn read_signals(&mut self) {
        let own = i32::try_from(std::process::id()).unwrap_or(-1);
        loop {
            let (arrived, count) = self.signals.read::<8>();
            for signal in &arrived[..count] {
                self.reap_wanted |= signal.number == libc::SIGCHLD;
                if signal.number != libc::SIGCHLD {
                    crate::debug!("got {}", signals::name(signal.number));
                }
                self.feed(Event::Signal { number: signal.number, from_self: signal.pid == own });
            }
            if count < arrived.len() {
                return;
            }
        }
    }

    /// Reaps all that has ended: SIGCHLD does not say how many, and its sender may not be the one who ended.
    fn reap(&mut self) {
        loop {
            match wait::reap() {
                Ok((pid, status)) if self.logs.reaped(pid, status, Instant::now()) => {}
                Ok((pid, status)) => {
                    if !self.machine.knows(pid) && log::enabled(self.orphans) {
                        log::event(self.orphans, &format!("reaped {pid}, an orphan"));
                    }
                    if self.machine.worker_pid() == Some(pid) {
                        // What it said before it ended counts, `Finished` above all.
                        self.read_link(usize::MAX);
                    }
                    self.feed(Event::Exited { pid, status });
                }
                Err(left) => return self.feed(Event::Reaped { left }),
            }
        }
    }

    fn read_link(&mut self, most: usize) {
        for _ in 0..most {
            let event = match self.link.as_mut().map(Link::receive) {
                None | Some(Received::Nothing) => return,
                Some(Received::Message(message)) => Event::Message(message),
                Some(Received::Closed) => {
                    self.link = None;
                    Event::Closed
                }
                Some(Received::Broken) => Event::Broken,
            };
            self.feed(event);
        }
    }

    /// Those of `set` that have something to say.
    fn read_tellers(&mut self, set: u64) {
        let mut ready = Vec::new();
        for (bit, teller) in self.tellers.iter_mut().enumerate().take(wait::MAX_OTHERS) {
            if set & (1 << bit) == 0 {
                continue;
            }
            match teller.read() {
                Told::Nothing => {}
                Told::Ready => ready.push(Event::Ready { process: teller.process, pid: teller.pid }),
                Told::Never => {
                    let name = self.machine.name(teller.process);
                    crate::warn!("process `{name}` closed the descriptor that it was to say on that it is ready");
                }
            }
        }
        self.tellers.retain(|teller| !teller.is_done());
        for event in ready {
            self.feed(event);
        }
    }

    /// Carries one action out; what came of it, where that is an event.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { process } if !self.machine.is_to_start(process) => {
                let failure = crate::error::Failure::new(Exit::INTERNAL, "the end was decided before its start");
                return Some(Event::Refused { process, failure });
            }
            Action::Spawn { process } => return Some(self.spawn(process)),
            Action::Kill { target, signal } => {
                // Gone already, or somebody else's now: both are no reason to stop.
                let _ = kill(target, signal);
            }
            Action::Reload { id, target, signal } => {
                let (Target::Pid(pid) | Target::Group(pid)) = target;
                if !self.takes(pid, signal) {
                    let name = crate::os::signals::name(signal);
                    let outcome = Outcome::Failed(format!("it has no handler for {name} (yet), which would end it"));
                    return self.tell(&ToWorker::Reloaded { id, outcome });
                }
                let outcome = match kill(target, signal) {
                    Ok(()) => Outcome::Done,
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Outcome::NotRunning,
                    Err(error) => Outcome::Failed(error.to_string()),
                };
                return self.tell(&ToWorker::Reloaded { id, outcome });
            }
            Action::ForkWorker => return self.fork_worker(),
            Action::Unlink => self.link = None,
            Action::Tell(message) => return self.tell(&message),
            Action::Reap => self.reap_wanted = true,
            Action::Sweep { signal } => {
                if signal == libc::SIGKILL {
                    self.logs.over();
                }
                let groups: Vec<i32> = self.machine.groups().into_iter().chain(self.logs.groups()).collect();
                sweep::signal_all(signal, &groups);
            }
            Action::EndLogs => self.logs.end(Instant::now()),
            Action::Clear => sweep::kill_all_but(&self.logs.groups().collect::<Vec<i32>>(), &self.machine.groups()),
            Action::Log(level, message) => log::event(level, &message),
            Action::LastWord(exit, reason) => last_word(exit, &reason),
            Action::Settle => self.settle(),
            Action::Exit(exit) => self.exit = Some(exit),
        }
        None
    }

    fn tell(&mut self, message: &ToWorker) -> Option<Event> {
        let sent = self.link.as_ref().is_none_or(|link| link.send(message).is_ok());
        (!sent).then_some(Event::Broken)
    }

    fn fork_worker(&mut self) -> Option<Event> {
        self.link = None;
        let worker = self.worker.as_mut()?;
        Some(match worker::fork(worker) {
            Ok((pid, link)) => {
                self.link = Some(link);
                Event::Forked { pid }
            }
            Err(error) => Event::NotForked { reason: crate::error::reason(&error) },
        })
    }

    fn spawn(&mut self, process: usize) -> Event {
        let is_main = self.machine.is_main(process);
        if !is_main {
            self.reserve();
        }
        let Some(spec) = self.machine.spec(process) else {
            let failure = crate::error::Failure::new(Exit::INTERNAL, "there is nothing to start");
            return Event::Refused { process, failure };
        };
        // A restart begins where the first start did.
        let moved;
        let spec = match &self.cwd {
            Some(cwd) if spec.workdir.is_none() => {
                moved = ProcessSpec { workdir: Some(cwd.clone()), ..spec.clone() };
                &moved
            }
            _ => spec,
        };
        let offer = match readiness::offer(spec.care.ready) {
            Ok(offer) => offer,
            Err(error) => {
                let message = format!("failed to make what `{}` says on that it is ready: {error}", spec.name);
                return Event::Refused { process, failure: crate::error::Failure::new(Exit::INTERNAL, message) };
            }
        };
        let told;
        let spec = match &offer {
            Some(Offer::Socket { variable, .. }) => {
                let mut env = spec.env.clone();
                env.retain(|item| !item.starts_with(b"NOTIFY_SOCKET="));
                env.push(variable.clone());
                told = ProcessSpec { env, ..spec.clone() };
                &told
            }
            _ => spec,
        };
        if let Some(signal) = spec.parent_death_signal.filter(|_| !self.apart) {
            confine::tell_parents_death(signal, self.inherited.parent());
        }
        let outputs = match self.logs.outputs(spec, Instant::now()) {
            Ok(outputs) => outputs,
            Err(error) => {
                let error = crate::error::reason(&error);
                let message = format!("failed to make the pipes for what `{}` writes: {error}", spec.name);
                return Event::Refused { process, failure: crate::error::Failure::new(Exit::INTERNAL, message) };
            }
        };
        exec::hand_over_stdio(spec, outputs.map_or([0, 1, 2], |[output, error]| [0, output, error]));
        let terminal = self.terminal.filter(|terminal| is_main && terminal.is_ours(self.main_group));
        let mut image = Image::new(spec, self.listen_fds.as_deref().filter(|_| is_main));
        if is_main {
            image.hand_over(self.reserved.as_deref().unwrap_or_default());
        }
        if let Some(outputs) = outputs {
            image.writes_to(outputs);
        }
        if let Some(Offer::Pipe { theirs, number, .. }) = &offer {
            image.speaks_on(theirs.as_raw_fd(), *number);
        }
        match spawn::spawn(&mut image, terminal, spec.session, self.inherited) {
            Ok(pid) => {
                crate::debug!("started `{}` as process {pid}", spec.name);
                drop(image);
                self.logs.started(&spec.name, pid);
                self.tellers.retain(|teller| teller.process != process);
                self.tellers.extend(offer.map(|offer| offer.taken(process, pid)));
                if is_main {
                    self.main_group = Some(pid);
                    self.stand_apart();
                }
                let rest = if self.link.is_some() { REST_BESIDE } else { REST };
                self.rest_at = Some(Instant::now() + rest);
                Event::Spawned { process, pid }
            }
            Err(failure) => Event::Refused { process, failure },
        }
    }

    /// What proem inherited is main's alone: from here on nobody gets it who is not given it.
    fn reserve(&mut self) {
        if self.apart || self.reserved.is_some() {
            return;
        }
        let inherited: Vec<RawFd> = fds::open_from_3().into_iter().filter(|fd| !fds::is_cloexec(*fd)).collect();
        for fd in &inherited {
            fds::set_cloexec(*fd, true);
        }
        self.reserved = Some(inherited);
    }

    /// main has what proem was started with; init keeps none of it: a pipe that main closes gives EOF to its reader, and
    /// the mount that it works on can be unmounted.
    fn stand_apart(&mut self) {
        if std::mem::replace(&mut self.apart, true) {
            return;
        }
        self.reserved = None;
        let mut keep = vec![self.signals.as_raw_fd()];
        keep.extend(self.tellers.iter().map(Teller::fd));
        keep.extend(self.link.as_ref().map(Link::fd));
        keep.extend(self.logs.fds());
        if self.machine.may_start() {
            self.cwd = std::env::current_dir().ok().map(|dir| dir.into_os_string().into_vec());
            for fd in self.listen_fds.iter().flatten().copied() {
                fds::set_cloexec(fd, true);
                keep.push(fd);
            }
        }
        fds::close_from_3(&keep);
        // SAFETY: a NUL-terminated path; where `/` is refused, init stays where it is.
        unsafe { libc::chdir(c"/".as_ptr()) };
    }

    /// No worker any more: what its messages took goes back, too. Not at once: a container that ends within a moment does
    /// not pay for it.
    fn settle(&mut self) {
        self.link = None;
        if !self.machine.may_probe() {
            self.worker = None;
        }
        if !self.machine.may_start() && !self.machine.starts_again() {
            self.cwd = None;
        }
        self.actions.shrink_to_fit();
        self.rest_at = Some(Instant::now() + REST);
    }
}

/// Of the jitter between restarts: no secret, only not the same in every container.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id()))
}

fn kill(target: Target, signal: i32) -> io::Result<()> {
    let to = match target {
        Target::Pid(pid) => pid,
        Target::Group(group) => -group,
    };
    // 0 and -1 are everybody to kill(2); no pid of a child is 1 or less.
    if (-1..=1).contains(&to) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: takes plain numbers.
    if unsafe { libc::kill(to, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptors of socket activation (`sd_listen_fds(3)`), if they are meant for this process.
fn listen_fds() -> Option<Vec<RawFd>> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let count = number("LISTEN_PID").filter(|pid| *pid == std::process::id()).and_then(|_| number("LISTEN_FDS"))?;
    let count = RawFd::try_from(count).ok().filter(|count| *count <= 1024)?;
    Some((3..3 + count).filter(|fd| fds::is_open(*fd)).collect())
}
