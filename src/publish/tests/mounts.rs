//! Targets that only the file itself can take: in a mount namespace of the test's own thread. Needs root.

use super::*;
use nix::mount::{MsFlags, mount};
use std::os::unix::fs::MetadataExt;

const NONE: Option<&str> = None;

/// Runs `test` where mounts are nobody else's; does nothing where the kernel does not allow that (no root).
fn in_own_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: plain system call on a number. It concerns this thread only, which ends with the test.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                return;
            }
            mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn tmpfs(at: &Path, options: &str) {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).unwrap();
}

fn read_only(at: &Path) {
    mount(NONE, at, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE).unwrap();
}

/// As a container runtime mounts single files: `a` of the pair is a file of elsewhere.
fn with_mounted_a(pair: &Pair, elsewhere: &Path) -> u64 {
    let outside = elsewhere.join("outside");
    std::fs::write(&outside, "old").unwrap();
    bind(&outside, &pair.a);
    std::fs::metadata(&pair.a).unwrap().ino()
}

#[test]
fn a_mounted_file_is_written_in_place_and_can_be_taken_back() {
    in_own_namespace(|| {
        let (pair, elsewhere) = (pair(Some(&["nginx", "-t"])), tempfile::tempdir().unwrap());
        let inode = with_mounted_a(&pair, elsewhere.path());
        let mut committed = stage(&pair.group, "new").commit().unwrap();
        pair.is_new();
        committed.roll_back().unwrap();
        pair.is_old();
        stage(&pair.group, "new").commit().unwrap().finish();
        pair.is_new();
        assert_eq!(std::fs::metadata(&pair.a).unwrap().ino(), inode);
        assert_eq!(read(&elsewhere.path().join("outside")).as_deref(), Some("new"));
        pair.is_clean();
    });
}

#[test]
fn a_mounted_file_is_recovered_after_a_crash() {
    in_own_namespace(|| {
        let (pair, elsewhere) = (pair(Some(&["nginx", "-t"])), tempfile::tempdir().unwrap());
        with_mounted_a(&pair, elsewhere.path());
        std::mem::forget(stage(&pair.group, "new").commit().unwrap());
        assert_eq!(pair.recover(), [(Outcome::Undone, false)]);
        pair.is_old();
        pair.is_clean();
    });
}

#[test]
fn a_read_only_directory_with_one_writable_file_is_published_through_other_directories() {
    in_own_namespace(|| {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = elsewhere.path().join("state");
        tmpfs(root.path(), "size=1m");
        let a = root.path().join("a");
        std::fs::write(&a, "").unwrap();
        std::fs::write(elsewhere.path().join("outside"), "old").unwrap();
        bind(&elsewhere.path().join("outside"), &a);
        read_only(root.path());
        let group = group(vec![template("a", &a)], Some(&["nginx", "-t", "{staged}"]));
        for state_dir in [None, Some(state.as_path())] {
            std::fs::write(&a, "old").unwrap();
            let places = Places { state_dir, owner: NOBODY, present: Present::Stays };
            let rendered =
                |content: &str| vec![Rendered { template: &group.templates[0], content: content.into(), secret: true }];
            let staged = Changes::compare(&group, rendered("new"), None, &places).unwrap().unwrap().stage().unwrap();
            let command = staged.check_command(group.check.as_ref().unwrap()).unwrap();
            let path = PathBuf::from(&command[2]);
            assert_eq!((read(&path).as_deref(), mode(&path)), (Some("new"), 0o600));
            staged.commit().unwrap().finish();
            assert_eq!((read(&a).as_deref(), path.exists()), (Some("new"), false));
        }
        // A file that is not there yet cannot come to be.
        let missing = super::group(vec![template("b", &root.path().join("b"))], None);
        let error = compare(&missing, "x").unwrap().unwrap().stage().unwrap_err();
        let expected = format!("failed to write {}: read-only file system", root.path().join("b").display());
        assert_eq!((error.exit, error.complaint.message), (Exit::CANNOT_WRITE, expected));
    });
}

#[test]
fn a_full_disk_leaves_the_old_content_whole() {
    in_own_namespace(|| {
        let root = tempfile::tempdir().unwrap();
        tmpfs(root.path(), "size=64k");
        let target = root.path().join("f");
        std::fs::write(&target, "old").unwrap();
        let big = "x".repeat(100_000);
        let lone = group(vec![template("f", &target)], None);
        let error = compare(&lone, &big).unwrap().unwrap().stage().unwrap_err();
        assert_eq!(error.complaint.message, format!("failed to write {}: no space left on device", target.display()));
        assert_eq!((read(&target).as_deref(), leftovers(root.path()).len()), (Some("old"), 0));
        // In place: the file is a mount point on the full disk, the staged one beside it fits.
        let beside = tempfile::tempdir().unwrap();
        let mounted = beside.path().join("f");
        std::fs::write(&mounted, "").unwrap();
        bind(&target, &mounted);
        let lone = group(vec![template("f", &mounted)], None);
        let error = stage(&lone, &big).commit().unwrap_err();
        assert!(matches!(error.state, AfterError::Undone));
        assert_eq!((read(&mounted).as_deref(), leftovers(beside.path()).len()), (Some("old"), 0));
    });
}

#[test]
fn a_disk_too_full_for_the_journal_publishes_nothing() {
    in_own_namespace(|| {
        let (pair, state) = (pair(Some(&["nginx", "-t"])), tempfile::tempdir().unwrap());
        // Two inodes: its root, and one that is taken.
        tmpfs(state.path(), "nr_inodes=2");
        std::fs::write(state.path().join("filler"), "").unwrap();
        let places = Places { state_dir: Some(state.path()), ..HERE };
        let rendered = pair.group.templates.iter();
        let rendered =
            rendered.map(|template| Rendered { template, content: b"new".to_vec(), secret: false }).collect();
        let staged = Changes::compare(&pair.group, rendered, None, &places).unwrap().unwrap().stage().unwrap();
        let error = staged.commit().unwrap_err();
        assert!(matches!(error.state, AfterError::Undone) && error.error.retry == Retry::Later);
        pair.is_old();
        pair.is_clean();
    });
}
