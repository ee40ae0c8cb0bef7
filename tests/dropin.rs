//! Called as another init: its options, its words, its exit codes. What the originals print and end with was taken from
//! tini 0.19.0, dumb-init 1.2.5 and catatonit 0.1.7; where they are installed, they are asked again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::Path;
use std::process::Command;
use support::proem::{BINARY, Builder, Output, Proem, SOON};
use support::pty::Pty;
use support::{folder, procs, read, text, wait, write};

const SH: &str = "/bin/sh";

/// proem under another name.
struct Called {
    _folder: tempfile::TempDir,
    path: String,
}

fn called(name: &str) -> Called {
    let folder = folder();
    let path = folder.path().join(name);
    std::os::unix::fs::symlink(BINARY, &path).unwrap();
    Called { path: text(&path).to_owned(), _folder: folder }
}

impl Called {
    fn builder(&self, args: &[&str]) -> Builder {
        Builder::new(&self.path).args(args.iter().copied())
    }

    fn output(&self, args: &[&str]) -> Output {
        self.builder(args).output()
    }

    /// Runs a shell script that says `up` when signals may come.
    fn up(&self, options: &[&str], script: &str) -> Proem {
        let process = self.builder(options).args([SH, "-c", script]).start();
        process.until("the script is up", || process.stdout().contains("up\n").then_some(()));
        process
    }
}

#[test]
fn engines_call_it_with_two_dashes() {
    for name in ["docker-init", "podman-init", "tini", "tini-static", "dumb-init", "catatonit", "any-init"] {
        let output = called(name).output(&["--", SH, "-c", "echo ran; exit 7"]);
        assert_eq!(output, Output { code: 7, stdout: "ran\n".into(), stderr: String::new() }, "{name}");
    }
}

/// A program and what one of its options is given: a mistake there.
const MISTAKES: &[(&str, &[&[&str]])] = &[
    (
        "tini",
        &[
            &["-Z", "true"],
            &["--help"],
            &["--version", "true"],
            &["-p", "FOO", "true"],
            &["-p", "KILL", "true"],
            &["-p", "9", "true"],
            &["-p", "SIGRTMIN", "true"],
            &["-p"],
            &["-e", "256", "true"],
            &["-e", "-1", "true"],
            &["-e", "3x", "true"],
            &["-e"],
            &["-s"],
            &["--"],
            &[],
        ],
    ),
    (
        "dumb-init",
        &[
            &["-Z", "true"],
            &["--nope", "true"],
            &["--ver"],
            &["--single-child=1", "true"],
            &["--rewrite="],
            &["-r", "99:1", "true"],
            &["-r", "15:32", "true"],
            &["-r", "0:1", "true"],
            &["-r", "TERM:0", "true"],
            &["-r", "15 :3", "true"],
            &["-r", "15:", "true"],
            &["-r", "x", "true"],
            &["-r"],
            &["-c"],
            &["--"],
            &[],
        ],
    ),
    (
        "catatonit",
        &[
            &["-Z", "true"],
            &["-gZ", "true"],
            &["-P", "-Z"],
            &["--nope", "true"],
            &["--help"],
            &["--version=1"],
            &["-g"],
            &["--"],
            &[],
        ],
    ),
];

#[test]
fn mistakes_end_as_the_originals_do() {
    // docker-init is tini, under the name by which Docker calls it.
    let docker_init = MISTAKES.iter().find(|(name, _)| *name == "tini").map(|(_, cases)| ("docker-init", *cases));
    for (name, cases) in MISTAKES.iter().copied().chain(docker_init) {
        let original = format!("/usr/bin/{name}");
        for args in cases {
            let output = called(name).output(args);
            assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{name} {args:?}");
            assert_ne!(output.stderr, "", "{name} {args:?}");
            if Path::new(&original).exists() {
                let theirs = Builder::new(&original).args(args.iter().copied()).output();
                assert_eq!((theirs.code, theirs.stdout.as_str()), (output.code, ""), "the original: {name} {args:?}");
            }
        }
    }
}

#[test]
fn odd_words_that_the_originals_take_are_taken() {
    for (name, args, code) in [
        ("tini", &["-s", "-e", "", "--", SH, "-c", "exit 0"][..], 0),
        ("tini", &["-s", "-e", " +3", "--", SH, "-c", "exit 3"], 0),
        ("tini", &["-s", "-gvw", "-p", "SIGSYS", "--", SH, "-c", "exit 4"], 4),
        ("dumb-init", &["-r", " +15:-0x", SH, "-c", "exit 5"], 5),
        ("dumb-init", &["--rew", "15:3:4", "--single", SH, "-c", "exit 6"], 6),
        ("catatonit", &["-g", "--", SH, "-c", "exit 7"], 7),
    ] {
        assert_eq!(called(name).output(args).code, code, "{name} {args:?}");
        let original = format!("/usr/bin/{name}");
        if Path::new(&original).exists() {
            let theirs = Builder::new(&original).args(args.iter().copied()).output();
            assert_eq!(theirs.code, code, "the original: {name} {args:?}: {}", theirs.stderr);
        }
    }
}

