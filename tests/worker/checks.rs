//! Checks: what they refuse is used by nobody, and what they have not seen yet neither.

use super::support::proem::SOON;
use super::support::service::Service;
use super::support::text;
use super::{Fixture, SH, STAY, file_id, kill_worker, main_of, stays, throughout};
use std::time::Duration;

/// Refuses what is marked.
const NO_BAD: &str = "! grep -q BAD \"$@\"\n";

/// Says that it runs, and ends when it may.
const SLOW: &str = "touch checking\nwhile [ ! -e go ]; do sleep 0.05; done\n";

#[test]
fn a_refusal_after_the_rename_brings_the_old_content_back() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh", "a"]
        reload = "HUP"
        "#,
    );
    fixture.write("check.sh", NO_BAD);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("refused");
    fixture.becomes(&process, "a", "1");
    throughout("nobody is told", || service.hups() == 0 && fixture.read("a") == "1");
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
    assert_eq!((fixture.read("a").as_str(), service.hups()), ("2", 1), "{}", process.stderr());
}

#[test]
fn a_refusal_before_the_rename_never_touches_the_target() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh", "{staged}"]
        reload = "HUP"
        "#,
    );
    fixture.write("check.sh", NO_BAD);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    let before = file_id(&fixture.path("a"));
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("refused");
    throughout("nobody is told", || service.hups() == 0);
    assert_eq!((file_id(&fixture.path("a")), fixture.read("a").as_str()), (before, "1"), "{}", process.stderr());
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
    assert_eq!((fixture.read("a").as_str(), service.hups()), ("2", 1), "{}", process.stderr());
}

/// A crash between rename and check, and somebody deletes what was kept: nobody can tell old from new any more. All of it
/// is published anew, is checked, and until then nothing starts and nobody spins.
#[test]
fn a_group_that_cannot_be_undone_is_published_anew_and_checked_first() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh"]
        reload = "HUP"
        "#,
    );
    fixture.write("check.sh", "exit 0");
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.write("check.sh", &format!("echo checked >> checks\n{SLOW}"));
    fixture.set(r#"{"a": 2}"#);
    fixture.appears(&process, "checking");
    for kept in fixture.kept(".").iter().filter(|name| name.contains(".kept")) {
        std::fs::remove_file(fixture.path(kept)).unwrap();
    }
    kill_worker(&process);
    process.says("failed to recover");
    // The content is the new one already, and that nobody checked it is no secret to the next worker.
    process.until("it is checked anew", || (fixture.read("checks").lines().count() == 2).then_some(()));
    let before = super::cpu_of_both(&process);
    throughout("nobody is told of what is not checked", || service.hups() == 0);
    assert!(super::cpu_of_both(&process) < before + Duration::from_millis(200), "it spins");
    fixture.touch("go");
    process.file(&service.seen, "2");
    process.until("nothing is kept", || fixture.kept(".").is_empty().then_some(()));
}

