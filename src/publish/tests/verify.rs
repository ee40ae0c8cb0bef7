//! What a verify may still take back, over crashes and newer publishes.

use super::*;
use crate::config::plan::{VerifyPlan, VerifyWhat};

/// A lone target `f` with a verify.
struct Lone {
    dir: tempfile::TempDir,
    target: PathBuf,
    group: GroupPlan,
}

fn lone(old: Option<&str>) -> Lone {
    let dir = tempfile::tempdir().unwrap();
    let target = std::fs::canonicalize(dir.path()).unwrap().join("f");
    if let Some(old) = old {
        std::fs::write(&target, old).unwrap();
    }
    let mut group = group(vec![template("f", &target)], None);
    verified(&mut group);
    Lone { dir, target, group }
}

pub(super) fn verified(group: &mut GroupPlan) {
    let what = VerifyWhat::Run(vec!["true".into()]);
    group.verify = Some(VerifyPlan { what, within: Duration::from_secs(1) });
}

fn told(group: &GroupPlan, content: &str) -> Committed {
    let mut committed = stage(group, content).commit().unwrap();
    committed.checked().unwrap();
    committed
}

fn again(group: &GroupPlan) -> Vec<(Outcome, bool, bool)> {
    let recovered = recover_unverified(std::slice::from_ref(group), None);
    recovered.into_iter().map(|one| (one.outcome, one.reload_owed, one.unverified)).collect()
}

impl Lone {
    fn is(&self, content: Option<&str>) {
        assert_eq!(read(&self.target).as_deref(), content);
    }

    fn is_clean(&self) {
        assert_eq!(leftovers(self.dir.path()), Vec::<String>::new());
    }
}

#[test]
fn a_lone_file_can_be_taken_back_after_its_reload() {
    for old in [Some("old"), None] {
        let lone = lone(old);
        let mut committed = told(&lone.group, "new");
        committed.verifying().unwrap();
        lone.is(Some("new"));
        committed.roll_back().unwrap();
        lone.is(old);
        // Whoever was told of the new must be told of the old.
        assert_eq!(again(&lone.group), [(Outcome::Finished, true, false)]);
        forget_owed(&lone.group, None);
        lone.is_clean();
    }
}

#[test]
fn one_that_was_verified_leaves_nothing() {
    let lone = lone(Some("old"));
    let mut committed = told(&lone.group, "new");
    committed.verifying().unwrap();
    assert_eq!(leftovers(lone.dir.path()).len(), 2);
    committed.finish();
    lone.is(Some("new"));
    lone.is_clean();
    assert_eq!(again(&lone.group), []);
}

/// Crash after crash, before and during the verify.
#[test]
fn a_crash_before_the_verdict_keeps_what_may_have_to_come_back() {
    for (old, verifying) in [(Some("old"), false), (Some("old"), true), (None, false), (None, true)] {
        let lone = lone(old);
        let mut committed = told(&lone.group, "new");
        if verifying {
            committed.verifying().unwrap();
        }
        std::mem::forget(committed);
        for _ in 0..2 {
            assert_eq!(again(&lone.group), [(Outcome::Finished, !verifying, true)]);
        }
        let mut committed = Committed::resume(&lone.group, None).expect("it is journaled");
        assert_eq!(committed.restores().collect::<Vec<_>>(), [lone.target.as_path()]);
        let contents = committed.contents();
        committed.roll_back().unwrap();
        lone.is(old);
        // The same content is known again, though this process did not render it.
        assert_eq!(compare(&lone.group, "new").unwrap().unwrap().contents(), contents);
        assert_ne!(compare(&lone.group, "newer").unwrap().unwrap().contents(), contents);
        forget_owed(&lone.group, None);
        lone.is_clean();
    }
}