#[test]
fn help_and_version_name_proem_and_what_it_was_called_as() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("tini", &["--version"], "tini version 0.19.0_proem-"),
        ("docker-init", &["-h"], "docker-init (tini version 0.19.0_proem-"),
        ("dumb-init", &["--version"], "dumb-init v1.2.5_proem-"),
        ("dumb-init", &["-h"], "dumb-init v1.2.5_proem-"),
        ("catatonit", &["-V"], "tini version 0.1.7_catatonit_proem-"),
        ("catatonit", &["-h"], "usage: catatonit "),
        ("tini", &["-l"], "proem is licensed"),
        ("catatonit", &["-L"], "proem is licensed"),
    ];
    for (name, args, start) in cases {
        let output = called(name).output(args);
        assert_eq!(output.code, 0);
        // dumb-init says even these to standard error, and so does catatonit its help.
        let on_stderr = *name == "dumb-init" || (*name, *args) == ("catatonit", &["-h"]);
        let (said, other) = if on_stderr { (output.stderr, output.stdout) } else { (output.stdout, output.stderr) };
        assert!(said.starts_with(start) && said.contains("proem"), "{name} {args:?}: {said}");
        assert_eq!(other, "", "{name} {args:?}");
    }
}

#[test]
fn a_missing_command_is_127_whatever_the_name() {
    for name in ["tini", "dumb-init", "catatonit"] {
        assert_eq!(called(name).output(&["/nonexistent"]).code, 127);
        assert_eq!(called(name).output(&["/"]).code, 126);
    }
}

#[test]
fn tini_maps_exit_codes_and_warns_of_orphans() {
    let tini = called("tini");
    assert_eq!(tini.output(&["-e", "143", "-e3", "--", SH, "-c", "kill -TERM $$"]).code, 0);
    assert_eq!(tini.output(&["-e", "143", "--", SH, "-c", "exit 3"]).code, 3);
    let output = tini.output(&["-w", "--", SH, "-c", "(sleep 0 &); sleep 1; exit 0"]);
    assert!(output.stderr.contains("an orphan"), "{}", output.stderr);
    let output = tini.output(&["--", SH, "-c", "(sleep 0 &); sleep 1; exit 0"]);
    assert_eq!(output.stderr, "");
}

#[test]
fn tini_signals_the_group_only_when_asked() {
    // Only main's child answers USR1; main ignores it, and ends when the child does.
    let script = "trap '' USR1; (trap 'exit 6' USR1; echo up; while :; do sleep 0.05 & wait; done) & wait $!; exit $?";
    let tini = called("tini");
    let variable = "TINI_KILL_PROCESS_GROUP";
    for (options, set, code) in [(&["-g"][..], false, 6), (&["--"], true, 6), (&["-s"], false, 143)] {
        let mut builder = tini.builder(options).args([SH, "-c", script]);
        if set {
            builder = builder.env(variable, "1");
        }
        let mut process = builder.start();
        process.until("the script is up", || process.stdout().contains("up\n").then_some(()));
        process.signal(libc::SIGUSR1);
        if code == 143 {
            process.signal(libc::SIGTERM);
        }
        assert_eq!(process.ended(SOON).code, code, "{options:?}");
    }
}

#[test]
fn tinis_verbosity_is_the_level_of_the_log() {
    let tini = called("tini");
    let run = |options: &[&str], variable: &str| {
        tini.builder(options).args(["--", "/bin/true"]).env("TINI_VERBOSITY", variable).output().stderr
    };
    assert_eq!(run(&[], "1"), "");
    assert!(run(&[], "3").contains("started `main`"));
    assert!(run(&["-vv"], "1").contains("started `main`"));
    // No number is the lowest level, as there.
    assert_eq!(tini.builder(&["--", "/bin/true"]).env("TINI_VERBOSITY", "much").output().code, 0);
}

#[test]
fn dumb_init_leads_a_session_and_signals_its_group() {
    let show = r#"read -r a b c d pgrp session rest < /proc/self/stat; echo "$pgrp $session $$""#;
    let fields = |output: &Output| -> Vec<i32> {
        output.stdout.split_whitespace().map(|field| field.parse().unwrap()).collect()
    };
    let dumb_init = called("dumb-init");
    let output = dumb_init.output(&[SH, "-c", show]);
    let ids = fields(&output);
    assert_eq!((ids[0], ids[1]), (ids[2], ids[2]), "group and session are its own: {output:?}");
    for output in [
        dumb_init.output(&["-c", SH, "-c", show]),
        dumb_init.builder(&[SH, "-c", show]).env("DUMB_INIT_SETSID", "0").output(),
    ] {
        let ids = fields(&output);
        assert!(ids[0] == ids[2] && ids[1] != ids[2], "a group in the session that was there: {output:?}");
    }
}

