//! Publish: compare, stage, check, commit, roll back. What is promised and where it is weaker: `docs/design/publish.md`.
//!
//! The worker drives a group through steps, each a type that consumes the former:
//! [`Changes::compare`] → [`Changes::stage`] → [`Staged::commit`] → [`Committed::checked`] → ([`Committed::verifying`] →)
//! [`Committed::finish`], or [`Committed::roll_back`] where a check or a verify refused. They block on file I/O only: commands run elsewhere ([`command`]),
//! and nothing here knows of sources, processes or time.

mod access;
pub mod command;
mod commit;
mod compare;
pub mod diff;
mod directory;
mod fingerprint;
mod format_check;
mod in_place;
mod journal;
mod keep;
mod manifest;
mod place;
pub mod preview;
mod recover;
mod sealed;
mod stage;
#[cfg(test)]
mod tests;
mod verify;

pub use commit::{AfterError, CommitError, Committed};
pub use compare::Changes;
pub use directory::make as make_directory;
pub use fingerprint::Fingerprint;
pub use format_check::{Syntax, malformed};
pub use journal::{forget_owed, remember_owed};
pub use manifest::{Made, note_made};
pub use recover::{Outcome, Recovered, recover, recover_unverified};
pub use stage::Staged;

use crate::config::plan::{OwnerPlan, TemplatePlan};
use crate::error::{Complaint, Failure, reason};
use crate::exit::Exit;
use crate::source::Retry;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A template's new content, in memory.
#[derive(Debug, Clone)]
pub struct Rendered<'a> {
    /// The template that it is of.
    pub template: &'a TemplatePlan,
    /// The whole content.
    pub content: Vec<u8>,
    /// Whether a secret source was used: a new target is 0600 unless a mode is stated.
    pub secret: bool,
}

/// Where things are kept, and how an owner's names become numbers.
pub struct Places<'a> {
    /// Where journals are kept; `None`: beside the group's first target.
    pub state_dir: Option<&'a Path>,
    /// Looks up an owner's user and group; `None` for the part that was not stated.
    pub owner: &'a OwnerLookup<'a>,
    /// What of the targets may stay.
    pub present: Present,
}

/// What is made of a target whose content is the new one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// It stays: it was put there, checked, by an earlier publish.
    Stays,
    /// It is replaced and checked like any other: nobody knows how it came there.
    Replaced,
}

/// Looks up an owner as written: user id and group id, `None` for the part that is to stay as it is.
pub type OwnerLookup<'a> = dyn Fn(&OwnerPlan) -> Result<(Option<u32>, Option<u32>), Complaint> + 'a;

/// Why a group was not published. Nothing visible has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishError {
    /// What to end with at start: 73, or 65 where the content itself is refused.
    pub exit: Exit,
    /// What is said.
    pub complaint: Complaint,
    /// Whether the same content may be published later (a full disk), or only a changed input helps.
    pub retry: Retry,
}

impl PublishError {
    /// The house's words for a target that cannot be written.
    fn write(target: &Path, error: &io::Error) -> PublishError {
        PublishError::failed("write", target, error)
    }

    fn failed(what: &str, target: &Path, error: &io::Error) -> PublishError {
        let message = format!("failed to {what} {}: {}", target.display(), reason(error));
        let complaint = Complaint { hint: hint(error).map(str::to_owned), ..Complaint::new(message) };
        PublishError { exit: Exit::CANNOT_WRITE, complaint, retry: Retry::Later }
    }

    fn refused(complaint: Complaint) -> PublishError {
        PublishError { exit: Exit::DATA, complaint, retry: Retry::OnChange }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Failure {
        error.complaint.exit(error.exit)
    }
}

fn hint(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EACCES => Some("let the user that proem runs as write the directory, or run proem as root"),
        libc::EPERM => Some("run proem as root, or leave out `owner`"),
        libc::EROFS => Some("mount a writable volume there"),
        libc::ENOSPC | libc::EDQUOT => Some("free space on that file system"),
        libc::EISDIR => Some("`to` names a file; for a directory of templates both `from` and `to` end with `/`"),
        libc::EBUSY => Some("it is a mount point: unmount it"),
        libc::ENOTDIR => Some("remove what is in the way of the directory, or name another one"),
        libc::ELOOP => Some("a symbolic link there leads back to itself"),
        _ => None,
    }
}

/// The fingerprint of a target as it is, in hex; nothing where it cannot be read.
pub fn fingerprint_of(target: &Path) -> Option<String> {
    let file = compare::open(target).ok()?;
    Some(Fingerprint::of_reader(file).ok()?.hex())
}

/// Warns once in this process's life about `subject`.
fn warn_once(subject: &Path, message: &str) {
    static WARNED: Mutex<BTreeSet<(std::path::PathBuf, String)>> = Mutex::new(BTreeSet::new());
    // Bounded: one entry per target and kind of weakness.
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.insert((subject.to_owned(), message.to_owned())) {
        crate::warn!("{}: {message}", subject.display());
    }
}
