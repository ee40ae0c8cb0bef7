//! Starting while the first publish still goes on: what a worker may allow, what of it outlives the worker. With the
//! worker's own rule ([`Starts`]), its files and its deaths as a model.

use super::graph::{Plan, Several, plans};
use super::several::named;
use super::*;
use crate::config::plan::{EnvironmentOf, GroupPlan, Place, ReloadChoice, ReloadPlan};
use crate::link::{Care, Kind, Readiness};
use crate::worker::starts::Starts;
use std::cell::RefCell;
use std::rc::Rc;

fn care(kind: Kind) -> Care {
    Care { kind, ..Care::default() }
}

fn describe(name: &str, kind: Kind) -> ToInit {
    ToInit::Process(Box::new(named(name, care(kind))))
}

fn allow(names: &[&str]) -> ToInit {
    ToInit::Allow(names.iter().map(|name| (*name).to_owned()).collect())
}

fn term(pid: i32) -> Action {
    Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM }
}

/// main, php and log are described; php may run.
fn php_runs() -> Case {
    let mut case = Case::with_worker();
    for (name, kind) in [(MAIN, Kind::Main), ("php", Kind::Sidecar), ("log", Kind::Sidecar)] {
        case.say(describe(name, kind));
    }
    case.take();
    case.say(allow(&["php"]));
    case
}

#[test]
fn only_who_is_allowed_starts_and_the_others_with_the_rest() {
    let mut case = php_runs();
    assert_eq!(case.take(), [Action::Spawn { process: 1 }]);
    case.say(allow(&["php", "nobody"]));
    assert_eq!(case.take(), []);
    case.say(ToInit::Start);
    assert_eq!(case.take(), [Action::Spawn { process: 0 }, Action::Spawn { process: 2 }]);
}

#[test]
fn who_is_allowed_is_not_started_while_it_is_held() {
    let mut case = Case::with_worker();
    case.say(describe(MAIN, Kind::Main));
    case.say(describe("php", Kind::Sidecar));
    case.say(ToInit::Hold(vec!["php".into()]));
    case.take();
    case.say(allow(&["php"]));
    assert_eq!(case.take(), []);
    case.say(ToInit::Release(vec!["php".into()]));
    assert_eq!(case.take(), [Action::Spawn { process: 1 }]);
}

#[test]
fn the_next_worker_learns_who_runs_and_starts_nobody_twice() {
    let mut case = php_runs();
    case.dies(WORKER, libc::SIGKILL);
    case.take();
    case.wait(Duration::from_secs(1));
    let Some(Action::Tell(ToWorker::Welcome { started, allowed, .. })) = case.take().pop() else {
        panic!("no welcome")
    };
    assert_eq!((started, allowed), (false, vec!["php".to_owned()]));
    // Its end is not the worker's to notice.
    case.dies(FIRST, exited(1));
    case.say(allow(&["php"]));
    case.say(ToInit::Start);
    let spawned = |action: &&Action| matches!(action, Action::Spawn { process: 1 });
    assert_eq!(case.take().iter().filter(spawned).count(), 0, "its `restart` is `never`");
}

#[test]
fn three_deaths_before_main_are_the_end_though_others_run() {
    let mut case = php_runs();
    case.take();
    for _ in 0..3 {
        case.dies(WORKER, libc::SIGKILL);
        case.wait(Duration::from_secs(1));
    }
    assert!(case.take().contains(&term(FIRST)));
    case.dies(FIRST, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take().last(), Some(&Action::Exit(Exit::INTERNAL)));
}

