//! `proem run` and `proem render --watch` where no store is needed: starting, stopping, exit codes, watched files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};
use support::proem::{SOON, proem};
use support::service::{AT_TERM, Service};
use support::{folder, procs, read, text, wait, write};

const SH: &str = "/bin/sh";

/// How long proem may take to end once nothing holds it.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn the_exit_code_is_the_main_processs() {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("kill -40 $$", 168)]
    {
        for args in [["run", "--"], ["--", "env"]] {
            let output = proem(args).args([SH, "-c", script]).output();
            assert_eq!(output.code, code, "`{script}` by {args:?}\n{}", output.stderr);
        }
    }
}

#[test]
fn it_renders_before_the_process_starts() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    let output = proem(["-t", "t.tera:t", "--", "/bin/cat", "t"]).dir(dir.path()).env("X", "there").output();
    assert_eq!((output.code, output.stdout.as_str()), (0, "there"), "{}", output.stderr);
}

#[test]
fn a_failed_render_starts_nothing() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.MISSING }}");
    let output = proem(["-t", "t.tera:t", "--", "/bin/touch", "started"]).dir(dir.path()).output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("proem: exit 65: "), "{}", output.stderr);
    assert!(!dir.path().join("started").exists());
}

#[test]
fn signals_reach_the_main_process_and_its_answer_is_the_exit_code() {
    let dir = folder();
    let configuration = write(dir.path(), "configuration", "");
    let service = Service::new(dir.path(), &configuration);
    let mut process = proem(["run", "--", SH, text(&service.script)]).start();
    process.until("the service is up", || process.stdout().contains("up").then_some(()));
    process.signal(libc::SIGHUP);
    process.until("HUP arrives", || (service.hups() == 1).then_some(()));
    let start = Instant::now();
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, AT_TERM);
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
}

#[test]
fn without_anything_that_changes_only_init_is_left() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    let process = proem(["-t", "t.tera:t", "--", "/bin/sleep", "60"]).dir(dir.path()).env("X", "1").start();
    process.until("main is the only child", || {
        let children = procs::children(process.pid());
        (children.len() == 1 && children[0].name == "sleep").then_some(())
    });
    assert_eq!(std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap().count(), 1);
}

#[test]
fn waiting_for_a_probe_ends_at_once_at_term() {
    let dir = folder();
    let probe = format!("file:{}", text(&dir.path().join("ready")));
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130), (libc::SIGQUIT, 131)] {
        let mut process = proem(["--wait-for", &probe, "--", "/bin/touch", "started"]).dir(dir.path()).start();
        process.worker();
        let start = Instant::now();
        process.signal(signal);
        assert_eq!(process.ended(SOON).code, code);
        assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    }
    assert!(!dir.path().join("started").exists());
}

#[test]
fn the_process_starts_when_the_probe_is_up() {
    let dir = folder();
    let ready = dir.path().join("ready");
    let probe = format!("file:{}", text(&ready));
    let mut process = proem(["--wait-for", &probe, "--", "/bin/touch", "started"]).dir(dir.path()).start();
    process.worker();
    assert!(!dir.path().join("started").exists());
    write(dir.path(), "ready", "");
    assert_eq!(process.ended(SOON).code, 0);
    assert!(dir.path().join("started").exists());
}

#[test]
fn a_probe_that_stays_down_is_69_and_named() {
    let [port] = support::ports::free();
    let probe = format!("tcp:127.0.0.1:{port}");
    for how in ["run", "exec"] {
        let output = proem([how, "--wait", "1s", "--wait-for", &probe, "--", "/bin/true"]).output();
        assert_eq!(output.code, 69, "{}", output.stderr);
        assert!(output.stderr.contains(&probe), "{}", output.stderr);
    }
}

#[test]
fn a_changed_file_is_rendered_and_the_process_told() {
    let dir = folder();
    write(dir.path(), "app.toml", "x = 1\n");
    write(dir.path(), "t.tera", "x={{ app.x }}");
    let target = dir.path().join("t");
    let service = Service::new(dir.path(), &target);
    let mut process = proem(["-s", "app=file:app.toml", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)])
        .dir(dir.path())
        .start();
    process.file(&service.seen, "x=1");
    write(dir.path(), "app.toml", "x = 2\n");
    process.file(&service.seen, "x=2");
    assert_eq!(service.hups(), 1);
    // A file that does not parse changes nothing but the log.
    write(dir.path(), "app.toml", "x = = 3\n");
    process.says("app.toml");
    assert_eq!(read(&target), "x=2");
    write(dir.path(), "app.toml", "x = 4\n");
    process.file(&service.seen, "x=4");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, AT_TERM);
}

