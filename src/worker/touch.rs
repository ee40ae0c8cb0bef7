//! A reload by a trigger file, as touch(1) does it: one try, on a thread of its own.
//!
//! The file is opened for writing (made where it is not there, empty), gets the present time, and is closed. Its content,
//! its inode, mode and owner stay: it may be a file that the neighbour needs (`mod_wsgi`'s script), a file that is mounted by
//! itself, or one that inotify watches. Who watches by inotify sees `IN_ATTRIB` and `IN_CLOSE_WRITE`; who polls sees another
//! time.

use crate::error::{Complaint, reason};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Enough for a few system calls.
pub const STACK: usize = 128 << 10;

/// As it is named in messages: `touch /shared/reload`.
pub fn shown(path: &Path) -> String {
    format!("touch {}", path.display())
}

/// The kernel stamps files with the time of its last tick.
const TICK: Duration = Duration::from_millis(20);

/// Gives the file the present time, in another second than the one it has: there are neighbours that compare seconds
/// (uwsgi's `touch-reload`). So this may take up to a second.
pub fn touch(path: &Path) -> Result<(), Complaint> {
    now(path).map_err(|error| Complaint::new(format!("reload `{}` failed: {}", shown(path), reason(&error))))
}

fn now(path: &Path) -> io::Result<()> {
    // The directory may be another container's to write to: not through its links, and without waiting for the reader of a
    // FIFO.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let open = |new| OpenOptions::new().write(true).create_new(new).mode(0o644).custom_flags(flags).open(path);
    let file = match open(false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match open(true) {
            Ok(file) => return set(&file),
            // Somebody else made it in between.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(false)?,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if u64::try_from(file.metadata()?.mtime()).is_ok_and(|before| before == since.as_secs()) {
        std::thread::sleep(Duration::from_secs(since.as_secs() + 1).saturating_sub(since) + TICK);
    }
    set(&file)
}

/// The present time, by the kernel's clock: who may write needs not own the file for that (utimensat(2)).
fn set(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: a live descriptor; no times means now.
    if unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_the_time_changes_and_to_another_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reload");
        touch(&path).unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(first.len(), 0);
        fs::write(&path, "content").unwrap();
        touch(&path).unwrap();
        let second = fs::metadata(&path).unwrap();
        assert!(second.mtime() > first.mtime(), "{} {}", first.mtime(), second.mtime());
        assert_eq!((second.ino(), second.mode()), (first.ino(), first.mode()));
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn neither_links_nor_other_kinds_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [at("link"), at("fifo"), dir.path().to_owned(), at("no/where")] {
            touch(&path).unwrap_err();
        }
        assert!(!at("target").exists());
    }
}
