//! What directories of templates produced: noted once it is in place, so that it can be removed when its template is gone.

use super::Worker;
use crate::config::plan::TargetPlan;
use crate::publish::{Fingerprint, Rendered, note_made};
use std::path::PathBuf;
use std::rc::Rc;

impl Worker<'_> {
    /// Of a group's new contents: those that are in a directory with `prune`.
    pub(super) fn prunable(&self, rendered: &[Rendered<'_>]) -> Vec<(usize, PathBuf, Fingerprint)> {
        let prunes = |directory: usize| self.plan.directories.get(directory).is_some_and(|plan| plan.prune);
        let made = rendered.iter().filter_map(|one| match (one.template.directory, &one.template.to) {
            (Some(directory), TargetPlan::File(path)) if prunes(directory) => {
                Some((directory, path.clone(), Fingerprint::of(&one.content)))
            }
            _ => None,
        });
        made.collect()
    }

    /// Notes what was put in place since: once a turn, however many groups that were.
    pub(super) fn note_made(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let (plan, made) = (Rc::clone(&self.plan), std::mem::take(&mut self.made));
        for prune in plan.groups.iter().flat_map(|group| &group.prunes) {
            if let Some(made) = made.get(&prune.directory) {
                note_made(prune, plan.state_dir.as_deref(), made);
            }
        }
    }
}
