//! What holds for any graph of processes and any sequence of events: the order of start and stop, restarts and their
//! limits, the books, and the way to the end.

use super::several::{exit, named};
use super::*;
use crate::init::machine::process::State;
use crate::link::{Care, Exhausted, Kind, Readiness, Restart, RestartLimit};

/// What can happen to several processes.
#[derive(Debug, Clone)]
enum Step {
    Dies(usize, i32),
    Ready(usize),
    Pass(u64),
    Term,
    Exit,
    Refused,
    Hup,
    /// Its probe says that it is not alive.
    Sick(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) cares: Vec<Care>,
}

const LIMIT: RestartLimit = RestartLimit { restarts: 3, within: Duration::from_secs(30) };

/// Up to six processes; each may come after those with a smaller number. The last is main, or essential.
pub(super) fn plans() -> impl Strategy<Value = Plan> {
    let one = (0..3u8, any::<u8>(), any::<bool>(), 0..3u8, any::<bool>(), any::<bool>());
    (proptest::collection::vec(one, 1..6), any::<bool>(), any::<u8>(), 0..2u64).prop_map(
        |(others, with_main, last_after, drain)| {
            let names = |mask: u8, below: usize| -> Vec<String> {
                (0..below).filter(|bit| mask & (1 << bit) != 0).map(|bit| format!("p{bit}")).collect()
            };
            let mut cares: Vec<Care> = Vec::new();
            for (index, (kind, mask, probe, restart, limit, exit)) in others.into_iter().enumerate() {
                let kind = [Kind::Sidecar, Kind::Sidecar, Kind::Setup][usize::from(kind)];
                let restart = [Restart::Always, Restart::OnFailure, Restart::Never][usize::from(restart)];
                let restart = if kind == Kind::Setup { Restart::Never } else { restart };
                cares.push(Care {
                    kind,
                    after: names(mask, index),
                    ready: if probe { Readiness::Probe } else { Readiness::AtOnce },
                    restart,
                    limit: limit.then_some(LIMIT),
                    when_exhausted: if exit { Exhausted::Exit } else { Exhausted::Ignore },
                    ..Care::default()
                });
            }
            let kind = if with_main { Kind::Main } else { Kind::Essential };
            let drain = Duration::from_secs(drain);
            cares.push(Care { kind, after: names(last_after, cares.len()), drain, ..Care::default() });
            Plan { cares }
        },
    )
}

fn several_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6usize, prop_oneof![Just(0), Just(1 << 8), Just(libc::SIGKILL)]).prop_map(|(p, s)| Step::Dies(p, s)),
        6 => (0..6usize).prop_map(Step::Ready),
        4 => (0..4000u64).prop_map(Step::Pass),
        1 => Just(Step::Term),
        1 => Just(Step::Exit),
        1 => Just(Step::Refused),
        1 => Just(Step::Hup),
        2 => (0..6usize).prop_map(Step::Sick),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The kernel's and the worker's half.
pub(super) struct Several {
    pub(super) plan: Plan,
    pub(super) now: Instant,
    next_pid: i32,
    pub(super) running: Vec<Option<i32>>,
    pub(super) ready: Vec<bool>,
    pub(super) spawns: Vec<Vec<Instant>>,
    /// Pids that got a stop signal.
    told: BTreeSet<i32>,
    /// Pids that are stopped because they are not alive.
    sick: BTreeSet<i32>,
    refuse: bool,
    /// The end was asked for.
    pub(super) term: bool,
    /// With this, by the worker.
    asked: Option<Exit>,
    pub(super) decided: bool,
    pub(super) exit: Option<Exit>,
    /// What the latest worker was told first, until somebody looks.
    pub(super) welcome: Option<ToWorker>,
    /// Whether the files that a process may read are in place and checked.
    pub(super) may_read: Box<dyn Fn(usize) -> bool>,
}

