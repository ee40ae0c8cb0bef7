//! Reloads that are owed: told once per process, retried with backoff until done or overtaken.

use super::group::{Files, Then};
use super::relations::{concerns, content};
use super::reload::{self, Due};
use super::retry::Retry;
use super::{Event, Worker, neighbour, post, touch};
use crate::config::plan::ReloadPlan;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::{Outcome, ReloadAction, ToInit};
use crate::publish::command::{self, CommandPlan, CommandResult, Ending};
use std::time::{Duration, Instant};

/// What is owed, and what of it is being done.
#[derive(Debug, Default)]
pub struct Owed {
    entries: Vec<Entry>,
    /// Counts publishes, so that a reload which began before one does not pay for it.
    publishes: u64,
    current: Option<Current>,
    /// When it was last looked for what is due.
    looked: Option<Instant>,
}

/// One reload that a group owes.
#[derive(Debug)]
struct Entry {
    group: usize,
    reload: ReloadPlan,
    /// The newest publish that it is owed for.
    publish: u64,
    /// After a failure.
    retry: Option<Retry>,
    /// Not before then: its share of `splay`, drawn once, and gone when it is over.
    after: Option<Instant>,
}

/// The reload being done.
#[derive(Debug)]
struct Current {
    id: u64,
    due: Due,
    /// It tells of the publishes up to here.
    publishes: u64,
}

impl Owed {
    /// Nothing is owed and nothing is being done.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.current.is_none()
    }

    /// When a reload that failed is tried again, or one that waits for its share of `splay` is done.
    pub fn due(&self) -> Option<Instant> {
        if self.current.is_some() {
            return None;
        }
        let paused = self.entries.iter().filter_map(|entry| entry.retry).map(|retry| retry.at);
        let all = paused.chain(self.entries.iter().filter_map(|entry| entry.after));
        // What was due at the last look and is still here waits for files that are mixed, not for time.
        all.filter(|at| self.looked.is_none_or(|looked| *at > looked)).min()
    }

    /// Whether a reload of this group is owed.
    pub fn owes(&self, group: usize) -> bool {
        self.entries.iter().any(|entry| entry.group == group)
    }

    /// The group was published: its reloads are owed, and what failed before is overtaken. Heavy ones that were not owed
    /// already wait until `after`.
    fn add<'a>(
        &mut self,
        group: usize,
        reloads: impl IntoIterator<Item = &'a ReloadPlan>,
        after: impl Fn() -> Option<Instant>,
    ) {
        self.publishes += 1;
        for reload in reloads {
            let known = self.entries.iter_mut().find(|entry| entry.group == group && entry.reload == *reload);
            if let Some(entry) = known {
                (entry.publish, entry.retry) = (self.publishes, None);
                continue;
            }
            let after = if reload::is_heavy(reload) { after() } else { None };
            self.entries.push(Entry { group, reload: reload.clone(), publish: self.publishes, retry: None, after });
        }
    }

    /// What this group owes waits for nothing: what runs is broken already.
    pub fn hurry(&mut self, group: usize) {
        let own: Vec<ReloadPlan> =
            self.entries.iter().filter(|entry| entry.group == group).map(|entry| entry.reload.clone()).collect();
        for entry in &mut self.entries {
            if own.iter().any(|reload| reload::pays(&entry.reload, reload)) {
                entry.after = None;
            }
        }
    }

    /// Waits that are over are none any more.
    fn elapse(&mut self, now: Instant) {
        self.looked = Some(now);
        for entry in &mut self.entries {
            entry.after.take_if(|after| *after <= now);
        }
    }

    /// Whether all that would pay for this waits for its share of `splay`: a restart, and the signals of its process,
    /// which it swallows. The first restart that is due pays for all.
    fn is_splayed(&self, entry: &Entry) -> bool {
        let mut heavy = self
            .entries
            .iter()
            .filter(|other| reload::is_heavy(&other.reload) && reload::pays(&other.reload, &entry.reload));
        heavy.next().is_some_and(|first| first.after.is_some() && heavy.all(|other| other.after.is_some()))
    }

    /// What can be done now: not what is paused after a failure, nor what a paused command of the same group prepares,
    /// nor what waits for its share of `splay`.
    fn ready(&self, now: Instant) -> impl Iterator<Item = &Entry> {
        let paused = move |entry: &Entry| entry.retry.is_some_and(|retry| now < retry.at);
        self.entries.iter().filter(move |entry| {
            !self.is_splayed(entry)
                && !self.entries.iter().any(|other| {
                    let prepares = matches!(other.reload, ReloadPlan::Run { .. });
                    other.group == entry.group && paused(other) && (prepares || other.reload == entry.reload)
                })
        })
    }

    /// `done` is done for the publishes up to `publishes`: the groups that owe nothing any more.
    fn pay(&mut self, done: &Due, publishes: u64) -> Vec<usize> {
        self.entries.retain(|entry| {
            let paid = done.groups.contains(&entry.group) && reload::pays(&done.reload, &entry.reload);
            !paid || entry.publish > publishes
        });
        done.groups.iter().copied().filter(|group| !self.owes(*group)).collect()
    }

    fn fail(&mut self, due: &Due, now: Instant) {
        for entry in &mut self.entries {
            if due.groups.contains(&entry.group) && reload::pays(&due.reload, &entry.reload) {
                entry.retry = Some(Retry::after(entry.retry, now));
            }
        }
    }
}

