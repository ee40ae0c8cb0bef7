//! One group's way through render → compare → stage. What follows is in [`super::checking`] and [`super::committing`].

use super::group::{Files, Group, Job, What};
use super::owners::owner_ids;
use super::refusals::{Digest, Refusals};
use super::seen::Seen;
use super::{Mode, Worker};
use crate::config::plan::{OwnerPlan, Plan, TargetPlan};
use crate::error::{Complaint, Failure};
use crate::publish::{Changes, Places, Present, PublishError, Rendered};
use crate::source::Retry;
use crate::source::layers::State;
use crate::template::Context;
use std::rc::Rc;
use std::time::Instant;

/// Why a group was not published.
#[derive(Debug)]
pub enum Problem {
    /// Its inputs are not there, or do not render: waits for another input.
    Input(Vec<Complaint>),
    /// It could not be written: tried again with backoff.
    Write(PublishError),
}

impl Worker<'_> {
    /// Publishes every group that is due.
    pub(super) fn publish_due(&mut self, now: Instant) -> Result<(), Failure> {
        for index in self.in_order() {
            let due = self.publish_at(index);
            // Before the first publish nobody watches the files: nothing to settle, nothing to throttle.
            if due.is_some_and(|due| self.starting(index) || due <= now) {
                self.groups[index].schedule.begin();
                let outcome = self.publish(index, now);
                self.settle(index, outcome, now)?;
            }
        }
        Ok(())
    }

    /// When a group is to be published next, unless it waits for something else first: the start gate, its own check, or,
    /// where its check looks at files in place, that of another group (two changes at once would be refused for each
    /// other's mistakes), or the files that an environment changed with.
    pub(super) fn publish_at(&self, index: usize) -> Option<Instant> {
        let group = &self.groups[index];
        let is_checked = |other: &usize| matches!(self.groups[*other].job, Job::CheckCommitted(..));
        let busy = !matches!(group.job, Job::Idle)
            || self.checked_in_place.contains(&index) && self.checked_in_place.iter().any(is_checked);
        if busy || !self.gate_probes.is_empty() {
            return None;
        }
        match group.waits {
            Some(_) if self.files_behind(index).is_some() => None,
            Some(since) => Some(since),
            None => group.schedule.due(),
        }
    }

    /// Nothing depends on this group yet: what fails now ends the start.
    pub(super) fn starting(&self, index: usize) -> bool {
        !self.starts.is_over() && !self.groups[index].done
    }

    /// What follows from an attempt.
    pub(super) fn settle(&mut self, index: usize, outcome: Result<(), Problem>, now: Instant) -> Result<(), Failure> {
        let starting = self.starting(index);
        match outcome {
            Ok(()) => Ok(()),
            Err(Problem::Input(complaints)) => {
                self.groups[index].schedule.rest();
                self.groups[index].trouble = complaints.first().cloned();
                if starting {
                    self.blocked(index, complaints)
                } else {
                    self.complain(&complaints, now);
                    Ok(())
                }
            }
            Err(Problem::Write(error)) if starting => Err(error.into()),
            Err(Problem::Write(error)) => {
                match error.retry {
                    Retry::Later => self.groups[index].schedule.failed(now),
                    Retry::OnChange => self.groups[index].schedule.rest(),
                }
                self.groups[index].trouble = Some(error.complaint.clone());
                self.complain(&[error.complaint], now);
                Ok(())
            }
        }
    }

    fn publish(&mut self, index: usize, now: Instant) -> Result<(), Problem> {
        let plan = Rc::clone(&self.plan);
        let group = &plan.groups[index];
        if let Some(whose) = &group.environment_of {
            return self.publish_environment(index, &whose.process, now);
        }
        if self.groups[index].files == Files::Mixed
            && let Some(complaint) = self.unmix(index)?
        {
            // What was kept of the old files is gone, or cannot be read: then all of them become new ones, and are held until
            // those are checked. It was said when it was recovered, if it is the same.
            if self.groups[index].trouble.as_ref() != Some(&complaint) {
                self.complain(&[complaint], now);
            }
        }
        let mixed = self.groups[index].files == Files::Mixed;
        let began = Instant::now();
        let rendered = self.render(&plan, index);
        self.counts.renders += 1;
        self.counts.render_time += began.elapsed();
        let mut rendered = rendered?;
        if self.mode == Mode::DryRun {
            return self.look(&plan, index, rendered);
        }
        let contents = self.keys.contents(&rendered);
        if let Some(seen) = self.groups[index].seen.as_ref().filter(|_| !mixed) {
            if group.prunes.is_empty() && seen.is(&contents, &group.templates) {
                self.right(index);
                return Ok(());
            }
            // What was printed cannot be read back: the same is not printed again.
            let mut at = 0..;
            rendered.retain(|one| {
                let at = at.next().unwrap_or_default();
                one.template.to != TargetPlan::Stdout || !seen.is_content(at, contents[at])
            });
        }
        self.groups[index].rendered = contents;
        self.groups[index].made = self.prunable(&rendered);
        let present = if mixed { Present::Replaced } else { Present::Stays };
        let owner = |owner: &OwnerPlan| owner_ids(owner, &self.accounts);
        let places = Places { state_dir: plan.state_dir.as_deref(), owner: &owner, present };
        let changes = Changes::compare(group, rendered, self.default_owner(group), &places).map_err(Problem::Write)?;
        let Some(changes) = changes else {
            self.see(index, false);
            self.right(index);
            return Ok(());
        };
        let what = What {
            digest: group.check.as_ref().map(|_| Digest::checked(group, changes.fingerprint())),
            content: changes.content_changed(),
            several: changes.targets().count() > 1,
            owed_before: self.owed.owes(index),
        };
        let refusals = &self.groups[index].refusals;
        if what.content && what.digest.is_some() && refusals.check == what.digest {
            self.refused_already(index, "check", now);
            return Ok(());
        }
        if !mixed && what.content && refusals.verify.is_some_and(|is| is == Digest::verified(group, &changes)) {
            self.refused_already(index, "verify", now);
            self.unhold(index);
            return Ok(());
        }
        let check = what.content.then_some(group.check.as_ref()).flatten();
        let staged = changes.stage().map_err(Problem::Write)?;
        match check {
            Some(check) if check.on_staged() => {
                let argv = staged.check_command(check).map_err(Problem::Write)?;
                let id = self.start_check(check, argv);
                self.groups[index].job = Job::CheckStaged(id, Box::new(staged), what);
                Ok(())
            }
            check => self.commit(index, staged, check, what, now),
        }
    }

    /// The targets are what they should be already: whatever was held for this group may run.
    pub(super) fn right(&mut self, index: usize) {
        let group = &mut self.groups[index];
        group.trouble = None;
        group.done = true;
        group.schedule.rest();
        self.unhold(index);
        self.note_refusals(index, |refusals| *refusals = Refusals::default());
    }

    /// What was rendered last is in place now: `changed`, or found there.
    pub(super) fn see(&mut self, index: usize, changed: bool) {
        for (directory, target, content) in std::mem::take(&mut self.groups[index].made) {
            self.made.entry(directory).or_default().targets.insert(target, content);
        }
        for prune in &self.plan.groups[index].prunes {
            self.made.entry(prune.directory).or_default().settled = !changed;
        }
        let contents = self.groups[index].rendered.clone();
        self.groups[index].seen = Some(Seen::now(contents, &self.plan.groups[index].templates));
    }

    /// Renders every template of a group; all that is wrong with any of them is gathered.
    fn render<'a>(&self, plan: &'a Plan, index: usize) -> Result<Vec<Rendered<'a>>, Problem> {
        let plan = &plan.groups[index];
        let group: &Group = &self.groups[index];
        let mut context = Context::new();
        context.others(self.plan.sources.iter().map(|source| source.name.as_str()));
        let mut complaints = Vec::new();
        let mut secret = false;
        for &source in &group.uses {
            let name = &self.sources[source].name;
            match self.layers.snapshot(source) {
                State::Ready { value, secret: is_secret } => {
                    secret |= is_secret;
                    context.insert(name.as_str(), value, self.sources[source].origin());
                }
                State::Waiting(missing) => complaints.extend(missing),
            }
        }
        if !complaints.is_empty() {
            return Err(Problem::Input(complaints));
        }
        let mut rendered = Vec::with_capacity(plan.templates.len());
        for (template, number) in plan.templates.iter().zip(group.templates.clone()) {
            match self.engine.render(number, &context) {
                Ok(text) => rendered.push(Rendered { template, content: text.into_bytes(), secret }),
                Err(error) => complaints.push(error.complaint),
            }
        }
        if complaints.is_empty() { Ok(rendered) } else { Err(Problem::Input(complaints)) }
    }
}
