//! After the reload: does it do well with the new files? If not, the previous ones come back.

use super::group::{Files, Job, Then};
use super::refusals::Digest;
use super::relations::concerns;
use super::tries::Tries;
use super::{Event, Worker};
use crate::config::plan::{GroupPlan, VerifyPlan, VerifyWhat};
use crate::error::Complaint;
use crate::publish::command::CommandResult;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A verify that is going on.
#[derive(Debug)]
pub struct Verify {
    tries: Tries,
    /// The try that runs, or ran last.
    id: Option<u64>,
}

impl Verify {
    /// When it tries next; `None` while it does.
    pub fn due(&self) -> Option<Instant> {
        self.tries.due()
    }
}

impl Worker<'_> {
    /// What the group owed is done: it is verified from now on. Until that ends, nothing newer of it is published.
    pub(super) fn verify(&mut self, index: usize, now: Instant) {
        let Some(plan) = &self.plan.groups[index].verify else { return };
        let group = &mut self.groups[index];
        if let Some(committed) = &mut group.committed
            && let Err(error) = committed.verifying()
        {
            // After a crash the reload is done once more, and then it is verified.
            crate::debug!("the verify is not on disk: {}", error.complaint);
        }
        group.job = Job::Verify(Verify { tries: Tries::new(now, plan.within), id: None });
    }

    /// Begins the tries that are due.
    pub(super) fn verify_due(&mut self, now: Instant) {
        let plan = Rc::clone(&self.plan);
        for (index, plan) in plan.groups.iter().enumerate() {
            let Job::Verify(verify) = &mut self.groups[index].job else { continue };
            let (Some(time), Some(plan)) = (verify.tries.begin(now), &plan.verify) else { continue };
            self.next_id += 1;
            let id = self.next_id;
            verify.id = Some(id);
            match &plan.what {
                VerifyWhat::Run(command) => self.spawn(id, command.clone(), None, time),
                VerifyWhat::Probe(probe) => {
                    let (probe, feed, surroundings) = (probe.clone(), self.sender.clone(), self.probe_surroundings());
                    super::thread("verify", move || {
                        // The loop is gone: so is the process, in a moment.
                        let outcome = probe.check_in(time.min(probe.patience()), &surroundings);
                        let _ = feed.send(Event::Verified(id, outcome));
                    });
                }
            }
        }
    }

    /// A command ended; `false`: it was none of a verify's.
    pub(super) fn verify_command_ended(&mut self, id: u64, result: &CommandResult, now: Instant) -> bool {
        let Some(index) = self.verified_by(id) else { return false };
        let outcome = match &self.plan.groups[index].verify {
            Some(VerifyPlan { what: VerifyWhat::Run(argv), .. }) if !result.accepted() => {
                Err(result.complaint("verify", argv))
            }
            _ => Ok(()),
        };
        self.tried(id, outcome, now);
        true
    }

    fn verified_by(&self, id: u64) -> Option<usize> {
        self.groups.iter().position(|group| matches!(&group.job, Job::Verify(verify) if verify.id == Some(id)))
    }

    /// A try ended.
    pub(super) fn tried(&mut self, id: u64, outcome: Result<(), Complaint>, now: Instant) {
        let Some(index) = self.verified_by(id) else { return };
        let group = &mut self.groups[index];
        match outcome {
            Ok(()) => {
                group.job = Job::Idle;
                group.then = Then::Done;
                if let Some(committed) = group.committed.take() {
                    let targets: Vec<String> = committed.restores().map(|path| path.display().to_string()).collect();
                    committed.finish();
                    crate::info!("verified {}", targets.join(", "));
                }
            }
            Err(complaint) => {
                let Job::Verify(verify) = &mut group.job else { return };
                if !verify.tries.again(now) {
                    group.job = Job::Idle;
                    self.not_verified(index, complaint, now);
                }
            }
        }
    }

    /// The previous content comes back, and is told as the new one was; without `splay`, because what runs is broken.
    fn not_verified(&mut self, index: usize, reason: Complaint, now: Instant) {
        let plan = Rc::clone(&self.plan);
        let plan = &plan.groups[index];
        let group = &mut self.groups[index];
        group.then = Then::Done;
        group.seen = None;
        self.judge_alone(index, now);
        let group = &mut self.groups[index];
        let Some(mut committed) = group.committed.take() else { return };
        let within = plan.verify.as_ref().map_or(Duration::ZERO, |verify| verify.within);
        if !committed.is_restorable() {
            committed.finish();
            let message = format!("{}: not verified within {within:?}: {}", named(plan), reason.message);
            let hint = "the new content stays: the file that was kept of the previous one is gone";
            return self.complain(&[Complaint::new(message).hint(hint)], now);
        }
        let refused = Digest::not_verified(plan, &committed);
        group.changed = committed.restores().map(|path| path.display().to_string()).collect();
        // What its journal says from here on, until it is paid.
        group.remembered = true;
        // Before the first rename, as what is owed: it outlives this worker.
        self.note_refusals(index, |refusals| refusals.verify = Some(refused));
        self.owe(index, Duration::ZERO);
        self.owed.hurry(index);
        self.hold(index);
        let back = match committed.roll_back() {
            Ok(()) => {
                self.unhold(index);
                "the previous content is back".to_owned()
            }
            Err(error) => {
                let group = &mut self.groups[index];
                (group.files, group.committed) = (Files::Mixed, Some(committed));
                group.schedule.failed(now);
                format!("the previous content is to come back, which failed ({})", error.complaint.message)
            }
        };
        self.settle_if_nobody_is_told(index);
        let message = format!("{}: not verified within {within:?}, so {back}: {}", named(plan), reason.message);
        let hint = "the refused content is not published again until an input changes".to_owned();
        let complaint = Complaint { message, hint: reason.hint.or(Some(hint)), at: None };
        self.groups[index].trouble = Some(complaint.clone());
        super::metrics::count(&mut self.counts.unverified, index);
        self.complain(&[complaint], now);
    }

    /// With `reload = "none"` nothing is owed for what came back.
    pub(super) fn settle_if_nobody_is_told(&mut self, index: usize) {
        if self.groups[index].files == Files::Whole && !self.owed.owes(index) {
            self.settled(index);
        }
    }

    /// A refusal may be for another group's content: for one that is not verified either, and uses the same process. That
    /// one is now verified without this one; and if it is refused, too, this one was perhaps not to blame, and gets
    /// another try without it.
    fn judge_alone(&mut self, refused: usize, now: Instant) {
        let own = concerns(&self.plan, refused);
        let mut beside = BTreeSet::new();
        let plan = Rc::clone(&self.plan);
        for (index, plan) in plan.groups.iter().enumerate() {
            let mut again = false;
            self.note_refusals(index, |other| {
                again = other.beside.remove(&refused) && other.verify.take().is_some();
            });
            let group = &mut self.groups[index];
            if again {
                group.schedule.changed(now);
            }
            let shares = || concerns(&self.plan, index).iter().any(|process| own.contains(process));
            if index == refused || group.then == Then::Done || !shares() {
                continue;
            }
            beside.insert(index);
            if let (Job::Verify(verify), Some(plan)) = (&mut group.job, &plan.verify) {
                verify.tries.renew(now, plan.within);
            }
        }
        self.note_refusals(refused, |refusals| refusals.beside = beside);
    }
}

/// ``template `nginx` `` or ``group `haproxy` ``.
pub(super) fn named(plan: &GroupPlan) -> String {
    let lone = matches!(plan.templates.as_slice(), [only] if only.name == plan.name);
    format!("{} `{}`", if lone { "template" } else { "group" }, plan.name)
}
