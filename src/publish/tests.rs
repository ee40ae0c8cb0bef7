//! The steps together, and what recovery makes of each instant at which they can be cut off.

use super::*;
use crate::config::plan::{CheckPlan, GroupPlan, Place, TargetPlan};
use crate::source::format::Format;
use crate::template::Escape;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn template(name: &str, to: &Path) -> TemplatePlan {
    TemplatePlan {
        name: name.to_owned(),
        from: PathBuf::from("unused.tera"),
        to: TargetPlan::File(to.to_owned()),
        escape: Escape::None,
        mode: None,
        owner: None,
        format: None,
        place: Place("test".into()),
    }
}

fn group(templates: Vec<TemplatePlan>, check: Option<&[&str]>) -> GroupPlan {
    GroupPlan {
        name: "web".into(),
        templates,
        check: check.map(|command| CheckPlan {
            command: command.iter().map(|item| (*item).to_owned()).collect(),
            timeout: Duration::from_secs(30),
        }),
        reloads: Vec::new(),
        settle: Duration::ZERO,
        settle_max: Duration::ZERO,
        throttle: Duration::ZERO,
    }
}

const NOBODY: &OwnerLookup = &|_| Ok((Some(65534), Some(65534)));
const HERE: Places<'static> = Places { state_dir: None, owner: NOBODY };

/// Every template gets this content.
fn compare(group: &GroupPlan, content: &str) -> Result<Option<Changes>, PublishError> {
    let rendered = group
        .templates
        .iter()
        .map(|template| Rendered { template, content: content.as_bytes().to_vec(), secret: false })
        .collect();
    Changes::compare(group, rendered, None, &HERE)
}

fn stage(group: &GroupPlan, content: &str) -> Staged {
    compare(group, content).unwrap().expect("something differs").stage().unwrap()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn leftovers(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".proem-")).collect()
}

/// A group of two targets `a` and `b`: `a` is "old", `b` is not there.
struct Pair {
    dir: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
    group: GroupPlan,
}

fn pair(check: Option<&[&str]>) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (a, b) = (root.join("a"), root.join("b"));
    std::fs::write(&a, "old").unwrap();
    let group = group(vec![template("a", &a), template("b", &b)], check);
    Pair { dir, a, b, group }
}

impl Pair {
    fn state(&self) -> (Option<String>, Option<String>) {
        (read(&self.a), read(&self.b))
    }

    fn is_old(&self) {
        assert_eq!(self.state(), (Some("old".into()), None));
    }

    fn is_new(&self) {
        assert_eq!(self.state(), (Some("new".into()), Some("new".into())));
    }

    fn recover(&self) -> Vec<(Outcome, bool)> {
        recover(std::slice::from_ref(&self.group), None).into_iter().map(|one| (one.outcome, one.reload_owed)).collect()
    }

    fn is_clean(&self) {
        assert_eq!(leftovers(self.dir.path()), Vec::<String>::new());
    }
}

#[test]
fn a_lone_file_is_published_once_and_then_nothing_differs() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("sub/dir/app.conf");
    let group = group(vec![template("app", &target)], None);
    let changes = compare(&group, "one").unwrap().unwrap();
    assert!(changes.content_changed());
    assert_eq!(changes.targets().collect::<Vec<_>>(), [target.as_path()]);
    let mut committed = changes.stage().unwrap().commit().unwrap();
    committed.checked().unwrap();
    assert_eq!(committed.targets(), [target.clone()]);
    committed.finish();
    assert_eq!((read(&target).as_deref(), mode(&target)), (Some("one"), 0o644));
    assert_eq!(leftovers(target.parent().unwrap()), Vec::<String>::new());
    assert!(compare(&group, "one").unwrap().is_none());
    assert!(compare(&group, "two").unwrap().is_some());
}

