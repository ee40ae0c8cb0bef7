mod called_back;
mod early;
mod graph;
mod orders;
mod several;

use super::*;
use crate::link::{Outcome, Refused, ReloadAction};
use crate::os::confine::Confinement;
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(super) const MAIN: &str = "main";
pub(super) const WORKER: i32 = 50;
pub(super) const FIRST: i32 = 100;

pub(super) fn spec() -> ProcessSpec {
    ProcessSpec {
        name: MAIN.into(),
        argv: vec![b"x".to_vec()],
        env: Vec::new(),
        user: None,
        workdir: None,
        umask: None,
        stop_signal: None,
        stop_timeout: Duration::from_secs(10),
        shutdown_timeout: None,
        group: false,
        rewrite: BTreeMap::new(),
        exit_codes: BTreeMap::new(),
        linger: Duration::from_secs(2),
        confinement: Confinement::default(),
        parent_death_signal: None,
        session: false,
        log: crate::link::Log::Inherit,
        care: crate::link::Care::default(),
    }
}

fn exited(code: i32) -> i32 {
    code << 8
}

/// A machine, a clock, and the kernel's half of the conversation: forks and spawns work.
struct Case {
    machine: Machine,
    now: Instant,
    next_pid: i32,
    seen: Vec<Action>,
}

impl Case {
    fn plain(spec: ProcessSpec) -> Case {
        Case::begin(Machine::new(Some(spec), false))
    }

    fn with_worker() -> Case {
        Case::begin(Machine::new(None, true))
    }

    /// With a worker, main running.
    fn running(spec: ProcessSpec) -> Case {
        let mut case = Case::with_worker();
        case.say(ToInit::Process(Box::new(spec)));
        case.say(ToInit::Start);
        case.take();
        case
    }

    fn begin(machine: Machine) -> Case {
        let mut case = Case { machine, now: Instant::now(), next_pid: FIRST, seen: Vec::new() };
        let mut out = Vec::new();
        case.machine.begin(case.now, &mut out);
        case.carry_out(out);
        case
    }

    fn carry_out(&mut self, out: Vec<Action>) {
        for action in out {
            let answer = match &action {
                Action::Spawn { process } => {
                    self.next_pid += 1;
                    Some(Event::Spawned { process: *process, pid: self.next_pid - 1 })
                }
                Action::ForkWorker => Some(Event::Forked { pid: WORKER }),
                _ => None,
            };
            self.seen.push(action);
            if let Some(answer) = answer {
                self.feed(answer);
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(self.now, event, &mut out);
        self.carry_out(out);
    }

    fn say(&mut self, message: ToInit) {
        self.feed(Event::Message(message));
    }

    fn signal(&mut self, number: i32) {
        self.feed(Event::Signal { number, from_self: false });
    }

    fn dies(&mut self, pid: i32, status: i32) {
        self.feed(Event::Exited { pid, status });
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.feed(Event::Due);
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.seen)
    }
}

fn to_main(signal: i32) -> Action {
    Action::Kill { target: Target::Pid(FIRST), signal }
}

fn kill_group(group: i32) -> Action {
    Action::Kill { target: Target::Group(group), signal: libc::SIGKILL }
}
fn late() -> Action {
    Action::Log(Level::Warn, "process `main` did not end in the time that it had: KILL".to_owned())
}

fn done(id: u64) -> Action {
    Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::Done })
}

#[test]
fn statuses_are_decoded_raw() {
    assert_eq!(decode(exited(7)), Some(Exit(7)));
    assert_eq!(decode(libc::SIGKILL), Some(Exit(137)));
    // A core dump's bit, and a real-time signal.
    assert_eq!(decode(libc::SIGSEGV | 0x80), Some(Exit(139)));
    assert_eq!(decode(64), Some(Exit(192)));
    assert_eq!(decode(0x137f), None);
}

#[test]
fn plain_main_ends_and_nothing_is_left() {
    let mut case = Case::plain(spec());
    assert_eq!(case.take(), [Action::Spawn { process: 0 }, Action::Settle]);
    case.dies(FIRST, exited(3));
    assert_eq!(case.take(), [Action::Reap]);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(3))]);
}

