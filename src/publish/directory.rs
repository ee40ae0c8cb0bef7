//! Directories that are made: the missing parents of a target, and those that `[dir]` asks for.
//!
//! Each level is made relative to the one above it, held open, so that nothing that is planted on the way is entered
//! unseen. Mode and owner are set explicitly: the umask does not matter. What was made stays, over a roll back too: an empty
//! directory is nobody's content, and somebody may use it by then.

use super::PublishError;
use super::access::{Access, Ids, Insist, Is};
use super::place::{Dir, split};
use crate::config::plan::DirPlan;
use crate::error::Complaint;
use crate::exit::Exit;
use crate::source::Retry;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// What a directory gets whose mode nobody stated.
pub(super) const MODE: u32 = 0o755;
/// The kernel's own limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

impl Access {
    /// Of proem's own directories: 0755, whoever proem runs as.
    pub(super) const OWN: Access =
        Access { mode: MODE, uid: None, gid: None, of_mode: Insist::Default, of_owner: Insist::Default };
}

/// Opens a directory; what is missing of it is made so. `asked` is what it is for, in warnings.
pub(super) fn open_or_make(path: &Path, access: &Access, asked: &Path) -> io::Result<Dir> {
    match Dir::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(descend(path, Missing::Make(access, asked))?),
        other => other,
    }
}

/// Makes a directory that `[dir]` asks for, with its parents, or repairs its mode and owner: of itself, not of what is in
/// it. `default_owner` is main's user. The owner that is stated was looked up as `stated`.
pub fn make(plan: &DirPlan, stated: Option<Ids>, default_owner: Option<(u32, u32)>) -> Result<(), PublishError> {
    let wanted = |is: Option<Is>| wanted(plan, stated, default_owner, is);
    let made = split(&plan.path).map_err(Obstacle::Io).and_then(|(parent, name)| {
        let parents = Access { mode: MODE, of_mode: Insist::Default, ..wanted(None) };
        let parent = descend(parent, Missing::Make(&parents, &plan.path))?;
        match is_in(&parent, name, &plan.path)? {
            None => parent.make(name, &wanted(None), &plan.path).map(drop).map_err(Obstacle::Io),
            Some(is) => {
                let access = wanted(Some(is));
                if access.differs(is) {
                    parent.enter(name).and_then(|dir| access.apply(&dir, &plan.path)).map_err(Obstacle::Io)?;
                }
                Ok(())
            }
        }
    });
    made.map_err(|obstacle| obstacle.complaint(&plan.path))
}

/// What a directory that `[dir]` asks for has now; `None`: it would be made. The errors are those of [`make`] for what is in
/// its way.
pub(super) fn find(plan: &DirPlan) -> Result<Option<Is>, PublishError> {
    let found = split(&plan.path).map_err(Obstacle::Io).and_then(|(parent, name)| {
        let parent = descend(parent, Missing::Stop)?;
        is_in(&parent, name, &plan.path)
    });
    match found {
        Err(Obstacle::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map_err(|obstacle| obstacle.complaint(&plan.path)),
    }
}

/// What a directory that `[dir]` asks for is to have, where it has `is` now.
pub(super) fn wanted(plan: &DirPlan, stated: Option<Ids>, default_owner: Option<(u32, u32)>, is: Option<Is>) -> Access {
    let access = Access::wanted(plan.mode, stated, default_owner, MODE, is);
    is.map_or(access, |is| access.of_directory(is))
}

/// The last place of what `[dir]` names.
fn is_in(parent: &Dir, name: &OsStr, path: &Path) -> Result<Option<Is>, Obstacle> {
    match Found::at(parent, name)? {
        Found::Nothing => Ok(None),
        Found::Dir(is) => Ok(Some(is)),
        Found::Link(_) => Err(Obstacle::Link(path.to_owned())),
        Found::Other => Err(Obstacle::NoDirectory(path.to_owned())),
    }
}

/// What is in the way of a directory.
#[derive(Debug)]
enum Obstacle {
    /// A link where `[dir]` names a directory.
    Link(PathBuf),
    /// A link of somebody who may lead proem astray with it.
    Planted(PathBuf),
    NoDirectory(PathBuf),
    Io(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Obstacle {
        Obstacle::Io(error)
    }
}

impl From<Obstacle> for io::Error {
    fn from(obstacle: Obstacle) -> io::Error {
        match obstacle {
            Obstacle::Io(error) => error,
            other => io::Error::other(other.reason()),
        }
    }
}

impl Obstacle {
    fn reason(&self) -> String {
        match self {
            Obstacle::Link(at) => format!("{} is a symbolic link", at.display()),
            Obstacle::Planted(at) => format!("{} is a symbolic link of another user", at.display()),
            Obstacle::NoDirectory(at) => format!("{} is not a directory", at.display()),
            Obstacle::Io(error) => super::reason(error),
        }
    }

    fn complaint(&self, asked: &Path) -> PublishError {
        let message = format!("failed to make the directory {}: {}", asked.display(), self.reason());
        let hint = match self {
            Obstacle::Link(_) => Some("name the directory that it leads to; links are not followed here"),
            Obstacle::Planted(_) => Some("remove it, or give it to root: only then it is followed"),
            Obstacle::NoDirectory(_) => Some("remove what is there, or name another directory"),
            Obstacle::Io(error) => super::hint(error),
        };
        let complaint = Complaint { hint: hint.map(str::to_owned), ..Complaint::new(message) };
        PublishError { exit: Exit::CANNOT_WRITE, complaint, retry: Retry::Later }
    }
}

/// What a name in an open directory is.
enum Found {
    Nothing,
    Dir(Is),
    /// Its owner.
    Link(u32),
    Other,
}

impl Found {
    fn at(dir: &Dir, name: &OsStr) -> io::Result<Found> {
        let Some(stat) = dir.stat(name)? else { return Ok(Found::Nothing) };
        Ok(match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Found::Dir(Is::from(&stat)),
            SFlag::S_IFLNK => Found::Link(stat.st_uid),
            _ => Found::Other,
        })
    }
}

/// What is done about a level that is missing.
#[derive(Clone, Copy)]
enum Missing<'a> {
    /// It is made so, for this.
    Make(&'a Access, &'a Path),
    /// It is an error (`ENOENT`).
    Stop,
}

