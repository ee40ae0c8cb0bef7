//! TERM at every moment of a start. Chance first, then the races one by one: strace holds a single system call for a
//! moment, and TERM arrives meanwhile.

use crate::stand::{Guard, Stand, children, code, status};
use crate::support::inits::Want;
use crate::support::namespace::{self, Place};
use crate::support::{folder, images, procs, text, wait, write};
use crate::{ADOPTING, BESIDE_OTHERS, FIRST, Row};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SECTION: &str = "TERM during the start";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "at any moment, by chance: 143",
        places: BESIDE_OTHERS,
        general: true,
        check: by_chance,
    },
    Row {
        section: SECTION,
        case: "as PID 1, at any moment from when TERM is blocked or caught, by chance: 143",
        places: FIRST,
        general: true,
        check: as_pid_1,
    },
    Row {
        section: SECTION,
        case: "before and while it prepares its signals",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| held(stand, &[], Who::Init, &["rt_sigprocmask", "rt_sigaction", "signalfd4", "prctl"]),
    },
    Row {
        section: SECTION,
        case: "while it creates the process",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| held(stand, &[], Who::Init, &["clone", "clone3", "vfork", "fork"]),
    },
    Row {
        section: SECTION,
        case: "between fork and setpgid, in the child",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| held(stand, &[], Who::Child, &["setpgid", "setsid"]),
    },
    Row {
        section: SECTION,
        case: "between fork and setpgid, in group mode: there is no group yet",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| held(stand, &[Want::Group], Who::Child, &["setpgid", "setsid"]),
    },
    Row {
        section: SECTION,
        case: "between setpgid and exec, in the child",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| held(stand, &[], Who::Child, &["rt_sigprocmask", "rt_sigaction", "ioctl", "execve"]),
    },
    Row {
        section: SECTION,
        case: "after the fork, in the init: setpgid, descriptors, directory, the first wait",
        places: BESIDE_OTHERS,
        general: true,
        check: |stand| {
            let calls = [
                "setpgid",
                "chdir",
                "close",
                "close_range",
                "poll",
                "ppoll",
                "read",
                "wait4",
                "rt_sigtimedwait",
                "epoll_pwait",
                "epoll_wait",
            ];
            held(stand, &[], Who::Init, &calls);
        },
    },
    Row {
        section: SECTION,
        case: "with a worker: at any moment of its start, its first publish and main's start, by chance: 143",
        places: ADOPTING,
        general: false,
        check: with_a_worker,
    },
    Row {
        section: SECTION,
        case: "with a worker: while it tells init, writes, syncs, renames: 143 at once, and main is not started",
        places: BESIDE_OTHERS,
        general: false,
        check: while_publishing,
    },
];

fn by_chance(stand: &Stand) {
    for round in 0..if stand.long { 1000 } else { 200 } {
        let mut guard = Guard::new(stand, stand.command(&["sleep", "1000"]).spawn().unwrap());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(round % 200 * 15) {
            std::hint::spin_loop();
        }
        procs::kill(guard.pid(), libc::SIGTERM);
        is_term(guard.ended(), &format!("round {round}"));
    }
}

/// Before the first instruction the kernel's default ends it, by the same signal: that is not lost, either.
fn is_term(code: i32, when: &str) {
    assert!(code == 143 || code == -libc::SIGTERM, "{when}: {code}");
}

fn as_pid_1(stand: &Stand) {
    for round in 0..if stand.long { 500 } else { 60 } {
        let mut running = stand.start(stand.command(&["sleep", "1000"]));
        let init = running.init();
        prepared(stand, init);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(round % 60 * 50) {
            std::hint::spin_loop();
        }
        procs::kill(init, libc::SIGTERM);
        assert_eq!(running.ended(), 143, "round {round}");
    }
}

