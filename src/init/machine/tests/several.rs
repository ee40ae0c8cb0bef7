//! Several processes: order, readiness, restarts, the way to the end.

use super::*;
use crate::link::{Care, Exhausted, Kind, Phase, ProcessState, Readiness, Restart, RestartLimit};

pub(super) fn named(name: &str, care: Care) -> ProcessSpec {
    ProcessSpec { name: name.into(), stop_timeout: Duration::from_secs(5), care, ..spec() }
}

pub(super) fn sidecar() -> Care {
    Care { kind: Kind::Sidecar, restart: Restart::Always, ..Care::default() }
}

fn after(mut care: Care, names: &[&str]) -> Care {
    care.after = names.iter().map(|name| (*name).to_owned()).collect();
    care
}

pub(super) fn limited(restarts: u32, when_exhausted: Exhausted) -> Care {
    let limit = Some(RestartLimit { restarts, within: Duration::from_mins(1) });
    Care { limit, when_exhausted, ..sidecar() }
}

/// With a worker, started.
pub(super) fn started(specs: impl IntoIterator<Item = ProcessSpec>) -> Case {
    let mut case = Case::with_worker();
    for spec in specs {
        case.say(ToInit::Process(Box::new(spec)));
    }
    case.take();
    case.say(ToInit::Start);
    case
}

pub(super) fn spawn(process: usize) -> Action {
    Action::Spawn { process }
}
pub(super) fn term(pid: i32) -> Action {
    Action::Kill { target: Target::Pid(pid), signal: libc::SIGTERM }
}
pub(super) fn loud(actions: Vec<Action>) -> Vec<Action> {
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

/// Processes with `shutdown_timeout` in front, and a stop protocol of five seconds each.
fn bounded(specs: impl IntoIterator<Item = ProcessSpec>) -> Case {
    let bound = |spec| ProcessSpec { shutdown_timeout: Some(Duration::from_secs(2)), ..spec };
    let mut case = started(specs.into_iter().map(bound));
    case.take();
    case
}

#[test]
fn one_shutdown_timeout_bounds_them_all() {
    // main has not ended in time: nobody else is given another one.
    let mut case = bounded([named(MAIN, Care::default()), named("php", sidecar()), named("db", sidecar())]);
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [to_main(libc::SIGTERM)]);
    case.wait(Duration::from_secs(2));
    assert_eq!(loud(case.take()), [kill_group(FIRST), kill_group(FIRST + 1), kill_group(FIRST + 2)]);
    for pid in [FIRST + 1, FIRST, FIRST + 2] {
        case.dies(pid, libc::SIGKILL);
    }
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit(137))]);

    // main ends by itself: the others have that time from then on, also those whose turn has not come.
    let others = [named("db", sidecar()), named("php", after(sidecar(), &["db"]))];
    let mut case = bounded(others.into_iter().chain([named(MAIN, Care::default())]));
    case.dies(FIRST + 2, exited(3));
    assert_eq!(case.take(), [term(FIRST + 1)]);
    case.wait(Duration::from_secs(2));
    assert_eq!(loud(case.take()), [kill_group(FIRST), kill_group(FIRST + 1)]);

    // Without main, in the middle of a drain.
    let drain = Care { kind: Kind::Essential, drain: Duration::from_mins(1), ..Care::default() };
    let mut case = bounded([named("a", drain)]);
    case.signal(libc::SIGTERM);
    assert_eq!(case.take(), [Action::Tell(ToWorker::Draining)]);
    case.wait(Duration::from_secs(2));
    case.wait(Duration::ZERO);
    assert_eq!(loud(case.take()), [term(FIRST), kill_group(FIRST)]);
}

pub(super) fn exit() -> ToInit {
    ToInit::Exit { code: 75, reason: "`a` changed".into() }
}

fn said() -> Action {
    Action::LastWord(Exit::RELOAD, "`a` changed".into())
}

#[test]
fn an_exit_goes_the_way_of_a_term() {
    let mut case = started([
        named("db", sidecar()),
        named(MAIN, after(Care::default(), &["db"])),
        named("front", after(sidecar(), &[MAIN])),
    ]);
    case.take();
    let (db, main, front) = (FIRST, FIRST + 1, FIRST + 2);
    case.say(exit());
    assert_eq!(case.take(), [term(front)]);
    case.say(exit());
    case.dies(db, exited(1));
    assert_eq!(loud(case.take()), [kill_group(db)], "it is not started again");
    case.dies(front, exited(0));
    assert_eq!(case.take(), [term(main)]);
    // Its own answer to the stop is not the container's.
    case.dies(main, exited(3));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [said(), Action::Reap, Action::Exit(Exit::RELOAD)]);
}

