//! Which reloads a batch of published groups owes, each once per process however many groups changed.

use crate::config::plan::ReloadPlan;
use std::time::Duration;

/// One thing to do, and the groups that are paid by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What to do.
    pub reload: ReloadPlan,
    /// Indexes of the groups that owe it.
    pub groups: Vec<usize>,
}

/// Merges what several groups owe: the same reload once; a restart of a process swallows its signals (the new process
/// reads the new files anyway); an exit swallows everything that concerns our own processes. Commands run before
/// signals and restarts, in the order they were owed, so that what prepares a reload has been done by then.
pub fn merge(owed: impl IntoIterator<Item = (usize, ReloadPlan)>) -> Vec<Due> {
    let mut merged: Vec<Due> = Vec::new();
    for (group, reload) in owed {
        match merged.iter_mut().find(|due| due.reload == reload) {
            Some(due) if !due.groups.contains(&group) => due.groups.push(group),
            Some(_) => {}
            None => merged.push(Due { reload, groups: vec![group] }),
        }
    }
    swallow(&mut merged);
    merged.sort_by_key(|due| match due.reload {
        ReloadPlan::Run { .. } => 0,
        ReloadPlan::Signal { .. } | ReloadPlan::Post(_) | ReloadPlan::Neighbour(_) | ReloadPlan::Touch(_) => 1,
        ReloadPlan::Restart { .. } => 2,
        ReloadPlan::Exit => 3,
    });
    merged
}

/// Whether doing `done` also does `owed`.
pub fn pays(done: &ReloadPlan, owed: &ReloadPlan) -> bool {
    match (owed, done) {
        (ReloadPlan::Signal { process, .. }, ReloadPlan::Restart { process: restarted }) => process == restarted,
        (ReloadPlan::Signal { .. } | ReloadPlan::Restart { .. }, ReloadPlan::Exit) => true,
        _ => owed == done,
    }
}

/// Whether it ends what runs: then a fleet must not do it at once.
pub fn is_heavy(reload: &ReloadPlan) -> bool {
    matches!(reload, ReloadPlan::Restart { .. } | ReloadPlan::Exit)
}

/// How long a reload that [is heavy](is_heavy) waits: less than `splay`, evenly spread where `random` is over all of u64.
pub fn delay(splay: Duration, random: u64) -> Duration {
    // Both below 2^64: the product fits u128.
    let nanos = (splay.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn swallow(merged: &mut Vec<Due>) {
    let swallowed_by = |due: &Due, others: &[Due]| -> Option<usize> {
        others.iter().position(|other| other.reload != due.reload && pays(&other.reload, &due.reload))
    };
    let mut at = 0;
    while at < merged.len() {
        match swallowed_by(&merged[at], merged) {
            Some(by) => {
                let groups = merged[at].groups.clone();
                for group in groups {
                    if !merged[by].groups.contains(&group) {
                        merged[by].groups.push(group);
                    }
                }
                merged.remove(at);
            }
            None => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(process: &str, signal: i32) -> ReloadPlan {
        ReloadPlan::Signal { process: process.into(), signal }
    }
    fn restart(process: &str) -> ReloadPlan {
        ReloadPlan::Restart { process: process.into() }
    }

    #[test]
    fn two_groups_one_signal() {
        assert_eq!(
            merge([(0, signal("main", 1)), (1, signal("main", 1))]),
            [Due { reload: signal("main", 1), groups: vec![0, 1] }]
        );
    }

    #[test]
    fn a_restart_swallows_the_signals_of_its_process_only() {
        assert_eq!(
            merge([(0, signal("main", 1)), (1, restart("main")), (2, signal("php", 12))]),
            [Due { reload: signal("php", 12), groups: vec![2] }, Due { reload: restart("main"), groups: vec![1, 0] },]
        );
    }

    #[test]
    fn an_exit_swallows_signals_and_restarts_but_no_command() {
        let run = ReloadPlan::Run { command: vec!["x".into()], timeout: std::time::Duration::from_secs(1) };
        assert_eq!(
            merge([(0, restart("main")), (0, ReloadPlan::Exit), (1, run.clone())]),
            [Due { reload: run, groups: vec![1] }, Due { reload: ReloadPlan::Exit, groups: vec![0] }]
        );
    }

    proptest::proptest! {
        #[test]
        fn a_delay_is_less_than_the_splay(splay in 0_u64..1 << 40, random: u64) {
            let splay = Duration::from_micros(splay);
            proptest::prop_assert!(delay(splay, random) < splay.max(Duration::from_nanos(1)));
        }
    }

    #[test]
    fn delays_are_spread_over_the_whole_splay() {
        let splay = Duration::from_secs(10);
        assert_eq!(delay(splay, 0), Duration::ZERO);
        assert_eq!(delay(splay, u64::MAX / 2 + 1), Duration::from_secs(5));
        assert!(delay(splay, u64::MAX) > Duration::from_millis(9_999));
        assert_eq!(delay(Duration::ZERO, u64::MAX), Duration::ZERO);
    }
}
