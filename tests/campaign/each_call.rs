//! The worker killed at each single system call of one publish, by `strace`; what the next worker makes of it.

use crate::content::Stamp;
use crate::lane::{Expected, Form, JournalAt, Kind, Lane, SETTLED, signal};
use crate::support::{namespace::Place, text};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// Whatever a publish changes anything with.
const CHANGING: [&str; 9] =
    ["openat", "write", "fsync", "fchmod", "fchown", "linkat", "renameat", "renameat2", "unlinkat"];

/// Lanes at a time: most of them wait most of the time.
const BESIDE: usize = 5;

const OLD: Stamp = Stamp { generation: 1, bad: false };
const NEW: Stamp = Stamp { generation: 2, bad: false };

/// How often a worker was killed, by call.
pub type Killed = BTreeMap<String, u64>;

/// Kills at each call that changes something; with `all` at every call that the worker makes, and with both places of a
/// journal.
pub fn run(all: bool) -> Killed {
    let journals = if all { &[JournalAt::Target, JournalAt::StateDir][..] } else { &[JournalAt::Target] };
    let mut items = Vec::new();
    for form in [Form::Before, Form::After] {
        for &journal in journals {
            let kind = Kind { form, journal, place: Place::Subreaper, nobody: false };
            let seen = calls(kind);
            let wanted = seen.into_iter().filter(|call| all || CHANGING.contains(&call.as_str()));
            items.extend(wanted.map(|call| (kind, call)));
        }
    }
    let (items, killed) = (Mutex::new(items), Mutex::new(Killed::new()));
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                loop {
                    let item = items.lock().unwrap().pop();
                    let Some((kind, call)) = item else { return };
                    let mut n = 0;
                    while killed_at(kind, &call, n + 1) {
                        n += 1;
                    }
                    *killed.lock().unwrap().entry(call).or_default() += n;
                }
            });
        }
    });
    killed.into_inner().unwrap()
}

/// The system calls that the worker makes for one publish.
fn calls(kind: Kind) -> Vec<String> {
    let (lane, worker) = first(kind);
    let output = lane.path("calls");
    let mut strace = attach(&lane, worker, &["-o", text(&output)]);
    second(&lane);
    signal(i32::try_from(strace.id()).unwrap(), libc::SIGTERM);
    strace.wait().unwrap();
    let mut calls = crate::support::read(&output)
        .lines()
        // `PID name(…`, but not `PID <... name resumed>`.
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned()))
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect::<Vec<_>>();
    calls.sort();
    calls.dedup();
    assert!(calls.iter().any(|call| call.starts_with("rename")), "{calls:?}\n{}", lane.describe());
    calls
}

/// Kills the worker, or its check, at the `n`th such call of one of its threads; `false`: there were fewer.
fn killed_at(kind: Kind, call: &str, n: u64) -> bool {
    let (lane, worker) = first(kind);
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={n}"));
    let mut strace = attach(&lane, worker, &["-o", "/dev/null", "-e", &trace, "-e", &inject]);
    second(&lane);
    let killed = lane.worker() != Some(worker) || check_was_killed(&lane);
    signal(i32::try_from(strace.id()).unwrap(), libc::SIGTERM);
    strace.wait().unwrap();
    killed
}

/// A lane with its first publish in place and told.
fn first(kind: Kind) -> (Lane, i32) {
    let mut lane = Lane::new(kind);
    lane.records.set_strict(true);
    lane.set(OLD, 300);
    lane.start();
    ordered(&lane, OLD);
    let worker = lane.until("there is a worker", || lane.worker());
    (lane, worker)
}

/// The second publish; whatever happens to the worker, it is in place and told in the end, and nothing is left. (Where it
/// is the check that is killed, it has refused, and nobody is told.)
fn second(lane: &Lane) {
    lane.set(NEW, 300);
    ordered(lane, NEW);
    assert!(lane.fence(), "the process is gone\n{}", lane.describe());
    ordered(lane, NEW);
    assert_eq!(lane.records.violations(), "", "{}", lane.describe());
}

fn ordered(lane: &Lane, set: Stamp) {
    lane.until("all is in order", || {
        let killed = set == NEW && check_was_killed(lane);
        lane.order(Expected { set, published: !killed, before: OLD.generation, killed, littered: false })
    });
}

fn check_was_killed(lane: &Lane) -> bool {
    lane.log().contains(" was ended by KILL")
}

/// Returns once every thread of the worker is traced.
fn attach(lane: &Lane, worker: i32, options: &[&str]) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).args(["-p", &worker.to_string()]);
    let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let strace = strace.expect("no strace on this machine: run scripts/setup");
    let begun = Instant::now();
    while !is_traced(worker) {
        assert!(begun.elapsed() < SETTLED, "the worker is not traced\n{}", lane.describe());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    strace
}

fn is_traced(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut status = threads.map(|thread| crate::support::read(Path::new(&thread.unwrap().path().join("status"))));
    status.all(|status| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")))
}
