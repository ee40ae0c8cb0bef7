//! The journal of a group's publish: what a crash at any instant leaves behind to finish or undo it.
//!
//! It is believed only if its file is ([`sealed`]), and then only about targets of the group and names of ours: it cannot
//! make root move other files.

use super::access::Access;
use super::directory;
use super::fingerprint::Fingerprint;
use super::place::{Dir, PREFIX, Resolver};
use super::{PublishError, sealed, warn_once};
use crate::config::plan::{GroupPlan, TargetPlan};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"proem journal 2\n";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) phase: Phase,
    /// A reload of this group was owed before this publish: undoing the publish does not pay it.
    pub(super) owed: bool,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Being renamed, and a check may still refuse: undo.
    CommitThenCheck,
    /// Being renamed, all checks are passed: finish.
    Commit,
    /// In place and checked; the reload is owed.
    Checked,
    /// In place and told; whether the processes do well with it is being verified. (The last: a journal may be older
    /// than this binary.)
    Verifying,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The resolved target. (An `OsString`: a path that is not UTF-8 could not be serialised.)
    pub(super) target: OsString,
    /// The directory of the two below.
    pub(super) aside: OsString,
    pub(super) staged: Option<OsString>,
    /// `None` with `old`: it could not be kept on disk.
    pub(super) kept: Option<OsString>,
    /// `None`: the target did not exist.
    pub(super) old: Option<Fingerprint>,
    /// `None`: the target is removed.
    pub(super) new: Option<Fingerprint>,
}

/// Where a group's journal may be: the configuration alone determines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    state_dir: Option<PathBuf>,
    /// The first that can be written is used; each is looked at when recovering.
    dirs: Vec<PathBuf>,
    name: OsString,
}

impl Place {
    pub(super) fn of(group: &GroupPlan, state_dir: Option<&Path>) -> Place {
        Place::with(group, state_dir, &mut Resolver::default())
    }

    /// The same, with what is known of directories already.
    pub(super) fn with(group: &GroupPlan, state_dir: Option<&Path>, resolver: &mut Resolver) -> Place {
        let mut dirs: Vec<PathBuf> = state_dir.map(Path::to_owned).into_iter().collect();
        if dirs.is_empty() {
            let first = group.templates.iter().find_map(|template| match &template.to {
                TargetPlan::File(path) => Some(path),
                TargetPlan::Stdout => None,
            });
            // Beside a link, else beside what it leads to.
            let both = [first.cloned(), first.and_then(|path| resolver.resolve(path).ok())];
            dirs.extend(both.iter().flatten().filter_map(|path| path.parent()).map(Path::to_owned));
            if first.is_none() {
                // A group that only removes.
                dirs.extend(group.prunes.first().map(|prune| prune.to.clone()));
            }
            dirs.dedup();
        }
        let readable = group.name.chars().take(32).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let hash = Fingerprint::of(group.name.as_bytes()).hex();
        let name = format!("{PREFIX}journal-{}-{hash}", readable.collect::<String>());
        Place { state_dir: state_dir.map(Path::to_owned), dirs, name: name.into() }
    }

