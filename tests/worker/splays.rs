//! Splay: what ends a process waits for a random part of it, and only that.

use super::support::service::Service;
use super::support::text;
use super::{Fixture, SH, main_of, throughout};
use std::time::{Duration, Instant};

fn fixture(splay: &str, reload: &str) -> (Fixture, Service) {
    let fixture = Fixture::new(
        r#"{"a": 1}"#,
        &format!(
            "[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = {reload}\nthrottle = \"0s\"\nsplay = \"{splay}\"\n"
        ),
    );
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    (fixture, service)
}

#[test]
fn a_restart_waits_within_the_splay_and_a_newer_change_does_not_put_it_off() {
    let (fixture, service) = fixture("3s", "\"restart\"");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    let main = main_of(&process, "sh");
    let since = Instant::now();
    let mut n = 1;
    // Whatever was drawn, a change every moment would put it off for ever if it began anew.
    process.until("main is restarted", || {
        n += 1;
        fixture.set(&format!(r#"{{"a": {n}}}"#));
        (main_of(&process, "sh") != main).then_some(())
    });
    // Stopping and starting takes its time, too.
    assert!(since.elapsed() < Duration::from_secs(3 + 5), "{:?}", since.elapsed());
    process.until("main reads the last of them", || {
        (fixture.read("seen") == fixture.read("a") && fixture.read("a") == n.to_string()).then_some(())
    });
}

#[test]
fn a_restart_waits_and_the_files_are_there_already() {
    let (fixture, service) = fixture("1h", "\"restart\"");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    let main = main_of(&process, "sh");
    fixture.set(r#"{"a": 2}"#);
    fixture.becomes(&process, "a", "2");
    // Once in 7,200 runs the draw is below this while.
    throughout("main is not restarted yet", || main_of(&process, "sh") == main);
}

#[test]
fn a_signal_does_not_wait() {
    let (fixture, service) = fixture("1h", "\"HUP\"");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
}