#[test]
fn a_start_that_fails_stops_what_runs_in_reverse_with_its_own_code() {
    for main_runs in [true, false] {
        let mut case = Case::with_worker();
        let after = |name: &str, kind, after: &[&str]| {
            let after = after.iter().map(|name| (*name).to_owned()).collect();
            ToInit::Process(Box::new(named(name, Care { after, ..care(kind) })))
        };
        case.say(after(MAIN, Kind::Main, &["php"]));
        case.say(after("php", Kind::Sidecar, &["db"]));
        case.say(describe("db", Kind::Sidecar));
        case.say(describe("late", Kind::Sidecar));
        case.say(allow(if main_runs { &["db", "php", MAIN] } else { &["db", "php"] }));
        case.take();
        case.say(ToInit::Exit { code: 69, reason: "no store".into() });
        let pids = if main_runs { vec![FIRST + 2, FIRST + 1, FIRST] } else { vec![FIRST + 1, FIRST] };
        for pid in pids {
            assert!(case.take().contains(&term(pid)), "{pid}, {main_runs}");
            case.dies(pid, exited(0));
        }
        case.feed(Event::Reaped { left: false });
        assert_eq!(case.take().last(), Some(&Action::Exit(Exit::UNAVAILABLE)));
    }
}

#[test]
fn a_term_while_main_waits_for_its_files_ends_at_once() {
    let mut case = php_runs();
    case.take();
    case.signal(libc::SIGHUP);
    assert_eq!(case.take(), [], "there is nobody whom it could be meant for");
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [term(FIRST)]);
    case.dies(FIRST, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take().last(), Some(&Action::Exit(Exit(143))));
}

#[test]
fn nobody_is_allowed_before_main_is_known() {
    let mut case = Case::with_worker();
    case.say(describe("php", Kind::Sidecar));
    case.take();
    case.say(allow(&["php"]));
    assert!(case.take().contains(&Action::Kill { target: Target::Pid(WORKER), signal: libc::SIGKILL }));
}

/// Whose files a group's are: these processes', or anybody's; or the environment of one.
#[derive(Debug, Clone)]
enum Whose {
    Files(u8),
    Environment(usize),
}

#[derive(Debug, Clone)]
enum Step {
    /// The files of a group are published by one rename.
    Publish(usize),
    /// They begin to be replaced, and are not checked for some time.
    Begin(usize),
    /// They are checked, or taken back.
    Finish(bool),
    /// The worker dies after so many more messages.
    Dies(usize),
    Ends(usize, i32),
    Ready(usize),
    Pass(u64),
    Term,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6usize).prop_map(Step::Publish),
        4 => (0..6usize).prop_map(Step::Begin),
        5 => any::<bool>().prop_map(Step::Finish),
        2 => (0..8usize).prop_map(Step::Dies),
        3 => (0..6usize, prop_oneof![Just(0), Just(1 << 8)]).prop_map(|(process, status)| Step::Ends(process, status)),
        4 => (0..6usize).prop_map(Step::Ready),
        3 => (0..2000u64).prop_map(Step::Pass),
        1 => Just(Step::Term),
    ];
    proptest::collection::vec(step, 0..60)
}

fn groups() -> impl Strategy<Value = Vec<Whose>> {
    let one = prop_oneof![
        4 => any::<u8>().prop_map(Whose::Files),
        1 => Just(Whose::Files(0)),
        1 => (0..6usize).prop_map(Whose::Environment),
    ];
    proptest::collection::vec(one, 0..6)
}

/// What is on the disk: it outlives the worker.
#[derive(Debug, Default)]
struct Disk {
    published: BTreeSet<usize>,
    /// Neither old nor new, or not checked.
    open: Option<usize>,
}

/// The worker's side.
struct Worker {
    plan: Plan,
    groups: Vec<GroupPlan>,
    disk: Rc<RefCell<Disk>>,
    /// What this one has published.
    done: BTreeSet<usize>,
    starts: Starts,
    /// It says so many more messages, and dies.
    left: Option<usize>,
}

fn name(index: usize) -> String {
    format!("p{index}")
}

/// Whom the files of a group concern, which holds them.
fn concerned(group: &GroupPlan, count: usize) -> Vec<String> {
    let named: Vec<String> = group
        .reloads()
        .iter()
        .filter_map(|reload| match reload {
            ReloadPlan::Signal { process, .. } => Some(process.clone()),
            _ => None,
        })
        .collect();
    if named.is_empty() { (0..count).map(name).collect() } else { named }
}

