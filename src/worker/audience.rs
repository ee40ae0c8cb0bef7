//! Who is told of a change: whom a group concerns, and who of them may use its files by now.

use super::relations::concerns;
use super::{Mode, Worker};
use crate::config::plan::TargetPlan;
use std::time::Instant;

impl Worker<'_> {
    /// Whether a change of a group is to be told: somebody may use its files by now.
    pub(super) fn tells(&self, group: usize) -> bool {
        self.is_used(group) || self.mode == Mode::RenderWatch && self.gate.is_none()
    }

    /// Whether a process may run that a group concerns.
    pub(super) fn is_used(&self, group: usize) -> bool {
        let may_run = |process: &String| self.starts.may_run(process);
        self.starts.is_over()
            || self.starts.has_begun()
                && match &self.plan.groups[group].environment_of {
                    Some(whose) => may_run(&whose.process),
                    None => concerns(&self.plan, group).iter().any(may_run),
                }
    }

    /// Whether somebody else may use what the first publish replaces: `render --watch` may have been started again beside a
    /// neighbour that has run all the while. Nobody runs on files that are not there yet.
    pub(super) fn may_be_in_use(&self, group: usize) -> bool {
        let is_there = |target: &TargetPlan| matches!(target, TargetPlan::File(path) if path.exists());
        self.mode == Mode::RenderWatch
            && self.plan.groups[group].templates.iter().any(|template| is_there(&template.to))
    }

    /// Whether there may be anybody to be told of anything.
    pub(super) fn may_tell(&self) -> bool {
        self.gate.is_none() || self.starts.has_begun()
    }

    /// More processes may run from here on. What has only just begun to start is not told at once of the next change: it may
    /// have no handler yet.
    pub(super) fn begin_to_use(&mut self, now: Instant, change: impl FnOnce(&mut Self)) {
        let unused: Vec<usize> = (0..self.groups.len()).filter(|&index| !self.is_used(index)).collect();
        change(self);
        for index in unused {
            if self.is_used(index) {
                self.groups[index].schedule.published(now);
            }
        }
    }
}
