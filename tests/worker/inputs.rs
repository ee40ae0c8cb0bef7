//! What counts as a change: half-written files and unused keys do not, edited templates do.

use super::support::service::Service;
use super::support::{text, write};
use super::{Fixture, HEAD, SH};
use std::time::Duration;

#[test]
fn a_template_that_is_edited_may_use_another_source() {
    let fixture = Fixture::with(
        &format!("{HEAD}other = \"file:other.json\"\n"),
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "HUP"
        "#,
    );
    fixture.write("other.json", r#"{"a": "other 1"}"#);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.write("a.tera", "{{ other.a }}");
    process.file(&service.seen, "other 1");
    // It is watched from now on.
    fixture.write("other.json", r#"{"a": "other 2"}"#);
    process.file(&service.seen, "other 2");
    // And both can be used.
    fixture.write("a.tera", "{{ app.a }}, {{ other.a }}");
    process.file(&service.seen, "1, other 2");
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2, other 2");
}

#[test]
fn a_template_of_the_command_line_can_be_edited() {
    let fixture = Fixture::new(r#"{"a": 1}"#, "");
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let process = fixture.command(&["-t", "a.tera:a:HUP", "--", SH, text(&service.script)]).start();
    process.file(&service.seen, "1");
    fixture.write("a.tera", "edited: {{ app.a }}");
    process.file(&service.seen, "edited: 1");
}

#[test]
fn what_an_edited_template_includes_is_watched() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "none"
        "#,
    );
    std::fs::create_dir(fixture.path("parts")).unwrap();
    write(fixture.dir.path(), "parts/part.tera", "part 1");
    fixture.write("proem.toml", &format!("template_dir = \".\"\n{}", fixture.read("proem.toml")));
    let process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    fixture.write("a.tera", "{% include \"parts/part.tera\" %}, {{ app.a }}");
    fixture.becomes(&process, "a", "part 1, 1");
    fixture.write("parts/part.tera", "part 2");
    fixture.becomes(&process, "a", "part 2, 1");
}

#[test]
fn an_edited_template_is_logged_once() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = "none"
        "#,
    );
    let process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    let log = || process.stderr().lines().filter(|line| line.contains("template")).count();
    assert_eq!(log(), 0, "{}", process.stderr());
    for edit in 1..4 {
        fixture.write("a.tera", &format!("{edit}: {{{{ app.a }}}}"));
        fixture.becomes(&process, "a", &format!("{edit}: 1"));
        assert_eq!(log(), edit, "{}", process.stderr());
    }
    // The source beside it is no edit.
    fixture.set(r#"{"a": 2}"#);
    fixture.becomes(&process, "a", "3: 2");
    assert_eq!(log(), 3, "{}", process.stderr());
}

#[test]
fn what_was_printed_is_not_printed_again_for_an_unused_key() {
    let fixture = Fixture::new(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [template.printed]
        from = "printed.tera"
        to = "-"
        reload = "none"
        [template.b]
        from = "b.tera"
        to = "b"
        reload = "none"
        "#,
    );
    fixture.write("printed.tera", "a={{ app.a }}\n");
    let process = fixture.watch();
    process.until("it is printed", || (process.stdout() == "a=1\n").then_some(()));
    // The file says when the change has been seen.
    for value in ["2", "3"] {
        fixture.set(&format!(r#"{{"a": 1, "b": {value}}}"#));
        fixture.becomes(&process, "b", value);
    }
    fixture.set(r#"{"a": 2, "b": 4}"#);
    fixture.becomes(&process, "b", "4");
    process.until("it is printed", || process.stdout().contains("a=2\n").then_some(()));
    assert_eq!(process.stdout(), "a=1\na=2\n");
}

#[test]
fn a_file_that_is_truncated_first_is_read_when_it_is_whole() {
    let fixture = Fixture::with(
        "throttle = \"0s\"\n[source]\napp = \"file:in/app.txt\"\n",
        "",
        r#"
        [template.text]
        from = "text.tera"
        to = "text"
        reload = { run = ["/bin/sh", "reload.sh"] }
        "#,
    );
    fixture.write("text.tera", "<{{ app }}>");
    fixture.write("reload.sh", "cat text >>told; echo >>told\n");
    fixture.write("told", "");
    let source = fixture.path("in");
    write(&source, "app.txt", "0");
    let process = fixture.watch();
    fixture.becomes(&process, "text", "<0>");
    // What is promised is a time (src/worker/quiet.rs has the tests of it), and on a busy machine whoever writes, or watches,
    // may be late by more: so of each kind one round in which nothing half-written was seen, of 20.
    let mut rounds = 0;
    for other_first in [false, true] {
        let clean = (0..20).any(|_| {
            rounds += 1;
            let before = fixture.read("told");
            if other_first {
                // Its event is no reason to read this one early.
                write(&source, "other.txt", "");
                std::thread::sleep(Duration::from_millis(30));
            }
            write(&source, "app.txt", "");
            // As slow as a shell is between its `>` and the first line.
            std::thread::sleep(Duration::from_millis(30));
            write(&source, "app.txt", &rounds.to_string());
            let whole = format!("<{rounds}>\n");
            process.until(&format!("{whole:?} is told"), || fixture.read("told").ends_with(&whole).then_some(()));
            fixture.read("told") == format!("{before}{whole}")
        });
        assert!(clean, "another file first: {other_first}\n{}\n{}", fixture.read("told"), process.stderr());
    }
}
