//! Targets whose templates are gone: what is removed, what is left alone, and what a crash in between comes to.

use super::*;
use crate::config::plan::PrunePlan;
use std::collections::BTreeMap;

/// A directory of templates that produced `a` and `b`; now there is only `a`'s template.
struct Gone {
    dir: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
    group: GroupPlan,
}

fn prune(to: &Path, keep: &[&Path]) -> PrunePlan {
    let keep = keep.iter().map(|path| path.to_path_buf()).collect();
    PrunePlan { name: "dir".into(), directory: 0, to: to.to_owned(), keep }
}

fn made(targets: &[(&Path, &str)]) -> Made {
    let targets = targets.iter().map(|(path, text)| (path.to_path_buf(), Fingerprint::of(text.as_bytes())));
    Made { targets: targets.collect(), settled: false }
}

fn gone_in(root: &Path, check: Option<&[&str]>) -> (PathBuf, PathBuf, GroupPlan) {
    let (a, b) = (root.join("a"), root.join("b"));
    let mut group = group(vec![template("a", &a)], check);
    group.prunes = vec![prune(root, &[&a])];
    (a, b, group)
}

fn gone(check: Option<&[&str]>) -> Gone {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (a, b, group) = gone_in(&root, check);
    std::fs::write(&a, "old").unwrap();
    std::fs::write(&b, "old").unwrap();
    note_made(&prune(&root, &[&a, &b]), None, &made(&[(&a, "old"), (&b, "old")]));
    Gone { dir, a, b, group }
}

impl Gone {
    fn state(&self) -> (Option<String>, Option<String>) {
        (read(&self.a), read(&self.b))
    }

    fn is_old(&self) {
        assert_eq!(self.state(), (Some("old".into()), Some("old".into())));
    }

    fn is_new(&self) {
        assert_eq!(self.state(), (Some("new".into()), None));
    }

    fn recover(&self) -> Vec<(Outcome, bool)> {
        recover(std::slice::from_ref(&self.group), None).into_iter().map(|one| (one.outcome, one.reload_owed)).collect()
    }

    /// Nothing but the list is left.
    fn is_clean(&self) {
        let left = leftovers(self.dir.path());
        assert!(left.iter().all(|name| name.starts_with(".proem-manifest-")), "{left:?}");
    }
}

#[test]
fn what_is_gone_is_removed_with_its_group() {
    let gone = gone(Some(&["nginx", "-t"]));
    let changes = compare(&gone.group, "new").unwrap().unwrap();
    assert!(changes.content_changed());
    assert_eq!(changes.targets().collect::<Vec<_>>(), [gone.a.as_path(), gone.b.as_path()]);
    let mut committed = changes.stage().unwrap().commit().unwrap();
    gone.is_new();
    committed.checked().unwrap();
    committed.finish();
    gone.is_clean();
    assert!(compare(&gone.group, "new").unwrap().is_none());
}

#[test]
fn a_removal_alone_is_a_change_and_comes_back_when_it_is_refused() {
    let gone = gone(Some(&["nginx", "-t"]));
    let inode = std::fs::metadata(&gone.b).unwrap().ino();
    let changes = compare(&gone.group, "old").unwrap().unwrap();
    assert!(changes.content_changed());
    let mut committed = changes.stage().unwrap().commit().unwrap();
    assert_eq!(gone.state(), (Some("old".into()), None));
    committed.roll_back().unwrap();
    gone.is_old();
    assert_eq!(std::fs::metadata(&gone.b).unwrap().ino(), inode);
    gone.is_clean();
    // It is not forgotten: it is removed another time.
    note_made(&gone.group.prunes[0], None, &Made::default());
    stage(&gone.group, "old").commit().unwrap().finish();
    assert_eq!(read(&gone.b), None);
}

#[test]
fn a_refused_removal_is_known_again() {
    let gone = gone(None);
    let removal = compare(&gone.group, "old").unwrap().unwrap().fingerprint();
    assert_eq!(compare(&gone.group, "old").unwrap().unwrap().fingerprint(), removal);
    assert_ne!(compare(&gone.group, "new").unwrap().unwrap().fingerprint(), removal);
    std::fs::remove_file(&gone.b).unwrap();
    assert_ne!(compare(&gone.group, "new").unwrap().unwrap().fingerprint(), removal);
}

