//! `settle`, `settle_max` and `throttle`, by the clock. The machine is pure and has its own tests; here is what arrives outside.

use super::Fixture;
use super::support::proem::Proem;
use std::time::{Duration, Instant};

/// One target; each publish is told with its content and its time, in milliseconds.
fn fixture(timing: &str) -> (Fixture, Proem) {
    let head = format!("{timing}\n[source]\napp = \"file:app.json\"\n");
    let tables = "[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = { run = [\"/bin/sh\", \"reload.sh\"] }\n";
    let fixture = Fixture::with(&head, r#"{"a": 0}"#, tables);
    fixture.write("reload.sh", "echo $(cat a) $(date +%s%3N) >>told\n");
    let process = fixture.watch();
    fixture.becomes(&process, "a", "0");
    (fixture, process)
}

/// What was told, and when.
fn told(fixture: &Fixture) -> Vec<(u64, u64)> {
    let told = fixture.read("told");
    let lines = told.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(value, at)| (value.parse().unwrap(), at.parse().unwrap())).collect()
}

/// Changes the source `count` times, so far apart.
fn change(fixture: &Fixture, values: std::ops::RangeInclusive<u64>, pause: Duration) {
    for value in values {
        fixture.set(&format!("{{\"a\": {value}}}"));
        std::thread::sleep(pause);
    }
}

fn ends_with(process: &Proem, fixture: &Fixture, value: u64) -> Vec<(u64, u64)> {
    process
        .until("the last state is told", || told(fixture).last().is_some_and(|(last, _)| *last == value).then_some(()));
    told(fixture)
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn what_settles_is_published_once() {
    let (fixture, process) = fixture("throttle = \"0s\"\nsettle = \"1s\"\nsettle_max = \"60s\"");
    change(&fixture, 1..=10, Duration::from_millis(100));
    let last = now() - 100;
    let told = ends_with(&process, &fixture, 10);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1 >= last + 900, "{told:?} after {last}");
}

#[test]
fn what_never_settles_is_published_all_the_same() {
    let (fixture, process) = fixture("throttle = \"0s\"\nsettle = \"500ms\"\nsettle_max = \"1s\"");
    let began = Instant::now();
    let mut value = 0;
    process.until("it is published while it changes", || {
        value += 1;
        change(&fixture, value..=value, Duration::from_millis(100));
        (!told(&fixture).is_empty()).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let told = ends_with(&process, &fixture, value);
    assert!(told[0].0 > 1, "what came until then is part of it: {told:?}");
}

#[test]
fn the_first_change_is_published_at_once_and_the_last_is_not_lost() {
    let (fixture, process) = fixture("throttle = \"2s\"");
    let before = now();
    change(&fixture, 1..=1, Duration::ZERO);
    let first = ends_with(&process, &fixture, 1);
    change(&fixture, 2..=9, Duration::from_millis(50));
    let told = ends_with(&process, &fixture, 9);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].1 - told[0].1 >= 1900, "{told:?}");
    assert!(first[0].1 - before < 1900, "at once: {first:?}, changed at {before}");
}
