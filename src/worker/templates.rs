//! Template files that change while the worker runs: a set that loads replaces the old one, one that does not leaves it in
//! force.

use super::group::Then;
use super::relations::{checked_in_place, load_engine, reloads_are_stated, used};
use super::{Mode, Worker};
use crate::config::plan::{DirectoryPlan, LayerPlan, Plan};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

impl Worker<'_> {
    /// Template files are watched where files are watched anyway, and by `render --watch`.
    pub(super) fn watch_templates(&mut self, now: Instant) {
        let is_file = |layer: &LayerPlan| matches!(layer.uri.scheme.as_str(), "file" | "dir");
        let files = self.sources.iter().flat_map(|source| &source.layers).any(is_file);
        if self.mode == Mode::RenderWatch || self.mode.watches() && files {
            let templates = self.groups.last().map_or(0, |group| group.templates.end);
            let files = (0..templates).flat_map(|index| self.engine.files(index)).map(Path::to_owned);
            let directories = self.plan.directories.iter().flat_map(DirectoryPlan::directories);
            let paths: BTreeSet<PathBuf> = files.chain(directories).collect();
            for path in paths {
                self.driver.watch_path(&path, now);
            }
        }
    }

    /// A template file changed, came or went: all are read anew; a set that does not load leaves the old one in force.
    pub(super) fn templates_changed(&mut self, now: Instant) {
        let mut complaints = Vec::new();
        let relisted = self.plan.relisted(&mut complaints).map(Rc::new);
        self.complain(&complaints, now);
        let plan = relisted.as_ref().unwrap_or(&self.plan);
        let engine = match load_engine(plan) {
            Ok(engine) => engine,
            Err(failure) => return self.complain(&failure.complaints, now),
        };
        if relisted.is_none() && engine.is_same(&self.engine) {
            // A target beside its template, an editor's temporary file.
            return;
        }
        let (sources, groups) = used(plan, &engine, &self.sources);
        if self.mode == Mode::Run
            && let Err(failure) = reloads_are_stated(plan, &sources, &groups)
        {
            return self.complain(&failure.complaints, now);
        }
        // A source that is used no more stays open: another edit may want it back.
        let new = &sources[self.sources.len()..];
        if let Err(failure) = self.driver.add(new, &self.plan.stores) {
            return self.complain(&failure.complaints, now);
        }
        self.layers.add(new);
        self.sources = sources;
        self.engine = engine;
        crate::info!("templates changed: read again");
        if let Some(plan) = relisted {
            self.take_plan(plan);
        }
        for (index, read) in groups.into_iter().enumerate() {
            match self.groups.get_mut(index) {
                Some(group) => (group.uses, group.templates) = (read.uses, read.templates),
                None => self.groups.push(read),
            }
            self.groups[index].schedule.changed(now);
        }
        for update in self.driver.read_all(now) {
            self.update(update, now);
        }
        // What they include now may be other files.
        self.watch_templates(now);
    }

    /// Other template files are in their directories. Groups have the places that they had.
    fn take_plan(&mut self, plan: Rc<Plan>) {
        let old = std::mem::replace(&mut self.plan, plan);
        for (index, before) in old.groups.iter().enumerate() {
            if before.templates == self.plan.groups[index].templates {
                continue;
            }
            // It tells of other targets.
            self.groups[index].seen = None;
            self.note_refusals(index, |refusals| refusals.check = None);
            let group = &mut self.groups[index];
            if self.plan.groups[index].templates.is_empty() {
                // What it owes is told all the same, but there is no place any more to remember it in.
                if let Some(committed) = group.committed.take() {
                    committed.finish();
                }
                (group.remembered, group.then) = (false, Then::Done);
                crate::publish::forget_owed(before, old.state_dir.as_deref());
            }
        }
        self.checked_in_place = checked_in_place(&self.plan);
    }
}
