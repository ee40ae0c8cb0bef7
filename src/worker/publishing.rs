//! One group's way through render → compare → stage → check → commit. What follows (reload) is in [`super::owed`].

use super::group::{Files, Group, Job, Then, What};
use super::metrics::count;
use super::relations::{concerns, processes_of};
use super::seen::Seen;
use super::{Mode, Worker};
use crate::config::plan::{CheckPlan, GroupPlan, OwnerPlan, Plan, ProcessPlan, SourcePlan, TargetPlan};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::ToInit;
use crate::publish::command::{CommandResult, CommandStatus};
use crate::publish::{
    AfterError, Changes, CommitError, Committed, Outcome, Places, Present, PublishError, Rendered, Staged,
};
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
        for index in 0..self.groups.len() {
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
    /// where its check looks at files in place, that of another group: two changes at once would be refused for each
    /// other's mistakes.
    pub(super) fn publish_at(&self, index: usize) -> Option<Instant> {
        let group = &self.groups[index];
        let is_checked = |other: &usize| matches!(self.groups[*other].job, Job::CheckCommitted(..));
        let busy = !matches!(group.job, Job::Idle)
            || self.checked_in_place.contains(&index) && self.checked_in_place.iter().any(is_checked);
        if busy || !self.gate_probes.is_empty() { None } else { group.schedule.due() }
    }

    /// Nothing depends on this group yet: what fails now ends the start.
    fn starting(&self, index: usize) -> bool {
        !self.starts.is_over() && !self.groups[index].done
    }

    /// What follows from an attempt.
    fn settle(&mut self, index: usize, outcome: Result<(), Problem>, now: Instant) -> Result<(), Failure> {
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
            // those are checked.
            self.complain(&[complaint], now);
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
        let places = Places { state_dir: plan.state_dir.as_deref(), owner: &owner_ids, present };
        let changes = Changes::compare(group, rendered, self.default_owner(group), &places).map_err(Problem::Write)?;
        let Some(changes) = changes else {
            self.see(index, false);
            self.right(index);
            return Ok(());
        };
        let what = What {
            fingerprint: group.check.as_ref().map(|_| changes.fingerprint()),
            content: changes.content_changed(),
            several: changes.targets().count() > 1,
            owed_before: self.owed.owes(index),
        };
        if what.content && what.fingerprint.is_some() && self.groups[index].refused == what.fingerprint {
            // Said when it was refused; another input may change it.
            self.groups[index].schedule.rest();
            return Ok(());
        }
        if !mixed
            && what.content
            && self.groups[index].unwanted.as_ref().is_some_and(|unwanted| *unwanted == changes.contents())
        {
            // A verify refused just this, which was said; another input may change it.
            let group = &mut self.groups[index];
            group.done = true;
            group.schedule.rest();
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
        (group.refused, group.unwanted) = (None, None);
        group.schedule.rest();
        self.unhold(index);
    }

    /// What was rendered last is in place now: `changed`, or found there.
    fn see(&mut self, index: usize, changed: bool) {
        for (directory, target, content) in std::mem::take(&mut self.groups[index].made) {
            self.made.entry(directory).or_default().targets.insert(target, content);
        }
        for prune in &self.plan.groups[index].prunes {
            self.made.entry(prune.directory).or_default().settled = !changed;
        }
        let contents = self.groups[index].rendered.clone();
        self.groups[index].seen = Some(Seen::now(contents, &self.plan.groups[index].templates));
    }

    /// Old beside new, or refused content that could not be taken back: the journal says how to undo it. `Some`: it does not
    /// any more.
    fn unmix(&mut self, index: usize) -> Result<Option<Complaint>, Problem> {
        let plan = &self.plan.groups[index];
        let mut was_refused = false;
        if let Some(refused) = self.groups[index].committed.as_mut().filter(|committed| committed.is_refused()) {
            refused.undo().map_err(Problem::Write)?;
            self.groups[index].committed = None;
            was_refused = true;
        }
        let group = &mut self.groups[index];
        if group.committed.take().is_some() {
            // Recovery keeps nothing of an older publish: that one is reloaded, and not verified.
            (group.then, group.remembered) = (Then::Done, true);
        }
        for done in crate::publish::recover(std::slice::from_ref(plan), self.plan.state_dir.as_deref()) {
            if let Outcome::Mixed(complaint) = done.outcome {
                return Ok(Some(complaint));
            }
            if done.reload_owed {
                self.take_over_debt(index);
            }
        }
        self.groups[index].files = Files::Whole;
        self.unhold(index);
        if was_refused {
            self.settle_if_nobody_is_told(index);
        }
        Ok(None)
    }

    fn commit(
        &mut self,
        index: usize,
        staged: Staged,
        check: Option<&CheckPlan>,
        what: What,
        now: Instant,
    ) -> Result<(), Problem> {
        if what.content && (self.tells(index) || self.may_be_in_use(index)) {
            // Told before the first rename, so that it outlives this worker.
            self.owe(index, self.plan.groups[index].splay);
        }
        // A single rename is its own transaction: nothing could start between its two states.
        if check.is_some() || what.several {
            self.hold(index);
        }
        let committed = match staged.commit() {
            Ok(committed) => committed,
            Err(CommitError { error, state: AfterError::Undone }) => {
                self.undone(index, what);
                return Err(Problem::Write(error));
            }
            Err(CommitError { error, state: AfterError::Mixed }) => {
                self.groups[index].files = Files::Mixed;
                return Err(Problem::Write(error));
            }
        };
        match check {
            Some(check) => {
                let id = self.start_check(check, check.command.clone());
                self.groups[index].job = Job::CheckCommitted(id, Box::new(committed), what);
                Ok(())
            }
            None => self.published(index, committed, what, now),
        }
    }

    /// The old files are back. What an older publish owes stays owed.
    fn undone(&mut self, index: usize, what: What) {
        if self.groups[index].files == Files::Whole {
            self.unhold(index);
        }
        let group = &mut self.groups[index];
        if group.then == Then::Verify
            && let Some(older) = &mut group.committed
            && let Err(error) = older.checked()
        {
            // The newer publish had the journal; after a crash the older one is reloaded, and not verified.
            crate::debug!("the verify is not on disk: {}", error.complaint);
        }
        if !what.owed_before {
            self.disown(index);
        }
    }

    /// Takes a committed group back; what cannot be taken back must not be used.
    fn take_back(&mut self, index: usize, committed: Committed, what: What) -> Result<(), Problem> {
        match committed.roll_back() {
            Ok(()) => {
                self.undone(index, what);
                Ok(())
            }
            Err(error) => {
                self.groups[index].files = Files::Mixed;
                Err(Problem::Write(error))
            }
        }
    }

    fn published(&mut self, index: usize, mut committed: Committed, what: What, now: Instant) -> Result<(), Problem> {
        let verify = self.tells(index) && self.plan.groups[index].verify.is_some();
        let group = &mut self.groups[index];
        // A repaired mode or owner overtakes nothing.
        if what.content
            && let Some(older) = group.committed.take()
            && std::mem::replace(&mut group.then, Then::Done) == Then::Verify
        {
            committed.inherit(older);
        }
        if let Err(error) = committed.checked() {
            // Without its journal a crash would undo what somebody was told of.
            self.take_back(index, committed, what)?;
            return Err(Problem::Write(error));
        }
        self.groups[index].files = Files::Whole;
        self.unhold(index);
        let targets: Vec<String> = committed.targets().iter().map(|path| path.display().to_string()).collect();
        for target in &targets {
            crate::info!("published {target}");
        }
        let group = &mut self.groups[index];
        if group.done && what.content {
            group.schedule.published(now);
        } else {
            group.schedule.rest();
        }
        group.done = true;
        (group.refused, group.unwanted) = (None, None);
        group.trouble = None;
        group.published = Some(now);
        if what.content {
            count(&mut self.counts.publishes, index);
        }
        self.see(index, true);
        if !what.content {
            committed.finish();
        } else if self.owed.owes(index) {
            // Its journal goes when the reload is done; one that is overtaken leaves its journal to the newer.
            let group = &mut self.groups[index];
            group.committed = Some(committed);
            group.then = if verify { Then::Verify } else { Then::Done };
            for target in targets {
                if !group.changed.contains(&target) {
                    group.changed.push(target);
                }
            }
        } else if verify && self.is_used(index) {
            // Nobody is told (`reload = "none"`), and whoever runs notices by itself.
            let group = &mut self.groups[index];
            (group.committed, group.then) = (Some(committed), Then::Verify);
            self.verify(index, now);
        } else {
            committed.finish();
        }
        self.reconsider(index, now);
        Ok(())
    }

    /// A check of files in place may have refused one group for another's content: that one changed.
    fn reconsider(&mut self, published: usize, now: Instant) {
        for &index in &self.checked_in_place {
            let group = &mut self.groups[index];
            if index != published && group.refused.take().is_some() {
                group.schedule.changed(now);
            }
        }
    }

    /// A check of a group ended.
    pub(super) fn checked(&mut self, index: usize, result: &CommandResult, now: Instant) -> Result<(), Failure> {
        let accepted = result.accepted();
        let outcome = match std::mem::replace(&mut self.groups[index].job, Job::Idle) {
            Job::Idle | Job::Verify(_) => Ok(()),
            Job::CheckStaged(_, staged, what) if accepted => self.commit(index, *staged, None, what, now),
            Job::CheckCommitted(_, committed, what) if accepted => self.published(index, *committed, what, now),
            Job::CheckStaged(_, staged, what) => {
                drop(staged);
                return self.refused(index, what, result, now);
            }
            Job::CheckCommitted(_, committed, what) => match self.take_back(index, *committed, what) {
                Ok(()) => return self.refused(index, what, result, now),
                Err(problem) => {
                    self.groups[index].refused = what.fingerprint;
                    Err(problem)
                }
            },
        };
        self.settle(index, outcome, now)
    }

    /// The loop ends in the middle of checks: what is unchecked does not stay, and what is staged neither. What is
    /// checked and not verified does: whoever ran with it runs no more.
    pub(super) fn abandon(&mut self) {
        for index in 0..self.groups.len() {
            match std::mem::replace(&mut self.groups[index].job, Job::Idle) {
                Job::CheckCommitted(_, committed, what) => {
                    if let Err(Problem::Write(error)) = self.take_back(index, *committed, what) {
                        crate::error!("{}", error.complaint);
                    }
                }
                Job::Verify(_) => {
                    if let Some(committed) = self.groups[index].committed.take() {
                        committed.finish();
                    }
                }
                Job::Idle | Job::CheckStaged(..) => {}
            }
        }
    }

    fn refused(&mut self, index: usize, what: What, result: &CommandResult, now: Instant) -> Result<(), Failure> {
        let plan = &self.plan.groups[index];
        let argv = plan.check.as_ref().map_or(&[][..], |check| &check.command);
        let mut complaint = result.complaint("check", argv);
        complaint.message = format!("template `{}`: {}", plan.name, complaint.message);
        if let Some(empty) = self.empty_list(index) {
            complaint.hint = Some(empty);
        }
        if !self.starting(index) {
            complaint.hint.get_or_insert("the old files stay; it is tried again when an input changes".into());
        }
        if self.starting(index) {
            return Err(complaint.exit(Exit::DATA));
        }
        self.groups[index].trouble = Some(complaint.clone());
        count(&mut self.counts.refused, index);
        match result.status {
            // It did not say no: it may accept the same content another time.
            CommandStatus::TimedOut(_) | CommandStatus::NotStarted { .. } => self.groups[index].schedule.failed(now),
            CommandStatus::Exited(_) | CommandStatus::Signaled(_) => {
                self.groups[index].refused = what.fingerprint;
                self.groups[index].schedule.rest();
            }
        }
        self.complain(&[complaint], now);
        Ok(())
    }

    /// The most frequent reason for a refusal that a newcomer meets: a service without instances.
    fn empty_list(&self, index: usize) -> Option<String> {
        self.groups[index].uses.iter().find_map(|&source| match self.layers.snapshot(source) {
            State::Ready { value, .. } if value.as_array().is_some_and(<[_]>::is_empty) => {
                let SourcePlan { name, layers, .. } = &self.sources[source];
                let service = layers.iter().find(|layer| layer.uri.scheme == "consul+service");
                Some(match service.map(|layer| layer.uri.option("passing").is_some()) {
                    Some(true) => format!("source `{name}` has 0 passing instances; `?min=1` waits for one"),
                    Some(false) => format!("source `{name}` has 0 instances; `?min=1` waits for one"),
                    None => format!("source `{name}` is an empty list"),
                })
            }
            _ => None,
        })
    }

    fn start_check(&mut self, check: &CheckPlan, argv: Vec<String>) -> u64 {
        let id = self.new_id();
        self.spawn(id, argv, None, check.timeout);
        id
    }

    /// From here until [`Worker::unhold`], over a worker's death too, init starts none of the group's processes.
    pub(super) fn hold(&mut self, index: usize) {
        let held = concerns(&self.plan, index);
        if !held.is_empty() && !std::mem::replace(&mut self.groups[index].held, true) {
            self.control.tell(&ToInit::Hold(held));
        }
    }

    /// The group's files are whole: old or new, and checked. What another group still holds stays held.
    pub(super) fn unhold(&mut self, index: usize) {
        if !std::mem::take(&mut self.groups[index].held) {
            return;
        }
        let holding = (0..self.groups.len()).filter(|&other| self.groups[other].held);
        let others: Vec<String> = holding.flat_map(|other| concerns(&self.plan, other)).collect();
        let mut free = concerns(&self.plan, index);
        free.retain(|process| !others.contains(process));
        if !free.is_empty() {
            self.control.tell(&ToInit::Release(free));
        }
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

    /// The user of the process that is reloaded, else main's, so that it can read what is made for it.
    pub(super) fn default_owner(&self, group: &GroupPlan) -> Option<(u32, u32)> {
        let reloaded = processes_of(group.reloads());
        let mut processes = self.plan.processes.iter();
        let process = processes.find(|process| reloaded.is_empty() || reloaded.contains(&process.name))?;
        user_of(process)
    }
}

/// Whom a process runs as, if that is stated and known.
pub(super) fn user_of(process: &ProcessPlan) -> Option<(u32, u32)> {
    let account = crate::os::passwd::lookup(process.user.as_deref()?).ok()?;
    Some((account.uid, account.gid))
}

/// What an `owner` as written is in numbers now; a user without a group brings its own.
pub(super) fn owner_ids(owner: &OwnerPlan) -> Result<(Option<u32>, Option<u32>), Complaint> {
    let user = owner.user.as_deref().map(crate::os::passwd::user_id).transpose()?;
    let group = owner.group.as_deref().map(crate::os::passwd::group_id).transpose()?;
    Ok((user.map(|(uid, _)| uid), group.or(user.and_then(|(_, gid)| gid))))
}
