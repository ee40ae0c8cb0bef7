//! What the worker knows of one group while it runs.

use super::refusals::{Digest, Refusals};
use super::schedule::Schedule;
use super::seen::{Contents, Seen};
use super::verifying::Verify;
use crate::config::plan::GroupPlan;
use crate::error::Complaint;
use crate::publish::{Committed, Fingerprint, Staged};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

/// A group and where its publishing stands.
#[derive(Debug)]
pub struct Group {
    /// Its templates, as the engine numbers them; in the order of the plan.
    pub templates: Range<usize>,
    /// The sources (their indexes) that its templates use.
    pub uses: BTreeSet<usize>,
    /// When it is published next.
    pub schedule: Schedule,
    /// What it is in the middle of.
    pub job: Job,
    /// Published (or found equal) since this worker began.
    pub done: bool,
    /// Content that was refused: not tried again until an input changes it.
    pub refusals: Refusals,
    /// What its files are, as far as others are concerned.
    pub files: Files,
    /// init was asked to hold its processes.
    pub held: bool,
    /// Targets that changed since its last reload, for `PROEM_CHANGED`.
    pub changed: Vec<String>,
    /// What the last look found, or made, right.
    pub seen: Option<Seen>,
    /// What was rendered last.
    pub rendered: Contents,
    /// The same, of targets in directories with `prune`: the directory, the target, what it holds.
    pub made: Vec<(usize, PathBuf, Fingerprint)>,
    /// Published, and its reload is still owed, or its verify goes on.
    pub committed: Option<Committed>,
    /// What follows when its reload is done.
    pub then: Then,
    /// Not accepted, and not taken back yet: that failed, and is tried again.
    pub unfinished: Option<Unfinished>,
    /// That a reload is owed was written to disk.
    pub remembered: bool,
    /// When this worker last published it.
    pub published: Option<Instant>,
    /// An environment that changed then, and waits for the files of the same change.
    pub waits: Option<Instant>,
    /// Why what was rendered last is not in place.
    pub trouble: Option<Complaint>,
}

/// What a publish is about.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// Of the new contents, where a check may refuse them.
    pub digest: Option<Digest>,
    /// A content differs; otherwise only modes or owners are repaired, and nobody is told.
    pub content: bool,
    /// More than one file's content differs.
    pub several: bool,
    /// Its reload was owed before, for an older publish.
    pub owed_before: bool,
}

/// A publish that is to be taken back.
#[derive(Debug)]
pub struct Unfinished {
    /// What is in place of it, and how to undo that.
    pub committed: Box<Committed>,
    /// What it was about.
    pub what: What,
    /// What the group's files were before it, and are again afterwards.
    pub before: Files,
}

/// What follows a publish that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: what was kept goes.
    Done,
    /// Whoever was told must do well with it; `committed` is there.
    Verify,
}

/// Whether a group's files can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// All old or all new, and checked.
    Whole,
    /// Neither, or new ones that were refused and could not be taken back: nothing may use them.
    Mixed,
}

/// What a group waits for in the middle of a publish.
#[derive(Debug)]
pub enum Job {
    /// Nothing.
    Idle,
    /// The check of the staged files (the command's id).
    CheckStaged(u64, Box<Staged>, What),
    /// The check after the renames (the command's id).
    CheckCommitted(u64, Box<Committed>, What),
    /// Whether what was reloaded does well with the new files.
    Verify(Verify),
}

impl Job {
    /// The check that the job waits for.
    pub fn check(&self) -> Option<u64> {
        match self {
            Job::Idle | Job::Verify(_) => None,
            Job::CheckStaged(id, ..) | Job::CheckCommitted(id, ..) => Some(*id),
        }
    }
}

impl Group {
    /// A group that nothing has happened to.
    pub fn new(plan: &GroupPlan, templates: Range<usize>, uses: BTreeSet<usize>) -> Group {
        Group {
            templates,
            uses,
            schedule: Schedule::new(plan.settle, plan.settle_max, plan.throttle),
            job: Job::Idle,
            done: false,
            refusals: Refusals::default(),
            files: Files::Whole,
            held: false,
            changed: Vec::new(),
            seen: None,
            rendered: Contents::new(),
            made: Vec::new(),
            committed: None,
            then: Then::Done,
            unfinished: None,
            remembered: false,
            published: None,
            waits: None,
            trouble: None,
        }
    }
}
