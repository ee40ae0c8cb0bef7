//! The journal of a group's publish: what a crash at any instant leaves behind to finish or undo it.
//!
//! A file: a line with the version, a checksum, the record. It is replaced by a rename, so there is a whole one or none.
//! It is believed only when it belongs to proem's own user and nobody else may write it, and then only about targets of
//! the group and names of ours: it cannot make root move other files.

use super::fingerprint::Fingerprint;
use super::place::{Dir, PREFIX, Resolver, staged_name};
use super::{PublishError, warn_once};
use crate::config::plan::{GroupPlan, TargetPlan};
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"proem journal 1\n";
/// Room for 10,000 targets with the longest paths would be more; a group has a few.
const MAX_LENGTH: u64 = 16 << 20;

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
    pub(super) new: Fingerprint,
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
            let open = if self.state_dir.is_some() { Dir::open_or_make(path) } else { Dir::open(path) };
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
        let mut found = Vec::new();
        for path in &self.dirs {
            // Mostly there is none, which one system call tells.
            let nothing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
            if std::fs::symlink_metadata(path.join(&self.name)).is_err_and(nothing) {
                continue;
            }
            let Ok(dir) = Dir::open(path) else { continue };
            let journal = Journal { dir, name: self.name.clone() };
            match journal.read() {
                Ok(Some(record)) => found.push((journal, record)),
                Ok(None) => {}
                Err(e) => warn_once(&path.join(&self.name), &format!("this journal is ignored: {}", super::reason(&e))),
            }
        }
        found
    }

    /// Whether an earlier publish of the group still owes its reload.
    pub(super) fn owes(&self) -> bool {
        self.find().iter().any(|(_, record)| record.owed || record.phase == Phase::Checked)
    }
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
        let body = postcard::to_stdvec(record).map_err(io::Error::other)?;
        let sum = postcard::to_stdvec(&Fingerprint::of(&body)).map_err(io::Error::other)?;
        let sum_length = [u8::try_from(sum.len()).map_err(io::Error::other)?];
        let (staged, mut file) = self.dir.create(|random| staged_name(random, &self.name))?;
        let written = file
            .write_all(&[MAGIC, &sum_length, &sum, &body].concat())
            .and_then(|()| file.sync_all())
            .and_then(|()| self.dir.rename(&self.dir, &staged, &self.name))
            .and_then(|()| self.dir.sync());
        if written.is_err() {
            // The error is the news; what cannot be removed is swept at the next start.
            let _ = self.dir.remove(&staged);
        }
        written
    }

    /// Removes it. Not synced: one that comes back after a power failure finds its targets as it says, and changes nothing.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.dir.remove(&self.name)
    }

    fn read(&self) -> io::Result<Option<Record>> {
        let file = match self.dir.file(&self.name, OFlag::O_RDONLY) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let stat = file.metadata()?;
        if stat.uid() != Uid::effective().as_raw() || stat.mode() & 0o022 != 0 {
            return Err(io::Error::other("another user may have written it"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_LENGTH).read_to_end(&mut bytes)?;
        decode(&bytes).map(Some).ok_or_else(|| io::Error::other("it is damaged, or of another version of proem"))
    }
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (length, rest) = bytes.strip_prefix(MAGIC)?.split_first()?;
    let (sum, body) = rest.split_at_checked(usize::from(*length))?;
    let sum: Fingerprint = postcard::from_bytes(sum).ok()?;
    if sum == Fingerprint::of(body) { postcard::from_bytes(body).ok() } else { None }
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
            new: Fingerprint::of(b"x"),
        };
        let record = Record { phase: Phase::Commit, owed: true, entries: vec![entry] };
        assert_eq!(journal.read().unwrap(), None);
        journal.replace(&record).unwrap();
        assert_eq!(journal.read().unwrap(), Some(record));
        let whole = std::fs::read(dir.path().join("j")).unwrap();
        for at in 0..whole.len() {
            assert_eq!(decode(&whole[..at]), None);
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), None, "byte {at}");
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