impl Worker {
    /// What it says once it has done what it could; the order is the real one's.
    fn says(&mut self) -> Vec<ToInit> {
        let spec = |index: usize| ToInit::Process(Box::new(named(&name(index), self.plan.cares[index].clone())));
        let count = self.plan.cares.len();
        let is_done = |group: usize| self.done.contains(&group) && self.disk.borrow().open != Some(group);
        if self.starts.is_over() {
            return Vec::new();
        }
        if (0..self.groups.len()).all(is_done) {
            return (0..count).map(spec).chain([ToInit::Start]).collect();
        }
        let names: Vec<String> = (0..count).map(name).collect();
        let next = self.starts.next(names.iter().map(String::as_str), &self.groups, is_done);
        if next.is_empty() {
            return Vec::new();
        }
        (0..count).map(spec).chain([ToInit::Allow(next)]).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// No process starts before the files that it may need are published and checked, nor before what it comes after;
    /// none runs twice, over any deaths of workers; and each starts as soon as it may.
    #[test]
    fn in_any_order(plan in plans(), whose in groups(), steps in steps()) {
        let count = plan.cares.len();
        let groups: Vec<GroupPlan> = whose.iter().map(|whose| match whose {
            Whose::Files(mask) => {
                let hup = |bit| ReloadPlan::Signal { process: name(bit), signal: libc::SIGHUP };
                let reload = (0..count).filter(|bit| mask & (1 << bit) != 0).map(hup).collect();
                GroupPlan { reload: ReloadChoice::Stated(reload), ..GroupPlan::empty() }
            }
            Whose::Environment(process) => {
                let environment_of = EnvironmentOf { process: name(process % count), place: Place(String::new()) };
                GroupPlan { environment_of: Some(environment_of), ..GroupPlan::empty() }
            }
        }).collect();
        let disk = Rc::new(RefCell::new(Disk::default()));
        let mut world = Several::new(plan.clone());
        {
            // By itself, not by the worker's rule: what names the process, what names nobody, and its environment.
            let (groups, disk) = (groups.clone(), Rc::clone(&disk));
            world.may_read = Box::new(move |process| {
                groups.iter().enumerate().all(|(at, group)| {
                    let is_its = match &group.environment_of {
                        Some(whose) => whose.process == name(process),
                        None => concerned(group, count).contains(&name(process)),
                    };
                    !is_its || disk.borrow().published.contains(&at) && disk.borrow().open != Some(at)
                })
            });
        }
        let mut worker =
            Worker { plan, groups, disk, done: BTreeSet::new(), starts: Starts::default(), left: None };
        let mut machine = Machine::new(None, true);
        let mut out = Vec::new();
        machine.begin(world.now, &mut out);
        world.carry_out(&mut machine, &mut out)?;
        world.welcome = None;
        for step in steps {
            let is_here = machine.worker_pid().is_some();
            let mut says = Vec::new();
            let mut event = None;
            match step {
                _ if !is_here && matches!(step, Step::Publish(_) | Step::Begin(_) | Step::Finish(_) | Step::Dies(_)) => {}
                Step::Publish(at) => {
                    let mut disk = worker.disk.borrow_mut();
                    if at < worker.groups.len() && disk.open != Some(at) {
                        disk.published.insert(at);
                        worker.done.insert(at);
                    }
                }
                Step::Begin(at) => {
                    let mut disk = worker.disk.borrow_mut();
                    let files = worker.groups.get(at).is_some_and(|group| group.environment_of.is_none());
                    if files && disk.open.is_none() {
                        says.push((ToInit::Hold(concerned(&worker.groups[at], count)), None));
                        disk.open = Some(at);
                    }
                }
                Step::Finish(good) => {
                    let open = worker.disk.borrow().open;
                    if let Some(at) = open {
                        // Before its first publish what is refused ends the start.
                        let good = good || !worker.disk.borrow().published.contains(&at);
                        says.push((ToInit::Release(concerned(&worker.groups[at], count)), Some(at).filter(|_| good)));
                    }
                }
                Step::Dies(after) => worker.left = Some(after),
                Step::Ends(process, status) => {
                    event = world.dies(process, status);
                    // Whatever its code.
                    world.decided |= event.is_some() && world.plan.cares[process].kind == Kind::Main;
                }
                Step::Ready(process) => {
                    if let Some(Some(pid)) = world.running.get(process).copied()
                        && world.plan.cares[process].ready == Readiness::Probe
                        && world.plan.cares[process].kind != Kind::Setup
                        && is_here
                    {
                        world.ready[process] = true;
                        event = Some(Event::Message(ToInit::Ready { process: name(process), pid }));
                    }
                }
                Step::Pass(millis) => {
                    world.now += Duration::from_millis(millis);
                    event = Some(Event::Due);
                }
                Step::Term => {
                    world.term = true;
                    event = Some(Event::Signal { number: libc::SIGTERM, from_self: false });
                }
            }
            if let Some(event) = event {
                machine.handle(world.now, event, &mut out);
                world.carry_out(&mut machine, &mut out)?;
            }
            world.say(&mut machine, &mut worker, says)?;
            let more = if machine.worker_pid().is_some() { worker.says() } else { Vec::new() };
            world.say(&mut machine, &mut worker, more.into_iter().map(|message| (message, None)).collect())?;
            if world.exit.is_some() || world.decided { break }
            world.nobody_waits_for_nothing(&machine, &worker)?;
        }
    }
}

impl Several {
    /// The worker says this, unless it dies in between. A release comes with the group that is checked by then, if it is.
    fn say(
        &mut self,
        machine: &mut Machine,
        worker: &mut Worker,
        messages: Vec<(ToInit, Option<usize>)>,
    ) -> Result<(), TestCaseError> {
        let mut out = Vec::new();
        for (message, checked) in messages {
            if worker.left == Some(0) {
                break;
            }
            worker.left = worker.left.map(|left| left - 1);
            match &message {
                ToInit::Release(_) => {
                    worker.disk.borrow_mut().published.extend(checked);
                    worker.disk.borrow_mut().open = None;
                    worker.done.extend(checked);
                }
                ToInit::Allow(names) => worker.starts.allow(names.clone()),
                ToInit::Start => worker.starts.all(),
                _ => {}
            }
            machine.handle(self.now, Event::Message(message), &mut out);
            self.carry_out(machine, &mut out)?;
        }
        if worker.left == Some(0) && machine.worker_pid().is_some() {
            worker.left = None;
            machine.handle(self.now, Event::Exited { pid: WORKER, status: libc::SIGKILL }, &mut out);
            self.carry_out(machine, &mut out)?;
        }
        // The next one: what was open is taken back first, then what was held is released.
        if let Some(ToWorker::Welcome { started, allowed, held, .. }) = self.welcome.take() {
            worker.starts = Starts::new(started, allowed);
            worker.done.clear();
            worker.disk.borrow_mut().open = None;
            machine.handle(self.now, Event::Message(ToInit::Release(held)), &mut out);
            self.carry_out(machine, &mut out)?;
        }
        Ok(())
    }

    /// Who may run, and whose turn it is, was started.
    fn nobody_waits_for_nothing(&self, machine: &Machine, worker: &Worker) -> Result<(), TestCaseError> {
        for (process, care) in self.plan.cares.iter().enumerate() {
            let turn = care.after.iter().all(|name| self.ready[name[1..].parse::<usize>().unwrap()]);
            let open = worker.disk.borrow().open;
            let held =
                open.is_some_and(|at| concerned(&worker.groups[at], self.running.len()).contains(&name(process)));
            let may = worker.starts.may_run(&name(process)) && machine.worker_pid().is_some() && !held;
            let waits = self.spawns[process].is_empty() && !self.term;
            prop_assert!(!(may && turn && waits), "{process} waits for nothing");
        }
        Ok(())
    }
}