/// Goes down from `/` to an absolute path. Links are followed by hand, and only those of root or of
/// proem's own user (`/var/run`): any other may have been planted to make root give something away.
fn descend(path: &Path, missing: Missing<'_>) -> Result<Dir, Obstacle> {
    let mut dir = Dir::open(Path::new("/"))?;
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            dir = dir.enter(&name)?;
            continue;
        }
        dir = match Found::at(&dir, &name)? {
            Found::Nothing => match missing {
                Missing::Make(access, asked) => dir.make(&name, access, asked)?,
                Missing::Stop => return Err(Obstacle::Io(Errno::ENOENT.into())),
            },
            Found::Dir(_) => dir.enter(&name)?,
            Found::Link(owner) => {
                let at = dir.path().join(&name);
                if owner != 0 && owner != Uid::effective().as_raw() {
                    return Err(Obstacle::Planted(at));
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Obstacle::Io(Errno::ELOOP.into()));
                }
                let target = PathBuf::from(readlinkat(&dir, name.as_os_str()).map_err(io::Error::from)?);
                for name in names(&target).into_iter().rev() {
                    ahead.push_front(name);
                }
                if target.is_absolute() { Dir::open(Path::new("/"))? } else { dir }
            }
            Found::Other => return Err(Obstacle::NoDirectory(dir.path().join(&name))),
        };
    }
    Ok(dir.called(path))
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

impl Access {
    /// The set-group-ID bit of a directory, which it may have inherited with its group, stays unless a mode with such
    /// bits is wanted: as with chmod(1).
    fn of_directory(self, is: Is) -> Access {
        let mode = if self.mode > 0o777 { self.mode } else { self.mode | is.mode & libc::S_ISGID };
        Access { mode, ..self }
    }
}

