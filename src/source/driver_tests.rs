//! The driver with real files, links and inotify. Every wait has a deadline.

use super::*;
use crate::config::plan::{LayerPlan, Place};
use crate::source::layers::{Layers, State};
use crate::source::uri::Uri;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};

/// The worker's loop, as small as it can be.
struct Loop {
    driver: Driver,
    layers: Layers,
    updates: Receiver<Update>,
    paths: Vec<PathBuf>,
}

fn plan(uris: &[String]) -> Vec<SourcePlan> {
    let layers = uris.iter().map(|uri| {
        let uri = Uri::parse(uri).unwrap();
        LayerPlan { optional: uri.option("optional").is_some(), uri }
    });
    vec![SourcePlan { name: "app".to_owned(), layers: layers.collect(), place: Place(String::new()) }]
}

impl Loop {
    fn new(uris: &[String], watch: bool) -> Loop {
        let plans = plan(uris);
        let (send, updates) = channel();
        let driver = Driver::start(&plans, &BTreeMap::new(), watch, move |update| drop(send.send(update))).unwrap();
        let mut this = Loop { driver, layers: Layers::new(&plans), updates, paths: Vec::new() };
        let read = this.driver.read_all(Instant::now());
        this.take(read);
        this
    }

    fn take(&mut self, updates: Vec<Update>) {
        for update in updates {
            match update {
                Update::Read(id, answer) => drop(self.layers.apply(id, answer, Instant::now())),
                Update::Fresh(id) => drop(self.layers.fresh(id, Instant::now())),
                Update::Path(path) => self.paths.push(path),
                Update::Files => {
                    let updates = self.driver.files_changed(Instant::now());
                    self.take(updates);
                }
            }
        }
    }

    fn show(&self) -> String {
        match self.layers.snapshot(0) {
            State::Ready { value, .. } => serde_json::to_string(&value).unwrap(),
            State::Waiting(complaints) => complaints[0].message.clone(),
        }
    }

    /// Runs until the snapshot is this, by events and what is due, and by nothing else.
    fn until(&mut self, expected: &str) {
        self.until_it(expected, |this| this.show() == expected);
    }

    fn until_it(&mut self, what: &str, done: impl Fn(&Loop) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            let now = Instant::now();
            assert!(now < deadline, "expected {what}, is {}", self.show());
            let wait = self.driver.next_due().map_or(deadline, |due| due.min(deadline)).saturating_duration_since(now);
            if let Ok(update) = self.updates.recv_timeout(wait) {
                self.take(vec![update]);
            }
            let due = self.driver.due(Instant::now());
            self.take(due);
        }
    }

    /// Takes what comes until nothing came for a while.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        while let Ok(update) = self.updates.recv_timeout(Duration::from_millis(200)) {
            self.take(vec![update]);
            count += 1;
            assert!(count < 100, "events without end: reading is taken for a change");
        }
        count
    }
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[test]
fn what_never_changes_costs_nothing() {
    let run = Loop::new(&["env:NOTHING_".to_owned(), "container:".to_owned()], true);
    assert!(run.show().contains("\"cpus\""));
    assert_eq!(run.driver.next_due(), None);
}

