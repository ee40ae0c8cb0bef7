//! What passes from the init's parent to the main process: descriptors, and word of the parent's death.

use crate::stand::{Running, Stand, children, descendants, helper};
use crate::stopping;
use crate::support::inits::Want;
use crate::support::namespace;
use crate::support::{folder, images, procs};
use crate::{ADOPTING, BESIDE_OTHERS, Row};
use std::fs;
use std::process::{ChildStdin, Command, Stdio};

const SECTION: &str = "surroundings";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "the main process has the descriptors that the init was started with, and no other",
        places: ADOPTING,
        general: true,
        check: descriptors,
    },
    Row {
        section: SECTION,
        case: "beside a worker, and after a restart: the main process has no descriptor of theirs",
        places: ADOPTING,
        general: false,
        check: descriptors_after_a_restart,
    },
    Row {
        section: SECTION,
        case: "parent-death signal: it comes when the parent ends",
        places: BESIDE_OTHERS,
        general: true,
        check: parent_ends,
    },
    Row {
        section: SECTION,
        case: "parent-death signal: the parent ends while the init asks for it: at once",
        places: BESIDE_OTHERS,
        general: true,
        check: parent_ends_meanwhile,
    },
    Row {
        section: SECTION,
        case: "parent-death signal: the parent has ended before the init's first instruction: at once",
        places: BESIDE_OTHERS,
        general: true,
        check: parent_ended,
    },
];

fn descriptors(stand: &Stand) {
    let shell = ["sh", "-c", "exec 5</dev/null 7>&1; exec \"$@\"", "sh"].map(str::to_owned);
    let argv = stand.argv(&[], &[&helper(), "@descriptors"]);
    let running = stand.start(namespace::at(stand.place, &[&shell, &argv[..]].concat()));
    assert_eq!(running.line(), "0 1 2 5 7");
}

fn descriptors_after_a_restart(stand: &Stand) {
    let dir = folder();
    let running = stopping::start(stand, dir.path(), "reload = \"restart\"", &[&helper(), "@descriptors"]);
    assert_eq!(running.line(), "0 1 2");
    stopping::value(dir.path(), 2);
    assert_eq!(running.line(), "0 1 2");
}

/// The init, which is to be told by TERM of its parent's end. TERM is blocked by inheritance, so that the main process
/// hears it however soon it comes; by the helper, because shells unblock it.
fn to_be_told(stand: &Stand) -> Vec<String> {
    let argv = stand.argv(&[Want::ParentDeath], &[&helper(), "@signals"]);
    [&[helper(), "@hearing".to_owned()], &argv[..]].concat()
}

/// A shell starts it, and ends when its own input does.
fn below_a_shell(stand: &Stand, before: &[&str]) -> (Running, ChildStdin) {
    let shell = ["sh", "-c", "\"$@\" & read end; exit 0", "sh"];
    let words = before.iter().chain(&shell).map(|word| (*word).to_owned());
    let argv: Vec<String> = words.chain(to_be_told(stand)).collect();
    let mut command = Command::new(&argv[0]);
    let mut running = stand.start(command.args(&argv[1..]).stdin(Stdio::piped()));
    let end = running.guard.child.stdin.take().unwrap();
    (running, end)
}

/// The init below what was started, once it has become its program.
fn init_below(stand: &Stand, running: &Running) -> i32 {
    let program = fs::canonicalize(&stand.init.program).unwrap();
    let runs = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    stand.until("the init runs", || descendants(running.guard.pid()).into_iter().find(runs))
}

/// The main process hears TERM, once; then it is ended, and the init with it.
fn hears(stand: &Stand, running: &Running, init: i32) {
    running.wait_for("main ready");
    assert_eq!(running.line_within(stand.limit()).as_deref(), Some("main got 15"), "it is not told");
    procs::kill(children(init)[0], libc::SIGKILL);
    procs::gone(init, stand.limit());
    assert_eq!(running.rest(), [""; 0], "once");
}

fn parent_ends(stand: &Stand) {
    let (mut running, end) = below_a_shell(stand, &[]);
    let init = init_below(stand, &running);
    // Its main process is its program by then, and it has asked.
    let main = stand.until("main runs", || children(init).first().copied());
    stand.until("main is its program", || {
        fs::read_link(format!("/proc/{main}/exe")).is_ok_and(|exe| exe.to_str() == Some(&helper())).then_some(())
    });
    drop(end);
    assert_eq!(running.ended(), 0);
    hears(stand, &running, init);
}

fn parent_ends_meanwhile(stand: &Stand) {
    // Held for 0.4 s: time enough for the shell to end.
    let strace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "inject=prctl:delay_enter=400000"];
    images::which(strace[0]);
    let (running, end) = below_a_shell(stand, &strace);
    let init = init_below(stand, &running);
    let shell = procs::get(init).unwrap().parent;
    let prctl = format!("{} ", libc::SYS_prctl);
    stand.until("the init asks", || {
        fs::read_to_string(format!("/proc/{init}/syscall")).is_ok_and(|call| call.starts_with(&prctl)).then_some(())
    });
    drop(end);
    procs::gone(shell, stand.limit());
    hears(stand, &running, init);
}

fn parent_ended(stand: &Stand) {
    // In a session of its own: whoever is given to a parent in another one has lost its own.
    let script =
        "(while kill -0 $$ 2>/dev/null; do sleep 0.01; done; exec sh -c 'echo $$; exec \"$@\"' sh \"$@\") & exit 0";
    let mut command = Command::new("setsid");
    let mut running =
        stand.start(command.args(["sh", "-c", script, "sh"]).args(to_be_told(stand)).stdin(Stdio::null()));
    assert_eq!(running.ended(), 0);
    let init = running.line().parse().unwrap();
    hears(stand, &running, init);
}
