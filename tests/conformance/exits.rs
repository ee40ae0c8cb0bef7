//! Exit codes.

use crate::stand::{Stand, helper};
use crate::support::inits::Want;
use crate::support::namespace;
use crate::{ADOPTING, BESIDE_OTHERS, EVERYWHERE, Row};
use std::os::unix::fs::PermissionsExt;

const SECTION: &str = "exit codes";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "the main process exits n: n, for all of 0–255",
        places: EVERYWHERE,
        general: true,
        check: every_code,
    },
    Row {
        section: SECTION,
        case: "a code that is remapped, and no other",
        places: BESIDE_OTHERS,
        general: true,
        check: remapped,
    },
    Row {
        section: SECTION,
        case: "the main process dies of signal n, every one that ends a process, real-time ones too: 128+n",
        places: EVERYWHERE,
        general: true,
        check: every_death,
    },
    Row {
        section: SECTION,
        case: "missing, not executable, a directory, bad interpreter: 127, 126, 126, 127, and the message names the file",
        places: ADOPTING,
        general: true,
        check: cannot_start,
    },
    Row {
        section: SECTION,
        case: "a script without `#!` is run by /bin/sh",
        places: BESIDE_OTHERS,
        general: true,
        check: script_without_interpreter,
    },
    Row {
        section: SECTION,
        case: "SIGCHLD inherited as ignored: the code is not lost",
        places: EVERYWHERE,
        general: true,
        check: ignored_sigchld,
    },
    Row {
        section: SECTION,
        case: "the main process exits in the same instant as 100 orphans: its code, never a hang",
        places: ADOPTING,
        general: true,
        check: race,
    },
];

fn every_code(stand: &Stand) {
    for n in 0..=255 {
        assert_eq!(stand.code(&["sh", "-c", &format!("exit {n}")]), n);
    }
}

fn remapped(stand: &Stand) {
    for (ends, expected) in [("exit 143", 0), ("kill -TERM $$", 0), ("exit 142", 142), ("exit 0", 0), ("exit 1", 1)] {
        assert_eq!(stand.end_of(stand.with(&[Want::Forgive(143)], &["sh", "-c", ends])), expected, "{ends}");
    }
}

fn every_death(stand: &Stand) {
    let not_the_end = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for n in (1..=31).chain(34..=64).filter(|n| !not_the_end.contains(n) && !stops.contains(n)) {
        assert_eq!(stand.code(&["sh", "-c", &format!("ulimit -c 0; kill -{n} $$")]), 128 + n, "signal {n}");
    }
}

fn cannot_start(stand: &Stand) {
    let folder = crate::support::folder();
    let file = |name: &str, content: &str, mode: u32| {
        let path = crate::support::write(folder.path(), name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (folder.path().join("missing"), 127),
        (file("plain", "", 0o644), 126),
        (folder.path().to_owned(), 126),
        (file("bad", "#!/no/such/interpreter\n", 0o755), 127),
    ];
    for (program, code) in cases {
        let output = stand.output_of(stand.command(&[crate::support::text(&program)]));
        assert_eq!(output.code, code, "{}: {}", program.display(), output.stderr);
        assert!(output.stderr.contains(crate::support::text(&program)), "no name in {:?}", output.stderr);
    }
}

fn script_without_interpreter(stand: &Stand) {
    let folder = crate::support::folder();
    let path = crate::support::write(folder.path(), "script", "exit $(($1 + 1))\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(stand.code(&[crate::support::text(&path), "8"]), 9, "exit code");
}

fn ignored_sigchld(stand: &Stand) {
    // The helper becomes the init: nothing else has to live with it.
    let argv = stand.argv(&[], &["sh", "-c", "exit 3"]);
    let first = [helper(), "@ignoring-chld".to_owned()];
    assert_eq!(stand.end_of(namespace::at(stand.place, &[&first, &argv[..]].concat())), 3, "exit code");
}

fn race(stand: &Stand) {
    for round in 0..if stand.long { 1000 } else { 100 } {
        assert_eq!(stand.code(&[&helper(), "@ends-with-orphans", "100", "41"]), 41, "exit code in round {round}");
    }
}
