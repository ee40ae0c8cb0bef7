//! Several processes: order, readiness, restarts, the way to the end.

use super::*;
use crate::link::{Care, Exhausted, Kind, Order, Phase, ProcessState, Readiness, Restart, RestartLimit};

fn named(name: &str, care: Care) -> ProcessSpec {
    ProcessSpec { name: name.into(), stop_timeout: Duration::from_secs(5), care, ..spec() }
}

fn sidecar() -> Care {
    Care { kind: Kind::Sidecar, restart: Restart::Always, ..Care::default() }
}

fn after(mut care: Care, names: &[&str]) -> Care {
    care.after = names.iter().map(|name| (*name).to_owned()).collect();
    care
}

fn limited(restarts: u32, when_exhausted: Exhausted) -> Care {
    let limit = Some(RestartLimit { restarts, within: Duration::from_mins(1) });
    Care { limit, when_exhausted, ..sidecar() }
}

/// With a worker, started.
fn started(specs: impl IntoIterator<Item = ProcessSpec>) -> Case {
    let mut case = Case::with_worker();
    for spec in specs {
        case.say(ToInit::Process(Box::new(spec)));
    }
    case.take();
    case.say(ToInit::Start);
    case
}

fn spawn(process: usize) -> Action {
    Action::Spawn { process }
}
fn term(pid: i32) -> Action {
    Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM }
}
fn loud(actions: Vec<Action>) -> Vec<Action> {
    actions.into_iter().filter(|action| !matches!(action, Action::Log(..))).collect()
}

#[test]
fn what_comes_after_starts_when_that_is_ready() {
    let php = Care { ready: Readiness::Probe, ..sidecar() };
    let mut case = started([named(MAIN, after(Care::default(), &["php"])), named("php", php)]);
    assert_eq!(case.take(), [spawn(1)]);
    case.say(ToInit::Ready { process: "php".into(), pid: 1 });
    assert_eq!(case.take(), [], "the answer about another life");
    case.say(ToInit::Ready { process: "php".into(), pid: FIRST });
    assert_eq!(loud(case.take()), [spawn(0)]);
    case.say(ToInit::Ready { process: "php".into(), pid: FIRST });
    assert_eq!(case.take(), []);
}

#[test]
fn a_setup_step_runs_to_completion_first() {
    let setup = Care { kind: Kind::Setup, ..Care::default() };
    let both = || [named(MAIN, after(Care::default(), &["migrate"])), named("migrate", setup.clone())];
    let mut case = started(both());
    assert_eq!(case.take(), [spawn(1)]);
    case.dies(FIRST, exited(0));
    assert_eq!(loud(case.take()), [spawn(0)]);

    let mut case = started(both());
    case.dies(FIRST, exited(9));
    let said = Action::LastWord(Exit(9), "the setup process `migrate` ended (exit 9)".into());
    assert_eq!(case.take(), [spawn(1), said, Action::Reap]);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(9))]);
}

#[test]
fn a_sidecar_that_ends_is_started_at_once_then_after_pauses() {
    let mut case = started([named(MAIN, Care::default()), named("php", sidecar())]);
    case.take();
    case.dies(FIRST + 1, libc::SIGKILL);
    assert_eq!(loud(case.take()), [kill_group(FIRST + 1), spawn(1)]);
    let mut pauses = Vec::new();
    for life in 2..12 {
        case.dies(FIRST + life, exited(1));
        let pause = case.machine.deadline().unwrap() - case.now;
        pauses.push(pause.as_millis());
        case.wait(pause);
        assert_eq!(loud(case.take()), [kill_group(FIRST + life), spawn(1)]);
    }
    let most = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200];
    for (pause, most) in pauses.iter().zip(most) {
        assert!((most * 3 / 4..=most).contains(pause), "{pauses:?}");
    }
    // A stable life: at once again.
    case.now += Duration::from_secs(10);
    case.dies(FIRST + 12, exited(0));
    assert_eq!(loud(case.take()), [kill_group(FIRST + 12), spawn(1)]);
}

#[test]
fn restarts_on_failure_or_never() {
    for (restart, code, again) in
        [(Restart::OnFailure, 0, false), (Restart::OnFailure, 1, true), (Restart::Never, 1, false)]
    {
        let mut case = started([named(MAIN, Care::default()), named("x", Care { restart, ..sidecar() })]);
        case.take();
        case.dies(FIRST + 1, exited(code));
        assert_eq!(case.take().contains(&spawn(1)), again, "{restart:?} {code}");
    }
}

