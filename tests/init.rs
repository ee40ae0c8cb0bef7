//! init from outside: the real binary as PID 1 of a namespace of its own, and as a subreaper.

// A test fails by a panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// Where proem stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Pid1,
    Subreaper,
}

const PLACES: [Place; 2] = [Place::Pid1, Place::Subreaper];

fn command(place: Place, argv: &[&str]) -> Command {
    let proem = env!("CARGO_BIN_EXE_proem");
    let mut command = match place {
        Place::Subreaper => Command::new(proem),
        Place::Pid1 => {
            let mut command = Command::new("unshare");
            // SAFETY: cannot fail and touches no memory.
            if unsafe { libc::geteuid() } != 0 {
                command.arg("--map-root-user");
            }
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc", proem]);
            command
        }
    };
    // The harness leaves SIGPIPE ignored and may be blocked itself: each case starts clean.
    // SAFETY: `reset_signals` makes system calls only.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            Ok(())
        })
    };
    command.arg("--").args(argv).stdin(Stdio::null());
    command
}

fn reset_signals() {
    for signal in 1..=64 {
        set_ignored(signal, false);
    }
    set_mask(0);
}

fn set_ignored(signal: i32, ignored: bool) {
    let new = [usize::from(ignored), 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: a live, large enough `struct sigaction`: SIG_IGN is 1, SIG_DFL 0.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new.as_ptr(), 0usize, 8usize) };
}

fn set_mask(mask: u64) {
    // SAFETY: a live 8-byte set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0usize, 8usize) };
}

/// A proem that runs, with its output by lines.
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// proem's own pid, as this process sees it.
    proem: i32,
}

impl Running {
    fn start(place: Place, script: &str) -> Running {
        Running::from(place, command(place, &["bash", "-c", script]))
    }

    fn from(place: Place, mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let own = i32::try_from(child.id()).unwrap();
        let proem = if place == Place::Pid1 { eventually(|| children(own).first().copied()) } else { own };
        Running { child, lines, proem }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    fn wait_for(&self, wanted: &str) {
        while self.line() != wanted {}
    }

    fn main(&self) -> i32 {
        eventually(|| children(self.proem).first().copied())
    }

    fn signal(&self, signal: i32) {
        kill(self.proem, signal);
    }

    fn end(mut self) -> ExitStatus {
        eventually(|| self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // TERM, so that init takes its descendants along: KILL would leave them to hold our pipes open.
            kill(self.proem, libc::SIGTERM);
            eventually(|| self.child.try_wait().unwrap());
        }
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    receiver
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid} {signal}");
}

fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn status_field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches(':').trim().to_owned()
}

fn eventually<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = what() {
            return value;
        }
        assert!(Instant::now() < until, "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn code(place: Place, argv: &[&str]) -> i32 {
    command(place, argv).status().unwrap().code().unwrap()
}

/// Exit code and stderr.
fn fails(argv: &[&str]) -> (i32, String) {
    let output = command(Place::Subreaper, argv).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_exit_code_is_passed_on() {
    for n in 0..=255 {
        assert_eq!(code(Place::Subreaper, &["sh", "-c", &format!("exit {n}")]), n);
    }
    for n in [0, 1, 2, 126, 127, 128, 143, 255] {
        assert_eq!(code(Place::Pid1, &["sh", "-c", &format!("exit {n}")]), n);
    }
}

#[test]
fn every_death_is_reported_as_a_shell_does() {
    for place in PLACES {
        for n in [libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGKILL, 34, 40, 64] {
            assert_eq!(code(place, &["sh", "-c", &format!("ulimit -c 0; kill -{n} $$")]), 128 + n, "{place:?} {n}");
        }
    }
}

#[test]
fn what_cannot_be_started_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (plain, bad, dos) =
        (file("plain", "", 0o644), file("bad", "#!/nope\n", 0o755), file("dos", "#!/bin/sh\r\n", 0o755));
    let script = file("script", "exit $(($1 + 1))\n", 0o755);
    let folder = dir.path().to_str().unwrap();
    let missing = format!("{folder}/missing");

    let path = std::env::var("PATH").unwrap();
    assert_eq!(
        fails(&["nope-nope"]),
        (
            127,
            format!(
                "proem: exit 127: failed to start `nope-nope`: not found in PATH (`{path}`)\n  hint: install it in the \
                 image, or give its whole path\n"
            )
        )
    );
    let expected = format!("proem: exit 127: failed to start `{missing}`: `{missing}` does not exist\n");
    assert_eq!(fails(&[&missing]), (127, expected));
    let expected = format!(
        "proem: exit 126: failed to start `{plain}`: `{plain}` is not executable (mode 0644)\n  hint: `RUN chmod +x {plain}` in the image\n"
    );
    assert_eq!(fails(&[&plain]), (126, expected));
    let expected = format!("proem: exit 126: failed to start `{folder}`: `{folder}` is a directory\n");
    assert_eq!(fails(&[folder]), (126, expected));
    let expected = format!(
        "proem: exit 127: failed to start `{bad}`: its interpreter `/nope` does not exist (`{bad}`)\n  hint: \
                 install it in the image, or change the script's first line\n"
    );
    assert_eq!(fails(&[&bad]), (127, expected));
    let (exit, text) = fails(&[&dos]);
    assert_eq!(exit, 127);
    assert!(text.ends_with("hint: the file has Windows line ends: save it with those of Unix\n"), "{text}");
    // As execvp does, on every libc.
    assert_eq!(code(Place::Subreaper, &[&script, "8"]), 9);
}

