//! Several processes under one proem: order, readiness, restarts, liveness, the way to the end. Real processes; the order
//! itself is decided in `init/machine`, which has property tests of its own; TERM at any moment of a start is in
//! tests/campaign/starts.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::proem::{Output, Proem, SOON, proem};
use support::{folder, procs, read, text, write};

/// A folder with a configuration; the scripts of its processes find it in `$D`.
struct Case {
    dir: tempfile::TempDir,
    config: PathBuf,
}

impl Case {
    fn new(config: &str) -> Case {
        let dir = folder();
        let config = write(dir.path(), "proem.toml", config);
        Case { dir, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Proem {
        proem(["-c", text(&self.config)]).env("D", text(self.dir.path())).start()
    }

    fn output(&self) -> Output {
        proem(["-c", text(&self.config)]).env("D", text(self.dir.path())).output()
    }

    fn exists(&self, process: &Proem, name: &str) {
        process.until(&format!("there is {name}"), || self.path(name).exists().then_some(()));
    }
}

/// A process that logs what happens to it in `$D/log`, and ends a moment after TERM.
fn service(name: &str, keys: &str, start: &str) -> String {
    format!(
        r#"
[process.{name}]
command = ["/bin/sh", "-c", "echo {name} >> $D/log; {start} trap 'echo {name} stops >> $D/log; exit 0' TERM; touch $D/{name}.up; while :; do sleep 0.02; done"]
{keys}
"#
    )
}

fn pid_of(process: &Proem, what: &str) -> i32 {
    let marker = format!("echo {what} >> ");
    process.until(&format!("{what} runs"), || {
        let has = |pid: i32| read(Path::new(&format!("/proc/{pid}/cmdline"))).contains(&marker);
        procs::children(process.pid()).iter().map(|child| child.pid).find(|pid| has(*pid))
    })
}

#[test]
fn each_starts_when_what_it_comes_after_is_ready_and_stops_before_it() {
    let case = Case::new(
        &[
            service("main", r#"after = ["web", "note"]"#, ""),
            service(
                "web",
                "after = [\"migrate\"]\nready = { probe = \"file:/proc/self/status\", every = \"20ms\" }",
                "",
            ),
            service(
                "note",
                "after = [\"migrate\"]\nready = { fd = 5 }",
                "sleep 0.2; echo note tells >> $D/log; echo >&5;",
            ),
            r#"
[process.migrate]
kind = "setup"
command = ["/bin/sh", "-c", "echo migrate >> $D/log; sleep 0.2; echo migrated >> $D/log"]
"#
            .to_owned(),
        ]
        .concat(),
    );
    let mut process = case.start();
    case.exists(&process, "main.up");
    process.signal(libc::SIGTERM);
    let output = process.ended(SOON);
    let log = read(&case.path("log"));
    let at = |line: &str| log.lines().position(|l| l == line).unwrap_or_else(|| panic!("no `{line}` in:\n{log}"));
    for (before, after) in [
        ("migrate", "migrated"),
        ("migrated", "web"),
        ("migrated", "note"),
        ("note tells", "main"),
        ("web", "main"),
        ("main stops", "web stops"),
        ("main stops", "note stops"),
    ] {
        assert!(at(before) < at(after), "{before} < {after}:\n{log}");
    }
    assert_eq!(output.code, 0, "main's own code: {}", output.stderr);
}

#[test]
fn ready_1_over_notify_socket_counts() {
    let case = Case::new(&format!(
        "[process.php]\ncommand = [\"/bin/sh\", \"-c\", \"exec perl $D/php.pl\"]\nready = {{ notify = true }}\n{}",
        service("main", "after = [\"php\"]", "echo [$NOTIFY_SOCKET] > $D/socket;")
    ));
    let perl = r#"
        use Socket;
        socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die;
        (my $name = $ENV{NOTIFY_SOCKET}) =~ s/^@/\0/;
        select(undef, undef, undef, 0.02) while !-e "$ENV{D}/go";
        send($socket, "STATUS=up\nREADY=1", 0, pack_sockaddr_un($name)) or die;
        sleep 1000;
    "#;
    write(case.dir.path(), "php.pl", perl);
    let mut process = case.start();
    pid_of_perl(&process);
    assert!(!case.path("main.up").exists());
    write(case.dir.path(), "go", "");
    case.exists(&process, "main.up");
    assert_eq!(read(&case.path("socket")), "[]\n", "the socket is the other's");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

fn pid_of_perl(process: &Proem) -> i32 {
    process.until("perl runs", || {
        let is = |pid: i32| read(Path::new(&format!("/proc/{pid}/comm"))) == "perl\n";
        procs::children(process.pid()).iter().map(|child| child.pid).find(|pid| is(*pid))
    })
}

#[test]
fn a_sidecar_that_dies_is_back_and_main_never_notices() {
    let case = Case::new(&[service("main", "", ""), service("php", "", "")].concat());
    let mut process = case.start();
    let (main, php) = (pid_of(&process, "main"), pid_of(&process, "php"));
    procs::kill(php, libc::SIGKILL);
    process.until("another one runs", || (read(&case.path("log")).matches("php\n").count() == 2).then_some(()));
    assert_eq!(pid_of(&process, "main"), main);
    process.says("process `php` ended (exit 137)");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn too_many_deaths_end_the_container_with_the_last_code() {
    let dies = "[process.php]\ncommand = [\"/bin/sh\", \"-c\", \"exit 9\"]\nmax_restarts = 3\n";
    let output = Case::new(&[service("main", "", ""), dies.to_owned()].concat()).output();
    assert_eq!(output.code, 9);
    let last = "proem: exit 9: process `php` ended 4 times within 60s; the last exit was 9\n";
    assert!(output.stderr.ends_with(last), "{}", output.stderr);

    let ignored = format!("{dies}when_exhausted = \"ignore\"\n");
    let case = Case::new(&[service("main", "", ""), ignored].concat());
    let mut process = case.start();
    process.says("process `php` ended 4 times within 60s and is not started again");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn a_setup_step_that_fails_fails_the_start() {
    let setup = "[process.migrate]\nkind = \"setup\"\ncommand = [\"/bin/sh\", \"-c\", \"exit 3\"]\n";
    let case = Case::new(&[service("main", "after = [\"migrate\"]", ""), setup.to_owned()].concat());
    let output = case.output();
    assert_eq!(output.code, 3);
    assert_eq!(output.stderr, "proem: exit 3: the setup process `migrate` ended (exit 3)\n");
    assert_eq!(read(&case.path("log")), "");
}

#[test]
fn without_main_the_end_of_an_essential_process_is_the_end() {
    let case = Case::new(&[service("a", "essential = true", ""), service("b", "after = [\"a\"]", "")].concat());
    let mut process = case.start();
    case.exists(&process, "b.up");
    procs::kill(pid_of(&process, "a"), libc::SIGKILL);
    let output = process.ended(SOON);
    assert_eq!(output.code, 137);
    assert!(
        output.stderr.ends_with("proem: exit 137: the essential process `a` ended (exit 137)\n"),
        "{}",
        output.stderr
    );
    assert!(read(&case.path("log")).ends_with("b stops\n"));

    let mut process = case.start();
    pid_of(&process, "b");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn what_is_not_alive_is_restarted() {
    let alive = "alive = { probe = \"file:/DIR/healthy\", every = \"20ms\", failures = 2 }";
    let case = Case::new("");
    let alive = alive.replace("/DIR", text(case.dir.path()));
    let config = [service("main", "", ""), service("php", &alive, "touch $D/healthy;")].concat();
    write(case.dir.path(), "proem.toml", &config);
    let mut process = case.start();
    case.exists(&process, "php.up");
    let main = pid_of(&process, "main");
    std::fs::remove_file(case.path("healthy")).unwrap();
    process.until("it was restarted", || read(&case.path("log")).contains("php stops\nphp\n").then_some(()));
    process.says("process `php` is not alive and is restarted: file:");
    assert_eq!(pid_of(&process, "main"), main);
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn a_drain_puts_the_stop_signal_off() {
    let case = Case::new(&service("main", "drain = \"600ms\"", ""));
    let mut process = case.start();
    case.exists(&process, "main.up");
    let asked = Instant::now();
    process.signal(libc::SIGTERM);
    let output = process.ended(SOON);
    assert_eq!(output.code, 0);
    assert!(asked.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_reload_by_exit_stops_all_in_the_order_of_a_term() {
    let case = Case::new(
        &[
            "control = \"none\"\n[source]\napp = \"file:${D}/app.json\"\n".to_owned(),
            "[template.a]\nfrom = \"${D}/a.tera\"\nto = \"${D}/a\"\nreload = \"exit\"\nthrottle = \"0s\"\n".to_owned(),
            service("main", "after = [\"db\"]\ndrain = \"100ms\"", ""),
            service("db", "", ""),
            service("front", "after = [\"main\"]", ""),
        ]
        .concat(),
    );
    write(case.dir.path(), "a.tera", "{{ app.n }}");
    let set = |n: u32| {
        let new = write(case.dir.path(), ".app.json", &format!("{{\"n\": {n}}}"));
        std::fs::rename(new, case.path("app.json")).unwrap();
    };
    set(1);
    let mut process = case.start();
    for name in ["main.up", "db.up", "front.up"] {
        case.exists(&process, name);
    }
    set(2);
    let output = process.ended(SOON);
    assert_eq!(output.code, 75, "{}", output.stderr);
    let last = format!("proem: exit 75: {} changed, and its `reload` is `exit`\n", case.path("a").display());
    assert!(output.stderr.ends_with(&last), "{}", output.stderr);
    assert!(read(&case.path("log")).ends_with("front stops\nmain stops\ndb stops\n"), "{}", read(&case.path("log")));
}

#[test]
fn a_sidecar_has_neither_the_terminal_nor_what_proem_inherited() {
    let case = Case::new(
        &[
            service("main", "after = [\"php\"]", "ls /proc/self/fd > $D/main.fds;"),
            service(
                "php",
                "ready = { fd = 9 }",
                "readlink /proc/self/fd/0 > $D/php.stdin; ls /proc/self/fd > $D/php.fds; echo >&9;",
            ),
        ]
        .concat(),
    );
    let script =
        format!("exec 7< /etc/passwd; exec \"{}\" -c \"$D/proem.toml\" < /etc/hostname", support::proem::BINARY);
    let mut process =
        support::proem::Builder::new("/bin/sh").args(["-c", &script]).env("D", text(case.dir.path())).start();
    case.exists(&process, "main.up");
    assert_eq!(read(&case.path("php.stdin")), "/dev/null\n");
    let has = |name: &str, fd: &str| read(&case.path(name)).lines().any(|line| line == fd);
    assert!(!has("php.fds", "7") && has("php.fds", "9"), "{}", read(&case.path("php.fds")));
    assert!(has("main.fds", "7") && !has("main.fds", "9"), "{}", read(&case.path("main.fds")));
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn mistakes_in_the_graph_are_named() {
    let case = Case::new(
        r#"
[process.main]
command = ["x"]
after = ["pph"]
restart = "always"
[process.php]
command = ["x"]
after = ["db"]
essential = true
restart = "always"
[process.db]
command = ["x"]
after = ["php"]
ready = { fd = 3, notify = true }
[process.up]
kind = "setup"
command = ["x"]
alive = { probe = "tcp:127.0.0.1:1" }
[process.bare]
"#,
    );
    let output = case.output();
    assert_eq!(output.code, 78);
    let said = output.stderr.replace(text(&case.config), "proem.toml");
    let expected = "\
proem: proem.toml:4:10: `after` of `main`: there is no process `pph`
  hint: did you mean `php`?
";
    assert!(said.contains(expected), "{said}");
    for line in [
        "processes wait for each other: db after php after db",
        "`restart` in `[process.main]`: its end is the container's end",
        "`restart` of an essential process",
        "`ready` needs one of `probe`, `fd` and `notify`",
        "`alive` in a setup process, which runs once",
        "process `bare` has no command",
    ] {
        assert!(said.contains(line), "`{line}` in:\n{said}");
    }
    assert_eq!(said.matches("wait for each other").count(), 1);
    let exec =
        proem(["exec", "-c", text(&Case::new("[process.a]\ncommand = [\"x\"]\n").config), "--", "true"]).output();
    assert_eq!(exec.code, 78);
    assert!(exec.stderr.contains("`exec` does not run process `a`"), "{}", exec.stderr);
}

/// Ten idle sidecars: init sleeps, and stays small.
#[test]
fn ten_idle_processes_cost_nothing() {
    let names = (0..10).map(|number| format!("s{number}")).chain(["main".to_owned()]);
    let config: Vec<String> =
        names.map(|name| format!("[process.{name}]\ncommand = [\"sleep\", \"1000\"]\n")).collect();
    let case = Case::new(&config.concat());
    let process = case.start();
    process.until("all run and the worker is gone", || (procs::children(process.pid()).len() == 11).then_some(()));
    let status = || read(Path::new(&format!("/proc/{}/status", process.pid())));
    let field = |name: &str| -> u64 {
        let status = status();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let switches = || field("voluntary_ctxt_switches:");
    let quiet = process.until("init is at rest", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(300));
        (switches() == before).then_some(before)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), quiet, "wakeups while idle");
    // What the kernel has mapped of the binary depends on its size; a debug build's is ten times as large.
    let (name, most) = if cfg!(debug_assertions) { ("RssAnon:", 250) } else { ("VmRSS:", 1500) };
    assert!(field(name) <= most, "{name} {} kB", field(name));
}
