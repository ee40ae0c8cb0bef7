//! Reloads that are owed: told once per process, retried with backoff until done or overtaken.
//!
//! Pure: the ledger. What is written into it is in [`super::debts`], what is done of it in [`super::reloading`].

use super::reload::{self, Due};
use super::retry::Retry;
use crate::config::plan::ReloadPlan;
use std::time::Instant;

/// What is owed, and what of it is being done.
#[derive(Debug, Default)]
pub struct Owed {
    pub(super) entries: Vec<Entry>,
    /// Counts publishes, so that a reload which began before one does not pay for it.
    pub(super) publishes: u64,
    pub(super) current: Option<Current>,
    /// When it was last looked for what is due.
    looked: Option<Instant>,
}

/// One reload that a group owes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) group: usize,
    pub(super) reload: ReloadPlan,
    /// The newest publish that it is owed for.
    publish: u64,
    /// After a failure.
    retry: Option<Retry>,
    /// Not before then: its share of `splay`, drawn once, and gone when it is over.
    after: Option<Instant>,
}

/// The reload being done.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) id: u64,
    pub(super) due: Due,
    /// It tells of the publishes up to here.
    pub(super) publishes: u64,
}

impl Owed {
    /// Nothing is owed and nothing is being done.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.current.is_none()
    }

    /// When a reload that failed is tried again, or one that waits for its share of `splay` is done.
    pub fn due(&self) -> Option<Instant> {
        if self.current.is_some() {
            return None;
        }
        let paused = self.entries.iter().filter_map(|entry| entry.retry).map(|retry| retry.at);
        let all = paused.chain(self.entries.iter().filter_map(|entry| entry.after));
        // What was due at the last look and is still here waits for files that are mixed, not for time.
        all.filter(|at| self.looked.is_none_or(|looked| *at > looked)).min()
    }

    /// Whether a reload of this group is owed.
    pub fn owes(&self, group: usize) -> bool {
        self.entries.iter().any(|entry| entry.group == group)
    }

    /// The group was published: its reloads are owed, and what failed before is overtaken. Heavy ones that were not owed
    /// already wait until `after`.
    pub(super) fn add<'a>(
        &mut self,
        group: usize,
        reloads: impl IntoIterator<Item = &'a ReloadPlan>,
        after: impl Fn() -> Option<Instant>,
    ) {
        self.publishes += 1;
        for reload in reloads {
            let known = self.entries.iter_mut().find(|entry| entry.group == group && entry.reload == *reload);
            if let Some(entry) = known {
                (entry.publish, entry.retry) = (self.publishes, None);
                continue;
            }
            let after = if reload::is_heavy(reload) { after() } else { None };
            self.entries.push(Entry { group, reload: reload.clone(), publish: self.publishes, retry: None, after });
        }
    }

    /// What this group owes waits for nothing: what runs is broken already.
    pub fn hurry(&mut self, group: usize) {
        let own: Vec<ReloadPlan> =
            self.entries.iter().filter(|entry| entry.group == group).map(|entry| entry.reload.clone()).collect();
        for entry in &mut self.entries {
            if own.iter().any(|reload| reload::pays(&entry.reload, reload)) {
                entry.after = None;
            }
        }
    }

    /// Waits that are over are none any more.
    pub(super) fn elapse(&mut self, now: Instant) {
        self.looked = Some(now);
        for entry in &mut self.entries {
            entry.after.take_if(|after| *after <= now);
        }
    }

    /// Whether all that would pay for this waits for its share of `splay`: a restart, and the signals of its process,
    /// which it swallows. The first restart that is due pays for all.
    fn is_splayed(&self, entry: &Entry) -> bool {
        let mut heavy = self
            .entries
            .iter()
            .filter(|other| reload::is_heavy(&other.reload) && reload::pays(&other.reload, &entry.reload));
        heavy.next().is_some_and(|first| first.after.is_some() && heavy.all(|other| other.after.is_some()))
    }

    /// What can be done now: not what is paused after a failure, nor what a paused command of the same group prepares,
    /// nor what waits for its share of `splay`.
    pub(super) fn ready(&self, now: Instant) -> impl Iterator<Item = &Entry> {
        let paused = move |entry: &Entry| entry.retry.is_some_and(|retry| now < retry.at);
        self.entries.iter().filter(move |entry| {
            !self.is_splayed(entry)
                && !self.entries.iter().any(|other| {
                    let prepares = matches!(other.reload, ReloadPlan::Run { .. });
                    other.group == entry.group && paused(other) && (prepares || other.reload == entry.reload)
                })
        })
    }

    /// `done` is done for the publishes up to `publishes`: the groups that owe nothing any more.
    pub(super) fn pay(&mut self, done: &Due, publishes: u64) -> Vec<usize> {
        self.entries.retain(|entry| {
            let paid = done.groups.contains(&entry.group) && reload::pays(&done.reload, &entry.reload);
            !paid || entry.publish > publishes
        });
        done.groups.iter().copied().filter(|group| !self.owes(*group)).collect()
    }

    pub(super) fn fail(&mut self, due: &Due, now: Instant) {
        for entry in &mut self.entries {
            if due.groups.contains(&entry.group) && reload::pays(&due.reload, &entry.reload) {
                entry.retry = Some(Retry::after(entry.retry, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(name: &str) -> ReloadPlan {
        ReloadPlan::Run { command: vec![name.into()], timeout: Duration::from_secs(1) }
    }
    fn hup() -> ReloadPlan {
        ReloadPlan::Signal { process: "main".into(), signal: 1 }
    }
    pub(super) fn ready(owed: &Owed, now: Instant) -> Vec<(usize, ReloadPlan)> {
        owed.ready(now).map(|entry| (entry.group, entry.reload.clone())).collect()
    }

    #[test]
    fn a_failing_command_holds_back_its_own_group_only() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&run("a"), &hup()], || None);
        owed.add(1, [&hup()], || None);
        owed.fail(&Due { reload: run("a"), groups: vec![0] }, now);
        assert_eq!(ready(&owed, now), [(1, hup())]);
        assert_eq!(owed.pay(&Due { reload: hup(), groups: vec![1] }, 2), [1]);
        assert_eq!(owed.due(), Some(now + super::super::retry::BASE));
        assert_eq!(ready(&owed, owed.due().unwrap()), [(0, run("a")), (0, hup())]);
    }

    #[test]
    fn a_publish_during_a_reload_is_not_paid_by_it() {
        let mut owed = Owed::default();
        owed.add(0, [&hup()], || None);
        let began = owed.publishes;
        owed.add(0, [&hup()], || None);
        let due = Due { reload: hup(), groups: vec![0] };
        assert!(owed.pay(&due, began).is_empty());
        assert!(owed.owes(0));
        assert_eq!(owed.pay(&due, owed.publishes), [0]);
    }

    #[test]
    fn a_newer_publish_overtakes_the_pause_of_a_failure() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&run("a")], || None);
        owed.fail(&Due { reload: run("a"), groups: vec![0] }, now);
        assert!(ready(&owed, now).is_empty());
        owed.add(0, [&run("a")], || None);
        assert_eq!(ready(&owed, now), [(0, run("a"))]);
    }

    fn restart() -> ReloadPlan {
        ReloadPlan::Restart { process: "main".into() }
    }

    #[test]
    fn a_share_of_splay_is_drawn_once_and_not_put_off_by_a_newer_publish() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut owed = Owed::default();
        owed.add(0, [&run("a"), &restart()], || at(5));
        // What prepares the restart does not wait.
        assert_eq!(ready(&owed, now), [(0, run("a"))]);
        owed.pay(&Due { reload: run("a"), groups: vec![0] }, 1);
        owed.add(0, [&restart()], || at(60));
        assert_eq!(owed.due(), at(5));
        owed.elapse(now + Duration::from_secs(4));
        assert!(ready(&owed, now).is_empty());
        owed.elapse(now + Duration::from_secs(5));
        assert_eq!(ready(&owed, now), [(0, restart())]);
        assert_eq!(owed.due(), None);
    }

    #[test]
    fn one_process_is_restarted_once_and_its_signals_wait_for_that() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut owed = Owed::default();
        owed.add(0, [&restart()], || at(9));
        owed.add(1, [&restart()], || at(5));
        owed.add(2, [&hup()], || at(0));
        assert!(ready(&owed, now).is_empty());
        owed.elapse(now + Duration::from_secs(5));
        let due = reload::merge(ready(&owed, now));
        assert_eq!(due.len(), 1);
        assert_eq!(owed.pay(&due[0], owed.publishes).len(), 3);
        assert!(owed.is_empty());
    }

    #[test]
    fn what_is_broken_waits_for_nothing() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&restart()], || Some(now + Duration::from_secs(9)));
        owed.add(1, [&hup()], || None);
        owed.hurry(1);
        assert_eq!(reload::merge(ready(&owed, now)), [Due { reload: restart(), groups: vec![0, 1] }]);
    }
}
