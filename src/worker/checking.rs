//! Checks: begun, and what follows from what they say.

use super::Worker;
use super::group::{Job, What};
use super::metrics::count;
use super::publishing::Problem;
use super::refusals::UNTIL_AN_INPUT;
use super::verifying::named;
use crate::config::plan::{CheckPlan, SourcePlan};
use crate::error::Failure;
use crate::exit::Exit;
use crate::publish::command::{CommandResult, CommandStatus};
use crate::source::layers::State;
use std::time::Instant;

impl Worker<'_> {
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
            Job::CheckCommitted(_, committed, what) => match self.take_back(index, committed, what) {
                Ok(()) => return self.refused(index, what, result, now),
                Err(problem) => {
                    self.note_refusals(index, |refusals| refusals.check = what.digest);
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
            if let Some(unfinished) = self.groups[index].unfinished.take()
                && let Err(Problem::Write(error)) = self.finish_taking_back(index, unfinished)
            {
                crate::error!("{}", error.complaint);
            }
            match std::mem::replace(&mut self.groups[index].job, Job::Idle) {
                Job::CheckCommitted(_, committed, what) => {
                    if let Err(Problem::Write(error)) = self.take_back(index, committed, what) {
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
        complaint.message = format!("{}: {}", named(plan), complaint.message);
        if let Some(empty) = self.empty_list(index) {
            complaint.hint = Some(empty);
        }
        if self.starting(index) {
            return Err(complaint.exit(Exit::DATA));
        }
        complaint.hint.get_or_insert(UNTIL_AN_INPUT.to_owned());
        self.groups[index].trouble = Some(complaint.clone());
        count(&mut self.counts.refused, index);
        match result.status {
            // It did not say no: it may accept the same content another time.
            CommandStatus::TimedOut(_) | CommandStatus::NotStarted { .. } => self.groups[index].schedule.failed(now),
            CommandStatus::Exited(_) | CommandStatus::Signaled(_) => {
                self.note_refusals(index, |refusals| refusals.check = what.digest);
                self.groups[index].schedule.refused(now);
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

    pub(super) fn start_check(&mut self, check: &CheckPlan, argv: Vec<String>) -> u64 {
        let id = self.new_id();
        self.spawn(id, argv, None, check.timeout);
        id
    }
}
