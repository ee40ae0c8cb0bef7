//! A publish that is killed at each single system call, in a process of its own under `strace`.

use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Whatever a publish changes anything with. (`strace` counts each of them by itself.)
const CALLS: [&str; 8] = ["openat", "write", "fsync", "fchmod", "fchown", "linkat", "renameat", "unlinkat"];
const DIR: &str = "PROEM_TEST_PUBLISH_IN";
const STEPS: &str = "PROEM_TEST_PUBLISH_STEPS";

/// What the process does that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// A publish whose content was checked before.
    Plain,
    /// One with a check after the renames.
    Check,
    /// One that a verify takes back again.
    Verify,
}

fn at(root: &Path, steps: Steps) -> (GroupPlan, PathBuf, PathBuf) {
    let (a, b) = (root.join("a"), root.join("b"));
    let check = (steps == Steps::Check).then_some(&["nginx", "-t"][..]);
    let mut group = group(vec![template("a", &a), template("b", &b)], check);
    if steps == Steps::Verify {
        super::verify::verified(&mut group);
    }
    (group, a, b)
}

/// The process that is killed; in an ordinary run of the tests it has nothing to do.
#[test]
fn helper_that_publishes_once() {
    let Some(root) = std::env::var_os(DIR) else { return };
    let steps = match std::env::var(STEPS).unwrap().as_str() {
        "Check" => Steps::Check,
        "Verify" => Steps::Verify,
        _ => Steps::Plain,
    };
    let (group, ..) = at(Path::new(&root), steps);
    let mut committed = stage(&group, "new").commit().unwrap();
    committed.checked().unwrap();
    if steps == Steps::Verify {
        committed.verifying().unwrap();
        committed.roll_back().unwrap();
        forget_owed(&group, None);
    } else {
        committed.finish();
    }
}

/// Kills the helper at the `n`th such call of one of its threads; `false`: there were fewer, it went through.
fn killed_at(root: &Path, steps: Steps, call: &str, n: usize) -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "publish::tests::killed::helper_that_publishes_once"]);
    strace.env(DIR, root).env(STEPS, format!("{steps:?}")).stdout(Stdio::null()).stderr(Stdio::null());
    let status = strace.status().unwrap();
    match (status.code(), status.signal()) {
        (Some(0), _) => false,
        (_, Some(libc::SIGKILL)) => true,
        other => panic!("the helper ended with {other:?}"),
    }
}

/// What recovery made of it; `None`: there were fewer calls.
fn survives_at(steps: Steps, call: &str, n: usize) -> Option<Vec<(Outcome, bool)>> {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (group, a, b) = at(&root, steps);
    std::fs::write(&a, "old").unwrap();
    let killed = killed_at(&root, steps, call, n);
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

fn survives(steps: Steps) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let mut outcomes = Vec::new();
    for call in CALLS {
        for n in 1.. {
            match survives_at(steps, call, n) {
                Some(recovered) => outcomes.extend(recovered),
                None => break,
            }
        }
    }
    // The campaign went through the phases that it is about.
    assert!(outcomes.contains(&(Outcome::Finished, true)), "{outcomes:?}");
    assert_eq!(outcomes.contains(&(Outcome::Undone, false)), steps == Steps::Check, "{outcomes:?}");
}

#[test]
fn at_every_call_with_a_check_to_come() {
    survives(Steps::Check);
}

#[test]
fn at_every_call_of_checked_content() {
    survives(Steps::Plain);
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No publish that was interrupted.
    Nothing,
    /// One that is in place and not verified.
    Unverified,
    /// One that is old again.
    TakenBack,
}

/// What recovery made of a publish that a verify was about to take back, or was taking back; `None`: fewer calls.
fn is_verified_at(call: &str, n: usize) -> Option<Found> {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (group, a, b) = at(&root, Steps::Verify);
    std::fs::write(&a, "old").unwrap();
    let killed = killed_at(&root, Steps::Verify, call, n);
    let before = (read(&a), read(&b));
    let recovered = recover_unverified(std::slice::from_ref(&group), None);
    let (old, new) = ((Some("old".to_owned()), None), (Some("new".to_owned()), Some("new".to_owned())));
    let state = (read(&a), read(&b));
    assert!(state == old || state == new, "{call} {n}: mixed after recovery: {state:?} from {before:?}");
    assert!(recovered.iter().all(|one| !matches!(one.outcome, Outcome::Mixed(_))), "{call} {n}: {recovered:?}");
    let unverified = recovered.iter().any(|one| one.unverified);
    // What is in place and may have been told is never forgotten: it can still be taken back.
    assert_eq!(unverified, state == new, "{call} {n}: {recovered:?}");
    if unverified {
        Committed::resume(&group, None).unwrap().roll_back().unwrap();
        assert_eq!((read(&a), read(&b)), old, "{call} {n}");
    }
    forget_owed(&group, None);
    assert_eq!(leftovers(&root), Vec::<String>::new(), "{call} {n}");
    killed.then(|| match recovered.first() {
        None => Found::Nothing,
        Some(_) if unverified => Found::Unverified,
        Some(_) => Found::TakenBack,
    })
}

#[test]
fn at_every_call_of_one_that_is_taken_back_by_a_verify() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let found: Vec<Found> = CALLS.iter().flat_map(|call| (1..).map_while(move |n| is_verified_at(call, n))).collect();
    // The campaign went through the phases that it is about.
    for phase in [Found::Nothing, Found::Unverified, Found::TakenBack] {
        assert!(found.contains(&phase), "{phase:?} in {found:?}");
    }
}
