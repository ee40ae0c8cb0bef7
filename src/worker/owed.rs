//! Reloads that are owed: told once per process, retried with backoff until done or overtaken.

use super::reload::{self, Due};
use super::retry::Retry;
use super::{Event, Worker};
use crate::config::plan::ReloadPlan;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::{Outcome, ReloadAction, ToInit};
use crate::publish::command::{self, CommandPlan, CommandResult};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is owed, and what of it is being done.
#[derive(Debug, Default)]
pub struct Owed {
    /// Group and reload, in the order they came to be owed.
    entries: Vec<(usize, ReloadPlan)>,
    /// The files that changed since the last reload, for `PROEM_CHANGED`.
    changed: Vec<String>,
    /// What is left of the batch being done.
    queue: VecDeque<Due>,
    /// The one being done, by its id.
    current: Option<(u64, Due)>,
    /// After a failure.
    pause: Option<Retry>,
}

impl Owed {
    /// Nothing is owed and nothing is being done.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.current.is_none()
    }

    /// When a reload that failed is tried again.
    pub fn due(&self) -> Option<Instant> {
        if self.current.is_some() || self.entries.is_empty() {
            return None;
        }
        self.pause.map(|pause| pause.at)
    }

    fn add(&mut self, group: usize, reloads: &[ReloadPlan]) {
        for reload in reloads {
            if !self.entries.iter().any(|(g, r)| *g == group && r == reload) {
                self.entries.push((group, reload.clone()));
            }
        }
        // What is newly published overtakes the pause of what failed before.
        if let Some(pause) = &mut self.pause {
            pause.at = Instant::now();
        }
    }

    /// The groups that owe nothing any more once `done` is done.
    fn pay(&mut self, done: &Due) -> Vec<usize> {
        self.entries.retain(|(group, reload)| !(done.groups.contains(group) && reload::pays(&done.reload, reload)));
        done.groups.iter().copied().filter(|group| !self.entries.iter().any(|(g, _)| g == group)).collect()
    }

    fn fail(&mut self, now: Instant) {
        self.pause = Some(Retry::after(self.pause, now));
        self.queue.clear();
    }
}