/// What a command says on a terminal of its own, whose session it leads; `enough` says when that is all.
fn on_a_terminal(argv: &[&str], enough: impl Fn(&str) -> bool) -> String {
    let pty = Pty::open();
    let mut child = pty.lead(Command::new(argv[0]).args(&argv[1..]));
    let ended = wait::until(SOON, "it ends", || pty.text(), || child.try_wait().unwrap());
    assert!(ended.success(), "{ended}: {}", pty.text());
    wait::until(SOON, "the terminal says all", || pty.text(), || enough(&pty.text()).then_some(()));
    pty.text().replace('\r', "")
}

#[test]
fn dumb_inits_session_takes_the_terminal_along() {
    let main = "trap 'echo HUP' HUP; trap 'echo CONT' CONT; sleep 0.2; \
                read -r a b c d pgrp session tty foreground rest < /proc/self/stat; \
                echo \"$$ $pgrp $session $foreground\"";
    let dumb_init = called("dumb-init");
    let lines = |argv: &[&str]| -> Vec<i32> {
        let said = on_a_terminal(argv, |said| said.ends_with('\n'));
        said.split_whitespace().map(|id| id.parse().unwrap_or_else(|_| panic!("{said}"))).collect()
    };
    // As the leader it passes on session and terminal, and nobody hears of its giving up.
    let ids = lines(&[&dumb_init.path, SH, "-c", main]);
    assert_eq!(ids, [ids[0]; 4]);
    // As somebody's job it cannot: the command stays in the session, in the foreground.
    let ids = lines(&[SH, "-c", "\"$@\"; exit $?", SH, &dumb_init.path, SH, "-c", main]);
    assert!(ids[1] == ids[0] && ids[3] == ids[0] && ids[2] != ids[0], "{ids:?}");
}

#[test]
fn dumb_init_rewrites_and_drops() {
    let script =
        "trap 'exit 3' QUIT; trap 'exit 9' HUP; trap 'exit 15' TERM; echo up; while :; do sleep 0.05 & wait; done";
    let dumb_init = called("dumb-init");
    let mut process = dumb_init.up(&["-r", "15:3", "--rewrite", "1:0"], script);
    process.signal(libc::SIGHUP);
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 3);
    // In a session of its own a stop by the terminal's signals would be ignored: STOP goes in their place.
    let process = dumb_init.up(&[], script);
    let main = procs::children(process.pid())[0].pid;
    process.signal(libc::SIGTSTP);
    process.until("main is stopped", || procs::get(main).filter(|main| main.state == 'T'));
    // And proem itself is not.
    process.signal(libc::SIGCONT);
    process.until("main goes on", || procs::get(main).filter(|main| main.state != 'T'));
}

#[test]
fn catatonit_pauses_until_it_is_told_to_end() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut process = called("catatonit").builder(&["-P"]).start();
        process.until("it has gone to sleep in /", || {
            let cwd = std::fs::read_link(format!("/proc/{}/cwd", process.pid())).ok()?;
            (cwd == Path::new("/")).then_some(())
        });
        process.signal(libc::SIGHUP);
        process.signal(signal);
        assert_eq!(process.ended(SOON).code, 0);
    }
}

#[test]
fn the_environment_goes_through_untouched() {
    let output = called("tini").builder(&["/usr/bin/env"]).env("PROEM_WAIT", "1s").env("PROEM_X", "y").output();
    assert!(output.stdout.contains("PROEM_WAIT=1s") && output.stdout.contains("PROEM_X=y"), "{output:?}");
    assert_eq!(output.stderr, "");
}

#[test]
fn a_parents_death_is_told() {
    let dir = folder();
    write(
        dir.path(),
        "main.sh",
        "trap 'echo told > out; exit 0' USR1; echo up > main; while :; do sleep 0.05 & wait; done",
    );
    let tini = called("tini");
    let start = format!("{} -p SIGUSR1 -- {SH} main.sh & until [ -s main ]; do sleep 0.02; done", tini.path);
    assert_eq!(Builder::new(SH).args(["-c", &start]).dir(dir.path()).output().code, 0);
    let out = dir.path().join("out");
    wait::until(SOON, "main is told", String::new, || (read(&out) == "told\n").then_some(()));
}

#[test]
fn a_parents_death_is_told_even_when_it_was_before() {
    let (dir, tini) = (folder(), called("tini"));
    // tini begins when its parent is gone. Its main would sleep; it is told at once, and nothing handles the signal.
    let start = format!("echo $$ > pid; exec {} -p USR1 -- sleep 1000", tini.path);
    let script = format!("(while kill -0 $$ 2>/dev/null; do sleep 0.02; done; exec {SH} -c '{start}') & exit 0");
    assert_eq!(Builder::new("/usr/bin/setsid").args(["-w", SH, "-c", &script]).dir(dir.path()).output().code, 0);
    let pid = wait::until(SOON, "it has started", String::new, || read(&dir.path().join("pid")).trim().parse().ok());
    procs::gone(pid, SOON);
}
