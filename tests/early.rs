//! The start of several processes while some of their files are still awaited: each starts when the templates that reload
//! it are published. The order itself is decided in `worker/starts` and `init/machine`, which have property tests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::PathBuf;
use std::time::Duration;
use support::proem::{Output, Proem, SOON, proem};
use support::{folder, procs, read, wait, write};

/// How long something that must not happen is looked for.
const A_WHILE: Duration = Duration::from_millis(400);

/// One source, a JSON file.
const FILE: &str = "source = { app = \"file:app.json\" }\n";

/// A process that logs its start and each HUP, with what its file holds then, and its end by TERM. It is ready when it has
/// logged its start.
fn service(name: &str, file: &str, keys: &str) -> String {
    format!(
        r#"
[process.{name}]
command = ["/bin/sh", "-c", '''
trap 'echo {name} stops >> log; exit 0' TERM
trap 'echo {name} told $(cat {file}) >> log' HUP
echo {name} starts $(cat {file}) $E >> log
echo >&4
while :; do sleep 0.02; done''']
ready = {{ fd = 4 }}
{keys}
"#
    )
}

/// A template of one value of the source, and of the same name.
fn template(name: &str, reload: &str, keys: &str) -> String {
    format!("[template.{name}]\nfrom = \"{name}.tera\"\nto = \"{name}\"\nreload = {reload}\n{keys}\n")
}

/// A folder with a configuration.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(head: &str, tables: &[String]) -> Case {
        let case = Case { dir: folder() };
        write(
            case.dir.path(),
            "proem.toml",
            &format!("throttle = \"0s\"\ncontrol = \"none\"\n{head}{}", tables.concat()),
        );
        for name in ["a", "b", "c"] {
            write(case.dir.path(), &format!("{name}.tera"), &format!("{{{{ app.{name} }}}}"));
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The source's value, replaced by a rename.
    fn set(&self, json: &str) {
        std::fs::rename(write(self.dir.path(), ".app.json", json), self.path("app.json")).unwrap();
    }

    fn start(&self) -> Proem {
        proem(["-c", "proem.toml"]).dir(self.dir.path()).start()
    }

    fn log(&self) -> String {
        read(&self.path("log"))
    }

    fn logs(&self, process: &Proem, line: &str) {
        process.until(&format!("the log says `{line}`"), || self.log().lines().any(|is| is == line).then_some(()));
    }

    /// For a while the log stays what it is.
    fn rests_at(&self, log: &str) {
        wait::throughout(A_WHILE, log, || self.log() == log);
    }

    fn ends(&self, process: &mut Proem, code: i32, log: &str) -> Output {
        let output = process.ended(SOON);
        assert_eq!((output.code, self.log().as_str()), (code, log), "{}", output.stderr);
        output
    }
}

fn main_and_php() -> [String; 4] {
    [template("a", "\"php:HUP\"", ""), template("b", "\"HUP\"", ""), service("main", "b", ""), service("php", "a", "")]
}

#[cfg(feature = "consul")]
#[test]
fn one_starts_while_another_waits_for_a_key_of_consul() {
    let consul = support::server::Consul::start();
    consul.api.put("config/app/a", "1");
    let case = Case::new("source = { app = \"consul:config/app\" }\n", &main_and_php());
    let mut process =
        proem(["-c", "proem.toml"]).env("CONSUL_HTTP_ADDR", &consul.api.url()).dir(case.dir.path()).start();
    case.logs(&process, "php starts 1");
    process.says("`app.b`");
    // A change is told while the start still goes on.
    consul.api.put("config/app/a", "2");
    case.logs(&process, "php told 2");
    assert!(!case.log().contains("main"), "{}", case.log());
    consul.api.put("config/app/b", "3");
    case.logs(&process, "main starts 3");
    process.signal(libc::SIGTERM);
    case.ends(&mut process, 0, "php starts 1\nphp told 2\nmain starts 3\nmain stops\nphp stops\n");
}