#[test]
fn an_exit_between_the_halves_of_a_restart_has_nothing_to_wait_for() {
    let mut case = started([named(MAIN, Care::default())]);
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    case.say(ToInit::Hold(vec![MAIN.into()]));
    case.dies(FIRST, exited(0));
    case.take();
    case.say(exit());
    assert!(case.take().ends_with(&[said(), Action::Reap]));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Exit(Exit::RELOAD)]);
}

#[test]
fn an_exit_waits_for_the_drain_and_a_term_ends_that() {
    let drain = Care { drain: Duration::from_secs(5), ..Care::default() };
    for kind in [Kind::Main, Kind::Essential] {
        for early in [true, false] {
            let mut case = started([named(MAIN, Care { kind, ..drain.clone() })]);
            case.take();
            case.say(exit());
            assert_eq!(case.take(), [Action::Tell(ToWorker::Draining)]);
            if early {
                case.signal(libc::SIGTERM);
            } else {
                case.wait(Duration::from_secs(5));
            }
            assert!(case.take().contains(&term(FIRST)), "{kind:?}, {early}");
            case.dies(FIRST, exited(0));
            case.feed(Event::Reaped { left: false });
            assert_eq!(case.take().last(), Some(&Action::Exit(Exit::RELOAD)), "{kind:?}, {early}");
        }
    }
}

#[test]
fn main_that_ends_by_itself_before_an_exit_reaches_it_has_its_own_code() {
    let mut case = started([named(MAIN, Care::default()), named("front", after(sidecar(), &[MAIN]))]);
    case.say(exit());
    case.dies(FIRST, exited(3));
    case.dies(FIRST + 1, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take().last(), Some(&Action::Exit(Exit(3))));
}

#[test]
fn an_exit_is_bounded_by_the_timeout_of_the_shutdown() {
    let bound = Some(Duration::from_secs(3));
    let main = ProcessSpec { shutdown_timeout: bound, ..named(MAIN, Care::default()) };
    let mut case = started([main, named("front", after(sidecar(), &[MAIN]))]);
    case.take();
    case.say(exit());
    case.wait(Duration::from_secs(3));
    let (front, main) = (FIRST + 1, FIRST);
    assert_eq!(loud(case.take()), [term(front), to_main(libc::SIGTERM), kill_group(main), kill_group(front)]);
    case.dies(FIRST, libc::SIGKILL);
    assert_eq!(case.take(), [said()]);
    case.dies(FIRST + 1, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [Action::Reap, Action::Exit(Exit::RELOAD)]);
}

#[test]
fn an_exit_during_a_restart_takes_its_place() {
    let mut case = started([named(MAIN, Care::default()), named("front", after(sidecar(), &[MAIN]))]);
    case.take();
    case.say(ToInit::Reload { id: 1, process: MAIN.into(), action: ReloadAction::Restart });
    case.say(exit());
    assert_eq!(case.take(), [to_main(libc::SIGTERM), term(FIRST + 1)]);
    case.dies(FIRST, exited(0));
    case.dies(FIRST + 1, exited(0));
    case.feed(Event::Reaped { left: false });
    assert_eq!(case.take(), [said(), Action::Reap, Action::Exit(Exit::RELOAD)]);
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
fn once_the_end_was_asked_for_the_code_is_mains_whoever_else_ends() {
    let once = |kind| Care { kind, restart: Restart::Never, ready: Readiness::Probe, ..Care::default() };
    for kind in [Kind::Essential, Kind::Setup, Kind::Sidecar] {
        let drain = Care { drain: Duration::from_secs(5), ..Care::default() };
        let mut case = started([named(MAIN, drain), named("x", once(kind)), named("y", after(sidecar(), &["x"]))]);
        case.take();
        case.signal(libc::SIGTERM);
        case.dies(FIRST + 1, exited(9));
        assert_eq!(loud(case.take()), [Action::Tell(ToWorker::Draining)], "{kind:?}");
        case.wait(Duration::from_secs(5));
        case.dies(FIRST, exited(3));
        case.feed(Event::Reaped { left: false });
        assert_eq!(case.take(), [to_main(libc::SIGTERM), Action::Reap, Action::Exit(Exit(3))], "{kind:?}");
    }
    // Without main it is the signal's; and when nothing essential is left, there is nothing to look away from.
    let essential = Care { kind: Kind::Essential, drain: Duration::from_secs(5), ..Care::default() };
    let mut case = started([named("a", essential.clone()), named("b", essential)]);
    case.take();
    case.signal(libc::SIGINT);
    case.dies(FIRST, exited(9));
    assert_eq!(loud(case.take()), [Action::Tell(ToWorker::Draining)]);
    case.dies(FIRST + 1, exited(9));
    case.feed(Event::Reaped { left: false });
    assert_eq!(loud(case.take()), [Action::Reap, Action::Exit(Exit(130))]);
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