#[test]
fn leftovers_are_asked_then_killed() {
    let mut case = Case::plain(spec());
    case.dies(FIRST, libc::SIGTERM);
    case.take();
    case.feed(Event::Reaped { left: true });
    let sweep = |signal| Action::Sweep { signal };
    assert_eq!(case.take(), [sweep(libc::SIGTERM), sweep(libc::SIGCONT)]);
    case.wait(Duration::from_secs(2));
    assert_eq!(case.take(), [sweep(libc::SIGKILL)]);
    case.feed(Event::Reaped { left: true });
    assert_eq!(case.take(), [sweep(libc::SIGKILL)]);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(143))]);
}

#[test]
fn loggers_end_by_themselves_and_are_killed_after_all_others() {
    let logged = || ProcessSpec { log: crate::link::Log::Json, ..spec() };
    let sweep = |signal| Action::Sweep { signal };
    let mut case = Case::plain(logged());
    case.take();
    case.dies(FIRST, exited(3));
    assert_eq!(case.take(), [Action::EndLogs, Action::Reap]);
    case.feed(Event::Reaped { left: true });
    assert_eq!(case.take(), [], "they are, perhaps, all that is left");
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(3))]);

    let mut case = Case::plain(logged());
    case.dies(FIRST, exited(3));
    case.feed(Event::Reaped { left: true });
    case.take();
    case.wait(Duration::from_millis(20));
    assert_eq!(case.take(), [sweep(libc::SIGTERM), sweep(libc::SIGCONT)]);
    case.wait(Duration::from_secs(2));
    assert_eq!(case.take(), [Action::Clear]);
    case.feed(Event::Reaped { left: true });
    assert_eq!(case.take(), [Action::Clear], "children of what was killed");
    case.wait(Duration::from_millis(100));
    assert_eq!(case.take(), [sweep(libc::SIGKILL)]);
    case.wait(Duration::from_secs(1));
    assert_eq!(case.take(), [Action::Exit(Exit(3))]);
}

#[test]
fn what_cannot_be_killed_is_not_waited_for() {
    let mut case = Case::plain(spec());
    case.dies(FIRST, exited(0));
    case.feed(Event::Reaped { left: true });
    case.wait(Duration::from_secs(2));
    case.take();
    case.wait(Duration::from_secs(1));
    assert_eq!(case.take(), [Action::Exit(Exit(0))]);
}

#[test]
fn signals_are_forwarded_each_time() {
    let mut case = Case::plain(spec());
    case.take();
    for number in (1..=64).filter(|n| *n != libc::SIGCHLD) {
        case.signal(number);
        case.signal(number);
        assert_eq!(case.take(), [to_main(number), to_main(number)]);
    }
    case.signal(libc::SIGCHLD);
    case.feed(Event::Signal { number: libc::SIGPIPE, from_self: true });
    assert_eq!(case.take(), []);
}

#[test]
fn rewriting_and_the_stop_signal() {
    let rewrite = BTreeMap::from([(libc::SIGHUP, libc::SIGUSR1), (libc::SIGINT, 0)]);
    let mut case = Case::plain(ProcessSpec { rewrite, stop_signal: Some(libc::SIGQUIT), group: true, ..spec() });
    case.take();
    for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
        case.signal(number);
    }
    let to_group = |signal| Action::Kill { target: Target::Group(FIRST), signal };
    assert_eq!(case.take(), [to_group(libc::SIGUSR1), to_group(libc::SIGQUIT), to_group(libc::SIGUSR1)]);
}

#[test]
fn an_exit_code_is_mapped_and_no_other() {
    for (status, code) in [(libc::SIGTERM, 0), (exited(143), 0), (exited(142), 142)] {
        let mut case = Case::plain(ProcessSpec { exit_codes: BTreeMap::from([(143, 0)]), ..spec() });
        case.dies(FIRST, status);
        case.take();
        case.feed(Event::Reaped { left: false });
        assert_eq!(case.take(), [Action::Exit(Exit(code))]);
    }
}

#[test]
fn before_the_first_start_a_signal_that_ends_ends() {
    for (number, ends) in [(libc::SIGTERM, true), (libc::SIGINT, true), (libc::SIGQUIT, true), (libc::SIGHUP, false)] {
        let mut case = Case::with_worker();
        case.take();
        case.signal(number);
        assert_eq!(case.take() == [Action::Reap], ends);
    }
    let mut case = Case::with_worker();
    case.say(ToInit::Process(Box::new(ProcessSpec { stop_signal: Some(libc::SIGWINCH), ..spec() })));
    case.take();
    case.signal(libc::SIGWINCH);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit::by_signal(libc::SIGWINCH))]);
}

