//! Reloads that could not be done yet: over a refusal, and over the death of everybody who knew.

use super::support::service::Service;
use super::support::{procs, text};
use super::{Fixture, SH, STAY, is_alive, kill_worker, main_of, throughout};

/// Fails until there is a file `ok`; then says what it saw.
const FAILS_AT_FIRST: &str = "[ -e ok ] || exit 1\ncat a >>told; echo >>told\n";

#[test]
fn a_refused_publish_does_not_cancel_what_an_older_one_owes() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "check.sh"]
        reload = { run = ["/bin/sh", "reload.sh"] }
        "#,
    );
    fixture.write("check.sh", "! grep -q BAD a\n");
    fixture.write("reload.sh", FAILS_AT_FIRST);
    let process = fixture.run(&STAY);
    main_of(&process, "sleep");
    fixture.set(r#"{"a": 2}"#);
    process.says("it is owed");
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("refused");
    fixture.becomes(&process, "a", "2");
    assert!(!fixture.exists("told"));
    fixture.touch("ok");
    fixture.becomes(&process, "told", "2\n");
}

#[test]
fn a_reload_that_is_owed_outlives_the_worker() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = [{ run = ["/bin/sh", "reload.sh"] }, "HUP"]
        "#,
    );
    fixture.write("reload.sh", FAILS_AT_FIRST);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2}"#);
    process.says("it is owed");
    kill_worker(&process);
    fixture.touch("ok");
    process.file(&service.seen, "2");
    assert_eq!((fixture.read("told").as_str(), service.hups()), ("2\n", 1), "{}", process.stderr());
}

/// Whoever starts now reads the new files; but what a command prepares may concern others.
#[test]
fn what_an_earlier_life_owed_is_told_to_commands_and_not_to_a_new_main() {
    for reload in ["HUP", "restart", "exit"] {
        let fixture = Fixture::new(
            r#"{"a": 1}"#,
            &format!(
                r#"
                [template.a]
                from = "a.tera"
                to = "a"
                reload = [{{ run = ["/bin/sh", "reload.sh"] }}, "{reload}"]
                "#
            ),
        );
        fixture.write("reload.sh", FAILS_AT_FIRST);
        let service = Service::new(fixture.dir.path(), &fixture.path("a"));
        let process = fixture.run(&[SH, text(&service.script)]);
        process.file(&service.seen, "1");
        let main = main_of(&process, "sh");
        fixture.set(r#"{"a": 2}"#);
        process.says("it is owed");
        // All at once, as a node does that loses power.
        let worker = process.worker();
        for pid in [process.pid(), worker, main] {
            if is_alive(pid) {
                procs::kill(pid, libc::SIGKILL);
            }
        }
        drop(process);
        assert!(!fixture.exists("told"));
        assert_eq!(service.hups(), 0);

        fixture.touch("ok");
        let process = fixture.run(&[SH, text(&service.script)]);
        process.file(&service.seen, "2");
        let main = main_of(&process, "sh");
        fixture.becomes(&process, "told", "2\n");
        throughout("main is left alone", || {
            service.hups() == 0 && main_of(&process, "sh") == main && is_alive(process.pid())
        });
        assert!(fixture.kept(".").is_empty(), "{reload} is still owed: {:?}", fixture.kept("."));
    }
}