#[test]
fn only_what_proem_put_there_is_removed() {
    type Case = (&'static str, fn(&Gone));
    let cases: [Case; 5] = [
        ("changed since", |gone| std::fs::write(&gone.b, "by hand").unwrap()),
        ("a link", |gone| {
            std::fs::rename(&gone.b, gone.dir.path().join("real")).unwrap();
            symlink("real", &gone.b).unwrap();
        }),
        ("a directory", |gone| {
            std::fs::remove_file(&gone.b).unwrap();
            std::fs::create_dir(&gone.b).unwrap();
        }),
        ("no list", |gone| {
            for name in leftovers(gone.dir.path()) {
                std::fs::remove_file(gone.dir.path().join(name)).unwrap();
            }
        }),
        ("a list that others may write", |gone| {
            for name in leftovers(gone.dir.path()) {
                let open = std::fs::Permissions::from_mode(0o666);
                std::fs::set_permissions(gone.dir.path().join(name), open).unwrap();
            }
        }),
    ];
    for (case, change) in cases {
        let gone = gone(None);
        change(&gone);
        assert!(compare(&gone.group, "old").unwrap().is_none(), "{case}");
        assert!(std::fs::symlink_metadata(&gone.b).is_ok(), "{case}");
    }
}

#[test]
fn what_a_verify_brought_back_is_proems_still() {
    let gone = gone(None);
    let plan = PrunePlan { keep: [gone.a.clone(), gone.b.clone()].into(), ..gone.group.prunes[0].clone() };
    // The new content was in place, and the previous one came back.
    note_made(&plan, None, &made(&[(&gone.b, "new")]));
    assert!(compare(&gone.group, "old").unwrap().is_some());
    note_made(&plan, None, &made(&[(&gone.b, "newer")]));
    assert!(compare(&gone.group, "old").unwrap().is_none());
}

#[test]
fn what_another_template_produces_now_stays() {
    let mut gone = gone(None);
    let real = gone.dir.path().join("b");
    symlink(gone.dir.path(), gone.dir.path().join("self")).unwrap();
    // By another name of the same file, too.
    for target in [real, gone.dir.path().join("self/b")] {
        gone.group.prunes[0].keep.insert(target.clone());
        assert!(compare(&gone.group, "old").unwrap().is_none(), "{}", target.display());
        gone.group.prunes[0].keep.remove(&target);
    }
    assert!(compare(&gone.group, "old").unwrap().is_some());
}

#[test]
fn a_list_leads_nowhere_else() {
    let gone = gone(None);
    let outside = tempfile::tempdir().unwrap();
    let victim = std::fs::canonicalize(outside.path()).unwrap().join("victim");
    std::fs::write(&victim, "old").unwrap();
    let root = &gone.group.prunes[0].to;
    let up = root.join("..").join(outside.path().file_name().unwrap()).join("victim");
    let note = |target: &Path| note_made(&prune(root, &[target]), None, &made(&[(target, "old")]));
    // Neither is below the directory as it is written.
    note(&up);
    note(&victim);
    assert!(read(&up).is_some());
    let changes = compare(&gone.group, "old").unwrap();
    assert!(changes.is_none_or(|changes| changes.targets().all(|target| target == gone.b)));
}

#[test]
fn what_was_removed_is_forgotten_once_it_cannot_come_back() {
    let gone = gone(None);
    stage(&gone.group, "old").commit().unwrap().finish();
    let plan = &gone.group.prunes[0];
    let listed = || manifest::listed(plan, None).collect::<Vec<_>>();
    note_made(plan, None, &Made::default());
    assert_eq!(listed().len(), 2);
    note_made(plan, None, &Made { settled: true, ..Made::default() });
    assert_eq!(listed(), std::slice::from_ref(&gone.a));
    // A directory that produces nothing any more has no list.
    std::fs::remove_file(&gone.a).unwrap();
    let nothing = PrunePlan { keep: std::collections::BTreeSet::new(), ..plan.clone() };
    note_made(&nothing, None, &Made { settled: true, targets: BTreeMap::new() });
    assert_eq!(leftovers(gone.dir.path()), Vec::<String>::new());
}

#[test]
fn a_crash_before_the_check_brings_it_back() {
    let gone = gone(Some(&["nginx", "-t"]));
    std::mem::forget(stage(&gone.group, "new").commit().unwrap());
    gone.is_new();
    assert_eq!(gone.recover(), [(Outcome::Undone, false)]);
    gone.is_old();
    gone.is_clean();
}

#[test]
fn a_crash_before_the_check_of_a_removal_alone_brings_it_back() {
    // The group of a directory: nothing is produced with it.
    let mut gone = gone(Some(&["nginx", "-t"]));
    gone.group.templates.clear();
    std::mem::forget(stage(&gone.group, "").commit().unwrap());
    assert_eq!(read(&gone.b), None);
    assert_eq!(gone.recover(), [(Outcome::Undone, false)]);
    gone.is_old();
    gone.is_clean();
}

#[test]
fn a_crash_after_the_check_owes_the_reload() {
    let gone = gone(Some(&["nginx", "-t"]));
    let mut committed = stage(&gone.group, "new").commit().unwrap();
    committed.checked().unwrap();
    std::mem::forget(committed);
    assert_eq!(gone.recover(), [(Outcome::Finished, true)]);
    gone.is_new();
    forget_owed(&gone.group, None);
    gone.is_clean();
}

#[test]
fn what_somebody_else_put_there_meanwhile_is_not_touched() {
    for (check, expected) in [(Some(&["nginx", "-t"][..]), (Outcome::Undone, false)), (None, (Outcome::Finished, true))]
    {
        let gone = gone(check);
        std::mem::forget(stage(&gone.group, "new").commit().unwrap());
        std::fs::write(&gone.b, "by hand").unwrap();
        assert_eq!(gone.recover(), [expected]);
        assert_eq!(read(&gone.b).as_deref(), Some("by hand"));
    }
}

const DIR: &str = "PROEM_TEST_REMOVE_IN";
const CHECK: &str = "PROEM_TEST_REMOVE_CHECK";

fn checked() -> Option<&'static [&'static str]> {
    std::env::var_os(CHECK).is_some().then_some(&["nginx", "-t"])
}