#[test]
fn a_worker_that_dies_meanwhile_changes_nothing() {
    let case = Case::new(FILE, &main_and_php());
    case.set(r#"{"a": 1}"#);
    let mut process = case.start();
    case.logs(&process, "php starts 1");
    let worker = process.worker();
    procs::kill(worker, libc::SIGKILL);
    procs::gone(worker, SOON);
    // The next one finds what changed while nobody watched, and who has to be told.
    case.set(r#"{"a": 2}"#);
    case.logs(&process, "php told 2");
    case.rests_at("php starts 1\nphp told 2\n");
    procs::kill(process.worker(), libc::SIGKILL);
    case.set(r#"{"a": 2, "b": 3}"#);
    case.logs(&process, "main starts 3");
    process.signal(libc::SIGTERM);
    case.ends(&mut process, 0, "php starts 1\nphp told 2\nmain starts 3\nmain stops\nphp stops\n");
}

#[test]
fn what_names_nobody_is_waited_for_by_all_and_who_is_not_named_waits_for_all() {
    let [a, b, main, php] = main_and_php();
    let case = Case::new(FILE, &[a, b, template("c", "\"none\"", ""), main, php, service("other", "c", "")]);
    case.set(r#"{"a": 1}"#);
    let mut process = case.start();
    process.says("`app.c`");
    case.rests_at("");
    case.set(r#"{"a": 1, "c": 1}"#);
    case.logs(&process, "php starts 1");
    case.rests_at("php starts 1\n");
    case.set(r#"{"a": 1, "b": 1, "c": 1}"#);
    case.logs(&process, "other starts 1");
    case.logs(&process, "main starts 1");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn nobody_starts_on_files_that_are_still_checked() {
    let [_, b, main, php] = main_and_php();
    let case = Case::new(FILE, &[template("a", "\"php:HUP\"", "check = [\"/bin/sh\", \"check.sh\"]"), b, main, php]);
    write(case.dir.path(), "check.sh", "touch checking; while [ ! -e go ]; do sleep 0.02; done");
    case.set(r#"{"a": 1}"#);
    let mut process = case.start();
    process.until("it is checked", || case.path("checking").exists().then_some(()));
    assert_eq!(read(&case.path("a")), "1");
    case.rests_at("");
    write(case.dir.path(), "go", "");
    case.logs(&process, "php starts 1");
    process.signal(libc::SIGTERM);
    case.ends(&mut process, 143, "php starts 1\nphp stops\n");
}

#[test]
fn its_own_variables_and_what_it_comes_after_are_waited_for_too() {
    let [a, b, main, _] = main_and_php();
    let env = "env = { E = \"{{ app.e }}\" }\non_env_change = \"none\"\n";
    // Nobody's files but main's are missing, so `db` would wait for them if it were not named.
    let case = Case::new(
        FILE,
        &[
            a,
            b,
            template("c", "\"db:HUP\"", ""),
            main,
            service("php", "a", &format!("after = [\"db\"]\n{env}")),
            service("db", "c", ""),
        ],
    );
    case.set(r#"{"c": 1}"#);
    let mut process = case.start();
    case.logs(&process, "db starts 1");
    case.rests_at("db starts 1\n");
    case.set(r#"{"c": 1, "e": "e"}"#);
    case.rests_at("db starts 1\n");
    case.set(r#"{"a": 1, "c": 1, "e": "e"}"#);
    case.logs(&process, "php starts 1 e");
    process.signal(libc::SIGTERM);
    case.ends(&mut process, 143, "db starts 1\nphp starts 1 e\nphp stops\ndb stops\n");
}

#[test]
fn main_may_be_the_first_and_is_the_one_who_ends() {
    let case = Case::new(FILE, &main_and_php());
    case.set(r#"{"b": 1}"#);
    let mut process = case.start();
    case.logs(&process, "main starts 1");
    process.signal(libc::SIGTERM);
    case.ends(&mut process, 0, "main starts 1\nmain stops\n");
}

/// Main, or another, starts first; then the start fails with this code for the last part of this text.
fn fails(code: i32, head: &str, b: &str, then: &str, why: &str) {
    for first in ["main", "web"] {
        let last = if first == "main" { "web" } else { "main" };
        let case = Case::new(
            &format!("{head}{FILE}"),
            &[
                template("a", &format!("[\"db:HUP\", \"php:HUP\", \"{first}:HUP\"]"), ""),
                format!("[template.b]\nfrom = \"b.tera\"\nreload = \"{last}:HUP\"\n{b}\n"),
                service("db", "a", ""),
                service("php", "a", "after = [\"db\"]"),
                service(first, "a", "after = [\"php\"]"),
                service(last, "b", ""),
            ],
        );
        write(case.dir.path(), "no-directory", "");
        case.set(r#"{"a": 1}"#);
        let mut process = case.start();
        case.logs(&process, &format!("{first} starts 1"));
        case.set(then);
        let log = format!("db starts 1\nphp starts 1\n{first} starts 1\n{first} stops\nphp stops\ndb stops\n");
        let output = case.ends(&mut process, code, &log);
        let last = output.stderr.lines().rfind(|line| line.starts_with("proem: exit")).unwrap_or_default();
        assert!(last.starts_with(&format!("proem: exit {code}: ")) && output.stderr.contains(why), "{}", output.stderr);
    }
}

#[test]
fn a_value_that_never_comes_is_65_and_stops_what_runs() {
    fails(65, "wait = \"1s\"\n", "to = \"b\"", r#"{"a": 1}"#, "`app.b` is not");
}

#[test]
fn a_check_that_refuses_is_65_and_stops_what_runs() {
    fails(65, "", "to = \"b\"\ncheck = [\"/bin/false\"]", r#"{"a": 1, "b": 1}"#, "check `/bin/false` refused");
}

#[test]
fn what_cannot_be_written_is_73_and_stops_what_runs() {
    fails(73, "", "to = \"no-directory/b\"", r#"{"a": 1, "b": 1}"#, "no-directory");
}

#[cfg(feature = "consul")]
#[test]
fn a_store_that_is_down_is_69_and_stops_what_runs() {
    let case = Case::new(
        "wait = \"1s\"\nsource = { app = \"file:app.json\", other = \"consul://127.0.0.1:1/config/app\" }\n",
        &[
            template("a", "\"php:HUP\"", ""),
            template("c", "\"HUP\"", ""),
            service("main", "c", ""),
            service("php", "a", ""),
        ],
    );
    write(case.dir.path(), "c.tera", "{{ other.c }}");
    case.set(r#"{"a": 1}"#);
    let mut process = case.start();
    let output = case.ends(&mut process, 69, "php starts 1\nphp stops\n");
    assert!(output.stderr.contains("proem: exit 69: "), "{}", output.stderr);
}