#[test]
fn shutdown_timeout_kills() {
    let mut case = Case::plain(ProcessSpec { shutdown_timeout: Some(Duration::from_secs(5)), ..spec() });
    case.signal(libc::SIGTERM);
    case.take();
    case.wait(Duration::from_secs(4));
    assert_eq!(case.take(), []);
    case.wait(Duration::from_secs(1));
    assert_eq!(case.take(), [late(), kill_group(FIRST)]);
    assert_eq!(case.machine.deadline(), None);
}

#[test]
fn a_restart_stops_kills_the_rest_and_starts() {
    let mut case = Case::running(spec());
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);
    case.say(ToInit::Reload { id: 2, process: MAIN.into(), action: ReloadAction::Restart });
    case.signal(libc::SIGUSR1);
    assert_eq!(case.take(), []);
    case.wait(Duration::from_secs(10));
    assert_eq!(case.take(), [late(), kill_group(FIRST)]);
    case.dies(FIRST, libc::SIGKILL);
    let usr1 = Action::Kill { target: Target::Pid(FIRST + 1), signal: libc::SIGUSR1 };
    assert_eq!(case.take(), [kill_group(FIRST), Action::Spawn { process: 0 }, done(1), done(2), usr1]);
}

#[test]
fn main_that_dies_by_itself_is_no_restart() {
    let mut case = Case::running(spec());
    case.say(ToInit::Hold(vec![MAIN.into()]));
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    assert_eq!(case.take(), []);
    case.dies(FIRST, exited(4));
    case.take();
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(4))]);
}

#[test]
fn held_processes_wait_over_a_workers_death() {
    let mut case = Case::running(spec());
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    case.say(ToInit::Hold(vec![MAIN.into()]));
    case.say(ToInit::Owe("web".into()));
    case.dies(FIRST, exited(0));
    case.dies(WORKER, libc::SIGKILL);
    case.take();
    case.wait(Duration::from_secs(1));
    let specs = vec![(MAIN.into(), spec().fingerprint())];
    let (owed, held, allowed, refused) = (vec!["web".into()], vec![MAIN.into()], Vec::new(), Vec::new());
    let welcome = ToWorker::Welcome { started: true, allowed, owed, held, specs, refused, probes: false };
    assert_eq!(case.take(), [Action::ForkWorker, Action::Tell(welcome)]);
    case.say(ToInit::Start);
    assert_eq!(case.take(), []);
    case.say(ToInit::Release(vec![MAIN.into()]));
    assert_eq!(case.take(), [Action::Spawn { process: 0 }]);
}

/// What the next worker is told of refused content.
fn refused(case: &mut Case) -> Vec<(String, Refused)> {
    let told = case.take().into_iter().find_map(|action| match action {
        Action::Tell(ToWorker::Welcome { refused, .. }) => Some(refused),
        _ => None,
    });
    told.expect("a worker is welcomed")
}

#[test]
fn what_was_refused_outlives_a_worker_but_not_an_order_to_read_all_anew() {
    let mut case = Case::running(spec());
    let one = Refused { by_check: Some(1), by_verify: Some(2), beside: vec!["other".into()] };
    let two = Refused { by_check: None, by_verify: Some(3), beside: Vec::new() };
    case.say(ToInit::Refused("web".into(), Refused::default()));
    case.say(ToInit::Refused("web".into(), one));
    case.say(ToInit::Refused("web".into(), two.clone()));
    case.say(ToInit::Refused("gone".into(), two.clone()));
    case.say(ToInit::Refused("gone".into(), Refused::default()));
    // init takes neither long names nor many.
    case.say(ToInit::Refused("x".repeat(2000), two.clone()));
    case.say(ToInit::Refused("many".into(), Refused { beside: vec![String::new(); 100], ..two.clone() }));
    case.dies(WORKER, libc::SIGKILL);
    case.take();
    case.wait(Duration::from_secs(1));
    assert_eq!(refused(&mut case), [("web".to_owned(), two.clone())]);
    for number in 0..5000 {
        case.say(ToInit::Refused(number.to_string(), two.clone()));
    }
    case.dies(WORKER, libc::SIGKILL);
    case.take();
    case.wait(Duration::from_secs(1));
    assert_eq!(refused(&mut case).len(), 1024);
    case.say(ToInit::Renew);
    case.dies(WORKER, exited(0));
    assert_eq!(refused(&mut case), []);
}

