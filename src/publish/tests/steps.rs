//! The steps of a publish that nothing interrupts.

use super::*;

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
    assert_eq!(committed.targets(), std::slice::from_ref(&target));
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
    group.templates[0].format = Some(Syntax::Json);
    let error = compare(&group, "{").unwrap_err();
    assert_eq!((error.exit, error.retry), (Exit::DATA, Retry::OnChange));
    let place = format!("template `f`: {}:1:1 would not be valid JSON: ", target.display());
    assert!(error.complaint.message.starts_with(&place), "{}", error.complaint.message);
    assert!(compare(&group, "{}").unwrap().is_some());
    let comments = "// by hand\n{}";
    assert!(!compare(&group, comments).unwrap_err().complaint.hint.unwrap().contains("text"));
    // Unstated, the ending says it: only what nobody reads is refused, and the way out is told.
    group.templates[0].format = None;
    assert!(compare(&group, comments).unwrap().is_some());
    let hint = compare(&group, "{").unwrap_err().complaint.hint.unwrap();
    assert!(hint.ends_with("`format = \"text\"` turns this check off"), "{hint}");
    group.templates[0].format = Some(Syntax::Text);
    assert!(compare(&group, "{").unwrap().is_some());
}

#[test]
fn a_check_sees_the_staged_file_and_what_does_not_change_where_it_is() {
    let pair = pair(Some(&["check", "-f", "{staged}", "--b={staged:b}"]));
    std::fs::write(&pair.b, "new").unwrap();
    let staged = stage(&pair.group, "new");
    let command = staged.check_command(pair.group.check.as_ref().unwrap()).unwrap();
    assert_eq!(read(Path::new(&command[2])).as_deref(), Some("new"));
    assert!(
        Path::new(&command[2]).extension() == Some("a".as_ref()) && Path::new(&command[2]).parent() == pair.a.parent()
    );
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
    let mut committed = stage(&pair.group, "new").commit().unwrap();
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
    assert!(matches!(error.state, AfterError::Undone) && error.error.exit == Exit::CANNOT_WRITE);
    std::fs::remove_dir(&pair.b).unwrap();
    pair.is_old();
    pair.is_clean();
}
