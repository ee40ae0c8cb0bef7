//! A publish that is killed at each single system call, in a process of its own under `strace`.

use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Whatever a publish changes anything with. (`strace` counts each of them by itself.)
const CALLS: [&str; 8] = ["openat", "write", "fsync", "fchmod", "fchown", "linkat", "renameat", "unlinkat"];
const DIR: &str = "PROEM_TEST_PUBLISH_IN";
const CHECK: &str = "PROEM_TEST_PUBLISH_CHECK";

fn at(root: &Path, check: bool) -> (GroupPlan, PathBuf, PathBuf) {
    let (a, b) = (root.join("a"), root.join("b"));
    (group(vec![template("a", &a), template("b", &b)], check.then_some(&["nginx", "-t"][..])), a, b)
}

/// The process that is killed; in an ordinary run of the tests it has nothing to do.
#[test]
fn helper_that_publishes_once() {
    let Some(root) = std::env::var_os(DIR) else { return };
    let (group, ..) = at(Path::new(&root), std::env::var_os(CHECK).is_some());
    let mut committed = stage(&group, "new").commit().unwrap();
    committed.checked().unwrap();
    committed.finish();
}

/// One instant at which a helper is killed: at the `n`th such call of one of its threads.
#[derive(Debug)]
pub(super) struct Case<'a> {
    helper: &'a str,
    dir: &'a str,
    check: Option<&'a str>,
    call: &'a str,
    n: usize,
}

impl Case<'_> {
    /// Runs the helper in this folder; `false`: there were fewer such calls, it went through.
    pub(super) fn run(&self, root: &Path) -> bool {
        let Case { helper, dir, check, call, n } = self;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["--exact", helper]);
        strace.env(dir, root).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(check) = check {
            strace.env(check, "1");
        }
        let status = strace.status().unwrap();
        match (status.code(), status.signal()) {
            (Some(0), _) => false,
            (_, Some(libc::SIGKILL)) => true,
            other => panic!("the helper ended with {other:?}"),
        }
    }
}

/// Looks at each instant, until `survives` says that a kind of call has no more. Nothing where there is no strace.
pub(super) fn at_each_call(helper: &str, dir: &str, check: Option<&str>, mut survives: impl FnMut(&Case<'_>) -> bool) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return;
    }
    for call in CALLS {
        for n in 1.. {
            if !survives(&Case { helper, dir, check, call, n }) {
                break;
            }
        }
    }
}

/// Whether the helper was killed; what recovery made of it is added to `outcomes`.
fn survives_at(check: bool, case: &Case<'_>, outcomes: &mut Vec<(Outcome, bool)>) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (group, a, b) = at(&root, check);
    std::fs::write(&a, "old").unwrap();
    let killed = case.run(&root);
    let before = (read(&a), read(&b));
    let recovered = recover(std::slice::from_ref(&group), None);
    let (old, new) = ((Some("old".to_owned()), None), (Some("new".to_owned()), Some("new".to_owned())));
    let state = (read(&a), read(&b));
    assert!(state == old || state == new, "{case:?}: mixed after recovery: {state:?} from {before:?}");
    // New files that nobody was told of owe a reload; old ones do not.
    assert!(recovered.iter().all(|one| one.reload_owed == (state == new)), "{case:?}: {recovered:?}");
    assert!(recovered.iter().all(|one| !matches!(one.outcome, Outcome::Mixed(_))), "{case:?}: {recovered:?}");
    forget_owed(&group, None);
    assert_eq!(leftovers(&root), Vec::<String>::new(), "{case:?}");
    assert!(killed || state == new, "{case:?}");
    if killed {
        outcomes.extend(recovered.into_iter().map(|one| (one.outcome, one.reload_owed)));
    }
    killed
}

fn survives(check: bool) {
    let mut outcomes = Vec::new();
    let mut looked = false;
    at_each_call("publish::tests::killed::helper_that_publishes_once", DIR, check.then_some(CHECK), |case| {
        looked = true;
        survives_at(check, case, &mut outcomes)
    });
    // The campaign went through the phases that it is about.
    assert!(!looked || outcomes.contains(&(Outcome::Finished, true)), "{outcomes:?}");
    assert_eq!(outcomes.contains(&(Outcome::Undone, false)), check && looked, "{outcomes:?}");
}

#[test]
fn at_every_call_with_a_check_to_come() {
    survives(true);
}

#[test]
fn at_every_call_of_checked_content() {
    survives(false);
}
