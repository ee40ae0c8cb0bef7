//! A process's environment arrives with the files of the same change, or not yet.
//!
//! Files that belong together are put into a group. A variable cannot be: so what a process is started with waits for every
//! group that concerns the process and uses one of its sources. Otherwise a check that refuses new files would not keep
//! main from being restarted for the same change, with new variables beside old files.

use super::Worker;
use super::group::{Files, Group};
use super::relations::{concerns, content};
use super::verifying::named;
use crate::error::Complaint;
use std::time::Instant;

impl Group {
    /// What its sources say is not in place, or not checked yet.
    fn is_behind(&self) -> bool {
        let in_work = self.job.check().is_some() || self.schedule.due().is_some();
        in_work || !self.done || self.trouble.is_some() || self.files == Files::Mixed
    }
}

impl Worker<'_> {
    /// The groups in the order in which they are published: environments after files.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        // Stable: otherwise as the plan has them.
        order.sort_by_key(|&index| self.plan.groups[index].environment_of.is_some());
        order
    }

    /// The group of files that a changed environment (its group) waits for; `None`: it can go ahead.
    pub(super) fn files_behind(&self, environment: usize) -> Option<usize> {
        let process = &self.plan.groups[environment].environment_of.as_ref()?.process;
        let uses = &self.groups[environment].uses;
        (0..self.groups.len()).find(|&index| {
            let (plan, group) = (&self.plan.groups[index], &self.groups[index]);
            plan.environment_of.is_none()
                && group.is_behind()
                && !group.uses.is_disjoint(uses)
                && concerns(&self.plan, index).contains(process)
        })
    }

    /// Says what environments wait for, where that is not over in a moment.
    pub(super) fn say_what_waits(&mut self, now: Instant) {
        for index in 0..self.groups.len() {
            if self.groups[index].waits.is_none() {
                continue;
            }
            let Some(files) = self.files_behind(index).filter(|&files| self.groups[files].trouble.is_some()) else {
                continue;
            };
            let (what, whom) = (content(&self.plan.groups[index]).join(", "), named(&self.plan.groups[files]));
            let message = format!("{what} has changed, too, and waits for {whom}, which is not in place");
            let complaint = Complaint::new(message)
                .hint("both use the same source; they arrive together when what is said of the files is mended");
            if self.groups[index].trouble.as_ref() != Some(&complaint) {
                self.groups[index].trouble = Some(complaint.clone());
                self.complain(&[complaint], now);
            }
        }
    }
}
