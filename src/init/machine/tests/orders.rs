//! An operator's orders: what they do, and that each is answered once.

use super::several::{limited, loud, named, sidecar, spawn, started, term};
use super::*;
use crate::init::machine::process::State;
use crate::link::{Care, Exhausted, Order};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn order(id: u64, process: &str, order: Order) -> ToInit {
    ToInit::Operate { id, process: process.into(), order }
}

fn told(id: u64, outcome: Outcome) -> Action {
    Action::Tell(ToWorker::Reloaded { id, outcome })
}

fn restart_of(id: u64, process: &str) -> ToInit {
    ToInit::Reload { id, process: process.into(), action: ReloadAction::Restart }
}

#[test]
fn orders_and_reloads_during_a_stop_are_all_answered() {
    let running = || {
        let mut case = started([named(MAIN, Care::default()), named("php", sidecar())]);
        case.take();
        case
    };
    // It is wanted back before it has gone.
    for again in [Order::Start, Order::Restart] {
        let mut case = running();
        case.say(order(1, "php", Order::Stop));
        case.say(order(2, "php", again));
        let overruled = told(1, Outcome::Failed("a later order overruled it".into()));
        assert_eq!(case.take(), [term(FIRST + 1), overruled]);
        case.dies(FIRST + 1, libc::SIGTERM);
        assert_eq!(case.take(), [kill_group(FIRST + 1), spawn(1), done(2)]);
    }
    // A stop overrules a restart, and is not asked for twice.
    let mut case = running();
    case.say(restart_of(1, "php"));
    case.say(order(2, "php", Order::Stop));
    case.say(order(3, "php", Order::Stop));
    assert_eq!(case.take(), [term(FIRST + 1), told(1, Outcome::NotRunning)]);
    // What changes meanwhile is read by its next start.
    case.say(restart_of(4, "php"));
    assert_eq!(case.take(), [told(4, Outcome::NotRunning)]);
    case.dies(FIRST + 1, libc::SIGTERM);
    assert_eq!(case.take(), [done(2), done(3)]);
    // Not alive, restarted for a file, and it may not be started again.
    let mut case = started([named(MAIN, Care::default()), named("php", limited(0, Exhausted::Ignore))]);
    case.take();
    case.say(ToInit::Unhealthy { process: "php".into(), pid: FIRST + 1, reason: "down".into() });
    case.say(restart_of(1, "php"));
    case.take();
    case.dies(FIRST + 1, libc::SIGTERM);
    assert_eq!(loud(case.take()), [kill_group(FIRST + 1), told(1, Outcome::NotRunning)]);
    // The container ends: a restart would be forgotten.
    let mut case = running();
    case.signal(libc::SIGTERM);
    case.take();
    for (id, again) in [(1, Order::Start), (2, Order::Restart)] {
        case.say(order(id, "php", again));
        assert!(matches!(&case.take()[..], [Action::Tell(ToWorker::Reloaded { outcome: Outcome::Failed(_), .. })]));
    }
}

#[test]
fn an_operator_stops_starts_and_signals() {
    let mut case = started([named(MAIN, Care::default()), named("php", sidecar())]);
    case.take();
    case.say(order(1, "php", Order::Stop));
    assert_eq!(case.take(), [term(FIRST + 1)]);
    case.dies(FIRST + 1, libc::SIGTERM);
    assert_eq!(case.take(), [done(1)], "answered when it has ended");
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

#[derive(Debug, Clone)]
enum Step {
    Order(Order),
    Reload,
    Dies,
    Sick,
    Pass(u64),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever is ordered when: once nothing is under way any more, everybody has had one answer.
    #[test]
    fn each_order_is_answered_once(
        steps in prop::collection::vec(
            prop_oneof![
                prop_oneof![
                    Just(Order::Stop), Just(Order::Start), Just(Order::Restart), Just(Order::Send(libc::SIGHUP)),
                ].prop_map(Step::Order),
                Just(Step::Reload),
                Just(Step::Dies),
                Just(Step::Sick),
                (0_u64..8000).prop_map(Step::Pass),
            ],
            1..40,
        ),
        restarts in 0_u32..4,
    ) {
        let mut case = started([named(MAIN, Care::default()), named("php", limited(restarts, Exhausted::Ignore))]);
        let mut answers: BTreeMap<u64, u32> = BTreeMap::new();
        let mut asked = 0;
        let look = |case: &mut Case, answers: &mut BTreeMap<u64, u32>| {
            for action in case.take() {
                if let Action::Tell(ToWorker::Reloaded { id, .. }) = action {
                    *answers.entry(id).or_default() += 1;
                }
            }
        };
        for step in steps {
            let pid = case.machine.processes[1].pid();
            match step {
                Step::Order(what) => {
                    asked += 1;
                    case.say(order(asked, "php", what));
                }
                Step::Reload => {
                    asked += 1;
                    case.say(restart_of(asked, "php"));
                }
                Step::Dies => pid.into_iter().for_each(|pid| case.dies(pid, exited(1))),
                Step::Sick => pid.into_iter().for_each(|pid| {
                    case.say(ToInit::Unhealthy { process: "php".into(), pid, reason: "down".into() });
                }),
                Step::Pass(millis) => case.wait(Duration::from_millis(millis)),
            }
            look(&mut case, &mut answers);
        }
        // What is being stopped ends, and what waits for its pause comes back.
        for _ in 0..3 {
            if let State::Running { pid, stop: Some(_), .. } = case.machine.processes[1].state {
                case.dies(pid, libc::SIGTERM);
            }
            case.wait(Duration::from_mins(2));
            look(&mut case, &mut answers);
        }
        prop_assert_eq!(answers, (1..=asked).map(|id| (id, 1)).collect::<BTreeMap<_, _>>());
    }
}
