//! What differs between the rendered contents of a group and its targets.

use super::fingerprint::Fingerprint;
use super::place::{Resolver, is_regular};
use super::{Places, Present, PublishError, Rendered, format_check, journal, warn_once};
use crate::config::plan::{GroupPlan, TargetPlan};
use crate::error::Complaint;
use crate::exit::Exit;
use crate::source::Retry;
use nix::unistd::{Gid, Uid};
use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A group's targets that are not what was rendered. Nothing has been written.
#[derive(Debug)]
pub struct Changes {
    pub(super) group: String,
    /// Those with another content, in the group's order.
    pub(super) files: Vec<Change>,
    /// Those where only mode or owner differ.
    pub(super) repairs: Vec<Repair>,
    /// What goes to standard output.
    pub(super) stdout: Vec<Vec<u8>>,
    /// Every template of the group and where its content is now or will be.
    pub(super) targets: Vec<(String, PathBuf)>,
    pub(super) undo: Undo,
    pub(super) journal: journal::Place,
}

/// What must be kept to take a publish back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    /// One rename is its own transaction.
    Nothing,
    /// Old files and a journal: several files change, a check comes after the rename, or a verify after the reload.
    Journal {
        /// A check after the rename may refuse: what is not known to be checked is undone, not finished.
        check_to_come: bool,
    },
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) template: String,
    /// As configured, for messages.
    pub(super) asked: PathBuf,
    /// Links followed.
    pub(super) target: PathBuf,
    pub(super) content: Vec<u8>,
    pub(super) access: Access,
    pub(super) exists: bool,
    /// Of the old content, where it must be told from the new one after a crash.
    pub(super) old: Option<Fingerprint>,
}

#[derive(Debug)]
pub(super) struct Repair {
    pub(super) asked: PathBuf,
    pub(super) target: PathBuf,
    pub(super) access: Access,
}

/// The mode and owner that a target is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) of_mode: Insist,
    pub(super) of_owner: Insist,
}

/// What happens where mode or owner cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insist {
    /// It was stated: the publish fails.
    Stated,
    /// It is a default: a warning.
    Default,
}

impl Changes {
    /// Compares the rendered contents of `group` with its targets: content, mode, owner. `None`: nothing differs.
    ///
    /// `default_owner` is the user of the process that is reloaded; it applies where no owner is stated and proem may
    /// give files away. Standard output always differs: what was written there cannot be read back. A content that
    /// does not parse as its template's `format` is refused here, before anything is written.
    pub fn compare(
        group: &GroupPlan,
        rendered: Vec<Rendered<'_>>,
        default_owner: Option<(u32, u32)>,
        places: &Places<'_>,
    ) -> Result<Option<Changes>, PublishError> {
        let mut resolver = Resolver::default();
        let mut found = Found::default();
        for one in rendered {
            found.add(one, default_owner, places, &mut resolver)?;
        }
        let Found { mut files, repairs, stdout, targets } = found;
        if files.is_empty() && repairs.is_empty() && stdout.is_empty() {
            return Ok(None);
        }
        let journal = journal::Place::with(group, places.state_dir, &mut resolver);
        let check_to_come = group.check.as_ref().is_some_and(|check| !check.on_staged()) && !files.is_empty();
        // A journal that is there (an owed reload, a mixed group) must not outlive the content that it tells of.
        let replaces = !files.is_empty() && !journal.find().is_empty();
        let verify_to_come = group.verify.is_some() && !files.is_empty();
        let undo = if check_to_come || verify_to_come || files.len() > 1 || replaces {
            for file in files.iter_mut().filter(|file| file.exists) {
                let old = open(&file.target).and_then(Fingerprint::of_reader);
                file.old = Some(old.map_err(|e| PublishError::write(&file.asked, &e))?);
            }
            Undo::Journal { check_to_come }
        } else {
            Undo::Nothing
        };
        Ok(Some(Changes { group: group.name.clone(), files, repairs, stdout, targets, undo, journal }))
    }

    /// Whether a content differs: then there is something to check and to reload. Otherwise only modes or owners are
    /// repaired: [`Changes::stage`], [`super::Staged::commit`] and [`super::Committed::finish`] do it, with no command
    /// between.
    pub fn content_changed(&self) -> bool {
        !self.files.is_empty() || !self.stdout.is_empty()
    }

    /// The targets whose content differs, as configured.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.asked.as_path())
    }

    /// Each resolved target whose content differs, and what it would be: to tell what a verify refused.
    pub fn contents(&self) -> BTreeMap<PathBuf, Fingerprint> {
        self.files.iter().map(|file| (file.target.clone(), Fingerprint::of(&file.content))).collect()
    }

    /// Of what would be published: to remember what was refused until an input changes.
    pub fn fingerprint(&self) -> Fingerprint {
        let files = self.files.iter().map(|file| (file.template.as_str(), file.content.as_slice()));
        Fingerprint::of_group(files.chain(self.stdout.iter().map(|content| ("-", content.as_slice()))))
    }
}

/// What the comparison found, template by template.
#[derive(Default)]
struct Found {
    files: Vec<Change>,
    repairs: Vec<Repair>,
    stdout: Vec<Vec<u8>>,
    targets: Vec<(String, PathBuf)>,
}

