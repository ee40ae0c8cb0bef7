//! The old files, kept aside until nothing can bring them back.

use super::in_place;
use super::place::{Dir, kept_name, staged_name, unused};
use super::stage::StagedFile;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};

/// Where a target's old content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing would be taken back.
    Not,
    /// There was no file.
    Absent,
    /// A file beside the staged one.
    Aside(OsString),
    /// No directory could take it.
    Memory(Vec<u8>),
}

/// Keeps the old file: by a second link, by a copy where links are refused, in memory where no directory takes it.
pub(super) fn keep(file: &StagedFile) -> io::Result<Kept> {
    let Some(_) = file.dir.stat(&file.name)? else { return Ok(Kept::Absent) };
    let aside = file.aside();
    for _ in 0..16 {
        let kept = unused(|random| kept_name(random, &file.name));
        match aside.link(&file.dir, &file.name, &kept) {
            Ok(()) => return Ok(Kept::Aside(kept)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => break,
        }
    }
    if let Ok(kept) = copy(&file.dir, &file.name, aside, |random| kept_name(random, &file.name)) {
        return Ok(Kept::Aside(kept));
    }
    let mut content = Vec::new();
    file.dir.file(&file.name, OFlag::O_RDONLY)?.read_to_end(&mut content)?;
    Ok(Kept::Memory(content))
}

/// A synced copy with the same owner and mode, as far as they can be given.
fn copy(from: &Dir, name: &OsStr, to: &Dir, name_of: impl Fn(&str) -> OsString) -> io::Result<OsString> {
    let mut old = from.file(name, OFlag::O_RDONLY)?;
    let (copied, mut file) = to.create(name_of)?;
    let done =
        in_place::same_access(&old, &file).and_then(|()| io::copy(&mut old, &mut file)).and_then(|_| file.sync_all());
    match done {
        Ok(()) => Ok(copied),
        Err(e) => {
            // The error is the news; what cannot be removed is swept at the next start.
            let _ = to.remove(&copied);
            Err(e)
        }
    }
}

/// Before a target is written in place: a kept file that is only a second name of it would change with it, so it
/// becomes a copy.
pub(super) fn detach(aside: &Dir, kept: &OsStr, dir: &Dir, name: &OsStr) -> io::Result<()> {
    let (Some(one), Some(other)) = (aside.stat(kept)?, dir.stat(name)?) else { return Ok(()) };
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
        return Ok(());
    }
    let copied = copy(aside, kept, aside, |random| staged_name(random, name))?;
    aside.rename(aside, &copied, kept)?;
    aside.sync()
}
