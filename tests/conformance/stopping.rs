//! Stops and restarts, and what arrives in between.

use crate::stand::{Running, Stand, helper, status};
use crate::support::namespace::{self, set_mask};
use crate::support::{folder, procs, read, text, wait, write};
use crate::{ADOPTING, Row};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SECTION: &str = "stopping";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "restart for a changed file: stop signal, `stop_timeout`, KILL to the group, start; signals reach the new one",
        places: ADOPTING,
        general: false,
        check: restarted,
    },
    Row {
        section: SECTION,
        case: "the main process ends while it is restarted: that is the restart, not the end",
        places: ADOPTING,
        general: false,
        check: ends_in_a_restart,
    },
    Row {
        section: SECTION,
        case: "a changed file after TERM, before the main process has ended: no restart, its code",
        places: ADOPTING,
        general: false,
        check: changes_in_a_shutdown,
    },
    Row {
        section: SECTION,
        case: "the main process dies while a reload command runs: its code is not lost",
        places: ADOPTING,
        general: false,
        check: dies_in_a_reload,
    },
    Row {
        section: SECTION,
        case: "exit while a check command runs: TERM, then KILL; nothing is left, staged files are removed",
        places: ADOPTING,
        general: false,
        check: |stand| exit_while(stand, Busy::Checking),
    },
    Row {
        section: SECTION,
        case: "exit while a reload command runs: TERM, then KILL; nothing is left",
        places: ADOPTING,
        general: false,
        check: |stand| exit_while(stand, Busy::Reloading),
    },
];

/// What the template renders.
pub fn value(dir: &Path, value: u32) {
    write(dir, "app.toml.new", &format!("x = {value}\n"));
    fs::rename(dir.join("app.toml.new"), dir.join("app.toml")).unwrap();
}

/// Starts proem on a folder with one template, whose table has these lines, too.
pub fn start(stand: &Stand, dir: &Path, table: &str, argv: &[&str]) -> Running {
    value(dir, 1);
    write(dir, "t.tera", "{{ app.x }}\n");
    let configuration = format!(
        "throttle = \"0s\"\nlinger = \"5s\"\n[source]\napp = \"file:app.toml\"\n[process.main]\nstop_timeout = \"1s\"\n\
         [template.t]\nfrom = \"t.tera\"\nto = \"out/t\"\n{table}\n"
    );
    write(dir, "c.toml", &configuration);
    let mut all: Vec<String> = [stand.init.program.as_str(), "-c", "c.toml", "--"].map(str::to_owned).to_vec();
    all.extend(argv.iter().map(|item| (*item).to_owned()));
    let mut command = namespace::at(stand.place, &all);
    command.current_dir(dir).stderr(fs::File::create(dir.join("log")).unwrap());
    // USR1 is blocked and the helper reads it when it is ready: a program could not be quicker than init.
    // SAFETY: a system call only.
    unsafe {
        command.pre_exec(|| {
            set_mask(1 << (libc::SIGUSR1 - 1));
            Ok(())
        })
    };
    stand.start(command)
}

fn restarted(stand: &Stand) {
    let dir = folder();
    // Both ignore TERM.
    let running = start(stand, dir.path(), "reload = \"restart\"", &[&helper(), "@signals", "child"]);
    let mut ready = [running.line(), running.line()];
    ready.sort();
    assert_eq!(ready, ["child ready", "main ready"]);
    let group: Vec<i32> = crate::stand::descendants(running.init())
        .into_iter()
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(&helper())))
        .collect();
    assert_eq!(group.len(), 2);

    let begun = Instant::now();
    value(dir.path(), 2);
    assert_eq!(running.line(), "main got 15");
    running.signal(libc::SIGUSR1);
    // Killed after `stop_timeout`; the new ones then are the only ones who can say anything.
    let mut lines: Vec<String> = (0..3).map(|_| running.line()).collect();
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}: {lines:?}", begun.elapsed());
    lines.sort();
    assert_eq!(lines, ["child ready", "main got 10", "main ready"]);
    // KILL was sent before the new ones were started; the kernel takes a moment to carry it out.
    for pid in group {
        procs::gone(pid, stand.limit());
    }
    assert_eq!(read(&dir.path().join("out/t")), "2\n");
}

fn ends_in_a_restart(stand: &Stand) {
    let dir = folder();
    let main = "trap 'echo told; exit 9' TERM; trap 'exit 4' USR2; echo up; while :; do sleep 0.05; done";
    let mut running = start(stand, dir.path(), "reload = \"restart\"", &["bash", "-c", main]);
    running.wait_for("up");
    value(dir.path(), 2);
    running.wait_for("told");
    running.wait_for("up");
    running.signal(libc::SIGUSR2);
    assert_eq!(running.ended(), 4);
}

fn changes_in_a_shutdown(stand: &Stand) {
    let dir = folder();
    let main =
        "trap 'echo told; until [ -e go ]; do sleep 0.05; done; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = start(stand, dir.path(), "reload = \"restart\"", &["bash", "-c", main]);
    running.wait_for("up");
    running.signal(libc::SIGTERM);
    running.wait_for("told");
    value(dir.path(), 2);
    let log = || read(&dir.path().join("log"));
    wait::until(stand.limit(), "the restart is refused", log, || log().contains("is not restarted").then_some(()));
    write(dir.path(), "go", "");
    assert_eq!(running.ended(), 9);
    assert_eq!(running.rest(), [""; 0]);
}

fn dies_in_a_reload(stand: &Stand) {
    let dir = folder();
    let main = "echo up; until [ -e reloading ]; do sleep 0.02; done; exit 9";
    let reload = "reload = { run = [\"sh\", \"-c\", \"touch reloading; exec sleep 1\"] }";
    let mut running = start(stand, dir.path(), reload, &["bash", "-c", main]);
    running.wait_for("up");
    value(dir.path(), 2);
    assert_eq!(running.ended(), 9);
}

/// What the worker is at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Busy {
    Checking,
    Reloading,
}

fn exit_while(stand: &Stand, busy: Busy) {
    let dir = folder();
    // It notes that it was told, which takes it a moment, and does not go.
    let command = "[ -e first ] || { touch first; exit 0; }; trap 'sleep 0.3; echo told >>told' TERM; echo $$ >running; \
        while :; do sleep 0.05; done";
    let table = match busy {
        Busy::Checking => format!("reload = \"HUP\"\ncheck = [\"sh\", \"-c\", {command:?}, \"{{staged}}\"]"),
        Busy::Reloading => format!("reload = {{ run = [\"sh\", \"-c\", {command:?}] }}"),
    };
    if busy == Busy::Reloading {
        // The first publish reloads nothing.
        write(dir.path(), "first", "");
    }
    let mut running = start(stand, dir.path(), &table, &["bash", "-c", "echo up; exec sleep 1000"]);
    running.wait_for("up");
    value(dir.path(), 2);
    stand.until("the command runs", || (!read(&dir.path().join("running")).is_empty()).then_some(()));
    let below = crate::stand::descendants(running.init());
    let begun = Instant::now();
    running.signal(libc::SIGTERM);
    assert_eq!(running.ended(), 143);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for pid in below {
        assert!(status(pid, "State").is_empty() || status(pid, "State").starts_with('Z'), "something is left");
    }
    assert!(read(&dir.path().join("told")).starts_with("told\n"), "the command had no time after TERM");
    let left: Vec<_> = fs::read_dir(dir.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["t"], "{}", text(dir.path()));
}
