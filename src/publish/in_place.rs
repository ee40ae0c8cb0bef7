//! Puts a content in the place of a target: by a rename, and where that cannot be, in place.

use super::place::Dir;
use nix::fcntl::OFlag;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

/// How a target got its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// At once: a reader sees the old or the new file.
    Renamed,
    /// The inode stayed; a reader may have seen the beginning of the new content before the end of the old.
    InPlace,
}

/// Moves `from` (of `aside`) over `name`, or writes its content in place where the kernel refuses that; `from` is gone
/// afterwards.
pub(super) fn put(aside: &Dir, from: &OsStr, dir: &Dir, name: &OsStr) -> io::Result<How> {
    match dir.rename(aside, from, name) {
        // rename(2) does nothing, and leaves both names, when they are the same file.
        Ok(()) => aside.remove(from).map(|()| How::Renamed),
        Err(e) if only_in_place(&e) && dir.stat(name)?.is_some() => {
            let mut content = Vec::new();
            aside.file(from, OFlag::O_RDONLY)?.read_to_end(&mut content)?;
            write(&dir.file(name, OFlag::O_RDWR)?, &content)?;
            aside.remove(from).map(|()| How::InPlace)
        }
        Err(e) => Err(e),
    }
}

/// Whether an error of create or rename says that only the file itself can be written: it is a mount point (EBUSY,
/// EXDEV), or its directory cannot be written (EROFS, EACCES; EPERM: sticky or immutable).
pub(super) fn only_in_place(error: &io::Error) -> bool {
    let errno = error.raw_os_error().unwrap_or(0);
    matches!(errno, libc::EBUSY | libc::EXDEV | libc::EROFS | libc::EACCES | libc::EPERM)
}

/// Writes a whole content over what is there, never truncating first: measured beside a reader, `O_TRUNC` tears nearly
/// every read. The inode, and with it a bind mount, stays. On an error the former content is put back.
pub(super) fn write(file: &File, content: &[u8]) -> io::Result<()> {
    let mut before = Vec::new();
    (&*file).read_to_end(&mut before)?;
    reserve(file, content.len())?;
    let written = overwrite(file, content);
    if written.is_err() {
        // Its blocks were there a moment ago; when even this fails, the first error is the one to tell.
        let _ = overwrite(file, &before);
    }
    written
}

/// Gives `to` the owner and mode of `from`. An ordinary user cannot give files away: then the owner stays its own.
pub(super) fn same_access(from: &File, to: &File) -> io::Result<()> {
    let is = from.metadata()?;
    let (uid, gid) = (nix::unistd::Uid::from_raw(is.uid()), nix::unistd::Gid::from_raw(is.gid()));
    match nix::unistd::fchown(to, Some(uid), Some(gid)) {
        Ok(()) | Err(nix::errno::Errno::EPERM | nix::errno::Errno::EINVAL) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(nix::sys::stat::fchmod(to, nix::sys::stat::Mode::from_bits_truncate(is.mode() & 0o7777))?)
}

fn overwrite(file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, 0)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Asks for the blocks before anything is overwritten, so that a full disk leaves the old content whole.
fn reserve(file: &File, length: usize) -> io::Result<()> {
    let Ok(length) = i64::try_from(length) else { return Err(io::ErrorKind::FileTooLarge.into()) };
    if length == 0 || file.metadata()?.blocks().saturating_mul(512) >= length.unsigned_abs() {
        return Ok(());
    }
    match nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Err(e @ (nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT | nix::errno::Errno::EFBIG)) => Err(e.into()),
        // Not every file system can; then the write itself tells.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_keeps_the_inode_and_cuts_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a longer old content").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let file = Dir::open(dir.path()).unwrap().file(OsStr::new("f"), OFlag::O_RDWR).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn moving_a_file_over_its_own_second_name_leaves_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let open = Dir::open(dir.path()).unwrap();
        put(&open, OsStr::new("b"), &open, OsStr::new("a")).unwrap();
        assert!(dir.path().join("a").exists() && !dir.path().join("b").exists());
    }
}
