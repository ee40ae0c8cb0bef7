//! After a crash: finishes or undoes what a journal tells of, before anything else, without any store.

use super::fingerprint::Fingerprint;
use super::in_place;
use super::journal::{Entry, Journal, Phase, Place, Record};
use super::keep::detach;
use super::place::{Dir, PREFIX, Resolver, is_ours, split};
use super::reason;
use super::stage::elsewhere;
use crate::config::plan::{GroupPlan, TargetPlan};
use crate::error::Complaint;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// What came of a group whose publish a crash interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The group's name.
    pub group: String,
    /// Whether it is old or new now.
    pub outcome: Outcome,
    /// Its reload is owed, until [`super::forget_owed`].
    pub reload_owed: bool,
    /// It is new, and was not verified yet: journal and kept files are still there for [`super::Committed::resume`].
    pub unverified: bool,
}

/// What becomes of a publish that is in place, and was not verified when everything stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unverified {
    /// It is verified again: those who were told of it still run.
    Kept,
    /// It stays: what runs next starts on it.
    Accepted,
}

/// Whether an interrupted group is old or new now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The old files are back.
    Undone,
    /// All new files are in place, and were checked.
    Finished,
    /// Neither could be done: nothing that uses the group may be started or reloaded before it is published anew.
    Mixed(Complaint),
}

/// Finishes or undoes every interrupted publish of these groups and removes staged and kept files that were left over.
///
/// To be called when a worker starts, before anything is rendered. A group that is not in the answer was not
/// interrupted. It must not run while another proem publishes the same targets.
///
/// What was not verified is accepted: whatever starts now starts on these files.
pub fn recover(plan: &[GroupPlan], state_dir: Option<&Path>) -> Vec<Recovered> {
    recover_and(plan, state_dir, Unverified::Accepted)
}

/// The same for a worker that follows another: what was not verified can still be taken back.
pub fn recover_unverified(plan: &[GroupPlan], state_dir: Option<&Path>) -> Vec<Recovered> {
    recover_and(plan, state_dir, Unverified::Kept)
}

fn recover_and(plan: &[GroupPlan], state_dir: Option<&Path>, unverified: Unverified) -> Vec<Recovered> {
    let mut recovered = Vec::new();
    let mut sweep = Sweep::default();
    let mut resolver = Resolver::default();
    for group in plan {
        let targets: BTreeSet<PathBuf> = files(group).filter_map(|path| resolver.resolve(path).ok()).collect();
        let place = Place::with(group, state_dir, &mut resolver);
        for (journal, mut record) in place.find() {
            record.entries.retain(|entry| {
                let known = is_known(entry, &targets, state_dir);
                if !known {
                    crate::warn!(
                        "group `{}`: its journal names {}, which is none of its targets",
                        group.name,
                        entry.target.display()
                    );
                }
                known
            });
            let one = settle(group, &journal, &record, unverified);
            sweep.spare |= matches!(one.outcome, Outcome::Mixed(_));
            if one.unverified {
                sweep.kept.extend(record.entries.iter().filter_map(|entry| entry.kept.clone()));
            }
            recovered.push(one);
        }
        for target in &targets {
            sweep.add(target, state_dir);
        }
        for dir in place.dirs() {
            sweep.of(dir).names.insert(place.name().to_owned());
        }
    }
    sweep.run();
    recovered
}

fn files(group: &GroupPlan) -> impl Iterator<Item = &PathBuf> {
    group.templates.iter().filter_map(|template| match &template.to {
        TargetPlan::File(path) => Some(path),
        TargetPlan::Stdout => None,
    })
}

/// A journal moves only what this group's publish would have moved.
fn is_known(entry: &Entry, targets: &BTreeSet<PathBuf>, state_dir: Option<&Path>) -> bool {
    let target = Path::new(&entry.target);
    let Ok((parent, name)) = split(target) else { return false };
    let aside = Path::new(&entry.aside);
    let ours = |file: &Option<OsString>| file.as_ref().is_none_or(|file| is_ours(file, name));
    targets.contains(target)
        && (aside == parent || elsewhere(state_dir).any(|dir| dir == aside))
        && ours(&entry.staged)
        && ours(&entry.kept)
}

fn settle(group: &GroupPlan, journal: &Journal, record: &Record, unverified: Unverified) -> Recovered {
    let all = |each: fn(&Entry) -> io::Result<()>| {
        record.entries.iter().try_for_each(|entry| {
            each(entry)
                .map_err(|e| Complaint::new(format!("failed to recover {}: {}", entry.target.display(), reason(&e))))
        })
    };
    let outcome = match record.phase {
        Phase::Checked | Phase::Verifying => Outcome::Finished,
        Phase::Commit if all(finish).is_ok() => Outcome::Finished,
        Phase::Commit | Phase::CommitThenCheck => match all(undo) {
            Ok(()) => Outcome::Undone,
            Err(complaint) => Outcome::Mixed(complaint.hint("the next publish of the group replaces every file")),
        },
    };
    let reload_owed = match &outcome {
        Outcome::Finished => record.phase != Phase::Verifying,
        Outcome::Undone | Outcome::Mixed(_) => record.owed,
    };
    let unverified = unverified == Unverified::Kept
        && outcome == Outcome::Finished
        && group.verify.is_some()
        && !record.entries.is_empty()
        && record.entries.iter().all(|entry| is_restorable(entry).unwrap_or(false));
    let settled = match (&outcome, reload_owed) {
        (Outcome::Mixed(_), _) => Ok(()),
        (_, owed) if unverified => {
            let phase = if owed { Phase::Checked } else { Phase::Verifying };
            journal.replace(&Record { phase, ..record.clone() })
        }
        // Owed until it is done, over another crash too.
        (_, true) => journal.replace(&Record { phase: Phase::Checked, owed: true, entries: Vec::new() }),
        (_, false) => journal.remove(),
    };
    if let Err(e) = settled {
        crate::warn!("group `{}`: failed to settle its journal: {}", group.name, reason(&e));
    }
    Recovered { group: group.name.clone(), outcome, reload_owed, unverified }
}