#[test]
fn modes_are_stated_kept_or_by_secrecy() {
    let dir = tempfile::tempdir().unwrap();
    let publish = |stated, secret, existing: Option<u32>| {
        let target = dir.path().join("f");
        let _ = std::fs::remove_file(&target);
        if let Some(existing) = existing {
            std::fs::write(&target, "old").unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(existing)).unwrap();
        }
        let mut group = group(vec![template("f", &target)], None);
        group.templates[0].mode = stated;
        let rendered = vec![Rendered { template: &group.templates[0], content: b"new".to_vec(), secret }];
        Changes::compare(&group, rendered, None, &HERE).unwrap().unwrap().stage().unwrap().commit().unwrap().finish();
        mode(&target)
    };
    assert_eq!(publish(None, false, None), 0o644);
    assert_eq!(publish(None, true, None), 0o600);
    assert_eq!(publish(None, true, Some(0o640)), 0o640);
    assert_eq!(publish(Some(0o755), true, Some(0o640)), 0o755);
}

#[test]
fn a_mode_that_drifted_is_repaired_without_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("f");
    std::fs::write(&target, "same").unwrap();
    let mut group = group(vec![template("f", &target)], Some(&["true"]));
    group.templates[0].mode = Some(0o600);
    let inode = std::fs::metadata(&target).unwrap().ino();
    let changes = compare(&group, "same").unwrap().unwrap();
    assert!(!changes.content_changed());
    changes.stage().unwrap().commit().unwrap().finish();
    assert_eq!((mode(&target), std::fs::metadata(&target).unwrap().ino()), (0o600, inode));
    assert!(compare(&group, "same").unwrap().is_none());
}

#[test]
fn an_owner_is_stated_or_the_reloaded_processs_or_the_files() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("f");
    let publish = |stated: bool, default_owner, content: &str| {
        let mut group = group(vec![template("f", &target)], None);
        group.templates[0].owner = stated.then(|| OwnerPlan { user: Some("nobody".into()), group: None });
        let rendered = vec![Rendered { template: &group.templates[0], content: content.into(), secret: false }];
        let changes = Changes::compare(&group, rendered, default_owner, &HERE).unwrap().unwrap();
        changes.stage().unwrap().commit().unwrap().finish();
        let is = std::fs::metadata(&target).unwrap();
        (is.uid(), is.gid())
    };
    assert_eq!(publish(false, Some((101, 102)), "1"), (101, 102));
    assert_eq!(publish(false, None, "2"), (101, 102));
    assert_eq!(publish(true, Some((101, 102)), "3"), (65534, 65534));
    assert_eq!(publish(false, Some((7, 8)), "3"), (7, 8), "a repair");
}

#[test]
fn links_are_followed_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (link, real) = (dir.path().join("link"), dir.path().join("data/real"));
    std::fs::create_dir(dir.path().join("data")).unwrap();
    symlink("data/real", &link).unwrap();
    let group = group(vec![template("f", &link)], None);
    stage(&group, "one").commit().unwrap().finish();
    assert_eq!(read(&real).as_deref(), Some("one"), "a dangling link's target is made");
    stage(&group, "two").commit().unwrap().finish();
    assert_eq!(read(&real).as_deref(), Some("two"));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn what_is_no_file_is_refused_with_73() {
    let dir = tempfile::tempdir().unwrap();
    let error = compare(&group(vec![template("f", dir.path())], None), "x").unwrap_err();
    assert_eq!(error.exit, Exit::CANNOT_WRITE);
    assert_eq!(error.complaint.message, format!("failed to write {}: is a directory", dir.path().display()));
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let error = compare(&group(vec![template("f", &fifo)], None), "x").unwrap_err();
    assert!(error.complaint.message.ends_with("it is not a regular file"));
    let under = group(vec![template("f", &dir.path().join("file/x"))], None);
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(compare(&under, "x").unwrap_err().exit, Exit::CANNOT_WRITE);
}

#[test]
fn a_content_that_does_not_parse_is_refused_with_65() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("f.json");
    let mut group = group(vec![template("f", &target)], None);
    group.templates[0].format = Some(Format::Json);
    let error = compare(&group, "{").unwrap_err();
    assert_eq!((error.exit, error.retry), (Exit::DATA, Retry::OnChange));
    let place = format!("template `f`: {}:1:1 would not be valid JSON: ", target.display());
    assert!(error.complaint.message.starts_with(&place), "{}", error.complaint.message);
    assert!(compare(&group, "{}").unwrap().is_some());
}