#[test]
fn what_was_refused_is_checked_anew_after_another_content() {
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh", "{staged}"]
        reload = "none"
        [template.b]
        from = "b.tera"
        to = "b"
        reload = "none"
        "#,
    );
    fixture.write("check.sh", NO_BAD);
    let process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    fixture.set(r#"{"a": "BAD", "b": 2}"#);
    process.says("refused");
    // What is in place already: nothing to do for `a`; `b` says that it was looked at.
    fixture.set(r#"{"a": 1, "b": 3}"#);
    fixture.becomes(&process, "b", "3");
    fixture.write("check.sh", "exit 0");
    fixture.set(r#"{"a": "BAD", "b": 4}"#);
    fixture.becomes(&process, "a", "BAD");
}

/// The slow one is the first or the last; the other needs no check.
const ONE_SLOW_CHECK: [&str; 2] = ["a", "b"];

fn one_slow_check(slow: &str) -> Fixture {
    let other = if slow == "a" { "b" } else { "a" };
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        &format!(
            r#"
            [template.{slow}]
            from = "{slow}.tera"
            to = "{slow}"
            check = ["/bin/sh", "check.sh"]
            reload = "HUP"
            [template.{other}]
            from = "{other}.tera"
            to = "{other}"
            reload = "HUP"
            "#
        ),
    );
    fixture.write("check.sh", SLOW);
    fixture
}

#[test]
fn main_does_not_start_while_a_check_runs() {
    for slow in ONE_SLOW_CHECK {
        let fixture = one_slow_check(slow);
        let mut process = fixture.run(&["/bin/touch", "started"]);
        fixture.appears(&process, "checking");
        throughout("main is not started", || !fixture.exists("started"));
        fixture.touch("go");
        assert_eq!(process.ended(SOON).code, 0, "{}", process.stderr());
        assert!(fixture.exists("started"));
    }
}

#[test]
fn main_does_not_start_when_the_worker_dies_in_a_check() {
    let fixture = one_slow_check("a");
    let mut process = fixture.run(&["/bin/touch", "started"]);
    fixture.appears(&process, "checking");
    std::fs::remove_file(fixture.path("checking")).unwrap();
    kill_worker(&process);
    // The next worker takes back what was not checked, and checks it again.
    fixture.appears(&process, "checking");
    throughout("main is not started", || !fixture.exists("started"));
    fixture.touch("go");
    assert_eq!(process.ended(SOON).code, 0, "{}", process.stderr());
    assert!(fixture.exists("started"));
}

/// Two includes of one configuration, each checked with the other: a good change is not refused for a bad one.
#[test]
fn groups_that_are_checked_together_do_not_spoil_each_other() {
    for (bad, good) in [("b", "a"), ("a", "b")] {
        let fixture = Fixture::new(
            r#"{"a": 1, "b": 1}"#,
            r#"
            [template.a]
            from = "a.tera"
            to = "o/a"
            check = ["/bin/sh", "check.sh"]
            reload = "none"
            [template.b]
            from = "b.tera"
            to = "o/b"
            check = ["/bin/sh", "check.sh"]
            reload = "none"
            "#,
        );
        std::fs::create_dir(fixture.path("o")).unwrap();
        fixture.write("check.sh", "! grep -q BAD o/*\n");
        let process = fixture.watch();
        let is = |name: &str, content: &str| fixture.read(&format!("o/{name}")) == content;
        process.until("both are there", || (is("a", "1") && is("b", "1")).then_some(()));
        fixture.set(&format!(r#"{{"{good}": 2, "{bad}": "BAD"}}"#));
        process.says("refused");
        stays(&process, "the good one is published, the bad one is not", || is(good, "2") && is(bad, "1"));
        fixture.set(&format!(r#"{{"{good}": 2, "{bad}": 3}}"#));
        process.until("both are published", || (is(good, "2") && is(bad, "3")).then_some(()));
        fixture.set(r#"{"a": 4, "b": 4}"#);
        stays(&process, "and again", || is("a", "4") && is("b", "4"));
        assert!(fixture.kept("o").is_empty(), "{:?}", fixture.kept("o"));
    }
}

/// However proem runs and whatever the check looks at; the stubborn one does not end at TERM.
#[test]
fn term_in_the_middle_of_a_check_leaves_the_old_content_and_nothing_else() {
    let stubborn = format!("trap '' TERM\n{SLOW}");
    for (target, check) in [("a", SLOW), ("a", &stubborn), ("{staged}", SLOW), ("{staged}", &stubborn)] {
        for watch in [true, false] {
            let fixture = Fixture::new(
                r#"{"a": 1}"#,
                &format!(
                    r#"
                    [template.a]
                    from = "a.tera"
                    to = "a"
                    check = ["/bin/sh", "check.sh", "{target}"]
                    reload = "none"
                    "#
                ),
            );
            fixture.write("check.sh", &format!("[ $(cat \"$1\") = 1 ] && exit 0\n{check}"));
            let mut process = if watch { fixture.watch() } else { fixture.run(&STAY) };
            fixture.becomes(&process, "a", "1");
            if !watch {
                main_of(&process, "sleep");
            }
            fixture.set(r#"{"a": 2}"#);
            fixture.appears(&process, "checking");
            assert_eq!(fixture.read("a"), if target == "a" { "2" } else { "1" });
            process.signal(libc::SIGTERM);
            let output = process.ended(SOON);
            let case = format!("{target}, watch: {watch}\n{check}\n{}", output.stderr);
            assert_eq!((output.code, fixture.read("a").as_str()), (143, "1"), "{case}");
            assert!(fixture.kept(".").is_empty(), "{:?}: {case}", fixture.kept("."));
            process.until("nobody is left", || fixture.inhabitants().is_empty().then_some(()));
        }
    }
}
