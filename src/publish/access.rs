//! Mode and owner: what a target or a directory is to have, and what happens where that cannot be set.

use super::warn_once;
use nix::sys::stat::{FileStat, Mode};
use nix::unistd::{Gid, Uid};
use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode and owner that something is to have.
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

/// The mode and owner that something has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Is {
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl From<&Metadata> for Is {
    fn from(of: &Metadata) -> Is {
        Is { mode: of.mode() & 0o7777, uid: of.uid(), gid: of.gid() }
    }
}

impl From<&FileStat> for Is {
    fn from(of: &FileStat) -> Is {
        Is { mode: of.st_mode & 0o7777, uid: of.st_uid, gid: of.st_gid }
    }
}

/// User and group ids as stated; `None` for a part that was not.
pub type Ids = (Option<u32>, Option<u32>);

impl Access {
    /// Stated, else the default owner and the mode that `old` has, else `new`.
    pub(super) fn wanted(
        mode: Option<u32>,
        stated: Option<Ids>,
        default_owner: Option<(u32, u32)>,
        new: u32,
        old: Option<Is>,
    ) -> Access {
        let existing = (old.map(|old| old.uid), old.map(|old| old.gid));
        let (uid, gid) = match (stated, default_owner) {
            (Some((uid, gid)), _) => (uid.or(existing.0), gid.or(existing.1)),
            // Only root gives files away; an ordinary user's target stays as it is instead of being repaired for ever.
            (None, Some((uid, gid))) if Uid::effective().is_root() || old.is_none() => (Some(uid), Some(gid)),
            (None, _) => existing,
        };
        let insist = |stated: bool| if stated { Insist::Stated } else { Insist::Default };
        let (of_mode, of_owner) = (insist(mode.is_some()), insist(stated.is_some()));
        Access { mode: mode.or(old.map(|old| old.mode)).unwrap_or(new), uid, gid, of_mode, of_owner }
    }

    pub(super) fn differs(&self, is: Is) -> bool {
        is.mode != self.mode || self.owner_differs(is)
    }

    fn owner_differs(&self, is: Is) -> bool {
        self.uid.is_some_and(|uid| uid != is.uid) || self.gid.is_some_and(|gid| gid != is.gid)
    }

    /// Gives `file` this owner and mode, where they differ.
    pub(super) fn apply(&self, file: impl AsFd, asked: &Path) -> io::Result<()> {
        let mut is = Is::from(&nix::sys::stat::fstat(&file)?);
        if self.owner_differs(is) {
            let chowned = nix::unistd::fchown(&file, self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw));
            self.of_owner.tolerate(chowned, asked, "its owner cannot be set, because proem does not run as root")?;
            // It clears the set-id bits.
            is = Is::from(&nix::sys::stat::fstat(&file)?);
        }
        // After chown, and before content.
        if is.mode != self.mode {
            let changed = nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(self.mode));
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
