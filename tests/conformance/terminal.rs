//! Terminals: job control, the foreground, and what must not arrive.

use crate::stand::{Guard, Stand, helper};
use crate::support::namespace::{self, Place};
use crate::support::pty::{Pty, become_leader};
use crate::support::{procs, wait};
use crate::{ADOPTING, BESIDE_OTHERS, Row};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

const SECTION: &str = "terminal";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "an interactive shell: job control without warnings, and `exit 7` is 7",
        places: ADOPTING,
        general: true,
        check: interactive,
    },
    Row {
        section: SECTION,
        case: "Ctrl-C ends a foreground command: 130",
        places: ADOPTING,
        general: true,
        check: interrupted,
    },
    Row {
        section: SECTION,
        case: "Ctrl-C arrives at the main process once, not twice",
        places: ADOPTING,
        general: true,
        check: interrupted_once,
    },
    Row {
        section: SECTION,
        case: "Ctrl-Z in an interactive shell stops the job, `fg` resumes it",
        places: ADOPTING,
        general: true,
        check: suspended,
    },
    Row {
        section: SECTION,
        case: "standard input closed, or a terminal of another session: it starts, and that session keeps its foreground",
        places: ADOPTING,
        general: true,
        check: foreign,
    },
    Row {
        section: SECTION,
        case: "in the background of its session: it starts and takes no foreground",
        places: BESIDE_OTHERS,
        general: true,
        check: background,
    },
    Row {
        section: SECTION,
        case: "an init in an init in an init: the innermost process is in the foreground",
        places: ADOPTING,
        general: true,
        check: nested,
    },
    Row {
        section: SECTION,
        case: "as a session leader: no HUP or CONT to the main process at start",
        places: ADOPTING,
        general: true,
        check: nothing_at_start,
    },
];

const PROMPT: &str = "prompt> ";

/// The init as the leader of the terminal's session, as runtimes start it. As PID 1 it becomes that inside: unshare, which
/// stays, has nothing to do with the terminal.
fn leader(stand: &Stand, pty: &Pty, argv: &[&str]) -> Command {
    let mut command = stand.command(argv);
    if stand.place == Place::Pid1 {
        let setsid = ["setsid", "--ctty"].map(str::to_owned);
        command = namespace::at(stand.place, &[&setsid, &stand.argv(&[], argv)[..]].concat());
    } else {
        // SAFETY: system calls only; standard input is the terminal by then.
        unsafe { command.pre_exec(become_leader) };
    }
    command.stdin(pty.stdio()).stdout(pty.stdio()).stderr(pty.stdio());
    command
}

fn lead(stand: &Stand, pty: &Pty, argv: &[&str]) -> Guard {
    Guard::new(stand, leader(stand, pty, argv).spawn().unwrap())
}

/// A shell at its prompt.
fn shell(stand: &Stand) -> (Pty, Guard, String) {
    let mut pty = Pty::open();
    let mut command = leader(stand, &pty, &["bash", "--norc", "--noprofile", "--noediting", "-i"]);
    command.env("PS1", PROMPT).env("TERM", "dumb").env("HISTFILE", "");
    let guard = Guard::new(stand, command.spawn().unwrap());
    let before = pty.says(stand.limit(), PROMPT);
    (pty, guard, before)
}

/// Waits until a process of this name leads the terminal's foreground.
fn in_front(stand: &Stand, pty: &Pty, name: &str) {
    let front = || procs::get(pty.foreground()).map(|process| process.name).unwrap_or_default();
    wait::until(
        stand.limit(),
        &format!("`{name}` is in the foreground"),
        || format!("it is `{}`; {}", front(), pty.text()),
        || (front() == name).then_some(()),
    );
}

fn interactive(stand: &Stand) {
    let (mut pty, mut guard, said) = shell(stand);
    // Bash says so when it cannot have the terminal.
    assert_eq!(said.trim(), "", "warnings at start");
    pty.types("sleep 1000 &\njobs\n");
    pty.says(stand.limit(), "Running");
    pty.types("kill %1\nexit 7\n");
    assert_eq!(guard.ended(), 7);
}

