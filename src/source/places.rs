//! Where a change of what a path leads to would show: the directories to watch.

use crate::os::mounts;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The directories in which an event can change what `path` (absolute) leads to:
/// the one that holds the file, and each that holds a symbolic link on the way (Kubernetes swaps `..data`, deployments
/// swap `current`). A path that leads to a directory ends with that directory itself; one that leads nowhere (yet) with the deepest
/// directory that is there. A file that is a mount of its own is there, too.
pub(super) fn of(path: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut at = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let Ok(metadata) = std::fs::symlink_metadata(&next) else {
            add(&mut places, at);
            return places;
        };
        if metadata.is_symlink() {
            add(&mut places, at.clone());
            links += 1;
            let Ok(target) = std::fs::read_link(&next) else { return places };
            if links > MAX_LINKS {
                return places;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
        } else if metadata.is_dir() {
            at = next;
        } else {
            // A file that is mounted by itself changes in the directory that it comes from, which is not this one.
            if mounts::is_mount(&next) {
                add(&mut places, next);
            }
            break;
        }
    }
    add(&mut places, at);
    places
}

fn add(places: &mut Vec<PathBuf>, place: PathBuf) {
    if !places.contains(&place) {
        places.push(place);
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_directory_that_decides() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("mount/..1")).unwrap();
        fs::create_dir_all(at("plain/deep")).unwrap();
        fs::write(at("mount/..1/key"), "").unwrap();
        fs::write(at("plain/file"), "").unwrap();
        symlink("..1", at("mount/..data")).unwrap();
        symlink("..data/key", at("mount/key")).unwrap();
        symlink(at("mount"), at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("../plain/file", at("mount/up")).unwrap();

        assert_eq!(of(&at("plain/file")), [at("plain")]);
        assert_eq!(of(&at("plain/deep")), [at("plain/deep")]);
        assert_eq!(of(&at("plain/none/x")), [at("plain")]);
        assert_eq!(of(&at("mount/key")), [at("mount"), at("mount/..1")]);
        assert_eq!(of(&at("link/key")), [root.clone(), at("mount"), at("mount/..1")]);
        assert_eq!(of(&at("mount/up")), [at("mount"), at("plain")]);
        assert_eq!(of(&at("loop")), std::slice::from_ref(&root));
        assert_eq!(of(Path::new("/")), [PathBuf::from("/")]);
    }
}
