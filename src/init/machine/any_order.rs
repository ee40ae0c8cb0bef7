//! What holds for any sequence of events: main's status is never lost, at most one stop protocol runs per process, after
//! the end was decided nothing is started, every armed timer is due or cancelled, and a TERM is never swallowed. With a
//! second process beside main, because main is one of a list.

use super::process::State;
use super::tests::{FIRST, MAIN, WORKER, spec};
use super::*;
use crate::link::{Care, Kind as Is, Log, Readiness, ReloadAction, Restart};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SIDE: &str = "side";
/// main's TERM by forwarding; so it is told apart from the stop protocol's.
const FORWARDED: i32 = libc::SIGUSR2;

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Signal(i32),
    /// main, or the other one, ends with this status.
    Dies(bool, i32),
    WorkerDies(i32),
    /// The worker has seen that the other one is ready, and leaves.
    Leaves,
    Say(Say),
    Closed,
    Broken,
    Pass(u64),
    Reaped(bool),
    /// The oldest fork or spawn that was asked for works, or does not.
    Answer(bool),
}

#[derive(Debug, Clone)]
enum Say {
    Process(bool),
    Start,
    Allow(bool),
    Hold(bool),
    Release(bool),
    Restart(bool),
    Reload(bool),
    Command,
    /// The other one is ready.
    Ready,
    Finished,
    Exit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let say = prop_oneof![
        3 => any::<bool>().prop_map(Say::Process),
        3 => Just(Say::Start),
        2 => any::<bool>().prop_map(Say::Allow),
        2 => any::<bool>().prop_map(Say::Hold),
        2 => any::<bool>().prop_map(Say::Release),
        3 => any::<bool>().prop_map(Say::Restart),
        1 => any::<bool>().prop_map(Say::Reload),
        1 => Just(Say::Command),
        2 => Just(Say::Ready),
        2 => Just(Say::Finished),
        1 => Just(Say::Exit),
    ];
    let status = prop_oneof![(0..=255i32).prop_map(|code| code << 8), 1..=64i32];
    // KILL and STOP never arrive, and USR2 is what TERM becomes here.
    let arriving =
        (1..=64i32).prop_filter("never arrives", |number| ![libc::SIGKILL, libc::SIGSTOP, FORWARDED].contains(number));
    let step = prop_oneof![
        3 => prop_oneof![Just(libc::SIGTERM), arriving].prop_map(Step::Signal),
        2 => (any::<bool>(), status).prop_map(|(main, status)| Step::Dies(main, status)),
        1 => (0..=1i32).prop_map(|code| Step::WorkerDies(code << 8)),
        1 => Just(Step::Leaves),
        8 => say.prop_map(Step::Say),
        1 => Just(Step::Closed),
        1 => Just(Step::Broken),
        2 => (0..20_000u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Reaped),
        8 => proptest::bool::weighted(0.9).prop_map(Step::Answer),
    ];
    // Half of them begin where everything runs: what follows a start would be rare otherwise.
    let start = [Say::Process(true), Say::Process(false), Say::Start].map(Step::Say);
    let start = std::iter::once(Step::Answer(true)).chain(start).chain([Step::Answer(true), Step::Answer(true)]);
    let start: Vec<Step> = start.collect();
    (any::<bool>(), proptest::collection::vec(step, 0..60))
        .prop_map(move |(begun, steps)| if begun { start.iter().cloned().chain(steps).collect() } else { steps })
}

/// What main is told to be.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, thrown by chance")]
struct Kind {
    /// No worker.
    plain: bool,
    group: bool,
    shutdown: bool,
    /// Something is left in the end that cannot be killed.
    stuck: bool,
    /// The other process always comes back, and becomes ready by a probe.
    probed: bool,
}

fn kinds() -> impl Strategy<Value = Kind> {
    let rare = proptest::bool::weighted(0.2);
    (rare, any::<bool>(), proptest::bool::weighted(0.3), rare, any::<bool>())
        .prop_map(|(plain, group, shutdown, stuck, probed)| Kind { plain, group, shutdown, stuck, probed })
}