#[test]
fn a_file_appears_changes_is_replaced_and_goes() {
    let (_dir, at) = dir();
    let file = at.join("a.json");
    let mut run = Loop::new(&[format!("file:{}", file.display())], true);
    assert_eq!(run.show(), format!("source `app`: there is no file {}", file.display()));
    fs::write(&file, r#"{"a":1}"#).unwrap();
    run.until(r#"{"a":1}"#);
    fs::write(&file, r#"{"a":2}"#).unwrap();
    run.until(r#"{"a":2}"#);
    fs::write(at.join("new"), r#"{"a":3}"#).unwrap();
    fs::rename(at.join("new"), &file).unwrap();
    run.until(r#"{"a":3}"#);
    fs::remove_file(&file).unwrap();
    run.until_it("a trouble", |run| !run.layers.troubles(0).is_empty());
    assert_eq!(run.show(), r#"{"a":3}"#);
    run.settle();
    assert_eq!(run.driver.next_due(), None, "at rest only events wake");
}

#[test]
fn a_directory_that_is_made_later_and_made_anew() {
    let (_dir, at) = dir();
    let mut run = Loop::new(&[format!("file:{}/x/y/a.json", at.display())], true);
    for i in 0..3 {
        fs::create_dir_all(at.join("x/y")).unwrap();
        fs::write(at.join("x/y/a.json"), format!("{{\"a\":{i}}}")).unwrap();
        run.until(&format!("{{\"a\":{i}}}"));
        fs::remove_dir_all(at.join("x")).unwrap();
        if i == 1 {
            // Once without looking in between.
            continue;
        }
        run.until_it("a trouble", |run| !run.layers.troubles(0).is_empty());
    }
}

#[test]
fn the_swap_of_a_kubernetes_mount() {
    let (_dir, at) = dir();
    let publish = |version: usize| {
        let name = format!("..{version}");
        fs::create_dir(at.join(&name)).unwrap();
        fs::write(at.join(&name).join("a.json"), format!("{{\"v\":{version}}}")).unwrap();
        symlink(&name, at.join("..data_tmp")).unwrap();
        fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        if version > 0 {
            fs::remove_dir_all(at.join(format!("..{}", version - 1))).unwrap();
        }
    };
    publish(0);
    symlink("..data/a.json", at.join("a.json")).unwrap();
    let mut file = Loop::new(&[format!("file:{}/a.json", at.display())], true);
    let mut tree = Loop::new(&[format!("file:{}/", at.display())], true);
    for version in 0..5 {
        if version > 0 {
            publish(version);
        }
        file.until(&format!("{{\"v\":{version}}}"));
        tree.until(&format!("{{\"a.json\":\"{{\\\"v\\\":{version}}}\"}}"));
    }
}

#[test]
fn reading_does_not_wake_us_again() {
    let (_dir, at) = dir();
    fs::create_dir(at.join("sub")).unwrap();
    fs::write(at.join("sub/a"), "1").unwrap();
    let mut run = Loop::new(&[format!("dir:{}", at.display())], true);
    run.settle();
    fs::write(at.join("sub/a"), "2").unwrap();
    run.until(r#"{"sub":{"a":"2"}}"#);
    run.settle();
    for _ in 0..20 {
        let read = run.driver.read_all(Instant::now());
        run.take(read);
    }
    assert_eq!(run.settle(), 0);
}

#[test]
fn new_directories_of_a_tree_are_watched() {
    let (_dir, at) = dir();
    let mut run = Loop::new(&[format!("dir:{}", at.display())], true);
    assert_eq!(run.show(), "{}");
    fs::create_dir_all(at.join("a/b")).unwrap();
    run.settle();
    fs::write(at.join("a/b/c"), "1").unwrap();
    run.until(r#"{"a":{"b":{"c":"1"}}}"#);
}

#[test]
fn a_run_that_does_not_watch_waits_for_what_is_missing_only() {
    let (_dir, at) = dir();
    let file = at.join("a.toml");
    let mut run = Loop::new(&[format!("file:{}", file.display()), "env:NOTHING_".to_owned()], false);
    fs::write(&file, "a = hunter2").unwrap();
    run.until_it("a mistake", |run| run.show().contains("failed to parse"));
    fs::write(&file, "a = 1").unwrap();
    run.until(r#"{"a":1}"#);
    assert_eq!(run.driver.next_due(), None);
}

#[test]
fn polling_where_inotify_gives_out() {
    let (_dir, at) = dir();
    fs::write(at.join("a.json"), "{}").unwrap();
    fs::write(at.join("a.tera"), "1").unwrap();
    let mut run = Loop::new(&["env:NOTHING_".to_owned(), format!("file:{}/a.json", at.display())], true);
    run.driver.watcher = Some(Watcher::given_out());
    run.driver.begun = 0;
    let read = run.driver.read_all(Instant::now());
    run.take(read);
    run.driver.watch_path(&at.join("a.tera"), Instant::now());
    assert!(run.driver.next_due().unwrap() <= Instant::now() + POLL);
    fs::write(at.join("a.json"), r#"{"a":1}"#).unwrap();
    run.until(r#"{"a":1}"#);
    assert!(run.paths.is_empty());
    fs::write(at.join("a.tera"), "22").unwrap();
    let expected = at.join("a.tera");
    run.until_it("a path", move |run| run.paths.contains(&expected));
}

#[test]
fn intervals() {
    let mut run = Loop::new(&["container:?every=1m".to_owned()], true);
    let due = run.driver.next_due().unwrap();
    assert!(run.driver.due(Instant::now()).is_empty());
    let updates = run.driver.due(due);
    assert!(matches!(updates[..], [Update::Read(LayerId(0), Ok(_))]));
    assert_eq!(run.driver.next_due(), Some(due + Duration::from_mins(1)));
}

#[test]
fn templates_are_watched_beside() {
    let (_dir, at) = dir();
    let file = at.join("a.tera");
    fs::write(&file, "1").unwrap();
    let mut run = Loop::new(&["env:NOTHING_".to_owned()], true);
    run.driver.watch_path(&file, Instant::now());
    run.settle();
    run.paths.clear();
    fs::write(&file, "2").unwrap();
    let expected = file.clone();
    run.until_it("a path", move |run| run.paths.contains(&expected));
}

#[test]
fn every_layer_that_cannot_be_opened_is_complained_of() {
    let plans = plan(&["nothing:x".to_owned(), "env:".to_owned(), "file:/x?wrong".to_owned()]);
    let failure = Driver::start(&plans, &BTreeMap::new(), true, |_| ()).err().unwrap();
    assert_eq!(failure.exit, Exit::CONFIG);
    assert_eq!(failure.complaints.len(), 2);
    assert_eq!(failure.complaints[1].message, "source `app`: `file:/x?wrong`: there is no option `wrong`");
}

/// Whoever never closes is waited for once, so long, and then read at once.
#[test]
fn a_writer_that_never_closes_is_read_all_the_same() {
    use std::io::Write as _;
    let (_dir, at) = dir();
    let file = at.join("a.txt");
    fs::write(&file, "0").unwrap();
    let mut run = Loop::new(&[format!("file:{}", file.display())], true);
    let began = Instant::now();
    let mut writer = fs::File::create(&file).unwrap();
    writer.write_all(b"1").unwrap();
    run.until("\"1\"");
    assert!(began.elapsed() >= super::super::writers::PATIENCE, "{:?}", began.elapsed());
    let again = Instant::now();
    writer.write_all(b"2").unwrap();
    run.until("\"12\"");
    assert!(again.elapsed() < Duration::from_secs(3), "{:?}", again.elapsed());
    drop(writer);
    run.settle();
    assert_eq!(run.driver.next_due(), None, "at rest only events wake");
}

#[test]
fn what_is_polled_is_not_read_between_truncating_and_writing() {
    use std::io::Write as _;
    let (_dir, at) = dir();
    let file = at.join("a.txt");
    fs::write(&file, "0").unwrap();
    let mut run = Loop::new(&["env:NOTHING_".to_owned(), format!("file:{}", file.display())], true);
    run.driver.watcher = Some(Watcher::given_out());
    run.driver.begun = 0;
    let read = run.driver.read_all(Instant::now());
    run.take(read);
    let mut writer = fs::File::create(&file).unwrap();
    let due = run.driver.next_due().unwrap();
    assert!(run.driver.due(due).is_empty(), "the look that finds it empty");
    assert!(run.driver.next_due().unwrap() > due);
    writer.write_all(b"1").unwrap();
    drop(writer);
    run.until("\"1\"");
}
