//! What is told after a publish, to whom, and when it may be.

use super::support::proem::SOON;
use super::support::service::{AT_TERM, Service};
use super::support::text;
use super::{Fixture, HEAD, SH, STAY, is_alive, main_of, throughout};

#[test]
fn a_failing_command_of_one_group_does_not_starve_the_signal_of_another() {
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
        reload = "HUP"
        "#,
    );
    let service = Service::new(fixture.dir.path(), &fixture.path("b"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2, "b": 2}"#);
    process.file(&service.seen, "2");
    process.says("it is owed");
    // Also while it is paused.
    fixture.set(r#"{"a": 2, "b": 3}"#);
    process.file(&service.seen, "3");
    assert_eq!(service.hups(), 2, "{}", process.stderr());
}

#[test]
fn a_publish_while_its_command_runs_is_told_afterwards() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a.out"
        reload = { run = ["/bin/sh", "reload.sh"] }
        "#,
    );
    fixture.write(
        "reload.sh",
        "read=$(cat a.out)\ntouch running\nwhile [ ! -e go ]; do sleep 0.05; done\necho \"$read\" >>seen\n",
    );
    let process = fixture.run(&STAY);
    fixture.becomes(&process, "a.out", "1");
    main_of(&process, "sleep");
    fixture.set(r#"{"a": 2}"#);
    fixture.appears(&process, "running");
    fixture.set(r#"{"a": 3}"#);
    fixture.becomes(&process, "a.out", "3");
    fixture.touch("go");
    fixture.becomes(&process, "seen", "2\n3\n");
}

#[test]
fn watching_without_a_process_runs_commands_on_change_only() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = { run = ["/bin/sh", "reload.sh"] }
        "#,
    );
    fixture.write("reload.sh", "cat a >>told; echo >>told\n");
    let process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    throughout("the first publish is told to nobody", || !fixture.exists("told"));
    fixture.set(r#"{"a": 2}"#);
    fixture.becomes(&process, "told", "2\n");
    fixture.set(r#"{"a": 3}"#);
    fixture.becomes(&process, "told", "2\n3\n");
}

#[test]
fn watching_without_a_process_ends_with_75_at_exit() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "exit"
        "#,
    );
    let mut process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    // It is still there after the first publish, and sees this change.
    fixture.set(r#"{"a": 2}"#);
    let output = process.ended(SOON);
    assert_eq!((output.code, fixture.read("a").as_str()), (75, "2"), "{}", output.stderr);
    assert!(output.stderr.contains("proem: exit 75: "), "{}", output.stderr);
}

#[test]
fn a_signal_waits_until_main_can_take_it() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "HUP"
        "#,
    );
    let script = "while [ ! -e go ]; do sleep 0.05; done; trap 'echo got' HUP; while :; do sleep 0.1; done";
    let process = fixture.run(&[SH, "-c", script]);
    let main = main_of(&process, "sh");
    fixture.set(r#"{"a": 2}"#);
    fixture.becomes(&process, "a", "2");
    throughout("main survives", || is_alive(main));
    fixture.touch("go");
    process.until("main is told", || process.stdout().contains("got").then_some(()));
    assert!(is_alive(main), "{}", process.stderr());
    throughout("it is told once", || process.stdout() == "got\n");
}

#[test]
fn a_change_in_the_first_moments_of_mains_life_arrives() {
    let head = HEAD.replace("throttle = \"0s\"\n", "");
    let fixture = Fixture::with(
        &head,
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "HUP"
        "#,
    );
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let mut process = fixture.run(&[SH, text(&service.script)]);
    // The shell is there, and has read no line of its script perhaps.
    let main = main_of(&process, "sh");
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
    process.until("main was told", || (service.hups() == 1).then_some(()));
    assert!(is_alive(main), "{}", process.stderr());
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, AT_TERM);
}

#[test]
fn commands_learn_what_changed_and_no_secret() {
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [group.both]
        check = ["/bin/sh", "check.sh"]
        reload = { run = ["/bin/sh", "reload.sh"] }
        [template.a]
        from = "a.tera"
        to = "a"
        group = "both"
        [template.b]
        from = "b.tera"
        to = "b"
        group = "both"
        "#,
    );
    fixture.write("check.sh", "env >check.env\n");
    fixture.write("reload.sh", "env >reload.env; printf %s \"$PROEM_CHANGED\" >changed.new; mv changed.new changed\n");
    // A source that is declared has its credentials hidden, used or not. Nothing reads this one.
    let store: &[&str] = if cfg!(feature = "consul") { &["-s", "other=consul:config/other"] } else { &[] };
    let mut process = fixture
        .command(store)
        .args(["run", "--"])
        .args(STAY)
        .env("PROEM_LOG", "debug")
        .env("PROEM_LINGER", "1s")
        .env("PROEM_CHANGED", "of somebody else")
        .env("CONSUL_HTTP_TOKEN", "a-token")
        .env("KEPT", "1")
        .start();
    main_of(&process, "sleep");
    let target = |name: &str| fixture.path(name).display().to_string();
    fixture.set(r#"{"a": 2, "b": 2}"#);
    fixture.becomes(&process, "changed", &format!("{}\n{}", target("a"), target("b")));
    fixture.set(r#"{"a": 2, "b": 3}"#);
    fixture.becomes(&process, "changed", &target("b"));
    for command in ["check.env", "reload.env"] {
        let env = fixture.read(command);
        assert!(env.contains("KEPT=1\n"), "{command}:\n{env}");
        assert!(!env.contains("PROEM_LOG") && !env.contains("PROEM_LINGER"), "{command}:\n{env}");
        assert!(!env.contains("of somebody else"), "{command}:\n{env}");
        assert!(!cfg!(feature = "consul") || !env.contains("a-token"), "{command}:\n{env}");
    }
    assert!(!fixture.read("check.env").contains("PROEM_"), "{}", fixture.read("check.env"));
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn no_command_is_left_when_proem_has_ended() {
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        check = ["/bin/sh", "stuck.sh", "a"]
        reload = "none"
        [template.b]
        from = "b.tera"
        to = "b"
        reload = { run = ["/bin/sh", "stuck.sh", "b"] }
        "#,
    );
    // One with a child of its own, and deaf to TERM.
    fixture.write("stuck.sh", "[ $(cat $1) = 1 ] && exit 0\ntrap '' TERM\nsleep 1000 &\ntouch stuck.$1\nwait\n");
    for (json, command) in [(r#"{"a": 1, "b": 2}"#, "stuck.b"), (r#"{"a": 2, "b": 1}"#, "stuck.a")] {
        for watch in [false, true] {
            fixture.set(r#"{"a": 1, "b": 1}"#);
            let mut process = if watch { fixture.watch() } else { fixture.run(&STAY) };
            fixture.becomes(&process, "b", "1");
            if !watch {
                main_of(&process, "sleep");
            }
            throughout("nothing is told yet", || !fixture.exists(command));
            fixture.set(json);
            fixture.appears(&process, command);
            process.signal(libc::SIGTERM);
            assert_eq!(process.ended(SOON).code, 143);
            process.until("nobody is left", || fixture.inhabitants().is_empty().then_some(()));
            std::fs::remove_file(fixture.path(command)).unwrap();
        }
    }
}
