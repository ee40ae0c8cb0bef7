//! The loop: what can be done is done, then it sleeps until something happens or is due.

use super::directories::When;
use super::event::Event;
use super::group::Job;
use super::metrics::count;
use super::{Ended, Mode, Worker};
use crate::error::Failure;
use crate::link::{ToInit, ToWorker};
use crate::log::Level;
use crate::publish::command::CommandResult;
use crate::source::driver::Update;
use crate::source::layers::{Applied, Notice, NoticeKind};
use std::time::Instant;

impl Worker<'_> {
    pub(super) fn serve(&mut self) -> Ended {
        let now = Instant::now();
        if let Err(failure) = self.make_directories(When::First, now) {
            return Ended::Failed(failure);
        }
        for group in &mut self.groups {
            group.schedule.changed(now);
        }
        for update in self.driver.read_all(now) {
            self.update(update, now);
        }
        self.watch_templates(now);
        self.start_probes();
        self.serve_control();
        loop {
            match self.turn() {
                Ok(Some(ended)) => return ended,
                Ok(None) => {}
                Err(failure) => return Ended::Failed(failure),
            }
            if let Some(ended) = self.wait() {
                return ended;
            }
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> Result<Option<Ended>, Failure> {
        let now = Instant::now();
        // What a check is about stays what it is until it ends.
        if self.templates_touched && !self.is_checking() && !self.driver.is_writing_paths(now) {
            self.templates_touched = false;
            self.templates_changed(now);
        }
        self.publish_due(now)?;
        self.say_what_waits(now);
        self.note_made();
        self.start_gate(now)?;
        if self.may_tell()
            && let Some(failure) = self.reload_due(now)
        {
            return Ok(Some(Ended::Failed(failure)));
        }
        self.verify_due(now);
        if self.rest_at.is_some_and(|at| at <= now) {
            self.rest_at = None;
            crate::os::memory::give_back();
        }
        Ok(self.nothing_left().then(|| Ended::Done(std::mem::take(&mut self.injected))))
    }

    /// Nothing can change, nothing is owed, nothing runs. `render --watch` was asked to stay.
    fn nothing_left(&self) -> bool {
        self.mode != Mode::RenderWatch
            && self.gate.is_none()
            && !self.probes_processes()
            && !self.serves()
            && self.owed.is_empty()
            && self.commands.is_empty()
            && self.groups.iter().all(|group| {
                let rests = group.schedule.due().is_none() && group.waits.is_none();
                group.done && !group.held && matches!(group.job, Job::Idle) && rests
            })
            && (!self.mode.watches() || (0..self.sources.len()).all(|source| !self.layers.can_change(source)))
    }

    /// Sleeps until something happens or is due, and takes in all that happened.
    fn wait(&mut self) -> Option<Ended> {
        self.listen();
        let first = match self.next_due() {
            Some(due) => self.events.recv_timeout(due.saturating_duration_since(Instant::now())).ok(),
            None => self.events.recv().ok(),
        };
        let now = Instant::now();
        let mut updates = self.driver.due(now);
        if self.files.is_over(self.driver.last_event(), now) {
            updates.extend(self.driver.files_changed(now));
        }
        for update in updates {
            self.update(update, now);
        }
        // A burst (many files, many layers) is one batch: fewer publishes, one reload.
        let rest: Vec<Event> = self.events.try_iter().collect();
        let mut ended = None;
        for event in first.into_iter().chain(rest) {
            // Also after the one that ends the loop: a command that has ended must not be taken for one that runs.
            let this = self.take(event, now);
            ended = ended.or(this);
        }
        ended
    }

    fn next_due(&self) -> Option<Instant> {
        let checking = self.is_checking();
        // What waits for a check to end is not due: its end is an event.
        let gate = self.gate.as_ref().filter(|_| !checking).map(|gate| gate.due(self.is_unread()));
        let owed = if checking || !self.may_tell() { None } else { self.owed.due() };
        let groups = (0..self.groups.len()).filter_map(|index| self.publish_at(index)).min();
        let files = self.files.due();
        let verify = self.groups.iter().filter_map(|group| match &group.job {
            Job::Verify(verify) => verify.due(),
            _ => None,
        });
        [gate, groups, owed, verify.min(), files, self.driver.next_due(), self.rest_at].into_iter().flatten().min()
    }

    /// Takes in one event; `Some` ends the loop.
    fn take(&mut self, event: Event, now: Instant) -> Option<Ended> {
        match event {
            Event::InitGone => return Some(Ended::InitGone),
            Event::Signal(signal) => return Some(Ended::Signal(signal)),
            Event::Init(ToWorker::Reloaded { id, outcome }) => match self.operators.remove(&id) {
                Some(operator) => {
                    let state = self.processes.state_of(operator.process());
                    operator.answer(outcome, state);
                }
                None => self.reloaded(id, outcome, now),
            },
            Event::Asked(asked) => return self.asked(asked, now),
            Event::Init(ToWorker::Process(state)) => self.process_is(state, now),
            Event::Init(ToWorker::Draining) => self.draining = true,
            Event::Init(ToWorker::Welcome { .. }) => {}
            Event::Health(process, pid, health) => self.health(process, pid, health, now),
            Event::Source(update) => self.update(update, now),
            Event::Probe(index, Ok(())) => {
                self.gate_probes.remove(&index);
            }
            Event::Probe(index, Err(complaint)) => {
                if let Some(reason) = self.gate_probes.get_mut(&index) {
                    *reason = Some(complaint);
                }
            }
            Event::Command(id, result) => {
                if let Err(failure) = self.command_ended(id, &result, now) {
                    return Some(Ended::Failed(failure));
                }
            }
            Event::Verified(id, outcome) => self.tried(id, outcome, now),
            Event::Told(id, outcome) => self.told_others(id, outcome, now),
        }
        None
    }

    pub(super) fn update(&mut self, update: Update, now: Instant) {
        match update {
            Update::Files => self.files.begin(now),
            Update::Path(_) => self.templates_touched = true,
            Update::Read(layer, answer) => {
                if answer.is_err() {
                    count(&mut self.counts.source_failures, self.layers.source_of(layer));
                }
                let Applied { changed, notices } = self.layers.apply(layer, answer, now);
                self.tell(notices);
                if changed {
                    self.source_changed(self.layers.source_of(layer), now);
                }
            }
            Update::Fresh(layer) => {
                let notices = self.layers.fresh(layer, now);
                self.tell(notices);
            }
        }
    }

    fn tell(&self, notices: Vec<Notice>) {
        // At start the gate names what is missing, again and again; once would be enough.
        let starting = self.gate.is_some();
        for Notice { level, kind, complaint } in notices {
            let level = if starting && kind == NoticeKind::Trouble { Level::Debug } else { level };
            crate::log::event(level, &complaint.to_string());
        }
    }

    fn command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) -> Result<(), Failure> {
        if let Some(pgid) = self.commands.remove(&id) {
            self.control.tell(&ToInit::CommandEnded(pgid));
        }
        if let Some(index) = self.groups.iter().position(|group| group.job.check() == Some(id)) {
            return self.checked(index, result, now);
        }
        if !self.verify_command_ended(id, result, now) {
            self.reload_command_ended(id, result, now);
        }
        Ok(())
    }
}