#[test]
fn a_check_sees_the_staged_file_and_what_does_not_change_where_it_is() {
    let pair = pair(Some(&["check", "-f", "{staged}", "--b={staged:b}"]));
    std::fs::write(&pair.b, "new").unwrap();
    let staged = stage(&pair.group, "new");
    let command = staged.check_command(pair.group.check.as_ref().unwrap()).unwrap();
    assert_eq!(read(Path::new(&command[2])).as_deref(), Some("new"));
    assert!(command[2].ends_with(".a") && Path::new(&command[2]).parent() == pair.a.parent());
    assert_eq!(command[3], format!("--b={}", pair.b.display()));
    assert_eq!(read(&pair.a).as_deref(), Some("old"));
    drop(staged);
    pair.is_clean();
}

#[test]
fn refused_content_is_known_again() {
    let pair = pair(None);
    let fingerprint = |content| compare(&pair.group, content).unwrap().unwrap().fingerprint();
    assert_eq!(fingerprint("new"), fingerprint("new"));
    assert_ne!(fingerprint("new"), fingerprint("newer"));
}

#[test]
fn a_refused_check_after_the_rename_brings_the_old_files_back() {
    let pair = pair(Some(&["nginx", "-t"]));
    let inode = std::fs::metadata(&pair.a).unwrap().ino();
    let committed = stage(&pair.group, "new").commit().unwrap();
    pair.is_new();
    committed.roll_back().unwrap();
    pair.is_old();
    assert_eq!(std::fs::metadata(&pair.a).unwrap().ino(), inode);
    pair.is_clean();
    assert_eq!(pair.recover(), []);
}

#[test]
fn a_finished_group_leaves_nothing() {
    let pair = pair(Some(&["nginx", "-t"]));
    let mut committed = stage(&pair.group, "new").commit().unwrap();
    committed.checked().unwrap();
    committed.finish();
    pair.is_new();
    pair.is_clean();
}

#[test]
fn a_failure_in_the_middle_is_undone() {
    let pair = pair(None);
    let staged = stage(&pair.group, "new");
    // Between stage and commit somebody makes a directory where the second file is to be.
    std::fs::create_dir(&pair.b).unwrap();
    let error = staged.commit().unwrap_err();
    assert_eq!((error.state, error.error.exit), (AfterError::Undone, Exit::CANNOT_WRITE));
    std::fs::remove_dir(&pair.b).unwrap();
    pair.is_old();
    pair.is_clean();
}

#[test]
fn a_crash_while_staged_leaves_the_old_files() {
    let pair = pair(None);
    std::mem::forget(stage(&pair.group, "new"));
    assert_eq!(leftovers(pair.dir.path()).len(), 2);
    assert_eq!(pair.recover(), []);
    pair.is_old();
    pair.is_clean();
}

#[test]
fn a_crash_before_the_check_is_undone() {
    let pair = pair(Some(&["nginx", "-t"]));
    std::mem::forget(stage(&pair.group, "new").commit().unwrap());
    pair.is_new();
    assert_eq!(pair.recover(), [(Outcome::Undone, false)]);
    pair.is_old();
    pair.is_clean();
    assert_eq!(pair.recover(), []);
}

#[test]
fn a_crash_after_the_check_owes_the_reload_until_it_is_paid() {
    let pair = pair(Some(&["nginx", "-t"]));
    let mut committed = stage(&pair.group, "new").commit().unwrap();
    committed.checked().unwrap();
    std::mem::forget(committed);
    for _ in 0..2 {
        assert_eq!(pair.recover(), [(Outcome::Finished, true)]);
        pair.is_new();
    }
    forget_owed(&pair.group, None);
    assert_eq!(pair.recover(), []);
    pair.is_clean();
}

/// Cuts a commit off after each of its renames by putting the files back as they were before it.
fn cut_between_renames(check: Option<&[&str]>, expected: &(Outcome, bool)) {
    for renamed in 0..=2 {
        let pair = pair(check);
        let mut staged = stage(&pair.group, "new");
        let names: Vec<PathBuf> =
            staged.files.iter().map(|file| pair.dir.path().join(file.staged.as_ref().unwrap())).collect();
        let contents: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(name).unwrap()).collect();
        staged.stdout.clear();
        std::mem::forget(staged.commit().unwrap());
        let kept = leftovers(pair.dir.path()).into_iter().find(|name| name.ends_with(".kept")).unwrap();
        for (index, target) in [&pair.a, &pair.b].into_iter().enumerate().skip(renamed) {
            std::fs::remove_file(target).unwrap();
            std::fs::write(&names[index], &contents[index]).unwrap();
            if index == 0 {
                std::fs::hard_link(pair.dir.path().join(&kept), target).unwrap();
            }
        }
        assert_eq!(pair.recover(), std::slice::from_ref(expected), "{renamed} renamed");
        if expected.0 == Outcome::Undone {
            pair.is_old()
        } else {
            pair.is_new()
        }
        if !expected.1 {
            pair.is_clean();
        }
    }
}