    pub(super) fn state_dir(&self) -> Option<&Path> {
        self.state_dir.as_deref()
    }

    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Writes and syncs a journal in the first directory that takes it.
    pub(super) fn write(&self, record: &Record) -> io::Result<Journal> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for path in &self.dirs {
            let open = match self.state_dir {
                Some(_) => directory::open_or_make(path, &Access::OWN, path),
                None => Dir::open(path),
            };
            let journal = open.map(|dir| Journal { dir, name: self.name.clone() });
            match journal.and_then(|journal| journal.replace(record).map(|()| journal)) {
                Ok(journal) => {
                    self.remove_others(path);
                    return Ok(journal);
                }
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    /// One that an earlier publish left elsewhere tells of files that are no more.
    fn remove_others(&self, here: &Path) {
        for (journal, _) in self.find() {
            if journal.dir.path() != here {
                // Where it cannot be removed, no journal could be written either since.
                let _ = journal.remove();
            }
        }
    }

    /// Every journal of the group that is there and can be believed.
    pub(super) fn find(&self) -> Vec<(Journal, Record)> {
        self.look().found
    }

    /// The same; and whether there may be another one (in a directory that may not be searched now).
    pub(super) fn look(&self) -> Look {
        let (mut found, mut unknown) = (Vec::new(), None);
        for path in &self.dirs {
            let file = path.join(&self.name);
            // Mostly there is none, which one system call tells.
            match std::fs::symlink_metadata(&file) {
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(e) => {
                    unknown.get_or_insert((file, e));
                    continue;
                }
            }
            let read = Dir::open(path).and_then(|dir| {
                let journal = Journal { dir, name: self.name.clone() };
                Ok(journal.read()?.map(|record| (journal, record)))
            });
            match read {
                Ok(journal) => found.extend(journal),
                Err(e) if e.raw_os_error().is_some() => {
                    unknown.get_or_insert((file, e));
                }
                // What it holds, or whose it is, will not become another one.
                Err(e) => warn_once(&file, &format!("this journal is ignored: {}", super::reason(&e))),
            }
        }
        Look { found, unknown }
    }

    /// Whether an earlier publish of the group still owes its reload.
    pub(super) fn owes(&self) -> bool {
        self.find().iter().any(|(_, record)| record.owed || record.phase == Phase::Checked)
    }
}

/// What there is of a group's journals.
#[derive(Debug)]
pub(super) struct Look {
    /// Those that can be believed.
    pub(super) found: Vec<(Journal, Record)>,
    /// One that may be there, and why that cannot be known now.
    pub(super) unknown: Option<(PathBuf, io::Error)>,
}

/// Whether a journal that could not be written now can be written later: a full disk, not a directory that is read-only.
pub(super) fn may_pass(error: &io::Error) -> bool {
    let errno = error.raw_os_error().unwrap_or(0);
    matches!(errno, libc::ENOSPC | libc::EDQUOT | libc::EIO | libc::ENOMEM | libc::EMFILE | libc::ENFILE)
}

/// A journal's file.
#[derive(Debug)]
pub(super) struct Journal {
    dir: Dir,
    name: OsString,
}

impl Journal {
    /// Writes the record and syncs it: when this returns, it outlives a crash.
    pub(super) fn replace(&self, record: &Record) -> io::Result<()> {
        sealed::write(&self.dir, &self.name, MAGIC, record)
    }

    /// Removes it. Not synced: one that comes back after a power failure finds its targets as it says, and changes nothing.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.dir.remove(&self.name)
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    fn read(&self) -> io::Result<Option<Record>> {
        sealed::read(&self.dir, &self.name, MAGIC)
    }
}

/// Records that the group's reload is owed, so that it outlives a crash of the worker too: for a publish that needed no
/// journal and whose reload failed. [`recover`](super::recover()) tells of it until [`forget_owed`].
pub fn remember_owed(group: &GroupPlan, state_dir: Option<&Path>) -> Result<(), PublishError> {
    let place = Place::of(group, state_dir);
    let record = Record { phase: Phase::Checked, owed: true, entries: Vec::new() };
    let beside = place.dirs.first().cloned().unwrap_or_default().join(&place.name);
    place.write(&record).map(drop).map_err(|e| PublishError::write(&beside, &e))
}

/// The group's reload is done (or there is nothing to reload after all): forgets what [`remember_owed`] or
/// [`recover`](super::recover()) recorded.
pub fn forget_owed(group: &GroupPlan, state_dir: Option<&Path>) {
    for (journal, record) in Place::of(group, state_dir).find() {
        if matches!(record.phase, Phase::Checked | Phase::Verifying) {
            // One that cannot be removed costs one more reload after the next start.
            let _ = journal.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_journal_is_never_believed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { dir: Dir::open(dir.path()).unwrap(), name: "j".into() };
        let entry = Entry {
            target: "/x".into(),
            aside: "/".into(),
            staged: Some("s".into()),
            kept: None,
            old: None,
            new: Some(Fingerprint::of(b"x")),
        };
        let record = Record { phase: Phase::Commit, owed: true, entries: vec![entry] };
        assert_eq!(journal.read().unwrap(), None);
        journal.replace(&record).unwrap();
        assert_eq!(journal.read().unwrap(), Some(record));
        let whole = std::fs::read(dir.path().join("j")).unwrap();
        for at in 0..whole.len() {
            assert_eq!(sealed::decode::<Record>(&whole[..at], MAGIC), None);
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(sealed::decode::<Record>(&flipped, MAGIC), None, "byte {at}");
        }
    }

    #[test]
    fn a_journal_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { dir: Dir::open(dir.path()).unwrap(), name: "j".into() };
        journal.replace(&Record { phase: Phase::Commit, owed: false, entries: Vec::new() }).unwrap();
        let path = dir.path().join("j");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(journal.read().is_err());
    }
}
