//! What init is told so that processes start: all of them once everything is published, before that those that have what
//! they need.

use super::Worker;
use super::directories::When;
use super::group::Files;
use super::injection::Injected;
use super::owners::owner_ids;
use crate::config::plan::{DirPlan, Plan, ProcessPlan};
use crate::error::Failure;
use crate::link::ToInit;
use crate::os::passwd::lookup;
use std::time::Instant;

impl Worker<'_> {
    /// Whether a group's files are in place: none of them may be refused any more.
    pub(super) fn is_published(&self, index: usize) -> bool {
        let group = &self.groups[index];
        group.done && group.files == Files::Whole && group.job.check().is_none()
    }

    /// Before all is published: lets those processes run that have what they need.
    pub(super) fn start_some(&mut self, now: Instant) -> Result<(), Failure> {
        let plan = std::rc::Rc::clone(&self.plan);
        // A lone process waits for everything.
        if !self.control.has_init() || plan.processes.len() < 2 {
            return Ok(());
        }
        let processes = plan.processes.iter().map(|process| process.name.as_str());
        let names = self.starts.next(processes, &plan.groups, |index| self.is_published(index));
        if names.is_empty() || !self.are_users_known() {
            return Ok(());
        }
        self.make_directories(When::Last, now)?;
        if !self.starts.has_begun() {
            // From the first start on init has to know of main, and of what comes after what.
            for process in &plan.processes {
                let spec = crate::commands::process_spec(process, &plan, &Injected::as_written(process))?;
                self.control.tell_with_next(&ToInit::Process(Box::new(spec)));
            }
            self.watch_processes();
        }
        for process in plan.processes.iter().filter(|process| names.contains(&process.name)) {
            self.describe_with_next(process, &plan)?;
        }
        self.control.tell(&ToInit::Allow(names.clone()));
        self.begin_to_use(now, |worker| worker.starts.allow(names));
        Ok(())
    }

    /// Whether every user and group that is named is known by now. One that is not may be in a file that is still to be
    /// published; then nobody starts before all is.
    fn are_users_known(&self) -> bool {
        let user = |process: &ProcessPlan| process.user.as_deref().is_none_or(|user| lookup(user).is_ok());
        let owner =
            |directory: &DirPlan| directory.owner.as_ref().is_none_or(|owner| owner_ids(owner, &self.accounts).is_ok());
        self.plan.processes.iter().all(user) && self.plan.dirs.iter().all(owner)
    }

    /// While start waits, main's own stop signal ends it as TERM does: an image's STOPSIGNAL is what `docker stop` sends.
    /// What cannot be looked up yet (the user may be in a file that is published first) is told later; of what may run
    /// already init knows more than what is written.
    pub(super) fn tell_stop_signals(&self) {
        let tells = |process: &&ProcessPlan| process.stop_signal.is_some() && !self.starts.may_run(&process.name);
        for process in self.plan.processes.iter().filter(tells) {
            if let Ok(spec) = crate::commands::process_spec(process, &self.plan, &Injected::as_written(process)) {
                self.control.tell(&ToInit::Process(Box::new(spec)));
            }
        }
    }

    /// Tells init, with what is told next, what a process is to be started with. It wakes once: that is two changes of
    /// process less in every start.
    fn describe_with_next(&mut self, process: &ProcessPlan, plan: &Plan) -> Result<(), Failure> {
        let as_written = || process.env.is_fixed().then(|| Injected::as_written(process));
        // Of the others init has what was said before, until the sources have answered.
        if let Some(injected) = self.injected.remove(&process.name).or_else(as_written) {
            let message = self.description(crate::commands::process_spec(process, plan, &injected)?);
            self.control.tell_with_next(&message);
        }
        Ok(())
    }

    /// Everything is published and checked: init may start the processes.
    pub(super) fn start_processes(&mut self) -> Result<(), Failure> {
        if !self.control.has_init() {
            return Ok(());
        }
        let plan = std::rc::Rc::clone(&self.plan);
        for process in &plan.processes {
            self.describe_with_next(process, &plan)?;
        }
        if self.starts.has_begun() {
            // Those before this worker may have known others.
            self.control.tell(&ToInit::Only(self.plan.processes.iter().map(|process| process.name.clone()).collect()));
        }
        self.control.tell(&ToInit::Start);
        self.watch_processes();
        Ok(())
    }
}
