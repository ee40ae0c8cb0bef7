//! One group's way through render → compare → stage → check → commit. What follows (reload) is in [`super::owed`].

use super::group::{Group, Job};
use super::Worker;
use crate::config::plan::{CheckPlan, GroupPlan, OwnerPlan, ReloadPlan, TargetPlan};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::ToInit;
use crate::publish::command::{CommandPlan, CommandResult};
use crate::publish::{Changes, Committed, Digest, PublishError, Rendered, Staged};
use crate::source::layers::State;
use crate::template::Context;
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
        for index in 0..self.groups.len() {
            let group = &self.groups[index];
            if !matches!(group.job, Job::Idle) {
                continue;
            }
            // Before the first publish nobody watches the files: nothing to settle, nothing to throttle.
            let due = group.schedule.due().is_some_and(|due| !group.done || due <= now);
            if due {
                self.groups[index].schedule.begin();
                let outcome = self.publish(index, now);
                self.settle(index, outcome, now)?;
            }
        }
        Ok(())
    }

    /// What follows from an attempt.
    fn settle(&mut self, index: usize, outcome: Result<(), Problem>, now: Instant) -> Result<(), Failure> {
        let starting = !self.groups[index].done;
        match outcome {
            Ok(()) => Ok(()),
            Err(Problem::Input(complaints)) => {
                self.groups[index].schedule.rest();
                if starting {
                    self.blocked(index, complaints)
                } else {
                    self.complain(&complaints, now);
                    Ok(())
                }
            }
            Err(Problem::Write(error)) if starting => Err(error.complaint.exit(Exit::CANNOT_WRITE)),
            Err(Problem::Write(error)) => {
                self.groups[index].schedule.failed(now);
                self.complain(&[error.complaint], now);
                Ok(())
            }
        }
    }

    fn publish(&mut self, index: usize, now: Instant) -> Result<(), Problem> {
        let plan = &self.plan.groups[index];
        let rendered = self.render(index)?;
        let lookup = |owner: &OwnerPlan| crate::os::passwd::owner(owner);
        let changes = Changes::compare(plan, rendered, self.default_owner(plan), &lookup).map_err(Problem::Write)?;
        let Some(changes) = changes else {
            self.groups[index].done = true;
            self.groups[index].schedule.rest();
            return Ok(());
        };
        let digest = changes.digest();
        if changes.content_changed() && self.groups[index].refused == Some(digest) {
            // Said when it was refused; another input may change it.
            self.groups[index].schedule.rest();
            return Ok(());
        }
        let check = changes.content_changed().then_some(plan.check.as_ref()).flatten();
        let staged = changes.stage().map_err(Problem::Write)?;
        match check {
            Some(check) if check.on_staged() => {
                let id = self.start_check(check, staged.check_command(check));
                self.groups[index].job = Job::CheckStaged(id, Box::new(staged), digest);
                Ok(())
            }
            check => self.commit(index, staged, check, digest, now),
        }
    }

    fn commit(
        &mut self,
        index: usize,
        staged: Staged,
        check: Option<&CheckPlan>,
        digest: Digest,
        now: Instant,
    ) -> Result<(), Problem> {
        let changed = staged.content_changed();
        let held = if staged.is_one_rename() && check.is_none() { Vec::new() } else { self.held_by(index) };
        if self.started && changed {
            // Told before the first rename, so that it outlives this worker.
            self.owe(index);
        }
        if !held.is_empty() {
            self.control.tell(&ToInit::Hold(held.clone()));
        }
        let committed = match staged.commit(check.is_some(), self.started && changed) {
            Ok(committed) => committed,
            Err(error) => {
                self.unhold(held);
                return Err(Problem::Write(error));
            }
        };
        match check {
            Some(check) => {
                let id = self.start_check(check, check.command.clone());
                self.groups[index].job = Job::CheckCommitted(id, Box::new(committed), digest);
                Ok(())
            }
            None => {
                self.unhold(held);
                self.published(index, committed, now)
            }
        }
    }

    fn published(&mut self, index: usize, committed: Committed, now: Instant) -> Result<(), Problem> {
        for path in committed.changed() {
            crate::info!("published {}", path.display());
        }
        if committed.content_changed() {
            self.note_changed(committed.changed().map(|path| path.to_string_lossy().into_owned()));
        }
        let group = &mut self.groups[index];
        if group.done && committed.content_changed() {
            group.schedule.published(now);
        } else {
            group.schedule.rest();
        }
        group.done = true;
        group.refused = None;
        committed.finish().map_err(Problem::Write)
    }

    /// A check of a group ended.
    pub(super) fn checked(&mut self, index: usize, result: &CommandResult, now: Instant) -> Result<(), Failure> {
        let plan = &self.plan.groups[index];
        let accepted = result.succeeded();
        let outcome = match std::mem::replace(&mut self.groups[index].job, Job::Idle) {
            Job::Idle => Ok(()),
            Job::CheckStaged(_, staged, digest) if accepted => self.commit(index, *staged, None, digest, now),
            Job::CheckCommitted(_, committed, _) if accepted => {
                let outcome = self.published(index, *committed, now);
                self.unhold(self.held_by(index));
                outcome
            }
            Job::CheckStaged(_, staged, digest) => {
                drop(staged);
                return self.refused(index, digest, result, now);
            }
            Job::CheckCommitted(_, committed, digest) => {
                let undone = committed.roll_back();
                self.unhold(self.held_by(index));
                self.disown(index);
                undone.map_err(|error| error.complaint.exit(Exit::CANNOT_WRITE)).or_else(|failure| {
                    self.complain(&failure.complaints, now);
                    if self.groups[index].done { Ok(()) } else { Err(failure) }
                })?;
                return self.refused(index, digest, result, now);
            }
        };
        debug_assert!(plan.check.is_some());
        self.settle(index, outcome, now)
    }

    fn refused(
        &mut self,
        index: usize,
        digest: Digest,
        result: &CommandResult,
        now: Instant,
    ) -> Result<(), Failure> {
        let plan = &self.plan.groups[index];
        let command = plan.check.as_ref().map(|check| check.command.join(" ")).unwrap_or_default();
        let mut complaint =
            Complaint::new(format!("template `{}`: check `{command}` refused ({})", plan.name, result.describe()));
        if let Some(empty) = self.empty_list(index) {
            complaint = complaint.hint(empty);
        }
        self.groups[index].refused = Some(digest);
        self.groups[index].schedule.rest();
        if self.groups[index].done {
            self.complain(&[complaint], now);
            Ok(())
        } else {
            Err(complaint.exit(Exit::DATA))
        }
    }

    /// The most frequent reason for a refusal that a newcomer meets: a service without instances.
    fn empty_list(&self, index: usize) -> Option<String> {
        self.groups[index].uses.iter().find_map(|&source| match self.layers.snapshot(source) {
            State::Ready { value, .. } if value.as_array().is_some_and(<[_]>::is_empty) => {
                let name = &self.sources[source].name;
                Some(format!("source `{name}` is an empty list; with `?min=1` a service waits for one instance"))
            }
            _ => None,
        })
    }

    fn start_check(&mut self, check: &CheckPlan, argv: Vec<String>) -> u64 {
        let id = self.new_id();
        self.spawn(id, &CommandPlan { argv, env: Vec::new(), timeout: check.timeout });
        id
    }

    fn unhold(&self, held: Vec<String>) {
        if !held.is_empty() {
            self.control.tell(&ToInit::Release(held));
        }
    }

    /// Renders every template of a group; all that is wrong with any of them is gathered.
    fn render(&self, index: usize) -> Result<Vec<Rendered<'_>>, Problem> {
        let plan = &self.plan.groups[index];
        let group: &Group = &self.groups[index];
        let mut context = Context::default();
        let mut complaints = Vec::new();
        let mut secret = false;
        for &source in &group.uses {
            let name = &self.sources[source].name;
            match self.layers.snapshot(source) {
                State::Ready { value, secret: is_secret } => {
                    secret |= is_secret;
                    context.insert(name, value.clone(), self.origin(source));
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
                Ok(content) => rendered.push(Rendered { template, content: content.into_bytes(), secret }),
                Err(error) => complaints.push(error.complaint),
            }
        }
        if complaints.is_empty() { Ok(rendered) } else { Err(Problem::Input(complaints)) }
    }

    fn origin(&self, source: usize) -> String {
        let layers: Vec<&str> = self.sources[source].layers.iter().map(|layer| layer.uri.text.as_str()).collect();
        layers.join(", ")
    }

    /// The user of the process that is reloaded, so that it can read what is made for it.
    fn default_owner(&self, group: &GroupPlan) -> Option<(u32, u32)> {
        let reloads = |name: &str| {
            group.reloads().iter().any(|reload| match reload {
                ReloadPlan::Signal { process, .. } | ReloadPlan::Restart { process } => process == name,
                ReloadPlan::Exit | ReloadPlan::Run { .. } => false,
            })
        };
        let process = self.plan.processes.iter().find(|process| reloads(&process.name))?;
        let account = crate::os::passwd::lookup(process.user.as_deref()?).ok()?;
        Some((account.uid, account.gid))
    }

    /// Where the group goes, for messages.
    pub(super) fn target_of(plan: &GroupPlan) -> String {
        match plan.templates.first().map(|template| &template.to) {
            Some(TargetPlan::File(path)) => path.display().to_string(),
            _ => "-".to_owned(),
        }
    }
}

