//! What is left when the main process has ended.

use crate::stand::{Guard, Stand};
use crate::support::inits::Want;
use crate::support::namespace;
use crate::support::{folder, read, text, wait};
use crate::{ADOPTING, BESIDE_OTHERS, EVERYWHERE, FIRST, Row};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const SECTION: &str = "leftovers";

pub const ROWS: &[Row] = &[
    Row { section: SECTION, case: "with none left it ends at once", places: EVERYWHERE, general: true, check: none },
    Row {
        section: SECTION,
        case: "same group, setsid'ed, stopped: all get TERM and CONT and may end in their own way",
        places: ADOPTING,
        general: true,
        check: told,
    },
    Row {
        section: SECTION,
        case: "who ignores TERM is killed; nothing outlives the init",
        places: ADOPTING,
        general: true,
        check: stubborn,
    },
    Row {
        section: SECTION,
        case: "the total time is the last one's exit, or `linger` where that comes first",
        places: ADOPTING,
        general: false,
        check: lingers,
    },
    Row {
        section: SECTION,
        case: "not PID 1: only its own descendants are touched",
        places: BESIDE_OTHERS,
        general: true,
        check: bystander,
    },
    Row {
        section: SECTION,
        case: "in a PID namespace whose PID 1 is another's (`--pid=container:`), with its /proc or without: the same",
        places: FIRST,
        general: true,
        check: shared_namespace,
    },
];

/// Longer than anything takes on a busy machine, shorter than the default `linger`.
const NO_WAIT: Duration = Duration::from_millis(1500);

fn none(stand: &Stand) {
    // The quickest of three: the machine may be busy.
    let quickest = (0..3).map(|_| {
        let begun = Instant::now();
        assert_eq!(stand.code(&["sh", "-c", "exit 5"]), 5, "exit code");
        begun.elapsed()
    });
    assert!(quickest.min().unwrap() < NO_WAIT);
}

fn told(stand: &Stand) {
    let folder = folder();
    let said = folder.path().join("said");
    // Each writes a line when it is told, and is known to be able to before the main process ends.
    let leaver = "trap \"echo $1 >>$2; exit\" TERM; touch $2.$1; while :; do sleep 0.05; done";
    let script = "for how in same session stopped; do
            with=; [ $how = session ] && with=setsid
            $with sh -c \"$1\" sh $how \"$2\" </dev/null >/dev/null 2>&1 &
        done
        for how in same session stopped; do until [ -e \"$2.$how\" ]; do sleep 0.01; done; done
        kill -STOP $!; exit 5";
    let begun = Instant::now();
    assert_eq!(stand.code(&["bash", "-c", script, "bash", leaver, text(&said)]), 5, "exit code");
    let took = begun.elapsed();
    // Where the init does not wait for them they may still be about to say it.
    let until = Instant::now() + Duration::from_millis(500);
    let lines = || {
        let mut lines: Vec<String> = read(&said).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    while lines().len() < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lines(), ["same", "session", "stopped"], "were told");
    assert!(took < stand.limit(), "{took:?}");
}

/// Leaves `sleep $1` behind, which ignores TERM, in a session of its own so that no group is enough.
const STUBBORN: &str = "coproc { trap '' TERM; echo ready; exec setsid sleep $1 >/dev/null; }
    read line <&${COPROC[0]}; exit 6";

fn stubborn(stand: &Stand) {
    // The reader of the pipe is told when the last who has it is gone: seen from any PID namespace.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = stand.command(&["bash", "-c", STUBBORN, "bash", "1000"]);
    command.stderr(writer);
    assert_eq!(stand.end_of(command), 6, "exit code");
    let (sender, gone) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::Read::read_to_end(&mut reader, &mut Vec::new());
        let _ = sender.send(());
    });
    gone.recv_timeout(Duration::from_secs(1)).expect("something outlives the init");
}

fn lingers(stand: &Stand) {
    let run = |wants: &[Want], sleeps: &str| {
        let begun = Instant::now();
        let command = stand.with(wants, &["bash", "-c", STUBBORN, "bash", sleeps]);
        assert_eq!(stand.end_of(command), 6, "exit code");
        begun.elapsed()
    };
    let usual = run(&[], "1000");
    assert!(usual >= Duration::from_secs(2) && usual < Duration::from_secs(8), "the usual linger: {usual:?}");
    let took = run(&[Want::Linger(500)], "1000");
    assert!(took >= Duration::from_millis(500) && took < usual, "linger of 0.5 s: {took:?}, the usual {usual:?}");
    let took = run(&[Want::Linger(20_000)], "0.5");
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(10), "the last exit at 0.5 s: {took:?}");
}

fn bystander(stand: &Stand) {
    let mut command = Command::new("sleep");
    let mut bystander = Guard::new(stand, command.arg("1000").process_group(0).spawn().unwrap());
    assert_eq!(stand.code(&["bash", "-c", "sleep 1000 & sleep 1000 & exit 5"]), 5, "exit code");
    wait::throughout(Duration::from_millis(200), "the bystander lives", || {
        bystander.child.try_wait().unwrap().is_none()
    });
}

fn shared_namespace(stand: &Stand) {
    // PID 1 is a shell; beside the init a process that is not its own, one more than is in any of its groups.
    for prepare in ["", "mount -t tmpfs none /proc; "] {
        let script = format!(
            "sleep 1000 </dev/null >/dev/null 2>&1 & other=$!; {prepare}\"$@\"; code=$?; kill -0 $other || exit 99; exit $code"
        );
        let shell = ["sh", "-c", &script, "sh"].map(str::to_owned);
        let argv = stand.argv(&[], &["bash", "-c", "sleep 1000 & sleep 1000 & exit 5"]);
        assert_eq!(stand.end_of(namespace::at(stand.place, &[&shell, &argv[..]].concat())), 5, "exit code");
    }
}
