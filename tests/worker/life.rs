//! The worker's life: what it costs, when it ends, and what the next one does.

use super::support::procs;
use super::support::proem::SOON;
use super::support::service::Service;
use super::support::text;
use super::{Fixture, SH, STAY, cpu_of_both, is_alive, kill_worker, main_of, throughout};
use std::time::Duration;

/// Runs for a while, says so, and ends when it may.
const SLOW: &str = "touch checking\nsleep 5\ntouch slept\nwhile [ ! -e go ]; do sleep 0.05; done\n";

/// The CPU time that these seconds may cost, in a build that is not optimised.
const LITTLE: Duration = Duration::from_millis(500);

#[test]
fn a_slow_check_at_start_costs_no_time() {
    // The other group waits for a value longer than start may take; that is decided when the check has ended.
    let fixture = Fixture::with(
        "wait = \"1s\"\n[source]\napp = \"file:app.json\"\n",
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh"]
        reload = "none"
        [template.b]
        from = "b.tera"
        to = "b"
        reload = "none"
        "#,
    );
    fixture.write("check.sh", SLOW);
    let mut process = fixture.run(&STAY);
    fixture.appears(&process, "slept");
    let used = cpu_of_both(&process);
    assert!(used < LITTLE, "{used:?}\n{}", process.stderr());
    fixture.touch("go");
    let output = process.ended(SOON);
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("`app.b`"), "{}", output.stderr);
}

#[test]
fn a_slow_check_while_a_reload_is_owed_costs_no_time() {
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = { run = ["/bin/false"] }
        [template.b]
        from = "b.tera"
        to = "b"
        check = ["/bin/sh", "check.sh"]
        reload = "none"
        "#,
    );
    fixture.write("check.sh", &format!("[ $(cat b) = 1 ] && exit 0\n{SLOW}"));
    let process = fixture.run(&STAY);
    main_of(&process, "sleep");
    fixture.set(r#"{"a": 2, "b": 1}"#);
    process.says("it is owed");
    fixture.set(r#"{"a": 2, "b": 2}"#);
    fixture.appears(&process, "checking");
    let before = cpu_of_both(&process);
    fixture.appears(&process, "slept");
    let used = cpu_of_both(&process).saturating_sub(before);
    assert!(used < LITTLE, "{used:?}\n{}", process.stderr());
}

#[test]
fn the_next_worker_does_not_wait_for_probes_again() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "HUP"
        "#,
    );
    let probe = format!("file:{}", text(&fixture.path("up")));
    fixture.touch("up");
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.command(&["--wait-for", &probe, "--", SH, text(&service.script)]).start();
    process.file(&service.seen, "1");
    std::fs::remove_file(fixture.path("up")).unwrap();
    kill_worker(&process);
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
}

#[test]
fn the_stop_signal_ends_a_start_that_waits() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "HUP"
        "#,
    );
    let probe = format!("file:{}", text(&fixture.path("never")));
    let options = ["--stop-signal", "USR1", "--wait-for", &probe, "--", "/bin/touch", "started"];
    let mut process = fixture.command(&options).start();
    process.says("never");
    process.signal(libc::SIGUSR1);
    assert_eq!(process.ended(SOON).code, 128 + libc::SIGUSR1, "{}", process.stderr());
    assert!(!fixture.exists("started"));
}

const ONE: &str = r#"
[template.a]
from = "a.tera"
to = "a"
reload = "HUP"
"#;

#[test]
fn run_once_leaves_only_init() {
    let fixture = Fixture::new(r#"{"a": 1}"#, ONE);
    let process = fixture.command(&["run", "--once", "--"]).args(STAY).start();
    let main = main_of(&process, "sleep");
    process.until("main is the only child", || {
        let children = procs::children(process.pid());
        (children.len() == 1 && children[0].pid == main).then_some(())
    });
    assert_eq!(fixture.read("a"), "1");
    fixture.set(r#"{"a": 2}"#);
    throughout("nothing is watched", || {
        fixture.read("a") == "1" && procs::children(process.pid()).len() == 1 && is_alive(main)
    });
}

#[test]
fn exec_leaves_no_proem_at_all() {
    let fixture = Fixture::new(r#"{"a": 1}"#, ONE);
    let process = fixture.command(&["exec", "--"]).args(STAY).start();
    process.until("it has become main", || {
        procs::get(process.pid()).is_some_and(|this| this.name == "sleep").then_some(())
    });
    assert_eq!(fixture.read("a"), "1");
    assert!(procs::children(process.pid()).is_empty(), "{:?}", procs::children(process.pid()));
}

#[test]
fn a_template_without_end_kills_the_worker_and_nobody_else() {
    let fixture = Fixture::with(
        "worker_memory = \"64MiB\"\nthrottle = \"0s\"\n[source]\napp = \"file:app.json\"\n",
        r#"{"n": 1}"#,
        r#"
        [template.long]
        from = "long.tera"
        to = "long"
        reload = "HUP"
        "#,
    );
    let line = "x".repeat(10_000);
    let round = format!("{{% for i in range(end=app.n) %}}{{% for j in range(end=app.n) %}}{line}\n{{% endfor %}}");
    fixture.write("long.tera", &format!("{round}{{% endfor %}}"));
    let whole = format!("{line}\n");
    let service = Service::new(fixture.dir.path(), &fixture.path("long"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, &whole);
    let (main, worker) = (main_of(&process, "sh"), process.worker());
    fixture.set(r#"{"n": 100000}"#);
    process.says("the worker died");
    procs::gone(worker, SOON);
    assert!(is_alive(main) && service.hups() == 0, "{}", process.stderr());
    assert!(fixture.read("long") == whole, "the file is the last good one");
    assert!(process.stderr().contains("memory"), "it does not say why:\n{}", process.stderr());
    // And as soon as there is an end, it is published.
    fixture.set(r#"{"n": 2}"#);
    process.file(&service.seen, &whole.repeat(4));
    assert!(is_alive(main) && service.hups() == 1, "{}", process.stderr());
}