#[test]
fn all_signals_reach_main_once() {
    let script = "for s in {1..31} {34..64}; do case $s in 9|17|19) ;; *) trap \"echo got $s\" $s;; esac; done
        sleep infinity & echo ready; while :; do wait; done";
    for place in PLACES {
        let proem = Running::start(place, script);
        proem.wait_for("ready");
        for signal in (1..=31).chain(34..=64).filter(|n| ![libc::SIGKILL, libc::SIGCHLD, libc::SIGSTOP].contains(n)) {
            proem.signal(signal);
            assert_eq!(proem.line(), format!("got {signal}"), "{place:?}");
        }
        // The second of the most important one, too.
        proem.signal(libc::SIGTERM);
        assert_eq!(proem.line(), "got 15");
        kill(proem.main(), libc::SIGKILL);
        assert_eq!(proem.end().code(), Some(137));
    }
}

#[test]
fn term_ends_it_with_143() {
    for place in PLACES {
        let proem = Running::start(place, "echo ready; exec sleep 1000");
        proem.wait_for("ready");
        proem.signal(libc::SIGTERM);
        assert_eq!(proem.end().code(), Some(143), "{place:?}");
    }
}

#[test]
fn a_term_at_any_moment_of_the_start_is_not_lost() {
    for round in 0..200u64 {
        let mut child = command(Place::Subreaper, &["sleep", "1000"]).spawn().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(round * 15) {
            std::hint::spin_loop();
        }
        kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM);
        let status = eventually(|| child.try_wait().unwrap());
        // Before its first instruction the kernel's default ends it, by the same signal.
        assert!(status.code() == Some(143) || status.signal() == Some(libc::SIGTERM), "round {round}: {status}");
    }
}

fn signal_sets(command: &mut Command) -> (String, String) {
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let field = |name| text.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap().trim().to_owned();
    (field("SigIgn:"), field("SigBlk:"))
}

#[test]
fn inherited_signal_state_is_given_back_exactly() {
    let zero = "0".repeat(16);
    for place in PLACES {
        let argv = ["cat", "/proc/self/status"];
        assert_eq!(signal_sets(&mut command(place, &argv)), (zero.clone(), zero.clone()));
    }
    let ignored = [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGTTOU, libc::SIGCHLD, libc::SIGWINCH, 33, 40];
    let blocked = [libc::SIGUSR1, libc::SIGTERM, libc::SIGTTIN, 32, 50];
    let set = |signals: &[i32]| signals.iter().fold(0u64, |set, n| set | 1 << (n - 1));
    let mut child = command(Place::Subreaper, &["cat", "/proc/self/status"]);
    // SAFETY: makes system calls only.
    unsafe {
        child.pre_exec(move || {
            for n in ignored {
                set_ignored(n, true);
            }
            set_mask(set(&blocked));
            Ok(())
        });
    }
    assert_eq!(signal_sets(&mut child), (format!("{:016x}", set(&ignored)), format!("{:016x}", set(&blocked))));
}

#[test]
fn an_inherited_ignored_sigchld_loses_no_status() {
    let mut child = command(Place::Subreaper, &["sh", "-c", "exit 3"]);
    // SAFETY: makes system calls only.
    unsafe {
        child.pre_exec(|| {
            set_ignored(libc::SIGCHLD, true);
            Ok(())
        });
    }
    assert_eq!(child.status().unwrap().code(), Some(3));
}

#[test]
fn orphans_are_reaped() {
    for place in PLACES {
        let proem = Running::start(place, "for i in {1..100}; do (sleep 0.2 &) ; done; echo ready; sleep 1000");
        proem.wait_for("ready");
        let main = proem.main();
        eventually(|| (children(proem.proem) == [main]).then_some(()));
        proem.signal(libc::SIGTERM);
        assert_eq!(proem.end().code(), Some(143));
    }
}

