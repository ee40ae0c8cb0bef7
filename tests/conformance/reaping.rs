//! Orphans.

use crate::stand::{Stand, children, helper, status, ticks};
use crate::support::wait;
use crate::{ADOPTING, BESIDE_OTHERS, REFUSED, Row};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SECTION: &str = "reaping";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "100 orphans of a dead parent leave no zombie",
        places: ADOPTING,
        general: true,
        check: |stand| orphans(stand, 100),
    },
    Row {
        section: SECTION,
        case: "10,000 double-forked that end at once: no zombie soon after, and no CPU from then on",
        places: ADOPTING,
        general: true,
        check: |stand| orphans(stand, 10_000),
    },
    Row {
        section: SECTION,
        case: "not PID 1: it becomes a subreaper by itself",
        places: BESIDE_OTHERS,
        general: true,
        check: adopts,
    },
    Row {
        section: SECTION,
        case: "where that is refused it goes on",
        places: REFUSED,
        general: true,
        check: |stand| assert_eq!(stand.code(&["sh", "-c", "(sleep 0 &); exit 3"]), 3),
    },
    Row {
        section: SECTION,
        case: "where that is refused there is one warning",
        places: REFUSED,
        general: false,
        check: warns_once,
    },
];

fn zombies(init: i32) -> usize {
    children(init).into_iter().filter(|pid| status(*pid, "State").starts_with('Z')).count()
}

/// Ten thousand at a time: a machine's process ids may be 32,768.
static CROWD: Mutex<()> = Mutex::new(());

fn orphans(stand: &Stand, count: usize) {
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let running = stand.start(stand.command(&[&helper(), "@orphans", &count.to_string()]));
    let (init, main) = (running.init(), running.main());
    let patient = Duration::from_mins(1);
    let line = running.line_within(patient).expect("it forks in time");
    assert_eq!(line, format!("forked {count}"));
    running.wait_for("released");
    let begun = Instant::now();
    // That they are all gone takes the kernel a while on a busy machine; what counts is that none stays.
    wait::until(
        patient,
        "no orphan is left",
        || format!("{} children, {} zombies", children(init).len(), zombies(init)),
        || (children(init) == [main]).then_some(()),
    );
    if stand.long {
        println!("    {count} orphans: the last was reaped {:?} after they were told to end", begun.elapsed());
    }
    let before = ticks(init);
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(init) - before <= 1, "CPU afterwards: {} of 50 ticks", ticks(init) - before);
}

fn adopts(stand: &Stand) {
    let running = stand.script("(sleep 1000 &); echo ready; exec sleep 1000");
    running.wait_for("ready");
    let init = running.init();
    stand.until("the orphan is the init's child", || (children(init).len() == 2).then_some(()));
}

fn warns_once(stand: &Stand) {
    let output = stand.output_of(stand.command(&["true"]));
    assert_eq!(output.code, 0);
    assert_eq!(output.stderr.matches("failed to become a subreaper").count(), 1, "{}", output.stderr);
}