impl Found {
    fn add(
        &mut self,
        rendered: Rendered<'_>,
        default_owner: Option<(u32, u32)>,
        places: &Places<'_>,
        resolver: &mut Resolver,
    ) -> Result<(), PublishError> {
        let Rendered { template, content, secret } = rendered;
        let asked = match &template.to {
            TargetPlan::File(path) => path.clone(),
            TargetPlan::Stdout => {
                format_check::check(template, "standard output", &content)?;
                self.targets.push((template.name.clone(), PathBuf::from("-")));
                self.stdout.push(content);
                return Ok(());
            }
        };
        let failed = |e: &io::Error| PublishError::write(&asked, e);
        let (target, old) = resolver.resolve_and_stat(&asked).map_err(|e| failed(&e))?;
        match &old {
            Some(old) if old.is_dir() => return Err(failed(&nix::errno::Errno::EISDIR.into())),
            Some(old) if !old.is_file() => {
                let message = format!("failed to write {}: it is not a regular file", asked.display());
                let complaint = Complaint::new(message).hint("`-` as a template's target is standard output");
                return Err(PublishError { exit: Exit::CANNOT_WRITE, complaint, retry: Retry::Later });
            }
            _ => {}
        }
        let stated = match &template.owner {
            Some(owner) => Some((places.owner)(owner).map_err(|complaint| PublishError {
                exit: Exit::CANNOT_WRITE,
                complaint,
                retry: Retry::Later,
            })?),
            None => None,
        };
        let access = Access::wanted(template.mode, stated, default_owner, secret, old.as_ref());
        self.targets.push((template.name.clone(), target.clone()));
        let stays = |old: &&Metadata| places.present == Present::Stays && same_content(&target, old, &content);
        if let Some(old) = old.as_ref().filter(stays) {
            if access.differs(old) {
                self.repairs.push(Repair { asked, target, access });
            }
            return Ok(());
        }
        format_check::check(template, &asked.display().to_string(), &content)?;
        let template = template.name.clone();
        self.files.push(Change { template, asked, target, content, access, exists: old.is_some(), old: None });
        Ok(())
    }
}

impl Access {
    fn wanted(
        mode: Option<u32>,
        stated: Option<(Option<u32>, Option<u32>)>,
        default_owner: Option<(u32, u32)>,
        secret: bool,
        old: Option<&Metadata>,
    ) -> Access {
        let kept = |old: &Metadata| old.permissions().mode() & 0o7777;
        let new = if secret { 0o600 } else { 0o644 };
        let existing = (old.map(Metadata::uid), old.map(Metadata::gid));
        let (uid, gid) = match (stated, default_owner) {
            (Some((uid, gid)), _) => (uid.or(existing.0), gid.or(existing.1)),
            // Only root gives files away; an ordinary user's target stays as it is instead of being repaired for ever.
            (None, Some((uid, gid))) if Uid::effective().is_root() || old.is_none() => (Some(uid), Some(gid)),
            (None, _) => existing,
        };
        let insist = |stated: bool| if stated { Insist::Stated } else { Insist::Default };
        let (of_mode, of_owner) = (insist(mode.is_some()), insist(stated.is_some()));
        Access { mode: mode.or(old.map(kept)).unwrap_or(new), uid, gid, of_mode, of_owner }
    }

    fn differs(&self, is: &Metadata) -> bool {
        is.permissions().mode() & 0o7777 != self.mode || self.owner_differs(is)
    }

    fn owner_differs(&self, is: &Metadata) -> bool {
        self.uid.is_some_and(|uid| uid != is.uid()) || self.gid.is_some_and(|gid| gid != is.gid())
    }

    /// Gives `file` this owner and mode, where they differ.
    pub(super) fn apply(&self, file: &File, asked: &Path) -> io::Result<()> {
        let mut is = file.metadata()?;
        if self.owner_differs(&is) {
            let chowned = nix::unistd::fchown(file, self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw));
            self.of_owner.tolerate(chowned, asked, "its owner cannot be set, because proem does not run as root")?;
            // It clears the set-id bits.
            is = file.metadata()?;
        }
        // After chown, and before content.
        if is.permissions().mode() & 0o7777 != self.mode {
            let mode = nix::sys::stat::Mode::from_bits_truncate(self.mode);
            let changed = nix::sys::stat::fchmod(file, mode);
            self.of_mode.tolerate(changed, asked, "its mode cannot be set, because it belongs to another user")?;
        }
        Ok(())
    }
}

impl Insist {
    fn tolerate(self, result: nix::Result<()>, asked: &Path, weaker: &str) -> io::Result<()> {
        match result {
            // EINVAL: an id that this user namespace does not map.
            Err(nix::errno::Errno::EPERM | nix::errno::Errno::EINVAL) if self == Insist::Default => {
                warn_once(asked, weaker);
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// The size first; then the bytes, without holding both. What cannot be read counts as different.
fn same_content(target: &Path, old: &Metadata, content: &[u8]) -> bool {
    old.len() == content.len() as u64 && open(target).and_then(|file| equals(file, content)).unwrap_or(false)
}

fn equals(mut file: File, mut content: &[u8]) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(content.is_empty()),
            Ok(n) => match content.split_at_checked(n) {
                Some((head, tail)) if head == &buffer[..n] => content = tail,
                _ => return Ok(false),
            },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Opens a resolved target for reading; never blocks, never follows what was put there meanwhile.
pub(super) fn open(target: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(target)?;
    if is_regular(&nix::sys::stat::fstat(&file)?) { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}