#[test]
fn too_many_restarts_end_the_container_or_the_process() {
    for (exhausted, code, ends) in [
        (Exhausted::Exit, exited(4), Some(Exit(4))),
        (Exhausted::Exit, exited(0), Some(Exit::INTERNAL)),
        (Exhausted::Ignore, exited(4), None),
    ] {
        let mut case = started([named(MAIN, Care::default()), named("php", limited(2, exhausted))]);
        for life in 0..3 {
            case.dies(FIRST + 1 + life, code);
            case.wait(Duration::from_secs(1));
        }
        let seen = case.take();
        let last_word = seen.iter().find_map(|action| match action {
            Action::LastWord(exit, _) => Some(*exit),
            _ => None,
        });
        assert_eq!(last_word, ends);
        assert_eq!(seen.contains(&term(FIRST)), ends.is_some(), "main is stopped");
        case.wait(Duration::from_mins(10));
        assert!(!case.take().contains(&spawn(1)));
    }
}

#[test]
fn old_restarts_do_not_count() {
    let mut case = started([named(MAIN, Care::default()), named("php", limited(2, Exhausted::Exit))]);
    for life in 0..20 {
        case.dies(FIRST + 1 + life, exited(1));
        case.wait(Duration::from_secs(31));
    }
    assert!(!case.take().iter().any(|action| matches!(action, Action::LastWord(..))));
}

#[test]
fn main_ends_and_the_others_are_stopped_in_reverse() {
    let mut case = started([
        named("db", sidecar()),
        named("php", after(sidecar(), &["db"])),
        named(MAIN, after(Care::default(), &["php"])),
        named("log", sidecar()),
    ]);
    assert_eq!(case.take(), [spawn(0), spawn(1), spawn(2), spawn(3)]);
    let (db, php, main, log) = (FIRST, FIRST + 1, FIRST + 2, FIRST + 3);
    case.dies(main, exited(3));
    assert_eq!(case.take(), [term(php), term(log)]);
    case.dies(log, libc::SIGTERM);
    assert_eq!(case.take(), []);
    case.wait(Duration::from_secs(5));
    assert_eq!(loud(case.take()), [kill_group(php)]);
    case.dies(php, libc::SIGKILL);
    assert_eq!(case.take(), [term(db)]);
    case.dies(db, exited(0));
    assert_eq!(case.take(), [Action::Reap]);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(3))]);
}

#[test]
fn a_term_stops_those_after_main_first() {
    let mut case = started([named(MAIN, Care::default()), named("front", after(sidecar(), &[MAIN]))]);
    case.take();
    case.signal(libc::SIGHUP);
    case.signal(libc::SIGTERM);
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [to_main(libc::SIGHUP), term(FIRST + 1)]);
    case.dies(FIRST + 1, exited(0));
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);
    case.dies(FIRST, libc::SIGTERM);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit(143))]);
}

#[test]
fn while_leaving_nobody_is_started_again() {
    let mut case = started([named(MAIN, Care::default()), named("php", sidecar())]);
    case.take();
    case.signal(libc::SIGTERM);
    case.dies(FIRST + 1, exited(1));
    case.wait(Duration::from_mins(2));
    assert!(!case.take().contains(&spawn(1)));
}

#[test]
fn a_drain_puts_the_stop_signal_off_and_a_second_term_ends_it() {
    let drain = Care { drain: Duration::from_secs(5), ..Care::default() };
    let mut case = started([named(MAIN, drain.clone())]);
    case.take();
    case.signal(libc::SIGTERM);
    case.signal(libc::SIGUSR1);
    assert_eq!(case.take(), [Action::Tell(ToWorker::Draining), to_main(libc::SIGUSR1)]);
    case.wait(Duration::from_secs(4));
    assert_eq!(case.take(), []);
    case.wait(Duration::from_secs(1));
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);

    let mut case = started([named(MAIN, drain)]);
    case.take();
    case.signal(libc::SIGTERM);
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [Action::Tell(ToWorker::Draining), to_main(libc::SIGTERM)]);
    assert_eq!(case.machine.deadline(), None);
}

#[test]
fn without_main_an_essential_process_is_the_container() {
    let essential = Care { kind: Kind::Essential, ..Care::default() };
    let mut case = started([named("a", essential.clone()), named("b", after(essential, &["a"]))]);
    assert_eq!(case.take(), [spawn(0), spawn(1)]);
    case.signal(libc::SIGHUP);
    let hup = |pid| Action::Kill { target: Target::Pid(pid), signal: libc::SIGHUP };
    assert_eq!(case.take(), [hup(FIRST), hup(FIRST + 1)]);
    case.dies(FIRST, exited(6));
    let said = Action::LastWord(Exit(6), "the essential process `a` ended (exit 6)".into());
    assert_eq!(case.take(), [said, term(FIRST + 1)]);
    case.dies(FIRST + 1, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit(6))]);
}