impl Several {
    pub(super) fn new(plan: Plan) -> Several {
        let count = plan.cares.len();
        Several {
            plan,
            now: Instant::now(),
            next_pid: FIRST,
            running: vec![None; count],
            ready: vec![false; count],
            spawns: vec![Vec::new(); count],
            told: BTreeSet::new(),
            sick: BTreeSet::new(),
            refuse: false,
            term: false,
            asked: None,
            decided: false,
            exit: None,
            welcome: None,
            may_read: Box::new(|_| true),
        }
    }

    fn after(&self, index: usize, other: usize) -> bool {
        let direct = |index: usize| self.plan.cares[index].after.iter().map(|name| name[1..].parse::<usize>().unwrap());
        direct(index).any(|before| before == other || self.after(before, other))
    }

    pub(super) fn carry_out(&mut self, machine: &mut Machine, out: &mut Vec<Action>) -> Result<(), TestCaseError> {
        while !out.is_empty() {
            let mut answers = Vec::new();
            for action in out.drain(..) {
                prop_assert!(self.exit.is_none(), "{action:?} after the exit");
                match action {
                    Action::Spawn { process } => {
                        prop_assert!(!self.decided, "a start after the end was decided");
                        let is_main = self.plan.cares[process].kind == Kind::Main;
                        prop_assert!(!self.term || is_main, "a start after the end was asked for");
                        prop_assert!(self.running[process].is_none(), "started twice");
                        prop_assert!((self.may_read)(process), "{process} before its files");
                        for other in (0..self.running.len())
                            .filter(|&other| self.plan.cares[process].after.contains(&format!("p{other}")))
                        {
                            prop_assert!(self.ready[other], "{process} before {other}");
                        }
                        self.spawns[process].push(self.now);
                        if std::mem::take(&mut self.refuse) {
                            let failure = Failure::new(Exit::NOT_FOUND, "no");
                            answers.push(Event::Refused { process, failure });
                        } else {
                            self.next_pid += 1;
                            self.running[process] = Some(self.next_pid);
                            let care = &self.plan.cares[process];
                            self.ready[process] = care.ready == Readiness::AtOnce && care.kind != Kind::Setup;
                            answers.push(Event::Spawned { process, pid: self.next_pid });
                        }
                    }
                    Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM } => {
                        let index = self.running.iter().position(|running| *running == Some(pid)).unwrap();
                        let later = (0..self.running.len()).filter(|&other| {
                            other != index && self.running[other].is_some() && self.after(other, index)
                        });
                        let to_run_again = self.sick.contains(&pid);
                        prop_assert!(to_run_again || later.count() == 0, "stopped before what came after it");
                        let twice = !self.told.insert(pid);
                        prop_assert!(!twice || self.plan.cares[index].kind == Kind::Main, "two stop protocols");
                    }
                    Action::Kill { target: Target::Group(pid), signal: libc::SIGKILL } => {
                        if let Some(index) = self.running.iter().position(|running| *running == Some(pid)) {
                            answers.extend(self.dies(index, libc::SIGKILL));
                        }
                    }
                    Action::Reap => {
                        self.decided = true;
                        prop_assert!(self.running.iter().all(Option::is_none), "a process was forgotten");
                        answers.push(Event::Reaped { left: false });
                    }
                    Action::LastWord(exit, _) => {
                        let asked = self.asked == Some(exit);
                        prop_assert!(!self.term || self.decided || asked, "after TERM the code is main's, not {exit}");
                        self.decided = true;
                    }
                    Action::Exit(exit) => self.exit = Some(exit),
                    Action::ForkWorker => answers.push(Event::Forked { pid: WORKER }),
                    Action::Tell(welcome @ ToWorker::Welcome { .. }) => self.welcome = Some(welcome),
                    _ => {}
                }
            }
            for answer in answers {
                deliver(machine, self.now, answer, out)?;
            }
        }
        Ok(())
    }

    /// A process ends; what the machine is to make of it.
    pub(super) fn dies(&mut self, index: usize, status: i32) -> Option<Event> {
        let pid = self.running.get_mut(index)?.take()?;
        let care = &self.plan.cares[index];
        self.ready[index] = match care.kind {
            _ if self.sick.contains(&pid) => false,
            Kind::Setup => status == 0,
            // One that is over, and was ready, has done what was asked of it.
            _ => {
                self.ready[index]
                    && (care.restart == Restart::Never || care.restart == Restart::OnFailure && status == 0)
            }
        };
        Some(Event::Exited { pid, status })
    }
}

