//! Template files that change while the worker runs: a set that loads replaces the old one, one that does not leaves it in
//! force.

use super::relations::{load_engine, reloads_are_stated, used};
use super::{Mode, Worker};
use crate::config::plan::LayerPlan;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Worker<'_> {
    /// Template files are watched where files are watched anyway, and by `render --watch`.
    pub(super) fn watch_templates(&mut self, now: Instant) {
        let is_file = |layer: &LayerPlan| matches!(layer.uri.scheme.as_str(), "file" | "dir");
        let files = self.sources.iter().flat_map(|source| &source.layers).any(is_file);
        if self.mode == Mode::RenderWatch || self.mode.watches() && files {
            let templates = self.groups.last().map_or(0, |group| group.templates.end);
            let paths: BTreeSet<PathBuf> =
                (0..templates).flat_map(|index| self.engine.files(index)).map(Path::to_owned).collect();
            for path in paths {
                self.driver.watch_path(&path, now);
            }
        }
    }

    /// A template file changed: all are read anew; a set that does not load leaves the old one in force.
    pub(super) fn templates_changed(&mut self, now: Instant) {
        let engine = match load_engine(self.plan) {
            Ok(engine) => engine,
            Err(failure) => return self.complain(&failure.complaints, now),
        };
        if engine.is_same(&self.engine) {
            // A target beside its template, an editor's temporary file.
            return;
        }
        let (sources, groups) = used(self.plan, &engine, &self.sources);
        if self.mode == Mode::Run
            && let Err(failure) = reloads_are_stated(self.plan, &sources, &groups)
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
        for (group, read) in self.groups.iter_mut().zip(groups) {
            group.uses = read.uses;
            group.schedule.changed(now);
        }
        for update in self.driver.read_all(now) {
            self.update(update, now);
        }
        // What they include now may be other files.
        self.watch_templates(now);
    }
}