#[test]
fn a_container_that_starts_accepts_what_was_not_verified() {
    for verifying in [false, true] {
        let lone = lone(Some("old"));
        let mut committed = told(&lone.group, "new");
        if verifying {
            committed.verifying().unwrap();
        }
        std::mem::forget(committed);
        let recovered = recover(std::slice::from_ref(&lone.group), None);
        let recovered: Vec<_> = recovered.into_iter().map(|one| (one.reload_owed, one.unverified)).collect();
        assert_eq!(recovered, [(!verifying, false)]);
        lone.is(Some("new"));
        assert!(Committed::resume(&lone.group, None).is_none());
        forget_owed(&lone.group, None);
        lone.is_clean();
    }
}

#[test]
fn without_its_kept_file_there_is_nothing_to_verify_for() {
    let lone = lone(Some("old"));
    let mut committed = told(&lone.group, "new");
    committed.verifying().unwrap();
    std::mem::forget(committed);
    for name in leftovers(lone.dir.path()).into_iter().filter(|name| is_kept(name)) {
        std::fs::remove_file(lone.dir.path().join(name)).unwrap();
    }
    assert_eq!(again(&lone.group), [(Outcome::Finished, false, false)]);
    lone.is(Some("new"));
    lone.is_clean();
}

#[test]
fn one_that_cannot_be_taken_back_yet_is_tried_again() {
    let mut pair = pair(None);
    verified(&mut pair.group);
    let mut committed = told(&pair.group, "new");
    committed.verifying().unwrap();
    assert!(committed.is_restorable());
    // Neither a rename nor a write in place can replace a directory.
    std::fs::rename(&pair.a, pair.dir.path().join("aside")).unwrap();
    std::fs::create_dir(&pair.a).unwrap();
    std::fs::write(pair.a.join("x"), "").unwrap();
    assert!(committed.roll_back().is_err());
    assert!(committed.is_refused() && pair.b.symlink_metadata().is_err());
    std::fs::remove_dir_all(&pair.a).unwrap();
    committed.roll_back().unwrap();
    pair.is_old();
    assert_eq!(again(&pair.group), [(Outcome::Finished, true, false)]);
}

/// `a` changes, then `b`: neither was verified, so both come back; over a crash, too.
#[test]
fn a_newer_publish_can_go_back_to_before_the_one_that_it_overtakes() {
    for crash in [false, true] {
        let mut pair = pair(None);
        verified(&mut pair.group);
        let publish = |a: &str, b: &str| {
            let contents = [a, b].into_iter().zip(&pair.group.templates);
            let rendered = contents
                .map(|(content, template)| Rendered { template, content: content.into(), secret: false })
                .collect();
            Changes::compare(&pair.group, rendered, None, &HERE).unwrap().unwrap()
        };
        std::fs::write(&pair.b, "old").unwrap();
        let mut committed = publish("1", "old").stage().unwrap().commit().unwrap();
        committed.checked().unwrap();
        for (a, b) in [("1", "2"), ("3", "2")] {
            let mut newer = publish(a, b).stage().unwrap().commit().unwrap();
            newer.inherit(committed);
            newer.checked().unwrap();
            committed = newer;
        }
        assert_eq!(leftovers(pair.dir.path()).len(), 3, "one journal, one kept file for each target");
        if crash {
            std::mem::forget(committed);
            assert_eq!(again(&pair.group), [(Outcome::Finished, true, true)]);
            committed = Committed::resume(&pair.group, None).unwrap();
        }
        assert_eq!(pair.state(), (Some("3".into()), Some("2".into())));
        let contents = committed.contents();
        committed.roll_back().unwrap();
        assert_eq!(pair.state(), (Some("old".into()), Some("old".into())));
        assert_eq!(publish("3", "2").contents(), contents);
        forget_owed(&pair.group, None);
        pair.is_clean();
    }
}

/// Content that goes back by itself is no part of what was refused.
#[test]
fn what_is_old_again_is_not_among_what_was_refused() {
    let lone = lone(Some("old"));
    let first = told(&lone.group, "new");
    let mut second = stage(&lone.group, "old").commit().unwrap();
    second.inherit(first);
    second.checked().unwrap();
    assert!(second.contents().is_empty());
    second.roll_back().unwrap();
    lone.is(Some("old"));
}
