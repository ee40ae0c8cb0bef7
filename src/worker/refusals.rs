//! What of a group's content was refused, by its check or by its verify: it is not tried again until an input changes it.
//!
//! init keeps it, because it must outlive the worker, on a read-only root too: what a verify refused would have to be put in
//! place, and told, to be refused once more. It goes with proem: a start is checked anew, and verifies nothing.

use super::Worker;
use crate::config::plan::GroupPlan;
use crate::error::Complaint;
use crate::link::{Refused, ToInit};
use crate::publish::{Changes, Committed, Fingerprint};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// What is said of content that was refused.
pub const UNTIL_AN_INPUT: &str = "the old files stay; it is tried again when an input changes";

/// Of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// What its check refused.
    pub check: Option<Digest>,
    /// What its verify refused.
    pub verify: Option<Digest>,
    /// Groups that were in place unverified when the verify refused: it may have been for their content.
    pub beside: BTreeSet<usize>,
}

/// A content and who judged it: when the configuration is read anew, another check may accept what this one refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Of what a check sees: all that would change.
    pub fn checked(group: &GroupPlan, content: Fingerprint) -> Digest {
        Digest::of(&(content, format!("{:?}", group.check)))
    }

    /// Of what would change over what a roll-back brings back.
    pub fn verified(group: &GroupPlan, changes: &Changes) -> Digest {
        Digest::of(&(changes.contents(), format!("{:?}", group.verify)))
    }

    /// The same of what is to be rolled back.
    pub fn not_verified(group: &GroupPlan, committed: &Committed) -> Digest {
        Digest::of(&(committed.contents(), format!("{:?}", group.verify)))
    }

    fn of(what: &impl Hash) -> Digest {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Digest(hasher.finish())
    }
}

impl Worker<'_> {
    /// Notes what was refused, or is not any more, and tells init.
    pub(super) fn note_refusals(&mut self, index: usize, change: impl FnOnce(&mut Refusals)) {
        let mut refusals = self.groups[index].refusals.clone();
        change(&mut refusals);
        if refusals == self.groups[index].refusals {
            return;
        }
        let beside = refusals.beside.iter().map(|&other| self.plan.groups[other].name.clone()).collect();
        let refused = Refused {
            by_check: refusals.check.map(|Digest(digest)| digest),
            by_verify: refusals.verify.map(|Digest(digest)| digest),
            beside,
        };
        self.control.tell(&ToInit::Refused(self.plan.groups[index].name.clone(), refused));
        self.groups[index].refusals = refusals;
    }

    /// What was refused under those before this worker.
    pub(super) fn take_over_refusals(&mut self, refused: Vec<(String, Refused)>) {
        for (name, Refused { by_check, by_verify, beside }) in refused {
            let Some(index) = self.group_named(&name) else {
                // The configuration has changed since.
                self.control.tell(&ToInit::Refused(name, Refused::default()));
                continue;
            };
            let beside = beside.iter().filter_map(|other| self.group_named(other)).collect();
            self.groups[index].refusals =
                Refusals { check: by_check.map(Digest), verify: by_verify.map(Digest), beside };
        }
    }

    /// The content that is due was refused already: that was said then, and another input may change it.
    pub(super) fn refused_already(&mut self, index: usize, by: &str, now: std::time::Instant) {
        let group = &mut self.groups[index];
        group.done = true;
        group.schedule.rest();
        if group.trouble.is_some() {
            return;
        }
        // Somebody else said it, and has died since.
        let message =
            format!("{}: its {by} has refused this content before", super::verifying::named(&self.plan.groups[index]));
        let complaint = Complaint::new(message).hint(UNTIL_AN_INPUT);
        group.trouble = Some(complaint.clone());
        self.complain(&[complaint], now);
    }
}
