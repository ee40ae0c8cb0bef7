//! The new contents beside their targets: complete, synced, with owner and mode, under names that nobody reads.

use super::PublishError;
use super::compare::{Change, Changes, Repair, Undo};
use super::directory;
use super::in_place::only_in_place;
use super::journal;
use super::place::{Dir, split, staged_name};
use crate::config::plan::CheckPlan;
use crate::error::Complaint;
use crate::exit::Exit;
use crate::source::Retry;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A group whose new contents are staged. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    pub(super) group: String,
    pub(super) files: Vec<StagedFile>,
    pub(super) repairs: Vec<Repair>,
    pub(super) stdout: Vec<Vec<u8>>,
    pub(super) targets: Vec<(String, PathBuf)>,
    pub(super) undo: Undo,
    pub(super) journal: journal::Place,
}

#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) change: Change,
    pub(super) dir: Arc<Dir>,
    pub(super) name: OsString,
    /// Where staged and kept file are when they cannot be beside the target.
    pub(super) elsewhere: Option<Arc<Dir>>,
    /// `None`: no directory at all could take it; the content is in memory only. Or it was committed.
    pub(super) staged: Option<OsString>,
}

impl Changes {
    /// Writes the new contents beside their targets, or, where a directory cannot be written, into the state directory
    /// or a temporary one: then the target will be written in place. Missing parent directories are made if the template
    /// says so.
    pub fn stage(self) -> Result<Staged, PublishError> {
        let Changes { group, files, repairs, stdout, targets, undo, journal } = self;
        let mut staged = Staged { group, files: Vec::new(), repairs, stdout, targets, undo, journal };
        for change in files {
            let asked = change.asked.clone();
            let makes_parents = change.parents.is_some() || change.content.is_none();
            let file = StagedFile::write(change, staged.journal.state_dir());
            staged.files.push(file.map_err(|e| match e.kind() {
                io::ErrorKind::NotFound if !makes_parents => no_directory(&asked),
                _ => PublishError::write(&asked, &e),
            })?);
        }
        Ok(staged)
    }
}

impl Staged {
    /// The check's argv: `{staged}` and `{staged:TEMPLATE}` become the staged file's path, or the target's where its
    /// content stays as it is. `{staged}` is the group's first template.
    pub fn check_command(&self, check: &CheckPlan) -> Result<Vec<String>, PublishError> {
        let mut command = check.command.clone();
        for (index, (template, target)) in self.targets.iter().enumerate() {
            let named = format!("{{staged:{template}}}");
            let uses = |item: &String| item.contains(&named) || index == 0 && item.contains("{staged}");
            if !command.iter().any(uses) {
                continue;
            }
            let path = match self.files.iter().find(|file| file.change.template == *template) {
                Some(file) => file.path().ok_or_else(|| file.nowhere())?,
                None => target.clone(),
            };
            let path = path.to_str().ok_or_else(|| {
                let message = format!("{} cannot be handed to a check: its name is not UTF-8", path.display());
                PublishError { exit: Exit::CANNOT_WRITE, complaint: Complaint::new(message), retry: Retry::OnChange }
            })?;
            for item in &mut command {
                *item = item.replace(&named, path);
                if index == 0 {
                    *item = item.replace("{staged}", path);
                }
            }
        }
        Ok(command)
    }
}

impl StagedFile {
    fn write(change: Change, state_dir: Option<&Path>) -> io::Result<StagedFile> {
        let (parent, name) = split(&change.target)?;
        let name = name.to_owned();
        let dir = Arc::new(match &change.parents {
            Some(access) => directory::open_or_make(parent, access, &change.asked)?,
            None => Dir::open(parent)?,
        });
        let mut file = StagedFile { change, dir, name, elsewhere: None, staged: None };
        if file.change.content.is_none() {
            return Ok(file);
        }
        match file.create(None) {
            Ok(()) => Ok(file),
            Err(e) if file.change.exists && only_in_place(&e) => {
                for place in elsewhere(state_dir) {
                    // One that is missing or full is passed by; without any, the content stays in memory.
                    if Dir::open(place).is_ok_and(|place| file.create(Some(place)).is_ok()) {
                        break;
                    }
                }
                Ok(file)
            }
            Err(e) => Err(e),
        }
    }

    fn create(&mut self, elsewhere: Option<Dir>) -> io::Result<()> {
        let place = elsewhere.as_ref().unwrap_or(&self.dir);
        let (staged, mut file) = place.create(|random| staged_name(random, &self.name))?;
        let written = match elsewhere {
            None => self.change.access.apply(&file, &self.change.asked),
            // It is read by the check only and never becomes the target: 0600 will do.
            Some(_) => Ok(()),
        }
        .and_then(|()| file.write_all(self.change.content.as_deref().unwrap_or_default()))
        .and_then(|()| file.sync_all());
        if let Err(e) = written {
            // The error is the news; what cannot be removed is swept at the next start.
            let _ = place.remove(&staged);
            return Err(e);
        }
        self.staged = Some(staged);
        self.elsewhere = elsewhere.map(Arc::new);
        Ok(())
    }

    /// Where staged and kept files are.
    pub(super) fn aside(&self) -> &Dir {
        self.elsewhere.as_deref().unwrap_or(&self.dir)
    }

    fn path(&self) -> Option<PathBuf> {
        self.staged.as_ref().map(|name| self.aside().path().join(name))
    }

    fn nowhere(&self) -> PublishError {
        let message = format!("failed to stage {}: no directory can be written", self.change.asked.display());
        let complaint = Complaint::new(message).hint("set `state_dir` to a writable directory");
        PublishError { exit: Exit::CANNOT_WRITE, complaint, retry: Retry::Later }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            // Nothing reads it; what cannot be removed is swept at the next start.
            let _ = self.aside().remove(&staged);
        }
    }
}

fn no_directory(asked: &Path) -> PublishError {
    let directory = asked.parent().unwrap_or(Path::new("/")).display();
    let message = format!("failed to write {}: the directory {directory} does not exist", asked.display());
    let hint = "make it, name it in `[dir]`, or let the template have `parents = true`";
    PublishError { exit: Exit::CANNOT_WRITE, complaint: Complaint::new(message).hint(hint), retry: Retry::Later }
}

/// Where files go that cannot be beside their target. Container runtimes mount /dev/shm even on a read-only root.
pub(super) fn elsewhere(state_dir: Option<&Path>) -> impl Iterator<Item = &Path> {
    state_dir.into_iter().chain(["/run", "/tmp", "/dev/shm"].map(Path::new))
}
