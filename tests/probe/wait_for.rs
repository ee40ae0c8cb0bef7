//! `wait_for` and `--wait-for`: every kind of probe gates the start, what is missing is named, none overlaps itself, and
//! nothing is left of a program.

use super::silent;
use super::support::fpm::{Fpm, Listen};
use super::support::proem::{Proem, SOON, proem};
use super::support::{folder, procs, read, text, wait, write};
use std::path::Path;
use std::time::Duration;

#[test]
fn every_kind_gates_the_start_and_is_named_until_then() {
    let dir = folder();
    let fpm = Fpm::start(Listen::Unix, "");
    let (_listener, address) = silent();
    let path = |name: &str| text(&dir.path().join(name)).to_owned();
    write(dir.path(), "old", "");
    let missing = [
        format!("file:{}?newer_than={}", path("new"), path("old")),
        format!("exec:test -e {}", path("ready")),
        format!("unix:{}", path("s")),
    ];
    let list: Vec<String> = missing.iter().map(|uri| format!("\"{uri}\"")).collect();
    let config = format!("wait_for = [\"dns:localhost\", \"{}\", {}]\n", fpm.probe("/${PING}"), list.join(", "));
    let config = write(dir.path(), "proem.toml", &config);
    let words = ["-c", text(&config), "--wait-for", &format!("tcp:{address}"), "--", "/bin/touch", "started"];
    let mut process = proem(words).env("PING", "ping").dir(dir.path()).start();
    for line in [
        format!("proem: {} is down: no such file or directory (1s of 60s)\n", missing[0]),
        format!("proem: {} is down: exit 1 (1s of 60s)\n", missing[1]),
        format!("proem: {} is down: no such file or directory (1s of 60s)\n", missing[2]),
    ] {
        process.says(&line);
    }
    for up in ["dns:", "fcgi:", "tcp:"] {
        assert!(!process.stderr().contains(up), "{}", process.stderr());
    }
    let _socket = std::os::unix::net::UnixListener::bind(path("s")).unwrap();
    write(dir.path(), "ready", "");
    assert!(!dir.path().join("started").exists());
    write(dir.path(), "new", "");
    let output = process.ended(SOON);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(dir.path().join("started").exists());
}

#[test]
fn what_is_down_at_the_deadline_is_69_in_each_way_to_start() {
    let dir = folder();
    write(dir.path(), "t.tera", "");
    for how in ["run", "exec", "render"] {
        let end: &[&str] = if how == "render" { &["-t", "t.tera:-"] } else { &["--", "/bin/true"] };
        let words = [how, "--wait", "1s", "--wait-for", "exec:sh -c false"];
        let output = proem(words).args(end.iter().copied()).dir(dir.path()).output();
        assert_eq!(output.code, 69, "{how}: {}", output.stderr);
        assert!(
            output.stderr.ends_with("proem: exit 69: exec:sh -c false is down: exit 1\n"),
            "{how}: {}",
            output.stderr
        );
    }
}

#[test]
fn mistakes_are_the_configurations() {
    let dir = folder();
    let config = write(dir.path(), "proem.toml", "wait_for = [\"fcgi:php\", 7]\n");
    let output = proem(["-c", text(&config), "--wait-for", "exec:", "--", "/bin/true"]).output();
    assert_eq!(output.code, 78);
    for part in [
        "proem.toml:1",
        "`fcgi:php` cannot be used: a path is expected after the address",
        "`wait_for` is an integer",
        "`exec:` cannot be used: a program is expected",
    ] {
        assert!(output.stderr.contains(part), "{part}:\n{}", output.stderr);
    }
}

/// Writes its id, and a line when another one of it runs.
fn lonely(dir: &Path, then: &str) -> String {
    let script = format!(
        "cd {dir}\nmkdir lock || echo twice >>overlap\necho $$ >>pids\n{then}\nrmdir lock\nexit 1\n",
        dir = text(dir)
    );
    format!("exec:sh {}", text(&write(dir, "lonely.sh", &script)))
}

fn tries(process: &Proem, dir: &Path, at_least: usize) -> Vec<i32> {
    let pids = || read(&dir.join("pids")).lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>();
    wait::until(SOON, "it is tried", || process.stderr(), || (pids().len() >= at_least).then(pids))
}

#[test]
fn a_probe_never_overlaps_itself_and_leaves_no_zombie() {
    let dir = folder();
    let uri = lonely(dir.path(), "sleep 0.3");
    let process = proem(["--wait-for", &uri, "--", "/bin/true"]).start();
    tries(&process, dir.path(), 4);
    assert!(!dir.path().join("overlap").exists());
    let worker = process.worker();
    wait::until(
        SOON,
        "all that has ended is reaped",
        || format!("{:?}", procs::children(worker)),
        || procs::children(worker).iter().all(|child| child.state != 'Z').then_some(()),
    );
}

#[test]
fn a_program_of_a_worker_that_dies_is_ended_by_init() {
    let dir = folder();
    let uri = lonely(dir.path(), "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >child; sleep 1000' & wait");
    let process = proem(["--wait-for", &uri, "--", "/bin/true"]).start();
    let program = tries(&process, dir.path(), 1)[0];
    let child = wait::until(
        SOON,
        "its child runs",
        || process.stderr(),
        || read(&dir.path().join("child")).trim().parse().ok(),
    );
    procs::kill(process.worker(), libc::SIGKILL);
    for pid in [program, child] {
        procs::gone(pid, SOON);
    }
    // And the next worker's is another one.
    let next = tries(&process, dir.path(), 2);
    assert_ne!(next[1], program);
}

#[test]
fn nothing_is_left_of_a_program_when_start_is_given_up() {
    for how in ["run", "exec"] {
        let dir = folder();
        let uri = lonely(dir.path(), "exec sleep 1000");
        let mut process = proem([how, "--wait-for", &uri, "--", "/bin/true"]).start();
        let program = tries(&process, dir.path(), 1)[0];
        process.signal(libc::SIGTERM);
        assert_eq!(process.ended(SOON).code, 143, "{how}");
        procs::gone(program, SOON);
    }
}

/// The last line names it, and a slow program is no reason to give up later than `wait` says.
#[test]
fn the_deadline_does_not_wait_for_a_slow_program() {
    let start = std::time::Instant::now();
    let output = proem(["--wait", "1s", "--wait-for", "exec:sleep 1000", "--", "/bin/true"]).output();
    assert_eq!(output.code, 69);
    assert!(output.stderr.ends_with("proem: exit 69: waiting for exec:sleep 1000\n"), "{}", output.stderr);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}
