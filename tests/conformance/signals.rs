//! Signals, sent to the init when everything runs. When it is only about to run: see `moments`.

use crate::stand::{Stand, children, helper, status, ticks};
use crate::support::inits::Want;
use crate::support::namespace::{set_ignored, set_mask};
use crate::support::procs;
use crate::{ADOPTING, BESIDE_OTHERS, EVERYWHERE, Row};
use std::os::unix::process::CommandExt;
use std::time::Duration;

const SECTION: &str = "signals";

/// In which a signal that is not to come would have come.
const A_WHILE: Duration = Duration::from_millis(300);

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "signals that are sent to programs (HUP, INT, USR1…), one by one: each arrives at the main process once",
        places: EVERYWHERE,
        general: true,
        check: |stand| one_by_one(stand, (1..=31).filter(|n| forwarded(*n) && !unusual(*n)).collect()),
    },
    Row {
        section: SECTION,
        case: "real-time signals 34–64, one by one: each arrives at the main process once",
        places: EVERYWHERE,
        general: true,
        check: |stand| one_by_one(stand, (34..=64).collect()),
    },
    Row {
        section: SECTION,
        case: "those that stop a program or report its faults (TSTP, TTIN, TTOU, ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS): the same",
        places: EVERYWHERE,
        general: true,
        check: |stand| one_by_one(stand, (1..=31).filter(|n| unusual(*n)).collect()),
    },
    Row {
        section: SECTION,
        case: "in group mode, real-time ones too: each arrives once at each process of the main process's group",
        places: ADOPTING,
        general: true,
        check: |stand| to_the_group(stand, (1..=31).filter(|n| forwarded(*n) && !unusual(*n)).chain(34..=64).collect()),
    },
    Row {
        section: SECTION,
        case: "in group mode, those that stop a program or report its faults: the same",
        places: ADOPTING,
        general: true,
        check: |stand| to_the_group(stand, (1..=31).filter(|n| unusual(*n)).collect()),
    },
    Row {
        section: SECTION,
        case: "a second TERM is forwarded like the first; nobody but the orchestrator kills",
        places: EVERYWHERE,
        general: true,
        check: twice,
    },
    Row {
        section: SECTION,
        case: "rewritten by number, dropped, several at once: only the new one arrives",
        places: ADOPTING,
        general: true,
        check: rewritten,
    },
    Row { section: SECTION, case: "rewritten by name", places: BESIDE_OTHERS, general: true, check: rewritten_by_name },
    Row {
        section: SECTION,
        case: "TSTP, TTIN, TTOU: the init keeps running and reaping",
        places: EVERYWHERE,
        general: true,
        check: never_stopped,
    },
    Row {
        section: SECTION,
        case: "ignored and blocked signals are inherited exactly; from a clean start there are none",
        places: EVERYWHERE,
        general: true,
        check: inherited,
    },
    Row {
        section: SECTION,
        case: "CHLD, and 32 and 33, which the C library hides: inherited exactly as well",
        places: BESIDE_OTHERS,
        general: false,
        check: inherited_hidden,
    },
    Row {
        section: SECTION,
        case: "the main process stops itself: no exit, no busy loop, and CONT resumes it",
        places: EVERYWHERE,
        general: true,
        check: stopped_main,
    },
];

/// All but those that nobody can catch, and the one that is the init's own.
fn forwarded(signal: i32) -> bool {
    ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&signal)
}