/// Waits until PID 1 cannot lose a TERM any more: it blocks or catches it.
fn prepared(stand: &Stand, init: i32) {
    let term = 1u64 << (libc::SIGTERM - 1);
    let set = |name| u64::from_str_radix(&status(init, name), 16).unwrap_or(0);
    // unshare itself blocks TERM while it forks, and its child has the same program until it executes the init.
    let program = fs::canonicalize(&stand.init.program).unwrap();
    stand.until("it has prepared for TERM", || {
        let there = fs::read_link(format!("/proc/{init}/exe")).is_ok_and(|exe| exe == program);
        let listens = (set("SigBlk") | set("SigCgt")) & term != 0;
        // Who waits in sigtimedwait shows none as blocked; by then it has a child.
        (there && (listens || !children(init).is_empty())).then_some(())
    });
}

/// proem's command line with one template, in a folder that has it.
fn rendering(stand: &Stand, dir: &Path, argv: &[&str]) -> Vec<String> {
    write(dir, "t.tera", "{{ env.PATH }}\n");
    let (from, to) = (dir.join("t.tera"), dir.join("t"));
    let template = format!("{}:{}", text(&from), text(&to));
    let options = [&stand.init.program, "-t", &template, "--"].map(str::to_owned);
    options.into_iter().chain(argv.iter().map(|item| (*item).to_owned())).collect()
}

fn with_a_worker(stand: &Stand) {
    let dir = folder();
    let argv = rendering(stand, dir.path(), &["sleep", "1000"]);
    for round in 0..if stand.long { 1000 } else { 100 } {
        // Each renders anew.
        let _ = fs::remove_file(dir.path().join("t"));
        let mut command = namespace::at(stand.place, &argv);
        command.stderr(Stdio::null());
        let mut running = stand.start(command);
        let init = running.init();
        if stand.place == Place::Pid1 {
            prepared(stand, init);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(round % 100 * 200) {
            std::hint::spin_loop();
        }
        procs::kill(init, libc::SIGTERM);
        is_term(running.ended(), &format!("round {round}"));
    }
}

fn while_publishing(stand: &Stand) {
    images::which("strace");
    let mut moments = 0;
    for call in ["sendto", "fsync", "renameat2", "rename", "renameat"] {
        let dir = folder();
        let trace = dir.path().join("trace");
        let inject = format!("inject={call}:delay_enter={}", HELD.as_micros());
        let mut argv = ["strace", "-f", "-qqq", "-o", text(&trace), "-e", &inject].map(str::to_owned).to_vec();
        argv.extend(rendering(stand, dir.path(), &["touch", text(&dir.path().join("started"))]));
        let mut command = namespace::at(Place::Subreaper, &argv);
        let mut guard = Guard::new(stand, command.stderr(Stdio::null()).spawn().unwrap());
        let strace = guard.pid();
        let number = number(call).map(|number| format!("{number} ")).unwrap_or_default();
        // Held in that call: by anybody below init, which is the worker and its threads.
        let held = || {
            let worker = children(*children(strace).first()?).first().copied()?;
            let call = fs::read_to_string(format!("/proc/{worker}/syscall")).unwrap_or_default();
            (call.starts_with(&number) && status(worker, "State").starts_with('t')).then_some(true)
        };
        let ended = || dir.path().join("started").exists().then_some(false);
        if stand.until("it is held, or over", || held().or_else(ended)) {
            moments += 1;
            procs::kill(children(strace)[0], libc::SIGTERM);
            assert_eq!(guard.ended(), 143, "{call}");
            assert!(!dir.path().join("started").exists(), "main was started after TERM in {call}");
        }
    }
    assert!(moments >= 2, "{moments}");
}

/// Who is held.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Init,
    Child,
}

/// How long each call is held. Long enough to be seen on a busy machine.
const HELD: Duration = Duration::from_millis(400);

/// Sends TERM while one of these calls is held in the init or its child: one start per call. A call that this init
/// does not make is no moment of its start.
fn held(stand: &Stand, wants: &[Want], who: Who, calls: &[&str]) {
    images::which("strace");
    let mut moments = 0;
    for call in calls {
        // The init's first: its exec is before this. Some are made often: the first two are held.
        for nth in 1..=2 {
            moments += usize::from(hold(stand, wants, who, call, nth));
        }
    }
    // An init that makes none of them starts in some other way; chance has to do.
    if stand.init.is_proem() {
        assert!(moments > 0, "none of {calls:?} was seen in {who:?}");
    }
}