#[test]
fn a_crash_between_renames_with_a_check_to_come_is_undone() {
    cut_between_renames(Some(&["nginx", "-t"]), &(Outcome::Undone, false));
}

#[test]
fn a_crash_between_renames_of_checked_content_is_finished() {
    cut_between_renames(None, &(Outcome::Finished, true));
    cut_between_renames(Some(&["check", "{staged}"]), &(Outcome::Finished, true));
}

#[test]
fn an_owed_reload_outlives_a_publish_that_was_refused() {
    let pair = pair(Some(&["nginx", "-t"]));
    let mut first = stage(&pair.group, "new").commit().unwrap();
    first.checked().unwrap();
    // Its reload fails; a newer content overtakes it, and is refused.
    let second = stage(&pair.group, "newer").commit().unwrap();
    drop(first);
    second.roll_back().unwrap();
    pair.is_new();
    assert_eq!(pair.recover(), [(Outcome::Finished, true)]);
    forget_owed(&pair.group, None);
    pair.is_clean();
}

#[test]
fn a_lone_files_owed_reload_can_be_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let group = group(vec![template("f", &dir.path().join("f"))], None);
    for state_dir in [None, Some(dir.path().join("state"))] {
        let state_dir = state_dir.as_deref();
        remember_owed(&group, state_dir).unwrap();
        let expected = Recovered { group: "web".into(), outcome: Outcome::Finished, reload_owed: true };
        assert_eq!(recover(std::slice::from_ref(&group), state_dir), [expected]);
        forget_owed(&group, state_dir);
        assert_eq!(recover(std::slice::from_ref(&group), state_dir), []);
    }
}

#[test]
fn a_torn_write_in_place_is_mended_from_the_kept_copy() {
    let pair = pair(Some(&["nginx", "-t"]));
    let committed = stage(&pair.group, "new").commit().unwrap();
    std::mem::forget(committed);
    std::fs::write(&pair.a, "ne").unwrap();
    assert_eq!(pair.recover(), [(Outcome::Undone, false)]);
    pair.is_old();
}

#[test]
fn without_its_kept_file_a_group_is_told_to_be_mixed() {
    let pair = pair(Some(&["nginx", "-t"]));
    std::mem::forget(stage(&pair.group, "new").commit().unwrap());
    for name in leftovers(pair.dir.path()).into_iter().filter(|name| name.ends_with(".kept")) {
        std::fs::remove_file(pair.dir.path().join(name)).unwrap();
    }
    assert!(matches!(pair.recover().as_slice(), [(Outcome::Mixed(_), false)]));
    // The next publish of the group settles it.
    let mut committed = stage(&pair.group, "newest").commit().unwrap();
    committed.checked().unwrap();
    committed.finish();
    assert_eq!(pair.recover(), []);
    pair.is_clean();
}

#[test]
fn a_journal_cannot_make_recovery_touch_other_files() {
    let pair = pair(Some(&["nginx", "-t"]));
    std::mem::forget(stage(&pair.group, "new").commit().unwrap());
    // The configuration changed: `a` is no target any more.
    let other = group(vec![template("b", &pair.b)], Some(&["nginx", "-t"]));
    recover(std::slice::from_ref(&other), None);
    assert_eq!(pair.state(), (Some("new".into()), None));
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("f");
    let group = group(vec![template("f", &target)], None);
    let contents = ["a".repeat(200_000), "b".repeat(100_000)];
    stage(&group, &contents[0]).commit().unwrap().finish();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let seen = read(&target).expect("the target is always there");
                assert!(contents.contains(&seen), "torn: {} bytes", seen.len());
                reads += 1;
            }
            reads
        });
        for round in 1..60 {
            stage(&group, &contents[round % 2]).commit().unwrap().finish();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}