impl Worker<'_> {
    /// A group's files change: its reloads are owed, restarts after a random part of `splay`. init remembers that, should
    /// this worker die.
    pub(super) fn owe(&mut self, group: usize, splay: Duration) {
        let plan = &self.plan.groups[group];
        let delay = || reload::delay(splay, crate::source::backoff::random());
        let after = || (!splay.is_zero()).then(|| Instant::now() + delay());
        self.owed.add(group, plan.reloads(), after);
        if !plan.reloads().is_empty() {
            self.control.tell(&ToInit::Owe(plan.name.clone()));
        }
    }

    /// A reload was owed when an earlier container ended. What runs in this one reads the new files anyway; what is
    /// told to others is not done by that.
    pub(super) fn owe_from_before(&mut self, group: usize) {
        let reloads = self.plan.groups[group].reloads();
        self.owed.add(group, reloads.iter().filter(|reload| reload.is_for_others()), || None);
        if !self.owed.owes(group) {
            self.forgive(group);
        }
    }

    /// What an earlier container owed is void.
    pub(super) fn forgive(&mut self, group: usize) {
        self.groups[group].remembered = false;
        crate::publish::forget_owed(&self.plan.groups[group], self.plan.state_dir.as_deref());
    }

    /// The group's files are the old ones again: nobody needs to be told.
    pub(super) fn disown(&mut self, group: usize) {
        self.owed.entries.retain(|entry| entry.group != group);
        self.settled(group);
    }

    /// What the group owed is done. Where it is to be verified, what was kept stays until then.
    fn told(&mut self, group: usize, now: Instant) {
        if self.groups[group].then == Then::Verify {
            self.verify(group, now);
            self.control.tell(&ToInit::Paid(self.plan.groups[group].name.clone()));
            self.groups[group].changed.clear();
        } else {
            self.settled(group);
        }
    }

    /// Nothing is owed for this group any more: neither init nor the disk need remember it.
    pub(super) fn settled(&mut self, group: usize) {
        let plan = &self.plan.groups[group];
        self.control.tell(&ToInit::Paid(plan.name.clone()));
        let group = &mut self.groups[group];
        group.changed.clear();
        if let Some(committed) = group.committed.take() {
            committed.finish();
        }
        if std::mem::take(&mut group.remembered) {
            crate::publish::forget_owed(plan, self.plan.state_dir.as_deref());
        }
    }

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
            Outcome::Done => self.paid(&current, Some(&describe(&current.due.reload)), now),
            // It will start on the new files: nothing to tell, nothing owed.
            Outcome::NotRunning => self.paid(&current, None, now),
            Outcome::Failed(reason) => {
                let complaint = Complaint::new(format!("reload of {} failed: {reason}", describe(&current.due.reload)));
                self.owe_still(&current.due, complaint, now);
            }
        }
    }

    /// A reload command ended.
    pub(super) fn reload_command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) {
        let Some(current) = self.owed.current.take_if(|current| current.id == id) else { return };
        if result.accepted() {
            self.paid(&current, Some(&describe(&current.due.reload)), now);
        } else if let ReloadPlan::Run { command, .. } = &current.due.reload {
            self.owe_still(&current.due, result.complaint("reload", command), now);
        }
    }

    /// Others were told, or not.
    pub(super) fn told_others(&mut self, id: u64, outcome: Result<(), Complaint>, now: Instant) {
        let Some(current) = self.owed.current.take_if(|current| current.id == id) else { return };
        match outcome {
            Ok(()) => self.paid(&current, Some(&describe(&current.due.reload)), now),
            Err(complaint) => self.owe_still(&current.due, complaint, now),
        }
    }

    fn paid(&mut self, current: &Current, done: Option<&str>, now: Instant) {
        if let Some(done) = done {
            self.counts.reloads += 1;
            crate::info!("reloaded {done} ({} changed)", self.changed(&current.due).join(", "));
        }
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

    /// Starts a command; its end comes as [`Event::Command`].
    pub(super) fn spawn(&mut self, id: u64, argv: Vec<String>, changed: Option<String>, timeout: Duration) {
        let plan = CommandPlan {
            argv,
            env: changed.map(|changed| ("PROEM_CHANGED".into(), changed.into())).into_iter().collect(),
            env_remove: self.hidden.clone(),
            dir: self.surroundings.directory.clone(),
            data_limit: self.surroundings.data_limit,
            timeout,
            ending: Ending::TermThenKill,
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

    /// Ends commands that still run: TERM, a moment (half of what `linger` leaves us by default), KILL. Nothing is left
    /// behind.
    pub(super) fn end_commands(&mut self) {
        for pgid in self.commands.values() {
            signal_group(*pgid, libc::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(1);
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

fn signal_group(pgid: i32, signal: i32) {
    // SAFETY: no memory is involved. The group is a command's of ours that was not reaped yet; one that is gone already
    // is what was wanted.
    unsafe { libc::kill(-pgid, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> ReloadPlan {
        ReloadPlan::Run { command: vec![name.into()], timeout: Duration::from_secs(1) }
    }
    fn hup() -> ReloadPlan {
        ReloadPlan::Signal { process: "main".into(), signal: 1 }
    }
    fn ready(owed: &Owed, now: Instant) -> Vec<(usize, ReloadPlan)> {
        owed.ready(now).map(|entry| (entry.group, entry.reload.clone())).collect()
    }

    #[test]
    fn a_failing_command_holds_back_its_own_group_only() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&run("a"), &hup()], || None);
        owed.add(1, [&hup()], || None);
        owed.fail(&Due { reload: run("a"), groups: vec![0] }, now);
        assert_eq!(ready(&owed, now), [(1, hup())]);
        assert_eq!(owed.pay(&Due { reload: hup(), groups: vec![1] }, 2), [1]);
        assert_eq!(owed.due(), Some(now + super::super::retry::BASE));
        assert_eq!(ready(&owed, owed.due().unwrap()), [(0, run("a")), (0, hup())]);
    }

    #[test]
    fn a_publish_during_a_reload_is_not_paid_by_it() {
        let mut owed = Owed::default();
        owed.add(0, [&hup()], || None);
        let began = owed.publishes;
        owed.add(0, [&hup()], || None);
        let due = Due { reload: hup(), groups: vec![0] };
        assert!(owed.pay(&due, began).is_empty());
        assert!(owed.owes(0));
        assert_eq!(owed.pay(&due, owed.publishes), [0]);
    }

    #[test]
    fn a_newer_publish_overtakes_the_pause_of_a_failure() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&run("a")], || None);
        owed.fail(&Due { reload: run("a"), groups: vec![0] }, now);
        assert!(ready(&owed, now).is_empty());
        owed.add(0, [&run("a")], || None);
        assert_eq!(ready(&owed, now), [(0, run("a"))]);
    }

    fn restart() -> ReloadPlan {
        ReloadPlan::Restart { process: "main".into() }
    }

    #[test]
    fn a_share_of_splay_is_drawn_once_and_not_put_off_by_a_newer_publish() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut owed = Owed::default();
        owed.add(0, [&run("a"), &restart()], || at(5));
        // What prepares the restart does not wait.
        assert_eq!(ready(&owed, now), [(0, run("a"))]);
        owed.pay(&Due { reload: run("a"), groups: vec![0] }, 1);
        owed.add(0, [&restart()], || at(60));
        assert_eq!(owed.due(), at(5));
        owed.elapse(now + Duration::from_secs(4));
        assert!(ready(&owed, now).is_empty());
        owed.elapse(now + Duration::from_secs(5));
        assert_eq!(ready(&owed, now), [(0, restart())]);
        assert_eq!(owed.due(), None);
    }

    #[test]
    fn one_process_is_restarted_once_and_its_signals_wait_for_that() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut owed = Owed::default();
        owed.add(0, [&restart()], || at(9));
        owed.add(1, [&restart()], || at(5));
        owed.add(2, [&hup()], || at(0));
        assert!(ready(&owed, now).is_empty());
        owed.elapse(now + Duration::from_secs(5));
        let due = reload::merge(ready(&owed, now));
        assert_eq!(due.len(), 1);
        assert_eq!(owed.pay(&due[0], owed.publishes).len(), 3);
        assert!(owed.is_empty());
    }

    #[test]
    fn what_is_broken_waits_for_nothing() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(0, [&restart()], || Some(now + Duration::from_secs(9)));
        owed.add(1, [&hup()], || None);
        owed.hurry(1);
        assert_eq!(reload::merge(ready(&owed, now)), [Due { reload: restart(), groups: vec![0, 1] }]);
    }
}
