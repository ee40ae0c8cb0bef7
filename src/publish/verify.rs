//! A publish that is in place and told, and may still be taken back: what a verify needs of its files.

use super::commit::{Committed, Held, Reached};
use super::journal::{Entry, Journal, Phase, Place, Record};
use super::keep::Kept;
use super::place::{Dir, split};
use super::{Fingerprint, PublishError};
use crate::config::plan::GroupPlan;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Committed {
    /// The reload is done and the verify begins: a crash from now on verifies again, and reloads nothing.
    pub fn verifying(&mut self) -> Result<(), PublishError> {
        self.record.phase = Phase::Verifying;
        self.record.owed = false;
        match &self.journal {
            Some(journal) => journal.replace(&self.record).map_err(|e| PublishError::write(self.beside(), &e)),
            None => Ok(()),
        }
    }

    /// Whether it was told already, and is being taken back all the same.
    pub fn is_refused(&self) -> bool {
        self.reached == Reached::Refused
    }

    /// Whether all that was kept is still there: somebody may have cleaned up.
    pub fn is_restorable(&self) -> bool {
        self.files.iter().all(|held| match &held.kept {
            Kept::Aside(kept) => matches!(held.aside().stat(kept), Ok(Some(_))),
            Kept::Not | Kept::Absent | Kept::Memory(_) => true,
        })
    }

    /// Whether the disk knows of this publish.
    pub fn is_journaled(&self) -> bool {
        self.journal.is_some()
    }

    /// What a roll-back changes, as configured.
    pub fn restores(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|held| held.asked.as_path())
    }

    /// Each resolved target that a roll-back would change, and what it holds now: as [`super::Changes::contents`] says
    /// it when the same is rendered after the roll-back.
    pub fn contents(&self) -> BTreeMap<PathBuf, Fingerprint> {
        let changed = self.record.entries.iter().filter(|entry| entry.old != Some(entry.new));
        changed.map(|entry| (PathBuf::from(&entry.target), entry.new)).collect()
    }

    /// This publish overtakes one that was never verified: what comes back, if need be, is what was there before both.
    /// To be called before [`Committed::checked`], which makes the journal say so.
    pub fn inherit(&mut self, mut older: Committed) {
        if self.record.entries.is_empty() {
            // Only standard output changed: no journal was needed for that.
            self.journal = older.journal.take();
        }
        let files = std::mem::take(&mut older.files);
        for (held, entry) in files.into_iter().zip(std::mem::take(&mut older.record.entries)) {
            let same = |own: &Held| own.dir.path() == held.dir.path() && own.name == held.name;
            let own = self.files.iter().position(same);
            if let Some(at) = own
                && let Some(entry_of_own) = self.record.entries.get_mut(at)
            {
                *entry_of_own = Entry { new: entry_of_own.new, staged: entry_of_own.staged.take(), ..entry };
                self.files[at].drop_kept();
                self.files[at] = held;
            } else if own.is_none() {
                self.files.push(held);
                self.record.entries.push(entry);
            }
        }
    }

    /// Takes up what [`super::recover_unverified`] found: a publish that a crash interrupted before it was verified.
    pub fn resume(group: &GroupPlan, state_dir: Option<&Path>) -> Option<Committed> {
        let unverified =
            |record: &Record| matches!(record.phase, Phase::Checked | Phase::Verifying) && !record.entries.is_empty();
        let (journal, record) =
            Place::of(group, state_dir).find().into_iter().find(|(_, record)| unverified(record))?;
        Committed::of(journal, record).ok()
    }

    fn of(journal: Journal, record: Record) -> io::Result<Committed> {
        let files = record.entries.iter().map(held).collect::<io::Result<Vec<Held>>>()?;
        let targets = files.iter().map(|held| held.asked.clone()).collect();
        Ok(Committed { files, targets, journal: Some(journal), record, reached: Reached::Checked })
    }

    fn beside(&self) -> &Path {
        self.targets.first().map_or(Path::new("/"), PathBuf::as_path)
    }
}

fn held(entry: &Entry) -> io::Result<Held> {
    let target = Path::new(&entry.target);
    let (parent, name) = split(target)?;
    let aside = Path::new(&entry.aside);
    let elsewhere = if aside == parent { None } else { Some(Arc::new(Dir::open(aside)?)) };
    let kept = match (&entry.kept, entry.old) {
        (Some(kept), _) => Kept::Aside(kept.clone()),
        (None, None) => Kept::Absent,
        (None, Some(_)) => Kept::Not,
    };
    let dir = Arc::new(Dir::open(parent)?);
    Ok(Held { asked: target.to_owned(), dir, name: name.to_owned(), elsewhere, kept })
}
