//! What recovery makes of a publish that was cut off.

use super::*;

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
        let kept = leftovers(pair.dir.path()).into_iter().find(|name| is_kept(name)).unwrap();
        for (index, target) in [&pair.a, &pair.b].into_iter().enumerate().skip(renamed) {
            std::fs::remove_file(target).unwrap();
            std::fs::write(&names[index], &contents[index]).unwrap();
            if index == 0 {
                std::fs::hard_link(pair.dir.path().join(&kept), target).unwrap();
            }
        }
        assert_eq!(pair.recover(), std::slice::from_ref(expected), "{renamed} renamed");
        if expected.0 == Outcome::Undone {
            pair.is_old();
        } else {
            pair.is_new();
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
    let mut second = stage(&pair.group, "newer").commit().unwrap();
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
        let expected =
            Recovered { group: "web".into(), outcome: Outcome::Finished, reload_owed: true, unverified: false };
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
    for name in leftovers(pair.dir.path()).into_iter().filter(|name| is_kept(name)) {
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

/// What may say that the files in place were never checked cannot be read now: nothing may use them.
#[test]
fn a_journal_that_is_out_of_reach_makes_a_group_mixed_until_it_is_found() {
    let pair = pair(Some(&["nginx", "-t"]));
    let state = pair.dir.path().join("state");
    let places = Places { state_dir: Some(&state), ..HERE };
    let rendered = pair.group.templates.iter();
    let rendered = rendered.map(|template| Rendered { template, content: b"new".to_vec(), secret: false }).collect();
    let changes = Changes::compare(&pair.group, rendered, None, &places).unwrap().unwrap();
    std::mem::forget(changes.stage().unwrap().commit().unwrap());
    let (groups, aside) = (std::slice::from_ref(&pair.group), pair.dir.path().join("aside"));
    std::fs::rename(&state, &aside).unwrap();
    symlink("state", &state).unwrap();
    let recovered = recover(groups, Some(&state));
    assert!(matches!(recovered.as_slice(), [Recovered { outcome: Outcome::Mixed(_), .. }]), "{recovered:?}");
    assert!(leftovers(pair.dir.path()).iter().any(|name| is_kept(name)), "what can undo it is still there");
    std::fs::remove_file(&state).unwrap();
    std::fs::rename(&aside, &state).unwrap();
    assert_eq!(recover(groups, Some(&state))[0].outcome, Outcome::Undone);
    pair.is_old();
    pair.is_clean();
}

/// The other way round: the journal can be read, and the files cannot.
#[test]
fn targets_that_are_out_of_reach_are_still_those_of_their_journal() {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (targets, aside, state) = (root.join("targets"), root.join("aside"), root.join("state"));
    std::fs::create_dir(&targets).unwrap();
    let (a, b) = (targets.join("a"), targets.join("b"));
    std::fs::write(&a, "old").unwrap();
    let group = group(vec![template("a", &a), template("b", &b)], Some(&["nginx", "-t"]));
    let rendered = group.templates.iter();
    let rendered = rendered.map(|template| Rendered { template, content: b"new".to_vec(), secret: false }).collect();
    let places = Places { state_dir: Some(&state), ..HERE };
    let changes = Changes::compare(&group, rendered, None, &places).unwrap().unwrap();
    std::mem::forget(changes.stage().unwrap().commit().unwrap());
    let groups = std::slice::from_ref(&group);
    std::fs::rename(&targets, &aside).unwrap();
    symlink("targets", &targets).unwrap();
    let recovered = recover(groups, Some(&state));
    assert!(matches!(recovered.as_slice(), [Recovered { outcome: Outcome::Mixed(_), .. }]), "{recovered:?}");
    std::fs::remove_file(&targets).unwrap();
    std::fs::rename(&aside, &targets).unwrap();
    assert_eq!(recover(groups, Some(&state))[0].outcome, Outcome::Undone);
    assert_eq!((read(&a), read(&b)), (Some("old".into()), None));
    assert_eq!((leftovers(&targets), leftovers(&state)), (Vec::new(), Vec::new()));
}

#[test]
fn what_was_staged_in_the_state_directory_goes_when_the_target_can_be_written_again() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = dir.path().join("f");
    std::fs::write(&target, "old").unwrap();
    for name in [".proem-0123456789abcdef.f", ".proem-0123456789abcdef.f.kept", ".proem-0123456789abcdef.other"] {
        std::fs::write(state.path().join(name), "new").unwrap();
    }
    recover(&[group(vec![template("f", &target)], None)], Some(state.path()));
    assert_eq!(leftovers(state.path()), [".proem-0123456789abcdef.other"]);
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