fn interrupted(stand: &Stand) {
    let mut pty = Pty::open();
    let mut guard = lead(stand, &pty, &["sleep", "1000"]);
    in_front(stand, &pty, "sleep");
    pty.types("\x03");
    assert_eq!(guard.ended(), 130);
}

fn interrupted_once(stand: &Stand) {
    let mut pty = Pty::open();
    let _guard = lead(stand, &pty, &[&helper(), "@signals"]);
    pty.says(stand.limit(), "main ready");
    pty.types("\x03");
    pty.says(stand.limit(), "main got 2\r\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(pty.text().matches("got 2\r\n").count(), 1);
}

fn suspended(stand: &Stand) {
    let (mut pty, mut guard, _) = shell(stand);
    pty.types("sleep 1000\n");
    in_front(stand, &pty, "sleep");
    pty.types("\x1a");
    pty.says(stand.limit(), "Stopped");
    pty.says(stand.limit(), PROMPT);
    pty.types("fg\n");
    in_front(stand, &pty, "sleep");
    pty.types("\x03");
    pty.says(stand.limit(), PROMPT);
    pty.types("echo back=$?\n");
    pty.says(stand.limit(), "back=130");
    pty.types("exit 7\n");
    assert_eq!(guard.ended(), 7);
}

fn foreign(stand: &Stand) {
    let mut command = stand.command(&["sh", "-c", "exit 3"]);
    // SAFETY: closes a descriptor of the child, before it is executed.
    unsafe {
        command.pre_exec(|| {
            libc::close(0);
            Ok(())
        })
    };
    assert_eq!(stand.end_of(command), 3, "exit code with standard input closed");

    let mut pty = Pty::open();
    let mut holder = Command::new("sh");
    holder.args(["-c", "echo here; exec sleep 1000"]);
    let holder = Guard::new(stand, pty.lead(&mut holder));
    pty.says(stand.limit(), "here");
    let before = pty.foreground();
    let mut command = stand.command(&["sh", "-c", "echo runs; exit 4"]);
    command.stdin(pty.stdio()).stderr(pty.stdio());
    let mut running = stand.start(command);
    running.wait_for("runs");
    assert_eq!(pty.foreground(), before);
    assert_eq!(running.ended(), 4, "a terminal of another session");
    assert_eq!(pty.foreground(), before);
    drop(holder);
}

fn background(stand: &Stand) {
    let mut pty = Pty::open();
    let mut argv = vec![helper(), "@background".to_owned()];
    argv.extend(stand.argv(&[], &["sh", "-c", "echo runs; sleep 0.3; exit 5"]));
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    let mut guard = Guard::new(stand, pty.lead(&mut command));
    let leader = guard.pid();
    pty.says(stand.limit(), "runs");
    assert_eq!(pty.foreground(), leader, "the foreground group");
    assert_eq!(guard.ended(), 5);
}

fn nested(stand: &Stand) {
    let mut pty = Pty::open();
    let inner = stand.argv(&[], &[&helper(), "@foreground"]);
    let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
    let middle = stand.argv(&[], &inner);
    let middle: Vec<&str> = middle.iter().map(String::as_str).collect();
    let mut guard = lead(stand, &pty, &middle);
    assert_eq!(guard.ended(), 0);
    pty.says(stand.limit(), "in the foreground");
}

fn nothing_at_start(stand: &Stand) {
    for _ in 0..10 {
        let pty = Pty::open();
        // Its output goes through a pipe: a hang-up of the terminal does not hide what was said.
        let running = stand.start(leader(stand, &pty, &[&helper(), "@signals"]));
        assert_eq!(running.line_within(stand.limit()).as_deref(), Some("main ready"), "it ended before it began");
        std::thread::sleep(Duration::from_millis(50));
        running.signal(libc::SIGUSR1);
        assert_eq!(running.line(), "main got 10", "before that one");
    }
}