struct Open<'a> {
    dir: Dir,
    aside: Dir,
    name: &'a OsStr,
}

impl Open<'_> {
    fn of(entry: &Entry) -> io::Result<Open<'_>> {
        let (parent, name) = split(Path::new(&entry.target))?;
        let (dir, aside) = (Dir::open(parent)?, Dir::open(Path::new(&entry.aside))?);
        Ok(Open { dir, aside, name })
    }

    fn is(&self, content: Option<Fingerprint>) -> io::Result<bool> {
        Ok(fingerprint(&self.dir, self.name)? == content)
    }

    /// Puts a file kept or staged in the target's place, if it holds what it should.
    fn put(&self, from: Option<&OsString>, content: Option<Fingerprint>) -> io::Result<()> {
        match from {
            Some(from) if fingerprint(&self.aside, from)? == content => {
                in_place::put(&self.aside, from, &self.dir, self.name)?;
                self.dir.sync()
            }
            _ => Err(io::Error::other("the file that was kept for it is gone")),
        }
    }
}

fn finish(entry: &Entry) -> io::Result<()> {
    let open = Open::of(entry)?;
    if open.is(Some(entry.new))? {
        return Ok(());
    }
    if let Some(kept) = &entry.kept {
        detach(&open.aside, kept, &open.dir, open.name)?;
    }
    open.put(entry.staged.as_ref(), Some(entry.new))
}

fn undo(entry: &Entry) -> io::Result<()> {
    let open = Open::of(entry)?;
    if open.is(entry.old)? {
        return Ok(());
    }
    match entry.old {
        // Neither old nor new: a torn write in place, which the kept file mends.
        Some(_) => open.put(entry.kept.as_ref(), entry.old),
        None if open.is(Some(entry.new))? => open.dir.remove(open.name).and_then(|()| open.dir.sync()),
        // Somebody else made it since.
        None => Ok(()),
    }
}

/// Whether a roll-back would find what it needs.
fn is_restorable(entry: &Entry) -> io::Result<bool> {
    match (entry.old, &entry.kept) {
        (None, _) => Ok(true),
        (old, Some(kept)) => Ok(fingerprint(&Dir::open(Path::new(&entry.aside))?, kept)? == old),
        (Some(_), None) => Ok(false),
    }
}

/// `None`: there is no such file.
fn fingerprint(dir: &Dir, name: &OsStr) -> io::Result<Option<Fingerprint>> {
    match dir.stat(name)? {
        Some(_) => Fingerprint::of_reader(dir.file(name, OFlag::O_RDONLY)?).map(Some),
        None => Ok(None),
    }
}

/// Leftovers of ours, by directory: each is read once, whatever the number of targets in it.
#[derive(Default)]
struct Sweep {
    /// By its bytes: comparing paths by their components is slow.
    dirs: BTreeMap<OsString, Swept>,
    /// A group is mixed: what was kept for it may be of use to a person.
    spare: bool,
    /// Kept for a verify that is to come.
    kept: BTreeSet<OsString>,
}

/// A directory, and what leftovers there may belong to.
struct Swept {
    writable: bool,
    names: BTreeSet<OsString>,
}

impl Sweep {
    fn of(&mut self, dir: &Path) -> &mut Swept {
        self.dirs.entry(dir.as_os_str().to_owned()).or_insert_with(|| {
            // One that is missing has nothing in it, and is made when it is needed.
            let writable = match nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK) {
                Ok(()) | Err(Errno::ENOENT) => true,
                Err(_) => false,
            };
            Swept { writable, names: BTreeSet::new() }
        })
    }

    fn add(&mut self, target: &Path, state_dir: Option<&Path>) {
        let Ok((parent, name)) = split(target) else { return };
        let beside = self.of(parent);
        beside.names.insert(name.to_owned());
        if !beside.writable && target.exists() {
            for place in elsewhere(state_dir) {
                self.of(place).names.insert(name.to_owned());
            }
        }
    }

    fn run(self) {
        if self.spare {
            return;
        }
        for (path, Swept { names, .. }) in self.dirs {
            let path = Path::new(&path);
            let (Ok(dir), Ok(entries)) = (Dir::open(path), std::fs::read_dir(path)) else { continue };
            for name in entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())) {
                let may_be_ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && !self.kept.contains(&name);
                if may_be_ours && names.iter().any(|target| is_ours(&name, target)) {
                    // One that cannot be removed is in nobody's way.
                    let _ = dir.remove(&name);
                }
            }
        }
    }
}
