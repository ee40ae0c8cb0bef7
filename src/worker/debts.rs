//! When a reload begins to be owed and when it is no more: in the ledger, at init, on disk.

use super::Worker;
use super::group::Then;
use super::reload;
use crate::link::ToInit;
use std::time::{Duration, Instant};

impl Worker<'_> {
    /// A group's files change: its reloads are owed, restarts after a random part of `splay`. init remembers that, should
    /// this worker die.
    pub(super) fn owe(&mut self, group: usize, splay: Duration) {
        let plan = &self.plan.groups[group];
        let delay = || reload::delay(splay, crate::source::backoff::random());
        let after = || (!splay.is_zero()).then(|| Instant::now() + delay());
        self.owed.add(group, plan.reloads(), after);
        if !plan.reloads().is_empty() {
            self.control.tell(&ToInit::Owe(plan.name.clone()));
        }
    }

    /// A reload was owed when an earlier container ended. What runs in this one reads the new files anyway; what is
    /// told to others is not done by that.
    pub(super) fn owe_from_before(&mut self, group: usize) {
        let reloads = self.plan.groups[group].reloads();
        self.owed.add(group, reloads.iter().filter(|reload| reload.is_for_others()), || None);
        if !self.owed.owes(group) {
            self.forgive(group);
        }
    }

    /// What an earlier container owed is void.
    pub(super) fn forgive(&mut self, group: usize) {
        self.groups[group].remembered = false;
        crate::publish::forget_owed(&self.plan.groups[group], self.plan.state_dir.as_deref());
    }

    /// The group's files are the old ones again: nobody needs to be told.
    pub(super) fn disown(&mut self, group: usize) {
        self.owed.entries.retain(|entry| entry.group != group);
        self.settled(group);
    }

    /// What the group owed is done. Where it is to be verified, what was kept stays until then.
    pub(super) fn told(&mut self, group: usize, now: Instant) {
        if self.groups[group].then == Then::Verify {
            self.verify(group, now);
            self.control.tell(&ToInit::Paid(self.plan.groups[group].name.clone()));
            self.groups[group].changed.clear();
        } else {
            self.settled(group);
        }
    }

    /// Nothing is owed for this group any more: neither init nor the disk need remember it.
    pub(super) fn settled(&mut self, group: usize) {
        let plan = &self.plan.groups[group];
        self.control.tell(&ToInit::Paid(plan.name.clone()));
        let group = &mut self.groups[group];
        group.changed.clear();
        if let Some(committed) = group.committed.take() {
            committed.finish();
        }
        if std::mem::take(&mut group.remembered) {
            crate::publish::forget_owed(plan, self.plan.state_dir.as_deref());
        }
    }
}