#[test]
fn main_and_a_hundred_orphans_end_together() {
    for _ in 0..20 {
        assert_eq!(code(Place::Subreaper, &["bash", "-c", "for i in {1..100}; do (sleep 0 &) ; done; exit 41"]), 41);
    }
}

#[test]
fn idle_means_no_wakeup() {
    let proem = Running::start(Place::Subreaper, "echo ready; exec sleep 1000");
    proem.wait_for("ready");
    let switches = || (status_field(proem.proem, "voluntary_ctxt_switches"), status_field(proem.proem, "Threads"));
    // It has gone to sleep after the start, and has given back the memory that it took.
    let before = eventually(|| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(200));
        (switches() == before).then_some(before)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
    assert_eq!(before.1, "1");
}

#[test]
fn leftovers_get_term_then_kill_and_none_means_no_wait() {
    for place in PLACES {
        // Same group, its own session, stopped: all go at TERM and CONT.
        let begun = Instant::now();
        let script = "sleep 1000 & setsid sleep 1000 & sleep 1000 & kill -STOP $!; exit 5";
        assert_eq!(code(place, &["bash", "-c", script]), 5, "{place:?}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{place:?} {:?}", begun.elapsed());

        let begun = Instant::now();
        let script = "(trap '' TERM; exec setsid sleep 1000) & sleep 0.2; exit 6";
        assert_eq!(code(place, &["bash", "-c", script]), 6, "{place:?}");
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{place:?} {took:?}");
    }
}

#[test]
fn only_own_descendants_are_touched() {
    let mut bystander = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    assert_eq!(code(Place::Subreaper, &["bash", "-c", "sleep 1000 & exit 5"]), 5);
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_stopped_main_is_no_exit_and_cont_resumes_it() {
    let proem = Running::start(Place::Subreaper, "echo ready; kill -STOP $$; echo resumed; exit 8");
    proem.wait_for("ready");
    eventually(|| status_field(proem.main(), "State").starts_with('T').then_some(()));
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        proem.signal(signal);
    }
    eventually(|| status_field(proem.proem, "State").starts_with('S').then_some(()));
    proem.signal(libc::SIGCONT);
    proem.wait_for("resumed");
    assert_eq!(proem.end().code(), Some(8));
}

#[test]
fn init_sits_apart_from_what_main_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut started = command(Place::Subreaper, &["bash", "-c", "pwd; exec 7>&-; exec sleep 1000 >&-"]);
    started.current_dir(dir.path());
    // SAFETY: duplicates a descriptor that is open; system calls only.
    unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&writer);
        started.pre_exec(move || if libc::dup2(fd, 7) == 7 { Ok(()) } else { Err(std::io::Error::last_os_error()) });
    }
    let proem = Running::from(Place::Subreaper, started);
    drop(writer);
    assert_eq!(proem.line(), dir.path().canonicalize().unwrap().to_str().unwrap());
    // main closed it; init must not keep it open.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", proem.proem)).unwrap().to_str(), Some("/"));
}

#[test]
fn listen_pid_names_main_and_its_descriptors_stay() {
    // The shell becomes proem, so that its pid is proem's.
    let script = format!(
        "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec {} -- sh -c '[ $LISTEN_PID = $$ ] && [ -e /dev/fd/3 ] && exit 42'",
        env!("CARGO_BIN_EXE_proem")
    );
    assert_eq!(Command::new("sh").args(["-c", &script]).status().unwrap().code(), Some(42));
}

#[test]
fn closed_standard_descriptors_stay_closed_and_harmless() {
    let script = format!(
        "{} -- sh -c 'for fd in 0 1 2; do [ -e /proc/self/fd/$fd ] && exit 1; done; exit 43' <&- >&- 2>&-",
        env!("CARGO_BIN_EXE_proem")
    );
    assert_eq!(Command::new("sh").args(["-c", &script]).status().unwrap().code(), Some(43));
}

#[test]
fn start_is_few_system_calls() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(trace.path())
        .arg(env!("CARGO_BIN_EXE_proem"))
        .args(["--", "/bin/true"])
        .status();
    if !status.is_ok_and(|status| status.success()) {
        // No strace here, or none allowed: the count is what is tested, and CI has both.
        return;
    }
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    let calls = trace.lines().take_while(|line| !line.contains("execve(\"/bin/true\"")).count();
    assert!(calls <= 60, "{calls} system calls:\n{trace}");
}