/// What init keeps of a process's ends.
fn books(machine: &Machine) -> Vec<(Option<Exit>, u32, usize)> {
    let of = |process: &Process| (process.history.exit, process.history.restarts, process.history.recent.len());
    machine.processes.iter().map(of).collect()
}

/// One event; the end of a process is looked at.
fn deliver(machine: &mut Machine, now: Instant, event: Event, out: &mut Vec<Action>) -> Result<(), TestCaseError> {
    match event {
        Event::Exited { pid, status } => account(machine, now, pid, status, out),
        event => {
            machine.handle(now, event, out);
            Ok(())
        }
    }
}

/// A process's end is accounted once: as the last exit of this process and of no other; and it is followed by exactly one
/// of a start that is due, the end of this process for good, and the end of the container. Told again, or of a child that
/// nobody knows, it is nothing.
fn account(
    machine: &mut Machine,
    now: Instant,
    pid: i32,
    status: i32,
    out: &mut Vec<Action>,
) -> Result<(), TestCaseError> {
    let index = machine.processes.iter().position(|process| process.pid() == Some(pid)).unwrap();
    let (before, open) = (books(machine), machine.ending.is_none());
    machine.handle(now, Event::Exited { pid, status }, out);
    let after = books(machine);
    for other in (0..before.len()).filter(|&other| other != index) {
        prop_assert_eq!(before[other], after[other], "the end of {} was written down for {}", index, other);
    }
    prop_assert_eq!(after[index].0, decode(status), "the last exit");
    let again = after[index].1 - before[index].1;
    let due = matches!(machine.processes[index].state, State::Waiting | State::Starting | State::Pausing { .. });
    let over = matches!(machine.processes[index].state, State::Over { .. } | State::Stopped);
    prop_assert!(due != over, "neither to run again nor over, or both: {:?}", machine.processes[index]);
    prop_assert!(!due || machine.leaving.is_none(), "to run again, though the end was asked for");
    prop_assert!(again == u32::from(due) && (open || !due), "counted {} times, is to run: {}", again, due);
    let limited = machine.processes[index].rules.care.limit.is_some();
    prop_assert!(!limited || after[index].2 <= LIMIT.restarts as usize, "more are remembered than may be");
    let (length, all) = (out.len(), format!("{:?}", machine.processes));
    for stranger in [pid, 1] {
        machine.handle(now, Event::Exited { pid: stranger, status: exited(77) }, out);
    }
    let same = out.len() == length && format!("{:?}", machine.processes) == all;
    prop_assert!(same, "an end counts twice, or is a stranger's");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Nothing starts before what it comes after is ready; what is stopped goes in reverse; nothing starts once the end was
    /// asked for or decided; each stop protocol runs once; each end is accounted once; limits of restarts hold; main's code is the container's, but 75 where
    /// the worker asked for the end and main was stopped for it; and after a TERM it ends, whoever is deaf to what.
    #[test]
    fn in_any_order(plan in plans(), steps in several_steps(), deaf in any::<u8>()) {
        let count = plan.cares.len();
        let mut machine = Machine::new(None, true);
        let mut world = Several::new(plan);
        let mut out = Vec::new();
        machine.begin(world.now, &mut out);
        world.carry_out(&mut machine, &mut out)?;
        for (index, care) in world.plan.cares.clone().into_iter().enumerate() {
            let spec = named(&format!("p{index}"), care);
            machine.handle(world.now, Event::Message(ToInit::Process(Box::new(spec))), &mut out);
        }
        machine.handle(world.now, Event::Message(ToInit::Start), &mut out);
        world.carry_out(&mut machine, &mut out)?;
        for step in steps {
            if world.exit.is_some() || world.decided { break }
            let mut own = None;
            let event = match step {
                Step::Dies(index, status) => {
                    let told = world.running.get(index).copied().flatten().is_some_and(|pid| world.told.contains(&pid));
                    let Some(event) = world.dies(index, status) else { continue };
                    let code = world.asked.filter(|_| told).unwrap_or_else(|| decode(status).unwrap());
                    own = (world.plan.cares[index].kind == Kind::Main).then_some(code);
                    event
                }
                Step::Ready(index) => {
                    let Some(Some(pid)) = world.running.get(index).copied() else { continue };
                    if world.plan.cares[index].ready != Readiness::Probe || world.plan.cares[index].kind == Kind::Setup { continue }
                    world.ready[index] = true;
                    Event::Message(ToInit::Ready { process: format!("p{index}"), pid })
                }
                Step::Pass(millis) => {
                    world.now += Duration::from_millis(millis);
                    Event::Due
                }
                Step::Term => {
                    world.term = true;
                    Event::Signal { number: libc::SIGTERM, from_self: false }
                }
                Step::Exit => {
                    (world.term, world.asked) = (true, Some(Exit::RELOAD));
                    Event::Message(exit())
                }
                Step::Refused => {
                    world.refuse = true;
                    continue
                }
                Step::Hup => Event::Signal { number: libc::SIGHUP, from_self: false },
                Step::Sick(index) => {
                    let Some(Some(pid)) = world.running.get(index).copied() else { continue };
                    let plain = matches!(world.plan.cares[index].kind, Kind::Sidecar | Kind::Essential);
                    if world.term || world.told.contains(&pid) || !plain { continue }
                    world.sick.insert(pid);
                    world.ready[index] = false;
                    Event::Message(ToInit::Unhealthy { process: format!("p{index}"), pid, reason: "no".into() })
                }
            };
            deliver(&mut machine, world.now, event, &mut out)?;
            world.carry_out(&mut machine, &mut out)?;
            if let Some(code) = own {
                // The others are told to go; then the code is the container's.
                world.decided = true;
                world.drive(&mut machine, &mut out, deaf)?;
                prop_assert_eq!(world.exit, Some(code));
            }
        }
        for (index, spawns) in world.spawns.iter().enumerate() {
            if world.plan.cares[index].limit.is_some() {
                let most = LIMIT.restarts as usize + 1;
                let crowded = spawns.windows(most + 1).any(|some| some[most] - some[0] < LIMIT.within);
                prop_assert!(!crowded, "too many restarts");
            }
        }
        if world.exit.is_none() {
            let decided = world.decided;
            world.term = true;
            machine.handle(world.now, Event::Signal { number: libc::SIGTERM, from_self: false }, &mut out);
            world.carry_out(&mut machine, &mut out)?;
            let began = world.now;
            world.drive(&mut machine, &mut out, deaf)?;
            prop_assert!(world.exit.is_some(), "it never ends");
            // Who is told ends with 0.
            let mains = world.plan.cares.iter().any(|care| care.kind == Kind::Main).then_some(Exit::OK);
            let right = decided || [Some(Exit(143)), mains, world.asked].contains(&world.exit);
            prop_assert!(right, "{:?}: neither 143 nor main's code", world.exit);
            let bound = Duration::from_secs(2) + Duration::from_secs(6) * u32::try_from(count).unwrap();
            prop_assert!(world.now - began <= bound, "it takes too long");
        }
    }
}

impl Several {
    /// Processes end when they are told to, the deaf ones when they are killed; time passes as far as the next timer.
    fn drive(&mut self, machine: &mut Machine, out: &mut Vec<Action>, deaf: u8) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            if self.exit.is_some() {
                break;
            }
            let end = (0..self.running.len()).find(|&index| {
                // main is waited for, however long: it is the orchestrator who loses patience.
                let hears = deaf & (1 << index) == 0 || self.plan.cares[index].kind == Kind::Main;
                hears && self.running[index].is_some_and(|pid| self.told.contains(&pid))
            });
            let event = match end.and_then(|index| self.dies(index, 0)) {
                Some(event) => event,
                None => match machine.deadline() {
                    Some(at) => {
                        self.now = self.now.max(at);
                        Event::Due
                    }
                    None => break,
                },
            };
            deliver(machine, self.now, event, out)?;
            self.carry_out(machine, out)?;
        }
        Ok(())
    }
}
