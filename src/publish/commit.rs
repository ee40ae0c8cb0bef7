//! The new contents in place of the old, all or none; and back.

use super::compare::{Change, Undo};
use super::in_place::{self, How, only_in_place};
use super::journal::{self, Entry, Journal, Phase, Record};
use super::keep::{Kept, detach, keep};
use super::place::Dir;
use super::stage::{Staged, StagedFile};
use super::{Fingerprint, PublishError, warn_once};
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a group was not committed.
#[derive(Debug)]
pub struct CommitError {
    /// What went wrong.
    pub error: PublishError,
    /// What the targets are now.
    pub state: AfterError,
}

/// What a failed commit left.
#[derive(Debug)]
pub enum AfterError {
    /// The old files, all of them.
    Undone,
    /// Old beside new: nothing may be reloaded or started before [`Committed::roll_back`] succeeds, or the group is published
    /// anew or recovered.
    Mixed(Box<Committed>),
}

/// A group whose new contents are in place, and can still be taken back where it has an after-rename check, a verify or
/// several files.
///
/// Dropped after [`Committed::checked`], its kept files go and its journal stays, which says that the reload is owed: a
/// newer publish of the group overtakes it so. Dropped before, everything stays for [`super::recover()`].
#[derive(Debug)]
pub struct Committed {
    pub(super) files: Vec<Held>,
    pub(super) targets: Vec<PathBuf>,
    pub(super) journal: Option<Journal>,
    pub(super) record: Record,
    pub(super) reached: Reached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Committed,
    Checked,
    /// A verify refused it: it is being taken back.
    Refused,
}

/// A target and its old content.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) asked: PathBuf,
    pub(super) dir: Arc<Dir>,
    pub(super) name: OsString,
    pub(super) elsewhere: Option<Arc<Dir>>,
    pub(super) kept: Kept,
}

impl Staged {
    /// Puts the staged files in place: the old ones are kept aside and the journal is written where the group needs
    /// that, all are renamed, the directories synced. What cannot be renamed over is written in place, with a warning
    /// once. When one fails, those before it are taken back. Standard output is written last.
    pub fn commit(mut self) -> Result<Committed, CommitError> {
        self.repair().map_err(CommitError::undone)?;
        let mut committed = self.keep_aside().map_err(CommitError::undone)?;
        let mut failure = None;
        let mut put = 0;
        for (file, held) in self.files.iter_mut().zip(&committed.files) {
            match file.put(&held.kept) {
                Ok(()) => put += 1,
                Err(e) => {
                    let what = if file.change.content.is_some() { "write" } else { "remove" };
                    failure = Some(PublishError::failed(what, &held.asked, &e));
                    break;
                }
            }
        }
        let failure = failure.or_else(|| committed.sync().err()).or_else(|| print(&self.stdout).err());
        match failure {
            None => Ok(committed),
            Some(error) => {
                // What comes after the one that failed was not touched, and is not to be by another try.
                for held in committed.files.iter_mut().skip(put + 1) {
                    held.drop_kept();
                }
                Err(match committed.take_back(put) {
                    Ok(()) => CommitError::undone(error),
                    Err(_) => CommitError { error, state: AfterError::Mixed(Box::new(committed)) },
                })
            }
        }
    }

    fn repair(&self) -> Result<(), PublishError> {
        for repair in &self.repairs {
            super::place::split(&repair.target)
                .and_then(|(parent, name)| Dir::open(parent)?.file(name, OFlag::O_RDONLY))
                .and_then(|file| repair.access.apply(&file, &repair.asked))
                .map_err(|e| PublishError::write(&repair.asked, &e))?;
        }
        Ok(())
    }

    /// Whether a directory of the journal can be written: it took a staged file just now.
    fn took_staged_files(&self) -> bool {
        let beside = |file: &&StagedFile| file.elsewhere.is_none() && file.staged.is_some();
        self.files.iter().filter(beside).any(|file| self.journal.dirs().iter().any(|dir| dir == file.dir.path()))
    }