#[test]
fn without_main_a_term_stops_all_in_reverse() {
    let essential = Care { kind: Kind::Essential, ..Care::default() };
    let mut case = started([named("a", essential.clone()), named("b", after(essential, &["a"]))]);
    case.take();
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [term(FIRST + 1)]);
    case.dies(FIRST + 1, exited(0));
    assert_eq!(case.take(), [term(FIRST)]);
    case.dies(FIRST, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit(143))]);
}

#[test]
fn what_ends_before_it_is_ready_fails_the_start_of_what_waits_for_it() {
    let once = Care { restart: Restart::Never, ready: Readiness::Probe, ..sidecar() };
    let mut case = started([named("php", once), named(MAIN, after(Care::default(), &["php"]))]);
    case.take();
    case.dies(FIRST, exited(0));
    let said = "process `php` ended before it was ready, and `main` waits for it";
    assert_eq!(loud(case.take()), [Action::LastWord(Exit::INTERNAL, said.into()), Action::Reap]);
}

#[test]
fn a_process_that_is_not_alive_is_restarted_and_that_counts() {
    let mut case = started([named(MAIN, Care::default()), named("php", limited(1, Exhausted::Exit))]);
    case.take();
    let sick = |pid| ToInit::Unhealthy { process: "php".into(), pid, reason: "no answer".into() };
    case.say(sick(7));
    assert_eq!(case.take(), [], "another life");
    case.say(sick(FIRST + 1));
    case.say(sick(FIRST + 1));
    assert_eq!(loud(case.take()), [term(FIRST + 1)]);
    case.dies(FIRST + 1, libc::SIGTERM);
    assert_eq!(loud(case.take()), [kill_group(FIRST + 1), spawn(1)]);
    case.say(sick(FIRST + 2));
    case.dies(FIRST + 2, libc::SIGTERM);
    assert!(case.take().iter().any(|action| matches!(action, Action::LastWord(Exit(143), _))));
}

#[test]
fn an_operator_stops_starts_and_signals() {
    let mut case = started([named(MAIN, Care::default()), named("php", sidecar())]);
    case.take();
    let order = |id, process: &str, order| ToInit::Operate { id, process: process.into(), order };
    case.say(order(1, "php", Order::Stop));
    assert_eq!(case.take(), [term(FIRST + 1), done(1)]);
    case.dies(FIRST + 1, libc::SIGTERM);
    case.wait(Duration::from_mins(1));
    assert_eq!(case.take(), []);
    case.say(order(2, "php", Order::Start));
    assert_eq!(case.take(), [spawn(1), done(2)]);
    case.say(order(3, "php", Order::Send(libc::SIGUSR1)));
    let usr1 = Action::Kill { target: Target::Pid(FIRST + 2), signal: libc::SIGUSR1 };
    assert_eq!(case.take(), [usr1, done(3)]);
    case.say(order(4, "php", Order::Restart));
    case.dies(FIRST + 2, libc::SIGTERM);
    assert_eq!(case.take(), [term(FIRST + 2), kill_group(FIRST + 2), spawn(1), done(4)]);
    case.say(order(5, MAIN, Order::Stop));
    assert!(matches!(&case.take()[..], [Action::Tell(ToWorker::Reloaded { outcome: Outcome::Failed(_), .. })]));
}

#[test]
fn who_watches_is_told() {
    let php = Care { ready: Readiness::Fd(3), ..sidecar() };
    let mut case = started([named("php", php)].into_iter().chain([named(MAIN, Care::default())]));
    case.take();
    case.now += Duration::from_secs(3);
    case.say(ToInit::Watch);
    let state = |name: &str, phase, age| {
        let age = Duration::from_secs(age);
        Action::Tell(ToWorker::Process(ProcessState {
            name: name.into(),
            phase,
            age,
            restarts: 0,
            last_exit: None,
            probed: false,
        }))
    };
    let (running, ready) = (Phase::Running { pid: FIRST }, Phase::Ready { pid: FIRST + 1 });
    assert_eq!(case.take(), [state("php", running, 3), state(MAIN, ready, 3)]);
    case.feed(Event::Ready { process: 0, pid: FIRST });
    assert_eq!(loud(case.take()), [state("php", Phase::Ready { pid: FIRST }, 0)]);
    // Its successor has to ask anew.
    case.dies(WORKER, exited(1));
    case.take();
    case.dies(FIRST, exited(0));
    assert_eq!(loud(case.take()), [kill_group(FIRST), spawn(0)]);
}