impl Dir {
    /// Opens a directory in this one; a link is not followed.
    fn enter(&self, name: &OsStr) -> io::Result<Dir> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = |access| nix::fcntl::openat(self, name, flags | access, Mode::empty());
        let fd = match open(OFlag::O_RDONLY) {
            // It may be searched, not listed.
            Err(Errno::EACCES) => open(OFlag::O_PATH)?,
            other => other?,
        };
        Ok(Dir::held(fd, self.path().join(name)))
    }

    /// Makes a directory in this one, or enters one that somebody else made meanwhile.
    fn make(&self, name: &OsStr, access: &Access, asked: &Path) -> io::Result<Dir> {
        match mkdirat(self, name, Mode::from_bits_truncate(access.mode)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return self.enter(name),
            Err(e) => return Err(e.into()),
        }
        let made = self.enter(name).and_then(|made| {
            let is = Is::from(&nix::sys::stat::fstat(&made)?);
            access.of_directory(is).apply(&made, asked)?;
            self.sync()?;
            Ok(made)
        });
        if made.is_err() {
            // With the wrong owner or mode it would be taken for right at the next try. The error is the news.
            let _ = unlinkat(self, name, UnlinkatFlags::RemoveDir);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Place;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn root() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        (dir, root)
    }

    fn plan(path: PathBuf, mode: Option<u32>) -> DirPlan {
        DirPlan { path, mode, owner: None, place: Place("test".into()) }
    }

    fn is(path: &Path) -> (u32, u32) {
        let of = std::fs::metadata(path).unwrap();
        (of.mode() & 0o7777, of.uid())
    }

    fn is_root() -> bool {
        Uid::effective().is_root()
    }

    #[test]
    fn missing_parents_are_made_as_wanted() {
        let (_dir, root) = root();
        let deep = root.join("x/y/z");
        open_or_make(&deep, &Access { mode: 0o2750, ..Access::OWN }, &deep).unwrap();
        assert_eq!(is(&root.join("x")).0, 0o2750);
        assert_eq!(is(&deep).0, 0o2750);
        // What is there stays as it is.
        open_or_make(&deep, &Access::OWN, &deep).unwrap();
        assert_eq!(is(&deep).0, 0o2750);
    }

    #[test]
    fn an_inherited_set_group_id_bit_stays() {
        let (_dir, root) = root();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o2755)).unwrap();
        make(&plan(root.join("a/b"), Some(0o700)), None, None).unwrap();
        assert_eq!((is(&root.join("a")).0, is(&root.join("a/b")).0), (0o2755, 0o2700));
        make(&plan(root.join("a/b"), Some(0o1777)), None, None).unwrap();
        assert_eq!(is(&root.join("a/b")).0, 0o1777);
    }

    #[test]
    fn a_directory_is_made_and_its_drift_repaired_but_not_of_what_is_in_it() {
        let (_dir, root) = root();
        let path = root.join("cache/nginx");
        let owner = if is_root() { Some((Some(65534), Some(65534))) } else { None };
        make(&plan(path.clone(), None), owner, None).unwrap();
        let uid = if is_root() { 65534 } else { is(&root).1 };
        assert_eq!((is(&path), is(&root.join("cache"))), ((0o755, uid), (0o755, uid)));
        std::fs::create_dir(path.join("in")).unwrap();
        let inside = is(&path.join("in"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        // A mode that nobody states stays.
        make(&plan(path.clone(), None), owner, None).unwrap();
        assert_eq!(is(&path), (0o777, uid));
        make(&plan(path.clone(), Some(0o700)), owner, None).unwrap();
        assert_eq!(is(&path), (0o700, uid));
        assert_eq!(is(&path.join("in")), inside);
        if is_root() {
            make(&plan(path.clone(), None), None, Some((1, 1))).unwrap();
            assert_eq!(is(&path), (0o700, 1));
        }
    }

    #[test]
    fn what_is_no_directory_is_refused_with_73() {
        let (_dir, root) = root();
        std::fs::write(root.join("file"), "").unwrap();
        for path in ["file", "file/below"] {
            let error = make(&plan(root.join(path), None), None, None).unwrap_err();
            assert_eq!(error.exit, Exit::CANNOT_WRITE);
            assert!(error.complaint.message.ends_with("/file is not a directory"), "{}", error.complaint.message);
            assert!(error.complaint.hint.is_some());
        }
    }

    #[test]
    fn a_link_is_followed_on_the_way_and_never_at_the_end() {
        let (_dir, root) = root();
        std::fs::create_dir(root.join("data")).unwrap();
        symlink("data", root.join("link")).unwrap();
        make(&plan(root.join("link/a"), Some(0o700)), None, None).unwrap();
        assert_eq!(is(&root.join("data/a")).0, 0o700);
        symlink("nowhere/deep", root.join("dangling")).unwrap();
        make(&plan(root.join("dangling/b"), None), None, None).unwrap();
        assert!(root.join("nowhere/deep/b").is_dir());
        let error = make(&plan(root.join("link"), Some(0o777)), None, None).unwrap_err();
        assert!(error.complaint.message.ends_with("/link is a symbolic link"), "{}", error.complaint.message);
        assert_ne!(is(&root.join("data")).0, 0o777);
        symlink("loop", root.join("loop")).unwrap();
        let error = make(&plan(root.join("loop/c"), None), None, None).unwrap_err();
        assert!(error.complaint.message.contains("too many"), "{}", error.complaint.message);
    }

    #[test]
    fn another_users_link_leads_nowhere() {
        if !is_root() {
            return;
        }
        let (_dir, root) = root();
        std::fs::create_dir_all(root.join("etc/app")).unwrap();
        symlink(root.join("etc"), root.join("planted")).unwrap();
        std::os::unix::fs::lchown(root.join("planted"), Some(65534), Some(65534)).unwrap();
        let victim = is(&root.join("etc/app"));
        for path in ["planted/app", "planted/new/deep"] {
            let error = make(&plan(root.join(path), Some(0o777)), Some((Some(65534), None)), None).unwrap_err();
            assert!(error.complaint.message.ends_with("/planted is a symbolic link of another user"));
        }
        assert_eq!(is(&root.join("etc/app")), victim);
        assert!(!root.join("etc/new").exists());
        // Nor does a parent of a target, when one is missing below it.
        assert!(open_or_make(&root.join("planted/new"), &Access::OWN, &root).is_err());
    }

    #[test]
    fn what_could_not_be_given_its_owner_is_not_left() {
        if is_root() {
            return;
        }
        let (_dir, root) = root();
        assert!(make(&plan(root.join("a"), None), Some((Some(0), None)), None).is_err());
        assert!(!root.join("a").exists());
    }
}