    fn keep_aside(&mut self) -> Result<Committed, PublishError> {
        let mut committed = Committed {
            files: Vec::new(),
            targets: self.files.iter().map(|file| file.change.asked.clone()).collect(),
            journal: None,
            record: Record { phase: Phase::Commit, owed: false, entries: Vec::new() },
            reached: Reached::Committed,
        };
        let needs = self.undo;
        for file in &mut self.files {
            let kept = match needs {
                Undo::Nothing => Ok(Kept::Not),
                // What is unlinked can only come back from a file.
                Undo::Journal { .. } => match keep(file) {
                    Ok(Kept::Memory(_)) if file.change.content.is_none() => Err(nix::errno::Errno::EROFS.into()),
                    other => other,
                },
            };
            match kept.map(|kept| Held { kept, ..Held::of(file) }) {
                Ok(held) => {
                    if needs != Undo::Nothing {
                        committed.record.entries.push(entry(file, &held.kept));
                    }
                    committed.files.push(held);
                }
                Err(e) => {
                    let error = PublishError::write(&file.change.asked, &e);
                    committed.drop_kept();
                    return Err(error);
                }
            }
        }
        let Undo::Journal { check_to_come } = needs else { return Ok(committed) };
        committed.sync().inspect_err(|_| committed.drop_kept())?;
        committed.record.phase = if check_to_come { Phase::CommitThenCheck } else { Phase::Commit };
        committed.record.owed = self.journal.owes();
        match self.journal.write(&committed.record) {
            Ok(journal) => committed.journal = Some(journal),
            // That passes: nothing is to be weaker for a disk that is full, or a directory that is out of reach, for a
            // moment.
            Err(e) if journal::may_pass(&e) || self.took_staged_files() => {
                committed.drop_kept();
                let first = self.journal.dirs().first().map_or(Path::new("/"), PathBuf::as_path);
                return Err(PublishError::write(&first.join(self.journal.name()), &e));
            }
            Err(e) => {
                let first = self.journal.dirs().first().map_or(Path::new("/"), PathBuf::as_path);
                let cause = super::reason(&e);
                let weaker = format!(
                    "no journal can be written here ({cause}): after a crash in the middle of a publish, group `{}` can stay mixed until it is published anew; `state_dir` names a writable directory",
                    self.group
                );
                warn_once(first, &weaker);
            }
        }
        Ok(committed)
    }
}

impl StagedFile {
    fn put(&mut self, kept: &Kept) -> io::Result<()> {
        if self.change.content.is_none() {
            return self.dir.remove(&self.name);
        }
        let beside = self.elsewhere.is_none().then(|| self.staged.clone()).flatten();
        let renamed = match beside {
            Some(staged) => self.dir.rename(&self.dir, &staged, &self.name),
            // It could not even be created beside the target.
            None => Err(nix::errno::Errno::EROFS.into()),
        };
        match renamed {
            Ok(()) => {
                self.staged = None;
                return Ok(());
            }
            Err(e) if only_in_place(&e) && self.dir.stat(&self.name)?.is_some() => {}
            Err(e) => return Err(e),
        }
        let Change { asked, access, content, .. } = &self.change;
        warn_once(
            asked,
            "it is a mount point or its directory cannot be written, so it is written in place: a reader can see half of it, and so can the next start after a crash",
        );
        if let Kept::Aside(kept) = kept {
            detach(self.aside(), kept, &self.dir, &self.name)?;
        }
        let file = self.dir.file(&self.name, OFlag::O_RDWR)?;
        access.apply(&file, asked)?;
        in_place::write(&file, content.as_deref().unwrap_or_default())
        // The staged file stays until the whole group is in place: recovery finishes from it.
    }
}

fn entry(file: &StagedFile, kept: &Kept) -> Entry {
    Entry {
        target: file.change.target.clone().into_os_string(),
        aside: file.aside().path().as_os_str().to_owned(),
        staged: file.staged.clone(),
        kept: if let Kept::Aside(kept) = kept { Some(kept.clone()) } else { None },
        old: file.change.old,
        new: file.change.content.as_deref().map(Fingerprint::of),
    }
}

fn print(stdout: &[Vec<u8>]) -> Result<(), PublishError> {
    let mut out = io::stdout().lock();
    let written = stdout.iter().try_for_each(|content| out.write_all(content)).and_then(|()| out.flush());
    written.map_err(|e| PublishError::write(Path::new("standard output"), &e))
}

impl CommitError {
    fn undone(error: PublishError) -> CommitError {
        CommitError { error, state: AfterError::Undone }
    }
}

impl Committed {
    /// The targets whose content changed, as configured: what `PROEM_CHANGED` lists.
    pub fn targets(&self) -> &[PathBuf] {
        &self.targets
    }

    /// The check after the rename accepted (or there is none): a crash from now on finishes the group and owes its
    /// reload. To be called before anything is reloaded or started.
    pub fn checked(&mut self) -> Result<(), PublishError> {
        self.record.phase = Phase::Checked;
        if let Some(journal) = &self.journal {
            let beside = self.targets.first().map_or(Path::new("/"), PathBuf::as_path);
            journal.replace(&self.record).map_err(|e| PublishError::write(beside, &e))?;
        }
        self.reached = Reached::Checked;
        Ok(())
    }