/// The process that is killed; in an ordinary run of the tests it has nothing to do.
#[test]
fn helper_that_removes_once() {
    let Some(root) = std::env::var_os(DIR) else { return };
    let (.., group) = gone_in(Path::new(&root), checked());
    let mut committed = stage(&group, "new").commit().unwrap();
    committed.checked().unwrap();
    committed.finish();
}

fn killed_at_every_call(check: bool) {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let mut outcomes = Vec::new();
    for call in killed::CALLS {
        for n in 1.. {
            let gone = gone(check.then_some(&["nginx", "-t"]));
            let root = std::fs::canonicalize(gone.dir.path()).unwrap();
            let env = [(DIR, root.as_os_str()), (CHECK, "1".as_ref())];
            let env = if check { &env[..] } else { &env[..1] };
            let killed = killed::killed_at("publish::tests::removal::helper_that_removes_once", env, call, n);
            outcomes.extend(gone.recover());
            let state = gone.state();
            let all = state == (Some("new".into()), None);
            assert!(all || state == (Some("old".into()), Some("old".into())), "{call} {n}: {state:?}");
            assert!(killed || all, "{call} {n}");
            forget_owed(&gone.group, None);
            gone.is_clean();
            if !killed {
                break;
            }
        }
    }
    // The campaign went through the phases that it is about.
    assert!(outcomes.contains(&(Outcome::Finished, true)), "{outcomes:?}");
    assert_eq!(outcomes.contains(&(Outcome::Undone, false)), check, "{outcomes:?}");
}

#[test]
fn killed_at_every_call_with_a_check_to_come_it_is_all_or_nothing() {
    killed_at_every_call(true);
}

#[test]
fn killed_at_every_call_of_checked_content_it_is_all_or_nothing() {
    killed_at_every_call(false);
}
