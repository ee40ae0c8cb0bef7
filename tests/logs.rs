//! What processes write, prefixed or as JSON (`log`): nothing lost, nothing torn, nobody held up but who writes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::proem::{BINARY, Output, Proem, SOON, proem};
use support::{folder, namespace, procs, read, text, wait, write};

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

    fn start(&self) -> Proem {
        proem(["-c", text(&self.config)]).env("D", text(self.dir.path())).start()
    }

    fn output(&self) -> Output {
        proem(["-c", text(&self.config)]).env("D", text(self.dir.path())).output()
    }
}

/// A process that runs a script.
fn process(name: &str, keys: &str, script: &str) -> String {
    let command = serde_json::to_string(&["/bin/sh", "-c", script]).unwrap();
    format!("[process.{name}]\ncommand = {command}\n{keys}\n")
}

/// The loggers of a proem.
fn loggers(init: i32) -> Vec<i32> {
    let live = |child: &procs::Process| child.name == "proem-log" && child.state != 'Z';
    procs::children(init).into_iter().filter(live).map(|child| child.pid).collect()
}

fn logger(process: &Proem) -> i32 {
    process.until("there is a logger", || loggers(process.pid()).first().copied())
}

#[test]
fn lines_are_prefixed_and_the_last_one_is_ended() {
    let case = Case::new(&process("main", "log = \"prefix\"", "echo one; echo; echo err >&2; printf 'no end'; exit 3"));
    let output = case.output();
    assert_eq!(output.code, 3);
    assert_eq!(output.stdout, "main | one\nmain | \nmain | no end\n");
    assert_eq!(output.stderr, "main | err\n");
}

#[test]
fn lines_become_json() {
    let script = r#"printf 'a "b" \\ \t\033[0m \377\n'; printf 'last' >&2"#;
    let case = Case::new(&process("main", "log = \"json\"", script));
    let output = case.output();
    assert_eq!(output.code, 0);
    let object = |text: &str| -> serde_json::Value {
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(text).unwrap()
    };
    for (written, stream, line) in
        [(&output.stdout, "stdout", "a \"b\" \\ \t\u{1b}[0m \u{fffd}"), (&output.stderr, "stderr", "last")]
    {
        let got = object(written);
        let time = got["time"].as_str().unwrap();
        assert_eq!(got, serde_json::json!({"time": time, "process": "main", "stream": stream, "line": line}));
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    }
}

#[test]
fn a_line_of_200_kib_is_split() {
    let script = "head -c 204800 /dev/zero | tr '\\0' x; echo; echo short";
    let case = Case::new(&process("main", "log = \"prefix\"", script));
    let output = case.output();
    let lengths: Vec<usize> = output.stdout.lines().map(|line| line.strip_prefix("main | ").unwrap().len()).collect();
    assert_eq!(lengths, [65536, 65536, 65536, 8192, 5]);
}

#[test]
fn nobody_is_in_between_by_default() {
    let case = Case::new(&process("main", "", "readlink /proc/self/fd/1; touch $D/up; sleep 1000"));
    let process = case.start();
    process.until("main is up", || case.dir.path().join("up").exists().then_some(()));
    assert!(loggers(process.pid()).is_empty());
    assert!(process.stdout().ends_with("/stdout\n"), "{}", process.stdout());
}

/// Numbered lines until `$D/stop` is there; the last number is written to `$D/last`.
const COUNT: &str = r#"
    $| = 0; my $n = 0;
    until (-e "$ENV{D}/stop") { select undef, undef, undef, 0.004; for (1 .. 1500) { $n++; print "line $n of many, with some more text in it\n" } }
    close STDOUT; open my $f, ">", "$ENV{D}/last"; print $f $n; close $f;
"#;

#[test]
fn a_logger_that_is_killed_is_replaced_and_nothing_is_lost() {
    let case = Case::new(&process("main", "log = \"prefix\"", "exec perl $D/count.pl"));
    write(case.dir.path(), "count.pl", COUNT);
    let mut process = case.start();
    for round in 0..10_u64 {
        let before = process.stdout_length();
        process.until("lines come", || (process.stdout_length() > before).then_some(()));
        // At any moment of its work, not just after a write.
        std::thread::sleep(Duration::from_micros(round * 397 % 4000));
        let pid = logger(&process);
        procs::kill(pid, libc::SIGKILL);
        process.until("there is another", || loggers(process.pid()).into_iter().find(|other| *other != pid));
    }
    write(case.dir.path(), "stop", "");
    let output = process.ended(SOON);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let last: usize = read(&case.dir.path().join("last")).parse().unwrap();
    // A logger that was killed while it wrote: those lines come again, and one of them may have been cut.
    let mut next = 1;
    for line in output.stdout.lines() {
        if line == format!("main | line {next} of many, with some more text in it") {
            next += 1;
        }
    }
    assert_eq!(next, last + 1, "every line came, in order");
    assert!(output.stderr.contains("the logger of process `main` was ended by KILL"), "{}", output.stderr);
}