impl Kind {
    fn spec(self, main: bool) -> ProcessSpec {
        let shutdown_timeout = self.shutdown.then_some(Duration::from_secs(7));
        let (rewrite, exit_codes) = (BTreeMap::from([(libc::SIGTERM, FORWARDED)]), BTreeMap::from([(143, 0), (5, 6)]));
        if main {
            // One switch for two things that have nothing to do with each other.
            let log = if self.group { Log::Prefix } else { Log::Inherit };
            ProcessSpec { group: self.group, shutdown_timeout, rewrite, exit_codes, log, ..spec() }
        } else {
            let (restart, ready) =
                if self.probed { (Restart::Always, Readiness::Probe) } else { (Restart::Never, Readiness::AtOnce) };
            let care = Care { kind: Is::Sidecar, restart, ready, ..Care::default() };
            ProcessSpec { name: SIDE.into(), group: self.group, care, ..spec() }
        }
    }
}

/// A process that runs, as the kernel knows it.
#[derive(Debug)]
struct Runs {
    pid: i32,
    /// Stop signals that it got.
    stops: u32,
    /// KILL is on its way to it.
    killed: bool,
    /// It got a TERM that came from outside.
    told: bool,
}

/// The kernel as a model: what runs, what was asked of it; and what was seen.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that were seen, one by one")]
struct World {
    machine: Machine,
    now: Instant,
    out: Vec<Action>,
    kind: Kind,
    asked: VecDeque<Asked>,
    /// By the machine's number.
    running: BTreeMap<usize, Runs>,
    worker: Option<i32>,
    worker_killed: bool,
    /// It closed its link, and lives.
    closed: bool,
    settled: bool,
    /// A worker that had said goodbye has left.
    left: bool,
    next_pid: i32,
    held: BTreeSet<&'static str>,
    /// Stopped, to be started again.
    owed: BTreeSet<usize>,
    /// The worker asked for the container's end.
    exit_asked: bool,
    /// A TERM came in and has neither reached main nor ended proem yet.
    term_open: bool,
    decided: bool,
    /// The only code that proem may end with.
    code: Option<Exit>,
    exit: Option<Exit>,
    /// A round of reaping was asked for: now, and at all.
    reap: bool,
    reaped: bool,
}

#[derive(Debug)]
enum Asked {
    Fork,
    Spawn(usize),
}

fn name(main: bool) -> &'static str {
    if main { MAIN } else { SIDE }
}

impl World {
    fn new(kind: Kind) -> World {
        World {
            machine: Machine::new(kind.plain.then(|| kind.spec(true)), !kind.plain),
            now: Instant::now(),
            out: Vec::new(),
            kind,
            asked: VecDeque::new(),
            running: BTreeMap::new(),
            worker: None,
            worker_killed: false,
            closed: false,
            settled: false,
            left: false,
            next_pid: FIRST,
            held: BTreeSet::new(),
            owed: BTreeSet::new(),
            exit_asked: false,
            term_open: false,
            decided: false,
            code: None,
            exit: None,
            reap: false,
            reaped: false,
        }
    }

    /// Somebody is to see when the other process is ready.
    fn is_awaited(&self) -> bool {
        self.index(false).is_some_and(|index| self.machine.processes[index].awaits_probe())
    }

    fn index(&self, main: bool) -> Option<usize> {
        self.machine.processes.iter().position(|process| process.name == name(main))
    }

    /// Whether a signal's target is this process, by itself or with its group.
    fn is(target: Target, pid: i32) -> bool {
        matches!(target, Target::Pid(to) | Target::Group(to) if to == pid)
    }

