//! `exec:` in `proem probe`, where there is no init: nothing of it outlives the probe.

use super::support::proem::{SOON, proem};
use super::support::{folder, procs, read, text, wait, write};
use super::{is_down, is_up, probe};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_program_is_up_when_it_exits_with_0() {
    is_up("exec:true");
    is_up("exec:test -d /");
    is_down("exec:false", "exit 1");
    is_down(
        "exec:[\"sh\", \"-c\", \"echo one; echo two >&2; printf '\\\\033[31mthree\\\\n\\\\n'; exit 3\"]",
        "exit 3: three",
    );
    is_down("exec:[\"sh\", \"-c\", \"kill -SEGV $$\"]", "it was ended by SEGV");
    let hint = "(the program must be an executable in this image, found in PATH; there is no shell)";
    let missing = format!("it could not be started: no such file or directory {hint}");
    is_down("exec:no-such-program-here -x", &missing);
    let (line, code) = probe(&["exec:/etc/passwd"]);
    assert_eq!(
        (line, code),
        (format!("exec:/etc/passwd is down: it could not be started: permission denied {hint}"), 1)
    );
}

/// The process ids that a script wrote, one a line.
fn pids(path: &Path) -> Option<Vec<i32>> {
    let pids: Vec<i32> = read(path).lines().filter_map(|line| line.parse().ok()).collect();
    (pids.len() == 2).then_some(pids)
}

/// A shell and its child, both deaf to TERM.
fn stubborn(dir: &Path) -> String {
    let script = "trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ >>pids; sleep 1000' &\necho $$ >>pids\nwait\n";
    let script = script.replace("pids", text(&dir.join("pids")));
    format!("exec:sh {}", text(&write(dir, "stubborn.sh", &script)))
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_its_group() {
    let dir = folder();
    let uri = stubborn(dir.path());
    let start = Instant::now();
    let output = proem(["probe", "--timeout", "1s", &uri]).output();
    assert_eq!((output.code, output.stdout), (1, format!("{uri} is down: it did not end in time\n")));
    assert!(start.elapsed() < Duration::from_secs(4), "no grace: {:?}", start.elapsed());
    for pid in pids(&dir.path().join("pids")).expect("both ran") {
        procs::gone(pid, SOON);
    }
}

/// Docker kills a HEALTHCHECK that takes too long, and only that one process.
#[test]
fn a_program_does_not_outlive_a_probe_that_is_killed() {
    let dir = folder();
    let pid_file = dir.path().join("pid");
    let script = write(dir.path(), "wait.sh", &format!("echo $$ >{}\nexec sleep 1000\n", text(&pid_file)));
    let process = proem(["probe", "--timeout", "10m", &format!("exec:sh {}", text(&script))]).start();
    let pid = wait::until(SOON, "it runs", || process.stderr(), || read(&pid_file).trim().parse().ok());
    process.signal(libc::SIGKILL);
    procs::gone(pid, SOON);
}