/// Whether there was such a moment.
fn hold(stand: &Stand, wants: &[Want], who: Who, call: &str, nth: u32) -> bool {
    let Some(number) = number(call) else { return false };
    let when = if call == "execve" { String::new() } else { format!(":when={nth}") };
    let inject = format!("inject={call}:delay_enter={}{when}", HELD.as_micros());
    let mut argv = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &inject].map(str::to_owned).to_vec();
    argv.extend(stand.argv(wants, &["sleep", "1000"]));
    let mut command = namespace::at(Place::Subreaper, &argv);
    let mut guard = Guard::new(stand, command.stdout(Stdio::null()).spawn().unwrap());
    let strace = guard.pid();
    let program = fs::canonicalize(&stand.init.program).unwrap();
    let runs = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let init = stand.until("strace starts the init", || children(strace).into_iter().find(|pid| runs(*pid)));
    // Held means: stopped by strace in that call, and still so a little later.
    let stopped = |pid: i32| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let same = call.split(' ').next().is_some_and(|call| call.parse() == Ok(number));
        same && status(pid, "State").starts_with('t')
    };
    let target = || match who {
        Who::Init => Some(init),
        // Until it has become its program.
        Who::Child => children(init).first().copied().filter(|pid| runs(*pid)),
    };
    let started = || children(init).first().is_some_and(|pid| status(*pid, "Name") == "sleep");
    let mut seen: Option<(i32, Instant)> = None;
    let mut settled: Option<Instant> = None;
    let found = stand.until("the start goes on", || {
        match (target().filter(|pid| stopped(*pid)), seen) {
            (Some(pid), Some((before, since))) if pid == before && since.elapsed() > HELD / 4 => return Some(true),
            (Some(pid), Some((before, _))) if pid == before => {}
            (Some(pid), _) => seen = Some((pid, Instant::now())),
            (None, _) => seen = None,
        }
        // The program runs and nothing is held any more: there was no such moment.
        if started() && seen.is_none() {
            let since = *settled.get_or_insert_with(Instant::now);
            return (since.elapsed() > HELD / 2).then_some(false);
        }
        settled = None;
        None
    });
    procs::kill(init, libc::SIGTERM);
    let what = format!("TERM while {who:?} is in {call} ({nth}.)");
    let ended = wait::until(
        stand.limit(),
        &what,
        || "lost: the main process runs on".to_owned(),
        || guard.child.try_wait().unwrap(),
    );
    is_term(code(ended), &what);
    found
}

/// A system call's number; `None` where this architecture has none of that name.
fn number(call: &str) -> Option<libc::c_long> {
    Some(match call {
        "sendto" => libc::SYS_sendto,
        "fsync" => libc::SYS_fsync,
        "renameat" => libc::SYS_renameat,
        "renameat2" => libc::SYS_renameat2,
        #[cfg(target_arch = "x86_64")]
        "rename" => libc::SYS_rename,
        "rt_sigprocmask" => libc::SYS_rt_sigprocmask,
        "rt_sigaction" => libc::SYS_rt_sigaction,
        "rt_sigtimedwait" => libc::SYS_rt_sigtimedwait,
        "signalfd4" => libc::SYS_signalfd4,
        "prctl" => libc::SYS_prctl,
        "clone" => libc::SYS_clone,
        "clone3" => libc::SYS_clone3,
        "setpgid" => libc::SYS_setpgid,
        "setsid" => libc::SYS_setsid,
        "ioctl" => libc::SYS_ioctl,
        "execve" => libc::SYS_execve,
        "chdir" => libc::SYS_chdir,
        "close" => libc::SYS_close,
        "close_range" => libc::SYS_close_range,
        "ppoll" => libc::SYS_ppoll,
        "read" => libc::SYS_read,
        "wait4" => libc::SYS_wait4,
        "epoll_pwait" => libc::SYS_epoll_pwait,
        #[cfg(target_arch = "x86_64")]
        "vfork" => libc::SYS_vfork,
        #[cfg(target_arch = "x86_64")]
        "fork" => libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        "poll" => libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        "epoll_wait" => libc::SYS_epoll_wait,
        _ => return None,
    })
}