    fn watch(&mut self) -> Result<(), TestCaseError> {
        let main = self.index(true);
        for action in std::mem::take(&mut self.out) {
            prop_assert!(self.exit.is_none(), "{action:?} after exit");
            match action {
                Action::Spawn { process } => {
                    prop_assert!(!self.decided, "a spawn after the end was decided");
                    let asked =
                        self.asked.iter().any(|asked| matches!(asked, Asked::Spawn(other) if *other == process));
                    prop_assert!(!asked && !self.running.contains_key(&process), "two of the same");
                    let name = self.machine.processes[process].name.as_str();
                    prop_assert!(!self.held.contains(name), "{name} is started though it is held");
                    self.asked.push_back(Asked::Spawn(process));
                }
                Action::ForkWorker => {
                    let forking = self.asked.iter().any(|asked| matches!(asked, Asked::Fork));
                    prop_assert!(!self.decided && self.worker.is_none() && !forking, "two workers, or too late");
                    prop_assert!(!self.left || self.is_awaited(), "a worker that nobody needs");
                    self.settled = false;
                    self.asked.push_back(Asked::Fork);
                }
                Action::Kill { target, signal } => {
                    self.worker_killed |=
                        signal == libc::SIGKILL && self.worker.is_some_and(|pid| World::is(target, pid));
                    let Some((index, runs)) = self.running.iter_mut().find(|(_, runs)| World::is(target, runs.pid))
                    else {
                        continue;
                    };
                    match signal {
                        libc::SIGTERM => {
                            runs.stops += 1;
                            // Once KILL is on its way nothing that is sent matters.
                            prop_assert!(runs.stops <= 1 || runs.killed || self.decided, "two stop protocols");
                        }
                        libc::SIGKILL => {
                            // One bound for all: at its end whoever still runs is killed, asked before or not.
                            let why = runs.stops > 0 || self.kind.shutdown;
                            prop_assert!(why, "KILL, and nobody asked for the end");
                            runs.killed = true;
                        }
                        FORWARDED if Some(*index) == main => (self.term_open, runs.told) = (false, true),
                        _ => prop_assert!(Some(*index) == main, "{signal} is forwarded to another than main"),
                    }
                }
                Action::Clear | Action::Sweep { signal: libc::SIGKILL } => {
                    self.running.values_mut().for_each(|runs| runs.killed = true);
                    self.worker_killed |= self.worker.is_some();
                }
                Action::Reap => {
                    prop_assert!(!std::mem::replace(&mut self.reaped, true), "decided twice");
                    self.reap = true;
                }
                Action::Tell(ToWorker::Welcome { probes, .. }) => {
                    prop_assert_eq!(probes, self.left, "who published, and who only probes");
                }
                Action::Settle => self.settled = true,
                Action::Exit(exit) => {
                    prop_assert!(self.decided, "an end that nobody decided");
                    prop_assert_eq!(self.code.unwrap_or(exit), exit, "main's status is lost");
                    self.exit = Some(exit);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn feed(&mut self, event: Event) -> Result<(), TestCaseError> {
        self.machine.handle(self.now, event, &mut self.out);
        // Of the actions of this very event none may be a start, if it is the one that decides.
        self.decided |= self.machine.ending.is_some();
        self.term_open &= !self.decided;
        self.watch()?;
        let deadline = self.machine.deadline();
        prop_assert!(deadline.is_none() || self.may_wait(), "a timer for nothing: {deadline:?}");
        Ok(())
    }

    /// Whether there is anything that a timer could be about.
    fn may_wait(&self) -> bool {
        let stopping = self.running.values().any(|runs| runs.stops > 0);
        let pausing = self.machine.processes.iter().any(|process| matches!(process.state, State::Pausing { .. }));
        let no_worker = !self.kind.plain && !self.settled && self.worker.is_none();
        self.exit.is_none() && (self.decided || stopping || pausing || no_worker || self.closed || self.kind.shutdown)
    }

    fn pass(&mut self, time: Duration) -> Result<(), TestCaseError> {
        self.now += time;
        self.feed(Event::Due)?;
        // Time alone never makes init spin.
        let next = self.machine.deadline();
        prop_assert!(next.is_none_or(|next| next > self.now), "what was due is due for ever");
        Ok(())
    }

    fn dies(&mut self, index: usize, status: i32) -> Result<(), TestCaseError> {
        let Some(Runs { pid, stops, killed, told }) = self.running.remove(&index) else { return Ok(()) };
        let (main, before) = (Some(index) == self.index(true), self.decided);
        let own = main && stops == 0 && !before;
        if stops > 0 && !before {
            self.owed.insert(index);
        }
        if main && !before {
            let code = decode(status).map(|exit| match exit {
                Exit(143) => Exit(0),
                Exit(5) => Exit(6),
                other => other,
            });
            // Killed because the shutdown took too long: by then a restart is off, an asked end is not.
            let asked = self.exit_asked && stops > 0;
            self.code = if asked { Some(Exit::RELOAD) } else { code.filter(|_| own) };
        }
        self.feed(Event::Exited { pid, status })?;
        prop_assert!(!own || self.decided, "main's end went unnoticed");
        prop_assert!(!told || self.decided, "a TERM was swallowed: main ended after it, and is started again");
        prop_assert!(main || self.decided == before, "another process's end became the container's");
        prop_assert!(!main || before || self.decided || stops > 0 || killed, "main ended and proem goes on");
        Ok(())
    }

    fn say(&mut self, say: &Say) -> Result<(), TestCaseError> {
        // What another says than one that only probes may say, is not taken.
        let open = !self.decided && !self.left;
        let message = match *say {
            Say::Process(main) => ToInit::Process(Box::new(self.kind.spec(main))),
            Say::Start => ToInit::Start,
            Say::Allow(main) => ToInit::Allow(vec![name(main).into()]),
            Say::Hold(main) => {
                if open {
                    self.held.insert(name(main));
                }
                ToInit::Hold(vec![name(main).into()])
            }
            Say::Release(main) => {
                if open {
                    self.held.remove(name(main));
                }
                ToInit::Release(vec![name(main).into()])
            }
            Say::Restart(main) => ToInit::Reload { id: 1, process: name(main).into(), action: ReloadAction::Restart },
            Say::Reload(main) => {
                ToInit::Reload { id: 2, process: name(main).into(), action: ReloadAction::Signal(libc::SIGHUP) }
            }
            Say::Command => ToInit::Command(70),
            Say::Ready => {
                let pid = self.index(false).and_then(|index| self.running.get(&index)).map_or(0, |runs| runs.pid);
                ToInit::Ready { process: SIDE.into(), pid }
            }
            Say::Finished => ToInit::Finished,
            Say::Exit => {
                self.exit_asked |= open;
                ToInit::Exit { code: Exit::RELOAD.0, reason: "asked".into() }
            }
        };
        self.feed(Event::Message(message))
    }

    fn answer(&mut self, good: bool) -> Result<(), TestCaseError> {
        let event = match self.asked.pop_front() {
            None => return Ok(()),
            Some(Asked::Fork) if good => {
                (self.worker, self.worker_killed, self.closed) = (Some(WORKER), false, false);
                Event::Forked { pid: WORKER }
            }
            Some(Asked::Fork) => Event::NotForked { reason: "no".into() },
            Some(Asked::Spawn(process)) if !self.machine.is_to_start(process) => {
                prop_assert!(self.decided, "a start that is forgotten");
                Event::Refused { process, failure: Failure::new(Exit::INTERNAL, "too late") }
            }
            Some(Asked::Spawn(process)) if good => {
                prop_assert!(!self.decided, "a start after the end was decided");
                self.owed.remove(&process);
                self.next_pid += 1;
                self.running.insert(process, Runs { pid: self.next_pid, stops: 0, killed: false, told: false });
                Event::Spawned { process, pid: self.next_pid }
            }
            Some(Asked::Spawn(process)) => Event::Refused { process, failure: Failure::new(Exit::NOT_FOUND, "no") },
        };
        self.feed(event)
    }

    fn worker_dies(&mut self, status: i32) -> Result<(), TestCaseError> {
        let Some(pid) = self.worker.take() else { return Ok(()) };
        (self.closed, self.worker_killed) = (false, false);
        self.left |= self.machine.worker.is_parting() && status == 0 && self.machine.held.is_empty();
        self.feed(Event::Exited { pid, status })
    }

    fn reaped(&mut self, left: bool) -> Result<(), TestCaseError> {
        self.reap = false;
        // The kernel's word is true: a child that runs is left.
        let left = left || self.kind.stuck || !self.running.is_empty() || self.worker.is_some();
        self.feed(Event::Reaped { left })
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Signal(number) => {
                self.term_open |= number == libc::SIGTERM && !self.decided;
                self.feed(Event::Signal { number, from_self: false })
            }
            Step::Dies(main, status) => self.index(main).map_or(Ok(()), |index| self.dies(index, status)),
            Step::WorkerDies(status) => self.worker_dies(status),
            Step::Leaves if self.worker.is_some() => {
                self.say(&Say::Ready)?;
                self.say(&Say::Finished)?;
                self.worker_dies(0)
            }
            Step::Say(say) if self.worker.is_some() => self.say(&say),
            Step::Closed if self.worker.is_some() => {
                self.closed = true;
                self.feed(Event::Closed)
            }
            Step::Broken if self.worker.is_some() => self.feed(Event::Broken),
            Step::Leaves | Step::Say(_) | Step::Closed | Step::Broken => Ok(()),
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Step::Reaped(left) => self.reaped(left),
            Step::Answer(good) => self.answer(good),
        }
    }

    /// Nothing happens any more but what the machine itself asked for: forks and spawns work, KILL kills, timers are due.
    /// Whether there was anything.
    fn goes_on(&mut self) -> Result<bool, TestCaseError> {
        let killed = self.running.iter().find(|(_, runs)| runs.killed).map(|(index, _)| *index);
        if !self.asked.is_empty() {
            self.answer(true)?;
        } else if let Some(index) = killed {
            self.dies(index, libc::SIGKILL)?;
        } else if self.worker_killed {
            self.worker_dies(libc::SIGKILL)?;
        } else if self.reap || self.decided && !self.kind.stuck && self.running.is_empty() && self.worker.is_none() {
            self.reaped(false)?;
        } else if let Some(at) = self.machine.deadline() {
            self.pass(at.saturating_duration_since(self.now))?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order(steps in steps(), kind in kinds()) {
        let mut world = World::new(kind);
        world.machine.begin(world.now, &mut world.out);
        world.watch()?;
        for step in steps {
            if world.exit.is_some() { break }
            world.step(step)?;
        }
        // What is held is released: the worker, or the one that follows it, owes that.
        for main in [true, false] {
            if !world.decided { world.say(&Say::Release(main))? }
        }
        let mut rounds = 0;
        while world.exit.is_none() && world.goes_on()? {
            rounds += 1;
            prop_assert!(rounds < 300, "it never comes to rest: {world:?}");
        }
        prop_assert!(!world.term_open, "a TERM was swallowed");
        prop_assert!(!world.decided || world.exit.is_some(), "decided, and no end comes");
        if world.exit.is_none() {
            prop_assert!(!world.exit_asked, "an end that was asked for, and does not come");
            prop_assert!(world.running.values().all(|runs| runs.stops == 0), "a stop without an end");
            // Once the end was asked for, only main still comes back.
            let main = world.index(true);
            let owed = world.owed.iter().any(|index| Some(*index) == main || world.machine.leaving.is_none());
            prop_assert!(!owed, "a restart without a start");
            let seen = !world.is_awaited() || world.machine.leaving.is_some() || world.worker.is_some() || world.kind.plain;
            prop_assert!(seen, "nobody sees when it is ready");
        }
        prop_assert!(world.exit.is_some() || !world.closed || world.worker.is_none() || world.machine.worker.is_parting(), "a dead link for ever");
    }
}