#[test]
fn last_lines_come_though_the_logger_died_too_often_to_be_replaced_at_once() {
    let case = Case::new(&process(
        "main",
        "log = \"prefix\"",
        "while [ ! -e $D/go ]; do sleep 0.01; done; echo one; echo two >&2; printf three; exit 4",
    ));
    let mut process = case.start();
    // Ten are replaced at once, each one more after twice the time, up to a second.
    for death in 1..=15 {
        procs::kill(logger(&process), libc::SIGKILL);
        process.until("its death is noticed", || {
            (process.stderr().matches("was ended by KILL").count() == death).then_some(())
        });
    }
    assert!(loggers(process.pid()).is_empty(), "it is not replaced at once any more");
    write(case.dir.path(), "go", "");
    let output = process.ended(SOON);
    assert_eq!((output.code, output.stdout.as_str()), (4, "main | one\nmain | three\n"));
    assert!(output.stderr.ends_with("main | two\n"), "{}", output.stderr);
}

#[test]
fn a_process_that_is_killed_while_it_writes_tears_no_line() {
    // Each life writes its numbers in whole lines, with one write(2) each, until it is killed.
    let perl = r#"
        my $n = 0; open my $life, ">>", "$ENV{D}/lives"; syswrite $life, "$$\n";
        while (1) { $n++; syswrite STDOUT, "$$ $n " . ("x" x ($n % 300)) . "\n"; }
    "#;
    let keys = "log = \"prefix\"\nmax_restarts = 1000";
    let case = Case::new(&[process("main", "", "sleep 1000"), process("web", keys, "exec perl $D/w.pl")].concat());
    write(case.dir.path(), "w.pl", perl);
    let mut running = case.start();
    let lives =
        || -> Vec<i32> { read(&case.dir.path().join("lives")).lines().filter_map(|line| line.parse().ok()).collect() };
    let mut first_logger = None;
    for round in 0..6 {
        let pid = running.until("the next life writes", || {
            let pid = *lives().get(round)?;
            let needle = format!("web | {pid} 50 ");
            running.stdout().contains(&needle).then_some(pid)
        });
        let logger = logger(&running);
        assert_eq!(*first_logger.get_or_insert(logger), logger, "the same logger over restarts");
        procs::kill(pid, libc::SIGKILL);
    }
    running.signal(libc::SIGTERM);
    let output = running.ended(SOON);
    let mut next: (i32, usize) = (0, 1);
    for line in output.stdout.lines() {
        let mut words = line.strip_prefix("web | ").unwrap_or_else(|| panic!("torn: {line}")).split(' ');
        let (pid, n): (i32, usize) = (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap());
        assert_eq!(words.next().map(str::len), Some(n % 300), "torn: {line}");
        if pid != next.0 {
            next = (pid, 1);
        }
        assert_eq!(n, next.1, "in order: {line}");
        next.1 += 1;
    }
}

#[test]
fn what_a_killed_sidecar_left_unfinished_is_a_line() {
    let script = "if [ -e $D/again ]; then echo second; touch $D/done; sleep 1000; fi; printf unfinished; touch $D/again; kill -9 $$";
    let case = Case::new(&[process("main", "", "sleep 1000"), process("web", "log = \"prefix\"", script)].concat());
    let process = case.start();
    process.until("both lives wrote", || process.stdout().contains("second\n").then_some(()));
    let stdout = process.stdout();
    assert!(stdout == "web | unfinished\nweb | second\n" || stdout == "web | unfinishedsecond\n", "{stdout}");
}

#[test]
fn what_is_left_over_is_logged_while_it_lingers() {
    // A double fork that says its last words after main's end, when it is told to go.
    let script = "(trap 'sleep 0.1; echo last words; exit' TERM; touch $D/up; while :; do sleep 0.02; done) & \
                  while [ ! -e $D/up ]; do sleep 0.02; done; echo main ends";
    let case = Case::new(&process("main", "log = \"prefix\"", script));
    let output = case.output();
    assert_eq!(output.code, 0);
    assert_eq!(output.stdout, "main | main ends\nmain | last words\n");
}

