//! The worker that has left, and the one that is called back to see when a process is ready.

use super::*;
use crate::link::{Care, Kind, Readiness, Restart};

const PHP: i32 = FIRST + 1;

/// main and php-fpm, which becomes ready by a probe; everything is ready, and the worker has left.
fn left() -> Case {
    let probed = Care { kind: Kind::Sidecar, restart: Restart::Always, ready: Readiness::Probe, ..Care::default() };
    let mut case = Case::with_worker();
    for spec in [spec(), ProcessSpec { name: "php".into(), care: probed, ..spec() }] {
        case.say(ToInit::Process(Box::new(spec)));
    }
    case.say(ToInit::Start);
    case.leaves(PHP);
    assert_eq!(case.take().last(), Some(&Action::Settle));
    case
}

impl Case {
    fn ready(&mut self, pid: i32) {
        self.say(ToInit::Ready { process: "php".into(), pid });
    }

    /// The worker sees that php-fpm is ready, and leaves.
    fn leaves(&mut self, pid: i32) {
        self.ready(pid);
        self.say(ToInit::Finished);
        self.dies(WORKER, exited(0));
    }

    /// What was done but for php-fpm's start and log lines.
    fn loud(&mut self) -> Vec<Action> {
        let quiet = |action: &Action| matches!(action, Action::Log(..) | Action::Kill { .. } | Action::Spawn { .. });
        self.take().into_iter().filter(|action| !quiet(action)).collect()
    }
}

/// A worker is forked, which is told that it only probes.
fn called_back(actions: &[Action]) {
    assert!(
        matches!(actions, [Action::ForkWorker, Action::Tell(ToWorker::Welcome { probes: true, started: true, .. })]),
        "{actions:?}"
    );
}

#[test]
fn the_next_life_is_seen_ready_by_a_worker_that_leaves_again() {
    let mut case = left();
    for life in 0..3 {
        case.now += Duration::from_mins(1);
        case.dies(PHP + life, libc::SIGKILL);
        called_back(&case.loud());
        case.leaves(PHP + life + 1);
        assert_eq!(case.loud(), [Action::Unlink, Action::Settle]);
        assert_eq!(case.machine.deadline(), None, "init sleeps");
    }
}

#[test]
fn a_pause_before_the_next_life_is_without_a_worker() {
    let mut case = left();
    case.dies(PHP, libc::SIGKILL);
    case.leaves(PHP + 1);
    case.take();
    case.dies(PHP + 1, libc::SIGKILL);
    assert_eq!(case.loud(), []);
    case.wait(Duration::from_millis(100));
    called_back(&case.loud());
}

#[test]
fn a_worker_that_leaves_as_the_process_ends_is_followed() {
    let mut case = left();
    case.dies(PHP, libc::SIGKILL);
    case.now += Duration::from_mins(1);
    // It has said goodbye, and is not reaped yet.
    case.ready(PHP + 1);
    case.say(ToInit::Finished);
    case.now += Duration::from_mins(1);
    case.dies(PHP + 1, libc::SIGKILL);
    case.take();
    case.dies(WORKER, exited(0));
    assert_eq!(case.take()[0], Action::Unlink);
    case.leaves(PHP + 2);
    assert_eq!(case.take().last(), Some(&Action::Settle));
}

#[test]
fn one_that_only_leaves_is_not_forked_for_ever() {
    let mut case = left();
    case.dies(PHP, libc::SIGKILL);
    let mut forks = 0;
    for _ in 0..1000 {
        forks += case.take().iter().filter(|action| **action == Action::ForkWorker).count();
        case.say(ToInit::Finished);
        case.dies(WORKER, exited(0));
        case.wait(Duration::from_millis(10));
    }
    assert!((5..12).contains(&forks), "{forks} in ten seconds");
}

#[test]
fn a_death_then_costs_a_pause_and_one_without_work_nothing() {
    let mut case = left();
    case.dies(PHP, libc::SIGKILL);
    case.dies(WORKER, libc::SIGSEGV);
    case.take();
    case.wait(Duration::from_millis(100));
    called_back(&case.loud());
    case.ready(PHP + 1);
    case.dies(WORKER, libc::SIGSEGV);
    assert_eq!(case.loud(), [Action::Unlink, Action::Settle]);
    assert_eq!(case.machine.deadline(), None);
    // Nobody needs it any more when its pause is over.
    case.now += Duration::from_mins(1);
    case.dies(PHP + 1, libc::SIGKILL);
    case.dies(WORKER, libc::SIGSEGV);
    case.take();
    case.dies(PHP + 2, libc::SIGKILL);
    case.take();
    let to_pause = case.machine.deadline().unwrap() - case.now;
    assert!(to_pause <= Duration::from_millis(100));
}

#[test]
fn once_the_end_was_asked_for_nobody_is_called_back() {
    let mut case = left();
    case.signal(libc::SIGTERM);
    case.dies(PHP, libc::SIGKILL);
    assert_eq!(case.loud(), []);
    let mut case = left();
    case.dies(PHP, libc::SIGKILL);
    case.take();
    case.signal(libc::SIGTERM);
    case.say(ToInit::Finished);
    case.dies(WORKER, exited(0));
    assert_eq!(case.loud(), [Action::Unlink, Action::Settle]);
}
