//! What counts as a change: half-written files and unused keys do not, edited templates do.

use super::support::service::Service;
use super::support::{text, wait, write};
use super::{Fixture, HEAD, SH};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// Writes a file in place, as whoever thinks in the middle: truncates it, and pauses after each part. `between` looks at
/// what becomes of it all the while.
fn write_slowly(path: &Path, parts: &[&str], mut between: impl FnMut(&str)) {
    let mut file = std::fs::File::create(path).unwrap();
    between("truncated");
    for part in parts {
        file.write_all(part.as_bytes()).unwrap();
        between(part);
    }
}

/// Longer than any quiet time.
const PAUSE: Duration = Duration::from_millis(600);

#[test]
fn a_writer_that_pauses_is_waited_for_until_it_closes() {
    for uri in ["file:in/app.json", "dir:in?format=json"] {
        let value = if uri.starts_with("file") { "app.a" } else { "app[\"app.json\"].a" };
        let fixture = Fixture::with(
            &format!("throttle = \"0s\"\n[source]\napp = \"{uri}\"\n"),
            "",
            "[template.text]\nfrom = \"text.tera\"\nto = \"out/text\"\nreload = { run = [\"/bin/sh\", \"reload.sh\"] }\n",
        );
        fixture.write("text.tera", &format!("<{{{{ {value} }}}}>"));
        fixture.write("reload.sh", "cat out/text >>told; echo >>told\n");
        let source = fixture.path("in");
        let file = write(&source, "app.json", r#"{"a": 1}"#);
        let process = fixture.watch();
        fixture.becomes(&process, "out/text", "<1>");
        let told = fixture.read("told");
        // A part of it would be a mistake, another one a value.
        write_slowly(&file, &[r#"{"a": 2"#, "2}", "\n"], |part| {
            wait::throughout(PAUSE, part, || fixture.read("out/text") == "<1>");
        });
        fixture.becomes(&process, "out/text", "<22>");
        process.until("it is told", || (fixture.read("told") == format!("{told}<22>\n")).then_some(()));
        assert!(!process.stderr().contains("failed"), "{}", process.stderr());
    }
}

#[test]
fn a_new_file_counts_when_its_writer_closes_it() {
    let fixture = Fixture::with(
        "throttle = \"0s\"\n[source]\napp = \"dir:in\"\n",
        "",
        "[template.text]\nfrom = \"text.tera\"\nto = \"out/text\"\nreload = \"none\"\n",
    );
    fixture.write("text.tera", "{% for key, value in app %}{{ key }}={{ value }} {% endfor %}");
    let source = fixture.path("in");
    write(&source, "one", "1");
    let process = fixture.watch();
    fixture.becomes(&process, "out/text", "one=1 ");
    write_slowly(&source.join("two"), &["2", "2"], |part| {
        wait::throughout(PAUSE, part, || fixture.read("out/text") == "one=1 ");
    });
    fixture.becomes(&process, "out/text", "one=1 two=22 ");
    // Whoever keeps a file open that nothing is read from holds up nobody.
    let mut other = std::fs::File::create(source.join(".log")).unwrap();
    other.write_all(b"x").unwrap();
    let since = Instant::now();
    write(&source, "one", "3");
    fixture.becomes(&process, "out/text", "one=3 two=22 ");
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    drop(other);
}

#[test]
fn a_template_that_is_written_in_parts_is_read_when_it_is_whole() {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        "[template.a]\nfrom = \"t/a.tera\"\nto = \"a\"\nreload = \"none\"\n[template.b]\nfrom = \"b.tera\"\nto = \"b\"\nreload = \"none\"\n",
    );
    write(&fixture.path("t"), "a.tera", "one {{ app.a }}");
    fixture.write("b.tera", "one");
    let process = fixture.watch();
    fixture.becomes(&process, "a", "one 1");
    write_slowly(&fixture.path("t/a.tera"), &["two ", "{{ app.a }}"], |part| {
        // Another one that is whole waits with it: they are read together.
        fixture.write("b.tera", part);
        wait::throughout(PAUSE, part, || fixture.read("a") == "one 1");
    });
    fixture.becomes(&process, "a", "two 1");
    fixture.becomes(&process, "b", "1");
}