#[test]
fn lines_of_several_loggers_are_whole_however_long() {
    let long = |name: &str, letter: char| {
        let script =
            format!("perl -e 'for (1 .. 40) {{ print \"$_ \" . (\"{letter}\" x ($_ % 2 ? 30000 : 30)) . \"\\n\" }}'");
        process(name, "log = \"prefix\"\nkind = \"setup\"", &script)
    };
    let all: String = ["a", "b", "c"].iter().zip(['a', 'b', 'c']).fold(String::new(), |mut all, (name, letter)| {
        let _ = write!(all, "{}", long(name, letter));
        all
    });
    let case = Case::new(&[process("main", "after = [\"a\", \"b\", \"c\"]", "true"), all].concat());
    // Standard output is a pipe that is read slowly, as containerd's may be.
    let mut command = command(&case);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut counts = [0; 3];
    for line in stdout.lines() {
        let at = ["a | ", "b | ", "c | "].iter().position(|prefix| line.starts_with(prefix)).expect(line);
        counts[at] += 1;
        let letter = char::from(b"abc"[at]);
        let (number, rest) = line[4..].split_once(' ').unwrap();
        assert_eq!(number, counts[at].to_string());
        assert!(rest.chars().all(|c| c == letter), "torn: {line}");
        assert_eq!(rest.len(), if counts[at] % 2 == 1 { 30000 } else { 30 });
    }
    assert_eq!(counts, [40; 3]);
}

/// proem, for what [`Proem`] does not do: pipes as its output.
fn command(case: &Case) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["-c", text(&case.config)]).env_clear().env("PATH", "/usr/bin:/bin").env("D", text(case.dir.path()));
    command.stdin(Stdio::null());
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            namespace::reset_signals();
            Ok(())
        })
    };
    command
}

#[test]
fn a_reader_that_does_not_read_holds_the_process_up_and_not_init() {
    let script = "trap 'touch $D/got' USR1; trap 'exit 7' TERM; touch $D/up; (yes >&1) & while :; do sleep 0.02; done";
    let case = Case::new(&["linger = \"300ms\"\n".to_owned(), process("main", "log = \"prefix\"", script)].concat());
    let mut child = command(&case).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let init = i32::try_from(child.id()).unwrap();
    let until = |what: &str, look: &dyn Fn() -> bool| {
        wait::until(SOON, what, String::new, || look().then_some(()));
    };
    until("main is up", &|| case.dir.path().join("up").exists());
    until("a logger blocks in write", &|| {
        let at = |pid: i32| read(&PathBuf::from(format!("/proc/{pid}/wchan")));
        let syscall = |pid: i32| read(&PathBuf::from(format!("/proc/{pid}/syscall")));
        loggers(init).iter().any(|pid| at(*pid).contains("pipe_write") || syscall(*pid).starts_with("1 0x1 "))
    });
    procs::kill(init, libc::SIGUSR1);
    until("main gets USR1", &|| case.dir.path().join("got").exists());
    let start = Instant::now();
    procs::kill(init, libc::SIGTERM);
    wait::until(SOON, "proem ends", String::new, || {
        child.try_wait().unwrap().map(|status| assert_eq!(status.code(), Some(7)))
    });
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "linger and a moment: {took:?}");
    assert!(child.stdout.take().is_some(), "nobody read until here");
}

#[test]
fn a_reader_that_is_gone_ends_nobody() {
    let case = Case::new(&process(
        "main",
        "log = \"prefix\"",
        "while [ ! -e $D/go ]; do sleep 0.02; done; yes | head -c 1000000; exit 9",
    ));
    let mut child = command(&case).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    write(case.dir.path(), "go", "");
    let mut code = None;
    wait::until(SOON, "proem ends", String::new, || {
        code = child.try_wait().unwrap();
        code.map(drop)
    });
    assert_eq!(code.and_then(|status| status.code()), Some(9));
}

#[test]
fn a_logger_is_small() {
    let case = Case::new(&process("main", "log = \"json\"", "echo up; touch $D/up; sleep 1000"));
    let process = case.start();
    process.until("a line comes", || process.stdout().contains("up").then_some(()));
    let status = read(&PathBuf::from(format!("/proc/{}/status", logger(&process))));
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    println!("logger: VmRSS {} KiB, RssAnon {} KiB, RssShmem {} KiB", kib("VmRSS"), kib("RssAnon"), kib("RssShmem"));
    assert!(kib("RssAnon") + kib("RssShmem") < 1024, "{status}");
}