/// What can happen to several processes.
#[derive(Debug, Clone)]
enum Step {
    Dies(usize, i32),
    Ready(usize),
    Pass(u64),
    Term,
    Refused,
    Hup,
}

#[derive(Debug, Clone)]
struct Plan {
    cares: Vec<Care>,
}

const LIMIT: RestartLimit = RestartLimit { restarts: 3, within: Duration::from_secs(30) };

/// Up to six processes; each may come after those with a smaller number. The last is main, or essential.
fn plans() -> impl Strategy<Value = Plan> {
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
        1 => Just(Step::Refused),
        1 => Just(Step::Hup),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The kernel's and the worker's half.
struct Several {
    plan: Plan,
    now: Instant,
    next_pid: i32,
    running: Vec<Option<i32>>,
    ready: Vec<bool>,
    spawns: Vec<Vec<Instant>>,
    /// Pids that got a stop signal.
    told: BTreeSet<i32>,
    refuse: bool,
    term: bool,
    decided: bool,
    exit: Option<Exit>,
}

impl Several {
    fn after(&self, index: usize, other: usize) -> bool {
        let direct = |index: usize| self.plan.cares[index].after.iter().map(|name| name[1..].parse::<usize>().unwrap());
        direct(index).any(|before| before == other || self.after(before, other))
    }

    fn carry_out(&mut self, machine: &mut Machine, out: &mut Vec<Action>) -> Result<(), TestCaseError> {
        while !out.is_empty() {
            let mut answers = Vec::new();
            for action in out.drain(..) {
                prop_assert!(self.exit.is_none(), "{action:?} after the exit");
                match action {
                    Action::Spawn { process } => {
                        prop_assert!(!self.decided, "a start after the end was decided");
                        let is_main = self.plan.cares[process].kind == Kind::Main;
                        prop_assert!(!self.term || is_main, "a start after TERM");
                        prop_assert!(self.running[process].is_none(), "started twice");
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
                        prop_assert_eq!(later.count(), 0, "stopped before what came after it");
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
                    Action::LastWord(..) => self.decided = true,
                    Action::Exit(exit) => self.exit = Some(exit),
                    _ => {}
                }
            }
            for answer in answers {
                machine.handle(self.now, answer, out);
            }
        }
        Ok(())
    }

    /// A process ends; what the machine is to make of it.
    fn dies(&mut self, index: usize, status: i32) -> Option<Event> {
        let pid = self.running.get_mut(index)?.take()?;
        let care = &self.plan.cares[index];
        self.ready[index] = match care.kind {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Nothing starts before what it comes after is ready; what is stopped goes in reverse; nothing starts once the end was
    /// asked for or decided; each stop protocol runs once; limits of restarts hold; main's code is the container's; and
    /// after a TERM it ends, whoever is deaf to what.
    #[test]
    fn in_any_order(plan in plans(), steps in several_steps(), deaf in any::<u8>()) {
        let count = plan.cares.len();
        let mut machine = Machine::new(None, true);
        let mut world = Several {
            now: Instant::now(), next_pid: FIRST, running: vec![None; count], ready: vec![false; count],
            spawns: vec![Vec::new(); count], told: BTreeSet::new(), refuse: false, term: false, decided: false,
            exit: None, plan,
        };
        let mut out = Vec::new();
        machine.begin(world.now, &mut out);
        out.clear();
        machine.handle(world.now, Event::Forked { pid: WORKER }, &mut out);
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
                    let Some(event) = world.dies(index, status) else { continue };
                    own = (world.plan.cares[index].kind == Kind::Main).then_some(status);
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
                Step::Refused => {
                    world.refuse = true;
                    continue
                }
                Step::Hup => Event::Signal { number: libc::SIGHUP, from_self: false },
            };
            machine.handle(world.now, event, &mut out);
            world.carry_out(&mut machine, &mut out)?;
            if let Some(status) = own {
                // The others are told to go; then its code is the container's.
                world.decided = true;
                world.drive(&mut machine, &mut out, deaf)?;
                prop_assert_eq!(world.exit, Some(decode(status).unwrap()));
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
            world.term = true;
            machine.handle(world.now, Event::Signal { number: libc::SIGTERM, from_self: false }, &mut out);
            world.carry_out(&mut machine, &mut out)?;
            let began = world.now;
            world.drive(&mut machine, &mut out, deaf)?;
            prop_assert!(world.exit.is_some(), "it never ends");
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
            machine.handle(self.now, event, out);
            self.carry_out(machine, out)?;
        }
        Ok(())
    }
}