/// Several inits leave these to the kernel's default on purpose.
fn unusual(signal: i32) -> bool {
    let faults = [libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    faults.contains(&signal) || stops.contains(&signal)
}

fn one_by_one(stand: &Stand, signals: Vec<i32>) {
    let mut running = stand.start(stand.with(&[Want::Single], &[&helper(), "@signals"]));
    running.wait_for("main ready");
    for signal in signals {
        running.signal(signal);
        let line = running.line_within(stand.limit()).unwrap_or_else(|| panic!("signal {signal} does not arrive"));
        assert_eq!(line, format!("main got {signal}"));
    }
    // One that came twice would show before this one.
    running.signal(libc::SIGUSR1);
    assert_eq!(running.line(), "main got 10");
    assert_eq!(running.line_within(A_WHILE), None);
    procs::kill(running.main(), libc::SIGKILL);
    assert_eq!(running.ended(), 137);
}

fn to_the_group(stand: &Stand, signals: Vec<i32>) {
    let running = stand.start(stand.with(&[Want::Group], &[&helper(), "@signals", "child"]));
    let mut ready = [running.line(), running.line()];
    ready.sort();
    assert_eq!(ready, ["child ready", "main ready"]);
    for signal in signals {
        running.signal(signal);
        let mut lines = [running.line_within(stand.limit()), running.line_within(stand.limit())]
            .map(|line| line.unwrap_or_else(|| panic!("signal {signal} does not arrive at both")));
        lines.sort();
        assert_eq!(lines, [format!("child got {signal}"), format!("main got {signal}")]);
    }
    assert_eq!(running.line_within(A_WHILE), None);
}

fn twice(stand: &Stand) {
    let mut running = stand.start(stand.with(&[], &[&helper(), "@signals"]));
    running.wait_for("main ready");
    for _ in 0..3 {
        running.signal(libc::SIGTERM);
        assert_eq!(running.line(), "main got 15");
    }
    assert_eq!(running.line_within(A_WHILE), None);
    procs::kill(running.main(), libc::SIGKILL);
    assert_eq!(running.ended(), 137);
}

fn rewritten(stand: &Stand) {
    let wants = [
        Want::Single,
        Want::Rewrite(libc::SIGHUP, Some(libc::SIGUSR1)),
        Want::Rewrite(libc::SIGTERM, Some(libc::SIGQUIT)),
        Want::Rewrite(libc::SIGUSR2, None),
    ];
    let running = stand.start(stand.with(&wants, &[&helper(), "@signals"]));
    running.wait_for("main ready");
    // Each is waited for: two different pending ones have no order.
    for (sent, arrives) in [(libc::SIGHUP, 10), (libc::SIGTERM, 3), (libc::SIGUSR1, 10), (libc::SIGINT, 2)] {
        running.signal(sent);
        assert_eq!(running.line(), format!("main got {arrives}"), "{sent}");
    }
    running.signal(libc::SIGUSR2);
    assert_eq!(running.line_within(A_WHILE), None);
}

fn rewritten_by_name(stand: &Stand) {
    let wants = [Want::RewriteNames("HUP", "USR1"), Want::RewriteNames("SIGUSR2", "SIGRTMIN+3")];
    let running = stand.start(stand.with(&wants, &[&helper(), "@signals"]));
    running.wait_for("main ready");
    for (sent, arrives) in [(libc::SIGHUP, libc::SIGUSR1), (libc::SIGUSR2, libc::SIGRTMIN() + 3)] {
        running.signal(sent);
        assert_eq!(running.line(), format!("main got {arrives}"));
    }
}

fn never_stopped(stand: &Stand) {
    // The main process does not mind them; the orphan ends when it is told.
    let script = "trap '' TSTP TTIN TTOU; (sleep 0.5 &); echo ready; sleep 1000 & while :; do wait; done";
    let running = stand.script(script);
    running.wait_for("ready");
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        running.signal(signal);
    }
    std::thread::sleep(A_WHILE);
    let init = running.init();
    stand.until("the init waits, not stopped", || status(init, "State").starts_with('S').then_some(()));
    stand.until("the orphan is reaped", || {
        let zombies = children(init).into_iter().filter(|pid| status(*pid, "State").starts_with('Z')).count();
        (zombies == 0).then_some(())
    });
    running.signal(libc::SIGTERM);
    let mut running = running;
    assert_eq!(running.ended(), 143);
}

/// `SigIgn` and `SigBlk` of a main process whose init starts with these ignored and blocked.
fn sets(stand: &Stand, ignored: &'static [i32], blocked: &[i32]) -> [String; 2] {
    let mut command = stand.command(&["cat", "/proc/self/status"]);
    let mask = set(blocked);
    // SAFETY: makes system calls only.
    unsafe {
        command.pre_exec(move || {
            for signal in ignored {
                set_ignored(*signal, true);
            }
            set_mask(mask);
            Ok(())
        })
    };
    let output = stand.output_of(command);
    assert_eq!(output.code, 0, "{}", output.stderr);
    ["SigIgn:", "SigBlk:"].map(|name| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    })
}

fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, n| set | 1 << (n - 1))
}

fn inherited(stand: &Stand) {
    assert_eq!(sets(stand, &[], &[]), [shown(&[]), shown(&[])], "from a clean start");
    let ignored = &[libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGTTOU, libc::SIGWINCH, 40];
    let blocked = &[libc::SIGUSR1, libc::SIGTERM, libc::SIGTTIN, 50];
    assert_eq!(sets(stand, ignored, blocked), [shown(ignored), shown(blocked)], "(ignored, blocked)");
}

/// As /proc shows a set.
fn shown(signals: &[i32]) -> String {
    format!("{:016x}", set(signals))
}

/// 32 and 33 are the C library's, which hides them; CHLD the init has to have itself. unshare could not pass it on.
fn inherited_hidden(stand: &Stand) {
    let (ignored, blocked) = (&[libc::SIGCHLD, 33], &[libc::SIGCHLD, 32]);
    assert_eq!(sets(stand, ignored, blocked), [shown(ignored), shown(blocked)], "(ignored, blocked)");
}

fn stopped_main(stand: &Stand) {
    let mut running = stand.script("echo ready; kill -STOP $$; echo resumed; exit 8");
    running.wait_for("ready");
    let (init, main) = (running.init(), running.main());
    stand.until("main is stopped", || status(main, "State").starts_with('T').then_some(()));
    let before = ticks(init);
    std::thread::sleep(A_WHILE);
    assert!(ticks(init) - before < 5, "a busy loop: {} of {A_WHILE:?} in 10 ms", ticks(init) - before);
    running.signal(libc::SIGCONT);
    running.wait_for("resumed");
    assert_eq!(running.ended(), 8);
}