    /// The old files come back; a target that did not exist is removed. Nothing was kept of a lone file without a check
    /// after its rename: then nothing changes. On an error old and new are mixed, and [`super::recover()`] tries again.
    /// What was told is then owed for the old files. After an error it can be called again, and goes on with what is left to do.
    pub fn roll_back(&mut self) -> Result<(), PublishError> {
        if self.reached != Reached::Checked {
            return self.take_back(self.files.len());
        }
        self.reached = Reached::Refused;
        if let Some(journal) = self.journal.take() {
            // From here on a crash must undo; and whoever was told of the new files must be told of the old.
            self.record.phase = Phase::CommitThenCheck;
            self.record.owed = true;
            match journal.replace(&self.record) {
                Ok(()) => self.journal = Some(journal),
                // A full disk must not keep content that was refused in place, and a rename needs no room. Without a
                // journal only a crash between these renames leaves the group mixed.
                Err(e) => {
                    crate::warn!("failed to write a journal of {}: {}", self.list(), super::reason(&e));
                    let _ = journal.remove();
                }
            }
        }
        self.take_back(self.files.len())
    }

    /// The reload is done, or there is none: journal and kept files go.
    pub fn finish(mut self) {
        // The journal first: without it a kept file is a leftover, with it one more reload is owed after a crash.
        if let Some(journal) = self.journal.take()
            && let Err(e) = journal.remove()
        {
            crate::warn!("failed to remove a journal of {}: {}", self.list(), super::reason(&e));
        }
        self.drop_kept();
    }

    /// Takes the first `put` files back, and the next one if it may be half written in place.
    fn take_back(&mut self, put: usize) -> Result<(), PublishError> {
        let mut failure = None;
        for (index, held) in self.files.iter_mut().enumerate().take(put + 1).rev() {
            match held.restore(index < put) {
                Ok(()) => held.kept = Kept::Not,
                Err(e) => {
                    failure.get_or_insert(PublishError::write(&held.asked, &e));
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        self.sync()?;
        if let Some(journal) = self.journal.take() {
            let owed = Record { phase: Phase::Checked, owed: true, entries: Vec::new() };
            let settled = if self.record.owed { journal.replace(&owed) } else { journal.remove() };
            if let Err(e) = settled {
                crate::warn!("failed to remove a journal of {}: {}", self.list(), super::reason(&e));
            }
        }
        self.drop_kept();
        Ok(())
    }

    fn sync(&self) -> Result<(), PublishError> {
        let mut synced: Vec<&Path> = Vec::new();
        for held in &self.files {
            let both = [Some(&held.dir), held.elsewhere.as_ref()];
            for dir in both.into_iter().flatten() {
                if !synced.contains(&dir.path()) {
                    dir.sync().map_err(|e| PublishError::write(&held.asked, &e))?;
                    synced.push(dir.path());
                }
            }
        }
        Ok(())
    }

    fn drop_kept(&mut self) {
        for held in &mut self.files {
            held.drop_kept();
        }
    }

    fn list(&self) -> String {
        self.targets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        if self.reached == Reached::Checked {
            self.drop_kept();
        }
    }
}

impl Held {
    fn of(file: &StagedFile) -> Held {
        Held {
            asked: file.change.asked.clone(),
            dir: Arc::clone(&file.dir),
            name: file.name.clone(),
            elsewhere: file.elsewhere.clone(),
            kept: Kept::Not,
        }
    }

    /// Where the kept file is.
    pub(super) fn aside(&self) -> &Dir {
        self.elsewhere.as_deref().unwrap_or(&self.dir)
    }

    pub(super) fn drop_kept(&mut self) {
        if let Kept::Aside(kept) = std::mem::replace(&mut self.kept, Kept::Not) {
            // Nobody reads it; what cannot be removed is swept at the next start.
            let _ = self.aside().remove(&kept);
        }
    }

    fn restore(&self, put: bool) -> io::Result<()> {
        match &self.kept {
            Kept::Absent if put => self.dir.remove(&self.name),
            Kept::Absent | Kept::Not => Ok(()),
            Kept::Aside(kept) => in_place::put(self.aside(), kept, &self.dir, &self.name).map(|_: How| ()),
            Kept::Memory(old) => in_place::write(&self.dir.file(&self.name, OFlag::O_RDWR)?, old),
        }
    }
}
