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

/// Kills the helper at the `n`th such call of one of its threads; `false`: there were fewer, it went through.
fn killed_at(root: &Path, check: bool, call: &str, n: usize) -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "publish::tests::killed::helper_that_publishes_once"]);
    strace.env(DIR, root).stdout(Stdio::null()).stderr(Stdio::null());
    if check {
        strace.env(CHECK, "1");
    }
    let status = strace.status().unwrap();
    match (status.code(), status.signal()) {
        (Some(0), _) => false,
        (_, Some(libc::SIGKILL)) => true,
        other => panic!("the helper ended with {other:?}"),
    }
}

/// What recovery made of it; `None`: there were fewer calls.
fn survives_at(check: bool, call: &str, n: usize) -> Option<Vec<(Outcome, bool)>> {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (group, a, b) = at(&root, check);
    std::fs::write(&a, "old").unwrap();
    let killed = killed_at(&root, check, call, n);
    let before = (read(&a), read(&b));
    let recovered = recover(std::slice::from_ref(&group), None);
    let (old, new) = ((Some("old".to_owned()), None), (Some("new".to_owned()), Some("new".to_owned())));
    let state = (read(&a), read(&b));
    assert!(state == old || state == new, "{call} {n}: mixed after recovery: {state:?} from {before:?}");
    // New files that nobody was told of owe a reload; old ones do not.
    assert!(recovered.iter().all(|one| one.reload_owed == (state == new)), "{call} {n}: {recovered:?}");
    assert!(recovered.iter().all(|one| !matches!(one.outcome, Outcome::Mixed(_))), "{call} {n}: {recovered:?}");
    forget_owed(&group, None);
    assert_eq!(leftovers(&root), Vec::<String>::new(), "{call} {n}");
    assert!(killed || state == new, "{call} {n}");
    killed.then(|| recovered.into_iter().map(|one| (one.outcome, one.reload_owed)).collect())
}

fn survives(check: bool) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let mut outcomes = Vec::new();
    for call in CALLS {
        for n in 1.. {
            match survives_at(check, call, n) {
                Some(recovered) => outcomes.extend(recovered),
                None => break,
            }
        }
    }
    // The campaign went through the phases that it is about.
    assert!(outcomes.contains(&(Outcome::Finished, true)), "{outcomes:?}");
    assert_eq!(outcomes.contains(&(Outcome::Undone, false)), check, "{outcomes:?}");
}

#[test]
fn at_every_call_with_a_check_to_come() {
    survives(true);
}

#[test]
fn at_every_call_of_checked_content() {
    survives(false);
}