/// Publishes a `ConfigMap` volume as the kubelet does: a new dated directory, and `..data` swapped to it by a rename.
fn configmap(volume: &Path, generation: &str, greeting: &str) {
    let dated = format!("..2026_{generation}");
    write(volume, &format!("{dated}/greeting"), &format!("{greeting}\n"));
    std::os::unix::fs::symlink(&dated, volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if !volume.join("greeting").exists() {
        std::os::unix::fs::symlink("..data/greeting", volume.join("greeting")).unwrap();
    }
}

#[test]
fn a_configmap_swap_is_seen() {
    let dir = folder();
    let volume = dir.path().join("volume");
    configmap(&volume, "01", "hello");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let target = dir.path().join("t");
    let process = proem(["render", "--watch", "-s", "app=file:volume/", "-t", "t.tera:t"]).dir(dir.path()).start();
    process.file(&target, "hello");
    for generation in ["02", "03"] {
        configmap(&volume, generation, generation);
        process.file(&target, generation);
    }
}

#[test]
fn watching_without_a_process_ends_at_term_and_int() {
    let dir = folder();
    write(dir.path(), "app.toml", "x = 1\n");
    write(dir.path(), "t.tera", "{{ app.x }}");
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let mut process =
            proem(["render", "--watch", "-s", "app=file:app.toml", "-t", "t.tera:t"]).dir(dir.path()).start();
        process.file(&dir.path().join("t"), "1");
        let start = Instant::now();
        process.signal(signal);
        assert_eq!(process.ended(SOON).code, code);
        assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
        std::fs::remove_file(dir.path().join("t")).unwrap();
    }
}

#[test]
fn a_watched_template_must_say_what_to_reload() {
    let dir = folder();
    write(dir.path(), "app.toml", "x = 1\n");
    write(dir.path(), "t.tera", "{{ app.x }}");
    let output =
        proem(["-s", "app=file:app.toml", "-t", "t.tera:t", "--", "/bin/touch", "started"]).dir(dir.path()).output();
    assert_eq!(output.code, 78, "{}", output.stderr);
    for choice in ["reload", "HUP", "restart", "exit", "none"] {
        assert!(output.stderr.contains(choice), "`{choice}` is not offered:\n{}", output.stderr);
    }
    assert!(!dir.path().join("started").exists());
}

#[test]
fn a_killed_worker_comes_back_and_the_process_does_not_notice() {
    let dir = folder();
    write(dir.path(), "app.toml", "x = 1\n");
    write(dir.path(), "t.tera", "{{ app.x }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let process = proem(["-s", "app=file:app.toml", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)])
        .dir(dir.path())
        .start();
    process.file(&service.seen, "1");
    let main = procs::children(process.pid()).into_iter().find(|child| child.name == "sh").unwrap().pid;
    for value in ["2", "3"] {
        let worker = process.worker();
        procs::kill(worker, libc::SIGKILL);
        procs::gone(worker, SOON);
        write(dir.path(), "app.toml", &format!("x = {value}\n"));
        process.file(&service.seen, value);
    }
    assert!(procs::children(process.pid()).iter().any(|child| child.pid == main && child.state != 'Z'));
}

#[test]
fn reload_exit_ends_with_75_after_the_process_was_stopped() {
    let dir = folder();
    write(dir.path(), "app.toml", "x = 1\n");
    write(dir.path(), "t.tera", "{{ app.x }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let mut process =
        proem(["-s", "app=file:app.toml", "-t", "t.tera:t:exit", "--throttle", "0s", "--", SH, text(&service.script)])
            .dir(dir.path())
            .start();
    process.file(&service.seen, "1");
    write(dir.path(), "app.toml", "x = 2\n");
    let output = process.ended(SOON);
    assert_eq!(output.code, 75, "{}", output.stderr);
    assert!(output.stderr.contains("proem: exit 75: "), "{}", output.stderr);
    assert_eq!(read(&dir.path().join("t")), "2");
}

#[test]
fn orphans_are_reaped() {
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0.1 &) ; i=$((i+1)); done; echo spawned; exec sleep 60";
    let process = proem(["run", "--", SH, "-c", script]).start();
    process.until("all are spawned", || process.stdout().contains("spawned").then_some(()));
    process.until("only main is left", || {
        let children = procs::children(process.pid());
        (children.len() == 1 && children[0].state != 'Z').then_some(())
    });
    wait::throughout(Duration::from_millis(300), "no zombie", || {
        procs::children(process.pid()).iter().all(|c| c.state != 'Z')
    });
}
