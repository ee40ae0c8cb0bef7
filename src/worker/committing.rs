//! A staged group is put in place, and taken back where it is refused; what may be started meanwhile. What follows (reload)
//! is in [`super::debts`].

use super::Worker;
use super::group::{Files, Job, Then, Unfinished, What};
use super::metrics::count;
use super::publishing::Problem;
use super::refusals::Refusals;
use super::relations::concerns;
use crate::config::plan::CheckPlan;
use crate::error::Complaint;
use crate::link::ToInit;
use crate::publish::{AfterError, CommitError, Committed, Outcome, Staged};
use std::time::Instant;

impl Worker<'_> {
    /// Old beside new, or refused content that could not be taken back: the journal says how to undo it. `Some`: it does not
    /// any more.
    pub(super) fn unmix(&mut self, index: usize) -> Result<Option<Complaint>, Problem> {
        if let Some(unfinished) = self.groups[index].unfinished.take() {
            self.finish_taking_back(index, unfinished)?;
            // What comes next says what was refused.
            self.groups[index].trouble = None;
            return Ok(None);
        }
        let plan = &self.plan.groups[index];
        let mut was_refused = false;
        if let Some(refused) = self.groups[index].committed.as_mut().filter(|committed| committed.is_refused()) {
            refused.roll_back().map_err(Problem::Write)?;
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

    pub(super) fn commit(
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
            Err(CommitError { error, state: AfterError::Mixed(committed) }) => {
                let group = &mut self.groups[index];
                let before = std::mem::replace(&mut group.files, Files::Mixed);
                group.unfinished = Some(Unfinished { committed, what, before });
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
    pub(super) fn take_back(&mut self, index: usize, committed: Box<Committed>, what: What) -> Result<(), Problem> {
        let before = self.groups[index].files;
        self.finish_taking_back(index, Unfinished { committed, what, before })
    }

    pub(super) fn finish_taking_back(&mut self, index: usize, mut unfinished: Unfinished) -> Result<(), Problem> {
        let undone = unfinished.committed.roll_back();
        let group = &mut self.groups[index];
        match undone {
            Ok(()) => {
                group.files = unfinished.before;
                self.undone(index, unfinished.what);
                Ok(())
            }
            Err(error) => {
                // Not left to the journal: there may be none.
                (group.files, group.unfinished) = (Files::Mixed, Some(unfinished));
                Err(Problem::Write(error))
            }
        }
    }

    pub(super) fn published(
        &mut self,
        index: usize,
        mut committed: Committed,
        what: What,
        now: Instant,
    ) -> Result<(), Problem> {
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
            self.take_back(index, Box::new(committed), what)?;
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
        group.trouble = None;
        group.published = Some(now);
        self.note_refusals(index, |refusals| *refusals = Refusals::default());
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
        for index in self.checked_in_place.clone() {
            if index != published && self.groups[index].refusals.check.is_some() {
                self.note_refusals(index, |refusals| refusals.check = None);
                self.groups[index].schedule.changed(now);
            }
        }
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
}
