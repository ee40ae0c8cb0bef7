//! What was refused is not tried again until an input changes it: not by another worker either.

use super::support::proem::Proem;
use super::support::service::Service;
use super::support::text;
use super::{Fixture, SH, file_id, kill_worker, main_of, throughout};

/// Counts what it is asked, and refuses what is marked.
const NO_BAD: &str = "echo asked >>asked\n! grep -q BAD \"$@\"\n";

fn asked(fixture: &Fixture) -> usize {
    fixture.read("asked").lines().count()
}

/// The main process, once it has seen the first content.
fn run(fixture: &Fixture) -> (Proem, Service) {
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    main_of(&process, "sh");
    (process, service)
}

#[test]
fn a_check_is_not_asked_again_by_the_next_worker() {
    for argument in ["{staged}", "a"] {
        let fixture = Fixture::new(
            r#"{"a": 1}"#,
            &format!(
                "[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = \"HUP\"\n\
                 check = [\"/bin/sh\", \"check.sh\", \"{argument}\"]\n"
            ),
        );
        fixture.write("check.sh", NO_BAD);
        let (process, service) = run(&fixture);
        fixture.set(r#"{"a": "BAD"}"#);
        process.says("refused (exit 1)");
        fixture.becomes(&process, "a", "1");
        let before = (asked(&fixture), file_id(&fixture.path("a")));
        for _ in 0..2 {
            let said = process.stderr().matches("its check has refused this content before").count();
            kill_worker(&process);
            process.until("the next worker knows it", || {
                (process.stderr().matches("template `a`: its check has refused this content before").count() > said)
                    .then_some(())
            });
        }
        throughout("nothing is tried", || (asked(&fixture), file_id(&fixture.path("a"))) == before);
        assert_eq!((service.hups(), fixture.kept(".").len()), (0, 0), "{}", process.stderr());
        fixture.set(r#"{"a": 2}"#);
        process.file(&service.seen, "2");
        assert_eq!((service.hups(), asked(&fixture)), (1, before.0 + 1), "{}", process.stderr());
        // And what another content was accepted after has its turn again, with any worker.
        kill_worker(&process);
        fixture.set(r#"{"a": "BAD"}"#);
        process.until("it is asked again", || (asked(&fixture) == before.0 + 2).then_some(()));
    }
}

const VERIFIED: &str = "[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = \"HUP\"\n\
    verify = { run = [\"/bin/sh\", \"verify.sh\", \"a\"], within = \"1s\" }\n";

#[test]
fn what_a_verify_refused_is_neither_published_nor_told_by_the_next_worker() {
    let fixture = Fixture::new(r#"{"a": 1}"#, VERIFIED);
    fixture.write("verify.sh", NO_BAD);
    let (process, service) = run(&fixture);
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("not verified");
    process.until("it was told twice", || (service.hups() == 2).then_some(()));
    process.until("nothing is kept", || fixture.kept(".").is_empty().then_some(()));
    let before = (asked(&fixture), file_id(&fixture.path("a")));
    kill_worker(&process);
    process.says("template `a`: its verify has refused this content before");
    throughout("nothing is tried", || (asked(&fixture), file_id(&fixture.path("a"))) == before && service.hups() == 2);
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
    process.says("proem: verified ");
    assert_eq!((service.hups(), fixture.read("a").as_str()), (3, "2"), "{}", process.stderr());
}

/// The fault may have been another group's, which was in place unverified: the next worker finds that out, too.
#[test]
fn who_was_perhaps_not_to_blame_gets_another_try_from_the_next_worker() {
    let table = |name: &str| {
        format!(
            "[template.{name}]\nfrom = \"{name}.tera\"\nto = \"o/{name}\"\nreload = \"HUP\"\n\
             verify = {{ run = [\"/bin/sh\", \"{name}.sh\"], within = \"1s\" }}\n"
        )
    };
    let fixture = Fixture::new(r#"{"a": 1, "b": 1}"#, &[table("a"), table("b")].concat());
    // `a` is refused for what `b` holds, and `b` only when the test says so.
    fixture.write("a.sh", "! grep -q BAD o/b\n");
    fixture.write("b.sh", "touch trying\nwhile [ ! -e go ]; do sleep 0.05; done\n! grep -q BAD o/b\n");
    let service = Service::new(fixture.dir.path(), &fixture.path("o/a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2, "b": "BAD"}"#);
    process.says("template `a`: not verified");
    fixture.appears(&process, "trying");
    kill_worker(&process);
    process.says("template `a`: its verify has refused this content before");
    fixture.touch("go");
    process.says("template `b`: not verified");
    process.file(&service.seen, "2");
    let is = |name: &str, content: &str| fixture.read(&format!("o/{name}")) == content;
    process.says("proem: verified ");
    throughout("the good one stays, the bad one away", || is("a", "2") && is("b", "1"));
}

/// Whoever mends the check, or what it needs, says so.
#[test]
fn what_was_refused_is_tried_again_when_the_configuration_is_read_anew() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        "[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = \"HUP\"\n\
         check = [\"/bin/sh\", \"check.sh\", \"{staged}\"]\n",
    );
    fixture.write("check.sh", NO_BAD);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let socket = fixture.path("socket");
    let args = ["--control", text(&socket), "run", "--", SH, text(&service.script)];
    let process = fixture.command(&args).start();
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("refused (exit 1)");
    fixture.write("check.sh", "exit 0\n");
    let output = fixture.command(&["reload", "--control", text(&socket)]).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    process.file(&service.seen, "BAD");
    // A worker that dies reads the configuration anew, too: another check may accept it.
    fixture.write("check.sh", NO_BAD);
    fixture.set(r#"{"a": "BAD, too"}"#);
    process.until("it is refused", || (process.stderr().matches("refused (exit 1)").count() == 2).then_some(()));
    let toml = fixture.read("proem.toml").replace("check.sh", "other.sh");
    fixture.write("other.sh", "exit 0\n");
    fixture.write("proem.toml", &toml);
    kill_worker(&process);
    process.file(&service.seen, "BAD, too");
}
