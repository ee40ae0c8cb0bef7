//! Directories held open, and the names that proem uses beside a target.
//!
//! Everything is done relative to a directory's descriptor, without following links: whoever may write a directory on
//! the way cannot make proem, as root, write elsewhere between two steps.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::UnlinkatFlags;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Every name of ours begins so: hidden, so that `include conf.d/*` of any program passes it by.
pub(super) const PREFIX: &str = ".proem-";
/// Follows the target's name in a kept file's.
const KEPT: &str = ".kept";
const NAME_MAX: usize = 255;
const RANDOM_DIGITS: usize = 16;

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> io::Result<Dir> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = match nix::fcntl::open(path, flags | OFlag::O_RDONLY, Mode::empty()) {
            // It may be searched and written, not listed: enough for all but its sync.
            Err(Errno::EACCES) => nix::fcntl::open(path, flags | OFlag::O_PATH, Mode::empty())?,
            other => other?,
        };
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// One that was opened elsewhere.
    pub(super) fn held(fd: OwnedFd, path: PathBuf) -> Dir {
        Dir { fd, path }
    }

    /// The same directory by another name.
    pub(super) fn called(self, path: &Path) -> Dir {
        Dir { path: path.to_owned(), ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What has this name; a link is not followed.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a regular file that exists. Never blocks on a FIFO, never follows a link.
    pub(super) fn file(&self, name: &OsStr, access: OFlag) -> io::Result<File> {
        let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let fd = nix::fcntl::openat(&self.fd, name, flags, Mode::empty())?;
        if !is_regular(&nix::sys::stat::fstat(&fd)?) {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(File::from(fd))
    }

    /// Creates a file under a name that nobody can foresee; 0600.
    pub(super) fn create(&self, name_of: impl Fn(&str) -> OsString) -> io::Result<(OsString, File)> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for _ in 0..16 {
            let name = name_of(&random());
            match nix::fcntl::openat(&self.fd, name.as_os_str(), flags, Mode::from_bits_truncate(0o600)) {
                Ok(fd) => return Ok((name, File::from(fd))),
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A second name, here, for a file of `from`.
    pub(super) fn link(&self, from: &Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(nix::unistd::linkat(&from.fd, old, &self.fd, new, AtFlags::empty())?)
    }

    /// Moves `from`'s `old` over `new` here.
    pub(super) fn rename(&self, from: &Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(nix::fcntl::renameat(&from.fd, old, &self.fd, new)?)
    }

    /// Removes a file; one that is already gone is no error.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match nix::unistd::unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the names durable. A directory that cannot be synced (opened for search only, some network file systems)
    /// is not an error: the rename is atomic all the same.
    pub(super) fn sync(&self) -> io::Result<()> {
        match nix::unistd::fsync(&self.fd) {
            Ok(()) | Err(Errno::EBADF | Errno::EINVAL | Errno::EROFS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

/// Where targets' contents really are. It remembers what it found of directories, so it is for one moment only: to
/// resolve many targets of few directories.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Each directory as asked for, by its bytes (comparing paths by their components is slow), and its one name.
    dirs: HashMap<OsString, PathBuf>,
    /// The last target and what came of it: often the next question is the same.
    last: Option<(PathBuf, PathBuf)>,
}

impl Resolver {
    /// Where a target's content really is: links are followed, also one that leads to nothing yet.
    pub(super) fn resolve(&mut self, target: &Path) -> io::Result<PathBuf> {
        match &self.last {
            Some((asked, path)) if asked.as_os_str() == target.as_os_str() => Ok(path.clone()),
            _ => self.resolve_and_stat(target).map(|(path, _)| path),
        }
    }

    /// The same, with what is there now.
    pub(super) fn resolve_and_stat(&mut self, target: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
        let (path, found) = self.follow(target)?;
        self.last = Some((target.to_owned(), path.clone()));
        Ok((path, found))
    }

    fn follow(&mut self, target: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
        let mut path = target.to_owned();
        // The kernel's own limit (path_resolution(7)).
        for _ in 0..40 {
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
                    path = parent.join(std::fs::read_link(&path)?);
                }
                Ok(found) => return Ok((self.settled(&path), Some(found))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((self.settled(&path), None)),
                Err(e) => return Err(e),
            }
        }
        Err(Errno::ELOOP.into())
    }

    /// The same file with its directory's links resolved, so that it has one name: before its directories are made,
    /// after that, and when one of the links is moved.
    fn settled(&mut self, path: &Path) -> PathBuf {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
        if let Some(real) = self.dirs.get(dir.as_os_str()) {
            return real.join(name);
        }
        let real = if is_its_own_name(dir) {
            dir.to_owned()
        } else {
            // What is missing may begin behind a link that leads to nothing yet.
            std::fs::canonicalize(dir)
                .or_else(|_| self.follow(dir).map(|(real, _)| real))
                .unwrap_or_else(|_| self.settled(dir))
        };
        let settled = real.join(name);
        self.dirs.insert(dir.as_os_str().to_owned(), real);
        settled
    }
}

/// Whether this is an existing directory's absolute name, with no link, `.` or `..` on the way: one system call instead
/// of `realpath(3)`'s one for each component. Where the kernel cannot tell (before Linux 5.6, or where a filter of system
/// calls is older than openat2), the answer is no.
fn is_its_own_name(dir: &Path) -> bool {
    let bytes = dir.as_os_str().as_bytes();
    let plain = bytes
        .strip_prefix(b"/")
        .is_some_and(|rest| rest.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
    if !plain {
        return false;
    }
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    nix::fcntl::openat2(nix::fcntl::AT_FDCWD, dir, how).is_ok()
}

/// Directory and name of a resolved target.
pub(super) fn split(target: &Path) -> io::Result<(&Path, &OsStr)> {
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Errno::EISDIR.into()),
    }
}

/// The name of the staged file: the target's name is its end, because some checkers go by the extension.
pub(super) fn staged_name(random: &str, target: &OsStr) -> OsString {
    join(&format!("{PREFIX}{random}."), target, "")
}

/// The name of the file kept aside. It does not end like the target: a program that reads whole directories, hidden
/// files too, does not take it for one more file of its configuration.
pub(super) fn kept_name(random: &str, target: &OsStr) -> OsString {
    join(&format!("{PREFIX}{random}."), target, KEPT)
}

/// Whether this name is one that [`staged_name`] or [`kept_name`] made for this target.
pub(super) fn is_ours(name: &OsStr, target: &OsStr) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(PREFIX.as_bytes()) else { return false };
    let Some((random, _)) = rest.split_at_checked(RANDOM_DIGITS) else { return false };
    let Ok(random) = std::str::from_utf8(random) else { return false };
    random.bytes().all(|b| b.is_ascii_hexdigit())
        && (name == staged_name(random, target) || name == kept_name(random, target))
}

fn join(prefix: &str, target: &OsStr, suffix: &str) -> OsString {
    let target = target.as_bytes();
    let room = NAME_MAX - prefix.len() - suffix.len();
    // The end is kept: it holds the extension.
    let tail = &target[target.len().saturating_sub(room)..];
    OsString::from_vec([prefix.as_bytes(), tail, suffix.as_bytes()].concat())
}

/// A name that nobody can foresee, for what is not created by opening it.
pub(super) fn unused(name_of: impl Fn(&str) -> OsString) -> OsString {
    name_of(&random())
}

/// 64 bits that nobody else can foresee, in hex. The standard library seeds it with the kernel's randomness.
fn random() -> String {
    let bits = RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()));
    format!("{bits:0RANDOM_DIGITS$x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(target: &Path) -> io::Result<PathBuf> {
        Resolver::default().resolve(target)
    }

    #[test]
    fn names_keep_the_extension_and_fit() {
        let long = OsString::from(format!("{}.json", "x".repeat(250)));
        for target in [OsStr::new("nginx.conf"), long.as_os_str(), OsStr::new("ü")] {
            let (name, kept) = (staged_name(&random(), target), kept_name(&random(), target));
            assert!(name.len() <= NAME_MAX && kept.len() <= NAME_MAX);
            assert_eq!(Path::new(&name).extension(), Path::new(target).extension().or(Some(target)));
            assert!(is_ours(&name, target) && is_ours(&kept, target));
            assert!(!is_ours(&name, OsStr::new("other")));
        }
        assert!(!is_ours(OsStr::new(".proem-short.x"), OsStr::new("x")));
        assert!(!is_ours(OsStr::new("x"), OsStr::new("x")));
    }

    #[test]
    fn links_are_followed_to_the_end_even_into_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::os::unix::fs::symlink("b", root.join("a")).unwrap();
        std::os::unix::fs::symlink("missing", root.join("b")).unwrap();
        assert_eq!(resolve(&root.join("a")).unwrap(), root.join("missing"));
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(resolve(&root.join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_target_has_one_name_before_and_after_its_directories_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink("data", root.join("etc")).unwrap();
        let target = root.join("etc/new/deep/f");
        let before = resolve(&target).unwrap();
        assert_eq!(before, root.join("data/new/deep/f"));
        std::fs::create_dir_all(before.parent().unwrap()).unwrap();
        assert_eq!(resolve(&target).unwrap(), before);
    }

    #[test]
    fn only_a_directorys_one_name_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink("data", root.join("link")).unwrap();
        let path = |end: &str| PathBuf::from(format!("{}/{end}", root.display()));
        for other in ["link", "missing", "./data", "data/../data", "/data", "data/"] {
            assert!(!is_its_own_name(&path(other)), "{other}");
        }
        assert!(!is_its_own_name(Path::new("src")));
        assert_eq!(resolve(&path("link/f")).unwrap(), path("data/f"));
        assert_eq!(resolve(&path("data/f")).unwrap(), path("data/f"));
    }
}
