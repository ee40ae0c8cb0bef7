//! The worker and readiness by a probe: it leaves when everything is ready, and is called back when a process that is
//! probed is started again. What init makes of it is decided in `init/machine`, which has tests of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;
use support::proem::{BINARY, Builder, Proem, SOON, proem};
use support::{folder, procs, read, text, write};

/// A container with a fixed template, main, and php-fpm's place, which is ready while `$D/up` is there.
struct Pair {
    dir: tempfile::TempDir,
    config: PathBuf,
    process: Proem,
}

impl Pair {
    fn start(php: &str, control: &str) -> Pair {
        Pair::start_by(php, |config| proem(["--control", control, "-c", config]))
    }

    fn start_by(php: &str, command: impl FnOnce(&str) -> Builder) -> Pair {
        let dir = folder();
        let text_of = format!(
            r#"
[template.page]
from = "page.tera"
to = "page"
reload = "none"

[process.php]
command = ["/bin/sh", "-c", "echo $$ >> lives; exec sleep 1000"]
ready = {{ probe = "file:{dir}/up", every = "20ms" }}
{php}

[process.main]
command = ["/bin/sh", "-c", "echo $$ >> mains; exec sleep 1000"]
after = ["php"]
"#,
            dir = text(dir.path())
        );
        let config = write(dir.path(), "proem.toml", &text_of);
        write(dir.path(), "page.tera", "one {{ env.PATH | length > 0 }}\n");
        write(dir.path(), "up", "");
        let process = command(text(&config)).dir(dir.path()).start();
        Pair { dir, config, process }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pids(&self, of: &str) -> Vec<i32> {
        read(&self.path(of)).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits for this many lives of php-fpm; the last one's pid.
    fn life(&self, count: usize) -> i32 {
        self.process.until(&format!("life {count} of php"), || {
            let lives = self.pids("lives");
            (lives.len() == count).then(|| lives[count - 1])
        })
    }

    fn said_ready(&self) -> usize {
        self.process.stderr().matches("process `php` is ready").count()
    }

    /// It was seen ready for the `count`th time, and only init is left beside the two.
    fn alone(&self, count: usize) {
        self.process.until("it is ready and the worker has left", || {
            let children = procs::children(self.process.pid());
            (self.said_ready() == count && children.len() == 2 && children.iter().all(|child| child.name == "sleep"))
                .then_some(())
        });
    }

    /// Kills php-fpm, whose next life is not ready; that one's pid.
    fn kill_and_hold(&self) -> i32 {
        let lives = self.pids("lives");
        std::fs::remove_file(self.path("up")).unwrap();
        procs::kill(lives[lives.len() - 1], libc::SIGKILL);
        self.life(lives.len() + 1)
    }
}

fn field(pid: i32, name: &str) -> u64 {
    let status = read(Path::new(&format!("/proc/{pid}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// What the kernel has mapped of the binary depends on its size; a debug build's is ten times as large.
fn init_is_small_and_sleeps(process: &Proem) {
    let pid = process.pid();
    let (name, most) = if cfg!(debug_assertions) { ("RssAnon:", 200) } else { ("VmRSS:", 1500) };
    process.until("its memory is given back", || (field(pid, name) <= most).then_some(()));
    let switches = || field(pid, "voluntary_ctxt_switches:");
    let before = process.until("init is at rest", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(200));
        (switches() == before).then_some(before)
    });
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(switches(), before, "wakeups while idle");
}

#[test]
fn the_worker_leaves_when_all_is_ready_and_comes_back_for_a_restart() {
    let pair = Pair::start("", "none");
    pair.alone(1);
    init_is_small_and_sleeps(&pair.process);
    let main = pair.pids("mains");
    // Nothing is published by the one that comes back, not even what has changed.
    write(pair.dir.path(), "page", "mine\n");
    write(pair.dir.path(), "page.tera", "two\n");
    for time in 2..4 {
        pair.kill_and_hold();
        pair.process.worker();
        assert_eq!(pair.said_ready(), time - 1);
        write(pair.dir.path(), "up", "");
        pair.alone(time);
    }
    init_is_small_and_sleeps(&pair.process);
    assert_eq!(read(&pair.path("page")), "mine\n");
    assert_eq!(pair.pids("mains"), main, "main is not touched");
}

#[test]
fn a_worker_that_dies_while_it_probes_is_followed_by_another() {
    let pair = Pair::start("", "none");
    pair.alone(1);
    let php = pair.kill_and_hold();
    let worker = pair.process.worker();
    procs::kill(worker, libc::SIGKILL);
    pair.process.until("there is another worker", || procs::worker(pair.process.pid()).filter(|pid| *pid != worker));
    write(pair.dir.path(), "up", "");
    pair.alone(2);
    assert_eq!(pair.pids("lives").last(), Some(&php), "the process is not touched");
}

#[test]
fn a_configuration_that_was_broken_since_is_read_again_and_again() {
    let pair = Pair::start("", "none");
    pair.alone(1);
    let good = read(&pair.config);
    write(pair.dir.path(), "proem.toml", "nonsense\n");
    let php = pair.kill_and_hold();
    pair.process.says("the worker died (exit 78)");
    write(pair.dir.path(), "up", "");
    write(pair.dir.path(), "proem.toml", &good);
    pair.alone(2);
    assert_eq!(pair.pids("lives").last(), Some(&php));
}

#[test]
fn a_term_while_the_next_life_is_probed_ends_in_order() {
    let mut pair = Pair::start("", "none");
    pair.alone(1);
    pair.kill_and_hold();
    pair.process.worker();
    pair.process.signal(libc::SIGTERM);
    assert_eq!(pair.process.ended(SOON).code, 128 + libc::SIGTERM);
}

/// In a mount namespace with a `/run` of its own: the usual place is one for all who run at the same time.
#[test]
fn the_usual_control_socket_is_there_until_the_worker_leaves() {
    let pair = Pair::start_by("", |config| {
        // SAFETY: cannot fail and touches no memory.
        let root = if unsafe { libc::geteuid() } == 0 { "--mount" } else { "--map-root-user" };
        let start = format!("rm up && mount -t tmpfs none /run && exec {BINARY} -c {config}");
        Builder::new("unshare").args(["--mount", root, "sh", "-c", &start])
    });
    let socket = PathBuf::from(format!("/proc/{}/root/run/proem.sock", pair.process.pid()));
    pair.process.until("the socket is there", || socket.exists().then_some(()));
    pair.process.until("php runs", || (pair.pids("lives").len() == 1).then_some(()));
    assert!(socket.exists());
    write(pair.dir.path(), "up", "");
    pair.alone(1);
    assert!(!socket.exists(), "nobody answers there");
    pair.kill_and_hold();
    write(pair.dir.path(), "up", "");
    pair.alone(2);
}

#[test]
fn liveness_and_a_control_socket_that_is_stated_keep_the_worker() {
    let dir = folder();
    let socket = text(&dir.path().join("socket")).to_owned();
    let alive = "alive = { probe = \"file:/proc/self/status\", every = \"50ms\" }";
    for (keys, control) in [(alive, "none"), ("", socket.as_str())] {
        let pair = Pair::start(keys, control);
        pair.process.until("php is ready", || (pair.said_ready() == 1).then_some(()));
        pair.process.until("main runs", || (!pair.pids("mains").is_empty()).then_some(()));
        let worker = pair.process.worker();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(pair.process.worker(), worker);
    }
}
