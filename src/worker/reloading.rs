//! Does what is owed, and hears what came of it.

use super::group::Files;
use super::owed::{Current, Entry};
use super::relations::{concerns, content};
use super::reload::{self, Due};
use super::{Event, Worker, neighbour, post, touch};
use crate::config::plan::ReloadPlan;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::{Outcome, ReloadAction, ToInit};
use crate::publish::command::CommandResult;
use std::time::Instant;

impl Worker<'_> {
    /// Does what is owed, one after the other, once no group of the batch is still being checked. Nothing is told of a
    /// group that is neither old nor new, nor to a process that uses one.
    pub(super) fn reload_due(&mut self, now: Instant) -> Option<Failure> {
        if self.owed.current.is_some() || self.owed.entries.is_empty() || self.is_checking() {
            return None;
        }
        self.owed.elapse(now);
        let mixed: Vec<usize> =
            (0..self.groups.len()).filter(|&index| self.groups[index].files == Files::Mixed).collect();
        let untouchable = |entry: &Entry| {
            mixed.contains(&entry.group)
                || mixed.iter().any(|&index| match &entry.reload {
                    ReloadPlan::Signal { process, .. } | ReloadPlan::Restart { process } => {
                        concerns(&self.plan, index).contains(process)
                    }
                    ReloadPlan::Exit => true,
                    other => !other.is_for_others(),
                })
        };
        // While the start goes on, what an earlier container owed waits until all is published.
        let is_early = |entry: &Entry| self.gate.is_some() && !self.tells(entry.group);
        let ready = self.owed.ready(now).filter(|entry| !untouchable(entry) && !is_early(entry));
        let due = reload::merge(ready.map(|entry| (entry.group, entry.reload.clone()))).into_iter().next()?;
        let id = self.new_id();
        match &due.reload {
            ReloadPlan::Signal { process, signal } => self.ask_init(id, process, ReloadAction::Signal(*signal)),
            ReloadPlan::Restart { process } => self.ask_init(id, process, ReloadAction::Restart),
            ReloadPlan::Exit => return self.exit(&due),
            ReloadPlan::Run { command, timeout } => {
                let changed = self.changed(&due);
                self.spawn(id, command.clone(), Some(changed.join("\n")), *timeout);
            }
            ReloadPlan::Post(plan) => {
                let plan = plan.clone();
                self.on_a_thread(id, "post", post::STACK, move || post::send(&plan));
            }
            ReloadPlan::Neighbour(plan) => {
                let (plan, own) = (plan.clone(), self.own());
                self.on_a_thread(id, "neighbour", neighbour::STACK, move || neighbour::tell(&plan, own));
            }
            ReloadPlan::Touch(path) => {
                let path = path.clone();
                self.on_a_thread(id, "touch", touch::STACK, move || touch::touch(&path));
            }
        }
        self.owed.current = Some(Current { id, due, publishes: self.owed.publishes });
        None
    }

    /// Tells others, once, on a thread of its own, because what they are on may hang; what came of it comes as
    /// [`Event::Told`].
    fn on_a_thread(
        &self,
        id: u64,
        name: &'static str,
        stack: usize,
        tell: impl FnOnce() -> Result<(), Complaint> + Send + 'static,
    ) {
        let feed = self.sender.clone();
        super::large_thread(name, stack, move || {
            // The loop is gone: so is the process, in a moment.
            let _ = feed.send(Event::Told(id, tell()));
        });
    }

    /// This process and its init: no neighbours of anybody.
    fn own(&self) -> neighbour::Own {
        let number = |pid: u32| i32::try_from(pid).unwrap_or(i32::MAX);
        let init = self.control.has_init().then(|| number(std::os::unix::process::parent_id()));
        neighbour::Own { pid: number(std::process::id()), init }
    }

    fn exit(&mut self, due: &Due) -> Option<Failure> {
        let is_file = |group: &&usize| self.plan.groups[**group].environment_of.is_none();
        let key = if due.groups.iter().any(|group| is_file(&group)) { "reload" } else { "on_env_change" };
        let reason = format!("{} changed, and its `{key}` is `exit`", self.changed(due).join(", "));
        for group in self.owed.pay(due, self.owed.publishes) {
            self.settled(group);
        }
        if !self.control.has_init() {
            return Some(Failure::new(Exit::RELOAD, reason));
        }
        self.control.tell(&ToInit::Exit { code: Exit::RELOAD.0, reason });
        None
    }

    fn ask_init(&mut self, id: u64, process: &str, action: ReloadAction) {
        self.control.tell(&ToInit::Reload { id, process: process.to_owned(), action });
    }

    /// The targets that changed since the last reload of these groups; all of them where a former worker published.
    fn changed(&self, due: &Due) -> Vec<String> {
        let mut changed: Vec<String> = Vec::new();
        for &group in &due.groups {
            let known = &self.groups[group].changed;
            let targets = if known.is_empty() { content(&self.plan.groups[group]) } else { known.clone() };
            changed.extend(targets.into_iter().filter(|target| !changed.contains(target)).collect::<Vec<_>>());
        }
        changed
    }

    /// init answered.
    pub(super) fn reloaded(&mut self, id: u64, outcome: Outcome, now: Instant) {
        let Some(current) = self.owed.current.take_if(|current| current.id == id) else { return };
        match outcome {
            Outcome::Done => self.done(&current, Ok(()), now),
            // It will start on the new files: nothing to tell, nothing owed.
            Outcome::NotRunning => self.paid(&current, now),
            Outcome::Failed(reason) => {
                let complaint = Complaint::new(format!("reload of {} failed: {reason}", describe(&current.due.reload)));
                self.done(&current, Err(complaint), now);
            }
        }
    }

    /// A reload command ended.
    pub(super) fn reload_command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) {
        let Some(current) = self.owed.current.take_if(|current| current.id == id) else { return };
        let ReloadPlan::Run { command, .. } = &current.due.reload else { return };
        let outcome = if result.accepted() { Ok(()) } else { Err(result.complaint("reload", command)) };
        self.done(&current, outcome, now);
    }

    /// Others were told, or not.
    pub(super) fn told_others(&mut self, id: u64, outcome: Result<(), Complaint>, now: Instant) {
        let Some(current) = self.owed.current.take_if(|current| current.id == id) else { return };
        self.done(&current, outcome, now);
    }

    /// What was told arrived, or not.
    fn done(&mut self, current: &Current, outcome: Result<(), Complaint>, now: Instant) {
        match outcome {
            Ok(()) => {
                self.counts.reloads += 1;
                let (done, changed) = (describe(&current.due.reload), self.changed(&current.due).join(", "));
                crate::info!("reloaded {done} ({changed} changed)");
                self.paid(current, now);
            }
            Err(complaint) => self.owe_still(&current.due, complaint, now),
        }
    }

    fn paid(&mut self, current: &Current, now: Instant) {
        for group in self.owed.pay(&current.due, current.publishes) {
            self.told(group, now);
        }
    }

    fn owe_still(&mut self, due: &Due, complaint: Complaint, now: Instant) {
        self.counts.reload_failures += 1;
        self.owed.fail(due, now);
        for &group in &due.groups {
            // A publish that has a journal says so itself.
            let said = self.groups[group].committed.as_ref().is_some_and(crate::publish::Committed::is_journaled);
            // A container that starts anew starts its processes with what is then.
            let said = said || self.plan.groups[group].environment_of.is_some();
            if !said
                && self.owed.owes(group)
                && !std::mem::replace(&mut self.groups[group].remembered, true)
                && let Err(error) =
                    crate::publish::remember_owed(&self.plan.groups[group], self.plan.state_dir.as_deref())
            {
                crate::debug!("the owed reload is not on disk: {}", error.complaint);
            }
        }
        self.complain(&[complaint.hint("it is owed, and tried again until it succeeds")], now);
    }
}

/// What is told to whom, in words.
pub fn describe(reload: &ReloadPlan) -> String {
    match reload {
        ReloadPlan::Signal { process, signal } => format!("{process} by {}", crate::os::signals::name(*signal)),
        ReloadPlan::Restart { process } => format!("{process} by restart"),
        ReloadPlan::Exit => "exit".to_owned(),
        ReloadPlan::Run { command, .. } => format!("`{}`", command.join(" ")),
        ReloadPlan::Post(plan) => format!("`{}`", post::shown(plan)),
        ReloadPlan::Neighbour(plan) => neighbour::shown(plan),
        ReloadPlan::Touch(path) => format!("`{}`", touch::shown(path)),
    }
}
