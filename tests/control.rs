//! The control socket: what is asked of a running proem. What a client cannot do to it is in tests/campaign/clients.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use support::proem::{Output, Proem, SOON, proem};
use support::{folder, read, text, write};

/// A proem with a template, main and a sidecar.
struct Case {
    dir: tempfile::TempDir,
    process: Proem,
}

impl Case {
    fn start() -> Case {
        let dir = folder();
        let path = |name: &str| text(&dir.path().join(name)).to_owned();
        write(dir.path(), "values.toml", "name = \"one\"\n");
        write(dir.path(), "t.tera", "{{ app.name }}\n");
        let config = format!(
            r#"
control = "{}"
throttle = "0s"
[source]
app = "file:{}"
[template.out]
from = "{}"
to = "{}"
reload = "none"
[process.main]
command = ["/bin/sh", "-c", "trap 'exit 5' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"]
[process.web]
command = ["sleep", "1000"]
"#,
            path("sock"),
            path("values.toml"),
            path("t.tera"),
            path("out")
        );
        let config = write(dir.path(), "proem.toml", &config);
        let process = proem(["-c", text(&config)]).start();
        process.until("main is up", || process.stdout().contains("up").then_some(()));
        let case = Case { dir, process };
        case.process.until("the worker knows that both run", || {
            let status = case.status();
            let all = status["processes"].as_array()?;
            (all.len() == 2 && all.iter().all(|process| process["state"] == "ready")).then_some(())
        });
        case
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn ask(&self, words: &[&str]) -> Output {
        proem([]).args(words.iter().copied()).args(["--control", text(&self.socket())]).output()
    }

    fn status(&self) -> serde_json::Value {
        let output = self.ask(&["status", "--format", "json"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    }

    fn web(&self) -> serde_json::Value {
        let status = self.status();
        let all = status["processes"].as_array().unwrap();
        all.iter().find(|process| process["name"] == "web").unwrap().clone()
    }

    fn done(&self, words: &[&str], what: &str) {
        let output = self.ask(words);
        assert_eq!((output.code, output.stdout.as_str()), (0, &*format!("{what}: done\n")), "{}", output.stderr);
    }
}

#[test]
fn status_tells_of_processes_sources_and_targets() {
    let case = Case::start();
    let status = case.status();
    assert_eq!(status["pid"], case.process.pid());
    assert_eq!(status["started"], true);
    let source = &status["sources"][0];
    assert_eq!((&source["name"], &source["ready"], &source["watched"]), (&"app".into(), &true.into(), &true.into()));
    let target = &status["targets"][0];
    assert_eq!(target["target"], text(&case.dir.path().join("out")));
    assert_eq!((&target["in_place"], &target["reload_owed"]), (&true.into(), &false.into()));
    let before = target["hash"].clone();
    assert_eq!(before.as_str().unwrap().len(), 32);
    write(case.dir.path(), "values.toml", "name = \"two\"\n");
    case.process.file(&case.dir.path().join("out"), "two\n");
    let target = case.status()["targets"][0].clone();
    assert_ne!(target["hash"], before);
    assert!(target["published"].as_f64().is_some());
    // What cannot be rendered is said, and the old file stays.
    write(case.dir.path(), "values.toml", "nmae = \"three\"\n");
    let error =
        case.process.until("the error is told", || case.status()["targets"][0]["error"].as_str().map(str::to_owned));
    assert!(error.contains("`app.name` is not defined"), "{error}");
    assert_eq!(case.status()["targets"][0]["in_place"], false);

    let table = case.ask(&["status"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("proem ") && lines[0].contains(" running, pid "), "{table}");
    for (line, start) in [(2, "PROCESS"), (3, "main     ready"), (6, "SOURCE"), (9, "TARGET")] {
        assert!(lines[line].starts_with(start), "{table}");
    }
    assert!(!table.contains("three"), "a value: {table}");
}

#[test]
fn orders_reach_processes() {
    let case = Case::start();
    let first = case.web()["pid"].as_i64().unwrap();
    case.done(&["restart", "web"], "restart of `web`");
    let second = case.web()["pid"].as_i64().unwrap();
    assert_ne!(first, second);
    case.done(&["stop", "web"], "stop of `web`");
    assert_eq!(case.web()["state"], "stopped", "the answer comes when it has ended");
    let health = case.ask(&["health"]);
    assert_eq!((health.code, health.stdout.as_str()), (1, "process `web` is stopped\n"));
    assert_eq!(case.ask(&["health", "--require", "main", "--require", "app"]).code, 0);
    case.done(&["start", "web"], "start of `web`");
    let health = case.ask(&["health", "--max-stale", "10m"]);
    assert_eq!((health.code, health.stdout.as_str()), (0, "all is well\n"));
    case.done(&["signal", "main", "HUP"], "HUP to `main`");
    case.process.until("main got it", || case.process.stdout().contains("hup").then_some(()));
    for (words, said) in [
        (
            &["stop", "main"][..],
            "stop of `main`: the end of main is the end of the container\n  hint: stop the container, or `proem restart main`",
        ),
        (&["start", "web"], "start of `web`: it is ready\n  hint: `proem status` shows what each process is in"),
        (&["restart", "wbe"], "restart of `wbe`: there is no process `wbe`\n  hint: processes: main, web"),
        (&["signal", "main", "HPU"], "`HPU`: this is no signal\n  hint: did you mean `HUP`?"),
    ] {
        let output = case.ask(words);
        let code = if words[0] == "signal" { 64 } else { 1 };
        assert_eq!((output.code, output.stderr), (code, format!("proem: exit {code}: {said}\n")));
    }
    assert_eq!(case.ask(&["health", "--require", "nobody"]).stdout, "there is no source or process `nobody`\n");
}

/// A process that does not end by TERM, and one that comes after another.
#[test]
fn orders_during_a_stop_and_before_the_start() {
    let dir = folder();
    let socket = dir.path().join("sock");
    let config = format!(
        r#"
control = "{}"
wait_for = ["file:{}"]
[process.web]
command = ["/bin/sh", "-c", "trap '' TERM; echo web; while :; do sleep 0.05; done"]
stop_timeout = "1s"
[process.main]
command = ["sleep", "1000"]
after = ["web"]
"#,
        text(&socket),
        text(&dir.path().join("go")),
    );
    let config = write(dir.path(), "proem.toml", &config);
    let process = proem(["-c", text(&config)]).start();
    let ask = |words: &[&str]| proem([]).args(words.iter().copied()).args(["--control", text(&socket)]).output();
    let states = || {
        let status: serde_json::Value = serde_json::from_str(&ask(&["status", "--format", "json"]).stdout).ok()?;
        let of = |one: &serde_json::Value| format!("{} {}", one["name"], one["state"]).replace('"', "");
        Some(status["processes"].as_array()?.iter().map(of).collect::<Vec<_>>())
    };
    process.until("processes that wait are told of", || (states()? == ["main waiting", "web waiting"]).then_some(()));
    write(dir.path(), "go", "");
    process.until("both run", || (states()? == ["main ready", "web ready"]).then_some(()));
    process.until("it ignores TERM", || process.stdout().contains("web").then_some(()));

    // It is wanted back while it is being stopped: whoever wanted it gone is told, the other when it runs.
    let stop = std::thread::scope(|scope| {
        let stop = scope.spawn(|| ask(&["stop", "web"]));
        process.until("it is being stopped", || states()?.contains(&"web stopping".to_owned()).then_some(()));
        let start = ask(&["start", "web"]);
        assert_eq!((start.code, &*start.stdout), (0, "start of `web`: done\n"), "{}", start.stderr);
        stop.join().unwrap()
    });
    assert_eq!((stop.code, &*stop.stderr), (1, "proem: exit 1: stop of `web`: a later order overruled it\n"));
    assert_eq!(states().unwrap(), ["main ready", "web ready"]);
    assert_eq!(process.stdout().matches("web").count(), 2);
}

#[test]
fn a_reload_takes_the_new_configuration_or_says_what_is_wrong_with_it() {
    let mut case = Case::start();
    let config = case.dir.path().join("proem.toml");
    let main = case.status()["processes"][0]["pid"].as_i64().unwrap();
    let old = read(&config);
    std::fs::write(&config, old.replace("reload = \"none\"", "reload = \"HPU\"")).unwrap();
    let refused = case.ask(&["reload"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("`reload` is `HPU`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("the old configuration stays in use"), "{}", refused.stderr);

    let other = case.dir.path().join("other");
    let new = old.replace(text(&case.dir.path().join("out")), text(&other)).replace("[process.web]", "[process.log]");
    std::fs::write(&config, new).unwrap();
    case.done(&["reload"], "the configuration is read anew");
    case.process.file(&other, "one\n");
    case.process.until("the new process runs, the old one does not", || {
        let status = case.status();
        let all = status["processes"].as_array().unwrap();
        let is = |name: &str, state: &str| all.iter().any(|one| one["name"] == name && one["state"] == state);
        (is("log", "ready") && is("web", "stopped") && is("main", "ready")).then_some(())
    });
    assert!(Path::new(&format!("/proc/{main}")).exists(), "main was not touched");
    case.process.signal(libc::SIGTERM);
    assert_eq!(case.process.ended(SOON).code, 5);
    assert!(!case.socket().exists(), "the socket goes with proem");
}

#[test]
fn who_may_not_ask_is_refused_and_nobody_is_an_error_with_a_remedy() {
    let case = Case::start();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(case.socket()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let nobody = case.dir.path().join("none");
    let output = proem(["status", "--control", text(&nobody)]).output();
    assert_eq!(output.code, 69);
    let start =
        format!("proem: exit 69: no proem answers at {}: no such file or directory\n  hint: ", nobody.display());
    assert!(output.stderr.starts_with(&start), "{}", output.stderr);
    let health = proem(["health", "--control", text(&nobody)]).output();
    assert_eq!((health.code, health.stderr.as_str()), (1, ""));
    let other = say(&case.socket(), b"{\"version\":2,\"request\":\"dance\"}\n");
    assert!(other.contains("speaks version 1 of the control protocol, not 2"), "{other}");
    let unknown = say(&case.socket(), b"{\"version\":1,\"request\":\"dance\"}\n");
    assert!(unknown.contains("this is no request that is known"), "{unknown}");
    // SAFETY: cannot fail and touches no memory.
    if unsafe { libc::geteuid() } == 0 {
        std::fs::set_permissions(case.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(case.socket(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let asked = std::thread::spawn({
            let socket = case.socket();
            move || {
                // SAFETY: the raw call changes this thread's user only (setresuid(2), "C library/kernel differences").
                unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
                say(&socket, b"{\"version\":1,\"request\":\"status\"}\n")
            }
        });
        assert!(asked.join().unwrap().contains("user 65534 may not ask"));
    }
}

fn say(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Nothing to render and nothing to watch: a socket that was asked for is there all the same, and as long as main runs.
#[test]
fn a_socket_that_was_asked_for_is_reason_enough_for_a_worker() {
    let dir = folder();
    let socket = dir.path().join("sock");
    for by_variable in [false, true] {
        let builder = if by_variable {
            proem([]).env("PROEM_CONTROL", text(&socket))
        } else {
            proem(["--control", text(&socket)])
        };
        let mut process =
            builder.args(["--", "/bin/sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"]).start();
        process.until("main is up", || process.stdout().contains("up").then_some(()));
        process.until("the socket answers", || {
            let output = proem(["status", "--format", "json", "--control", text(&socket)]).output();
            (output.code == 0 && output.stdout.contains("\"main\"")).then_some(())
        });
        process.signal(libc::SIGTERM);
        assert_eq!(process.ended(SOON).code, 0);
    }
    // `none` is no reason: proem stays alone.
    let output =
        proem(["--control", "none", "--", "/bin/sh", "-c", "cat /proc/$PPID/task/$PPID/children; echo $$"]).output();
    let alone: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(alone.len(), 2, "{}", output.stdout);
    assert_eq!(alone[0], alone[1], "init has main, and nobody else");
}