#[test]
fn a_term_while_stopped_and_held_ends() {
    let mut case = Case::running(spec());
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    case.say(ToInit::Hold(vec![MAIN.into()]));
    case.signal(libc::SIGTERM);
    case.dies(FIRST, exited(0));
    case.take();
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit(143))]);
}

#[test]
fn who_was_told_to_end_is_not_restarted() {
    let restart = |id| ToInit::Reload { id, process: MAIN.into(), action: ReloadAction::Restart };
    let refused = |id| {
        let text = "process `main` is not restarted: the end was asked for".to_owned();
        let answer = Action::Tell(ToWorker::Reloaded { id, outcome: Outcome::NotRunning });
        [Action::Log(Level::Warn, text), answer]
    };
    let ends = |mut case: Case, status, code| {
        case.dies(FIRST, status);
        case.take();
        case.feed(Event::Reaped { left: false });
        assert_eq!(case.take(), [Action::Exit(Exit(code))]);
    };
    let mut case = Case::running(spec());
    case.signal(libc::SIGTERM);
    case.take();
    case.say(restart(1));
    assert_eq!(case.take(), refused(1));
    ends(case, exited(3), 3);
    // A restart that waits for its release is off as well.
    let mut case = Case::running(spec());
    case.say(ToInit::Hold(vec![MAIN.into()]));
    case.say(restart(1));
    case.signal(libc::SIGTERM);
    case.take();
    case.say(ToInit::Release(vec![MAIN.into()]));
    assert_eq!(case.take(), refused(1));
    ends(case, exited(4), 4);
    // And one that comes when the shutdown took too long.
    let mut case = Case::running(ProcessSpec { shutdown_timeout: Some(Duration::from_secs(5)), ..spec() });
    case.say(restart(1));
    case.signal(libc::SIGTERM);
    case.wait(Duration::from_secs(5));
    case.take();
    case.say(restart(2));
    assert_eq!(case.take()[0], refused(2)[0]);
    ends(case, libc::SIGKILL, 137);
}

#[test]
fn a_stop_signal_that_is_dropped_begins_no_end() {
    let rewrite = BTreeMap::from([(libc::SIGTERM, 0)]);
    let shutdown_timeout = Some(Duration::from_secs(5));
    let mut case = Case::running(ProcessSpec { shutdown_timeout, rewrite, ..spec() });
    case.signal(libc::SIGTERM);
    assert_eq!((case.take(), case.machine.deadline()), (Vec::new(), None));
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);
}

#[test]
fn reload_by_signal_goes_to_main_and_says_so() {
    let mut case = Case::with_worker();
    case.say(ToInit::Process(Box::new(spec())));
    case.take();
    let hup = |id| ToInit::Reload { id, process: MAIN.into(), action: ReloadAction::Signal(libc::SIGHUP) };
    case.say(hup(1));
    assert_eq!(case.take(), [Action::Tell(ToWorker::Reloaded { id: 1, outcome: Outcome::NotRunning })]);
    case.say(ToInit::Start);
    case.take();
    case.say(hup(2));
    assert_eq!(case.take(), [Action::Reload { id: 2, target: Target::Pid(FIRST), signal: libc::SIGHUP }]);
    case.say(ToInit::Reload { id: 3, process: "nope".into(), action: ReloadAction::Restart });
    let outcome = Outcome::Failed("there is no process `nope`".into());
    assert_eq!(case.take(), [Action::Tell(ToWorker::Reloaded { id: 3, outcome })]);
}

#[test]
fn an_asked_exit_stops_main_first_and_forwards_meanwhile() {
    let mut case = Case::running(spec());
    case.say(ToInit::Exit { code: 75, reason: "template `a` changed".into() });
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [to_main(libc::SIGTERM), to_main(libc::SIGTERM)]);
    case.dies(WORKER, exited(0));
    assert_eq!(case.take(), [Action::Unlink]);
    case.dies(FIRST, exited(0));
    assert_eq!(case.take(), [Action::LastWord(Exit::RELOAD, "template `a` changed".into()), Action::Reap]);
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit::RELOAD)]);
}