impl Worker<'_> {
    /// A group's files changed: its reloads are owed. init remembers that, should this worker die.
    pub(super) fn owe(&mut self, group: usize) {
        let plan = &self.plan.groups[group];
        self.owed.add(group, plan.reloads());
        if !plan.reloads().is_empty() {
            self.control.tell(&ToInit::Owe(plan.name.clone()));
        }
    }

    /// These files changed; commands are told.
    pub(super) fn note_changed(&mut self, paths: impl IntoIterator<Item = String>) {
        for path in paths {
            if !self.owed.changed.contains(&path) {
                self.owed.changed.push(path);
            }
        }
    }

    /// Whether a reload of this group is owed.
    pub(super) fn owes(&self, group: usize) -> bool {
        self.owed.entries.iter().any(|(owing, _)| *owing == group)
    }

    /// The group's files are the old ones again: nobody needs to be told.
    pub(super) fn disown(&mut self, group: usize) {
        self.owed.entries.retain(|(owing, _)| *owing != group);
        self.settled(group);
    }

    /// Nothing is owed for this group any more: neither init nor the disk need remember it.
    fn settled(&mut self, group: usize) {
        let plan = &self.plan.groups[group];
        self.control.tell(&ToInit::Paid(plan.name.clone()));
        let group = &mut self.groups[group];
        if let Some(committed) = group.committed.take() {
            committed.finish();
        }
        if std::mem::take(&mut group.remembered) {
            crate::publish::forget_owed(plan, self.plan.state_dir.as_deref());
        }
    }

    /// Does what is owed, one after the other, once no group of the batch is still being checked.
    pub(super) fn reload_due(&mut self, now: Instant) -> Option<Failure> {
        let checking = self.groups.iter().any(|group| group.job.command().is_some());
        if checking || self.owed.current.is_some() || self.owed.entries.is_empty() {
            return None;
        }
        if self.owed.pause.is_some_and(|pause| now < pause.at) && self.owed.queue.is_empty() {
            return None;
        }
        if self.owed.queue.is_empty() {
            self.owed.queue = reload::merge(self.owed.entries.iter().cloned()).into();
        }
        let due = self.owed.queue.pop_front()?;
        let id = self.new_id();
        match &due.reload {
            ReloadPlan::Signal { process, signal } => {
                self.ask_init(id, process, ReloadAction::Signal(*signal));
            }
            ReloadPlan::Restart { process } => self.ask_init(id, process, ReloadAction::Restart),
            ReloadPlan::Exit => {
                let reason = format!("{} changed, and its `reload` is `exit`", self.changed_names());
                if !self.control.has_init() {
                    return Some(Failure::new(Exit::RELOAD, reason));
                }
                for group in self.owed.pay(&due) {
                    self.settled(group);
                }
                self.control.tell(&ToInit::Exit { code: Exit::RELOAD.0, reason });
                return None;
            }
            ReloadPlan::Run { command, timeout } => {
                let changed = self.owed.changed.join("\n");
                self.spawn(id, command.clone(), Some(changed), *timeout);
            }
        }
        self.owed.current = Some((id, due));
        None
    }

    fn ask_init(&mut self, id: u64, process: &str, action: ReloadAction) {
        self.control.tell(&ToInit::Reload { id, process: process.to_owned(), action });
    }

    fn changed_names(&self) -> String {
        if self.owed.changed.is_empty() { "a target".to_owned() } else { self.owed.changed.join(", ") }
    }

    /// init answered.
    pub(super) fn reloaded(&mut self, id: u64, outcome: Outcome, now: Instant) {
        let Some((_, due)) = self.owed.current.take_if(|(current, _)| *current == id) else { return };
        match outcome {
            Outcome::Done => self.paid(&due, &describe(&due.reload)),
            // It will start on the new files: nothing to tell, nothing owed.
            Outcome::NotRunning => self.paid(&due, ""),
            Outcome::Failed(reason) => {
                let complaint = Complaint::new(format!("reload of {} failed: {reason}", describe(&due.reload)));
                self.owe_still(&due, complaint, now);
            }
        }
    }

    /// A reload command ended.
    pub(super) fn reload_command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) {
        let Some((_, due)) = self.owed.current.take_if(|(current, _)| *current == id) else { return };
        if result.accepted() {
            self.paid(&due, &describe(&due.reload));
        } else if let ReloadPlan::Run { command, .. } = &due.reload {
            self.owe_still(&due, result.complaint("reload", command), now);
        }
    }

    fn paid(&mut self, due: &Due, done: &str) {
        for group in self.owed.pay(due) {
            self.settled(group);
        }
        if !done.is_empty() {
            crate::info!("reloaded {done} ({} changed)", self.changed_names());
        }
        if self.owed.entries.is_empty() {
            self.owed.pause = None;
            self.owed.changed.clear();
        }
    }

    fn owe_still(&mut self, due: &Due, complaint: Complaint, now: Instant) {
        self.owed.fail(now);
        for &group in &due.groups {
            if !std::mem::replace(&mut self.groups[group].remembered, true)
                && let Err(error) =
                    crate::publish::remember_owed(&self.plan.groups[group], self.plan.state_dir.as_deref())
            {
                crate::debug!("the owed reload is not on disk: {}", error.complaint);
            }
        }
        self.complain(&[complaint.hint("it is owed, and tried again until it succeeds")], now);
    }

    /// Starts a command; its end comes as [`Event::Command`].
    pub(super) fn spawn(&mut self, id: u64, argv: Vec<String>, changed: Option<String>, timeout: Duration) {
        let plan = CommandPlan {
            argv,
            env: changed.map(|changed| ("PROEM_CHANGED".into(), changed.into())).into_iter().collect(),
            env_remove: self.hidden.clone(),
            dir: self.surroundings.directory.clone(),
            data_limit: self.surroundings.data_limit,
            timeout,
        };
        let control = self.control.clone();
        let running = command::spawn(&plan, &mut |pgid| control.tell(&ToInit::Command(pgid)));
        if let Some(pgid) = running.group() {
            self.commands.insert(id, pgid);
        }
        let feed = self.sender.clone();
        super::thread("command", move || {
            // The loop is gone: so is the process, in a moment.
            let _ = feed.send(Event::Command(id, running.wait()));
        });
    }

    /// Ends commands that still run: TERM, a moment, KILL. Nothing is left behind.
    pub(super) fn end_commands(&mut self) {
        for pgid in self.commands.values() {
            signal_group(*pgid, libc::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.commands.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Command(id, _)) => {
                    self.commands.remove(&id);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for pgid in self.commands.values() {
            signal_group(*pgid, libc::SIGKILL);
        }
    }
}

fn describe(reload: &ReloadPlan) -> String {
    match reload {
        ReloadPlan::Signal { process, signal } => format!("{process} by {}", crate::os::signals::name(*signal)),
        ReloadPlan::Restart { process } => format!("{process} by restart"),
        ReloadPlan::Exit => "exit".to_owned(),
        ReloadPlan::Run { command, .. } => format!("`{}`", command.join(" ")),
    }
}

fn signal_group(pgid: i32, signal: i32) {
    // SAFETY: no memory is involved. The group is a command's of ours that was not reaped yet; one that is gone already
    // is what was wanted.
    unsafe { libc::kill(-pgid, signal) };
}