#[test]
fn three_deaths_before_the_first_start_are_the_end() {
    let mut case = Case::with_worker();
    case.say(ToInit::Command(70));
    for _ in 0..2 {
        case.dies(WORKER, libc::SIGKILL);
        case.wait(Duration::from_secs(1));
    }
    let forks = |seen: &[Action]| seen.iter().filter(|action| **action == Action::ForkWorker).count();
    let seen = case.take();
    assert_eq!(forks(&seen), 3);
    assert_eq!(seen.iter().filter(|action| **action == kill_group(70)).count(), 1);
    case.dies(WORKER, exited(1));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take().last(), Some(&Action::Exit(Exit::INTERNAL)));
}

#[test]
fn backoff_grows_to_a_minute_and_a_good_life_resets_it() {
    let mut case = Case::running(spec());
    let mut pauses = Vec::new();
    for _ in 0..12 {
        case.dies(WORKER, exited(1));
        let pause = case.machine.deadline().unwrap() - case.now;
        pauses.push(pause.as_millis());
        case.wait(pause);
    }
    assert_eq!(pauses[..4], [100, 200, 400, 800]);
    assert_eq!(pauses[11], 60_000);
    case.now += Duration::from_mins(1);
    case.dies(WORKER, exited(1));
    assert_eq!((case.machine.deadline().unwrap() - case.now).as_millis(), 100);
}

#[test]
fn a_finished_worker_is_let_go() {
    let mut case = Case::running(spec());
    case.say(ToInit::Finished);
    case.feed(Event::Closed);
    assert_eq!(case.machine.deadline(), None);
    case.dies(WORKER, exited(0));
    assert_eq!(case.take(), [Action::Unlink, Action::Settle]);
    assert_eq!(case.machine.deadline(), None);
    assert!(case.machine.spec(0).is_none());
}

#[test]
fn a_restart_outlives_the_worker_that_asked_for_it() {
    let mut case = Case::running(spec());
    case.say(ToInit::Finished);
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    case.signal(libc::SIGTERM);
    case.dies(WORKER, exited(0));
    assert!(case.machine.spec(0).is_some());
}

#[test]
fn a_worker_that_said_goodbye_is_waited_for_before_anybody_is_signalled() {
    for gone_in_time in [true, false] {
        let mut case = Case::running(spec());
        case.say(ToInit::Finished);
        case.dies(FIRST, exited(3));
        case.feed(Event::Reaped { left: true });
        assert_eq!(case.take(), [Action::Reap]);
        assert!(case.machine.deadline().is_some());
        if gone_in_time {
            case.dies(WORKER, exited(0));
            case.feed(Event::Reaped { left: false });
            assert_eq!(case.take(), [Action::Unlink, Action::Exit(Exit(3))]);
        } else {
            case.wait(Duration::from_millis(20));
            let sweep = |signal| Action::Sweep { signal };
            assert_eq!(case.take(), [Action::Unlink, sweep(libc::SIGTERM), sweep(libc::SIGCONT)]);
        }
    }
}

#[test]
fn a_goodbye_that_comes_after_mains_end_counts() {
    let mut case = Case::running(spec());
    case.dies(FIRST, exited(0));
    case.say(ToInit::Finished);
    case.feed(Event::Reaped { left: true });
    assert_eq!(case.take(), [Action::Reap]);
    case.dies(WORKER, exited(0));
    // An orphan is left.
    case.feed(Event::Reaped { left: true });
    let sweep = |signal| Action::Sweep { signal };
    assert_eq!(case.take(), [Action::Unlink, sweep(libc::SIGTERM), sweep(libc::SIGCONT)]);
}

#[test]
fn a_worker_that_only_closes_its_link_is_killed() {
    let mut case = Case::running(spec());
    case.feed(Event::Closed);
    case.wait(Duration::from_secs(1));
    assert_eq!(case.take(), [Action::Kill { target: Target::Pid(WORKER), signal: libc::SIGKILL }]);
}

#[test]
fn dangerous_or_endless_messages_break_the_worker() {
    let kill = Action::Kill { target: Target::Pid(WORKER), signal: libc::SIGKILL };
    for message in [ToInit::Command(1), ToInit::Command(-1), ToInit::Owe("x".repeat(5000)), ToInit::Start] {
        let mut case = Case::with_worker();
        case.take();
        case.say(message);
        assert_eq!(case.take().last(), Some(&kill));
    }
}
