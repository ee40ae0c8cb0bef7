//! The worker's promises where no store is needed: what is checked before it is used, what is told to whom and when, and
//! what is left when something dies in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "worker/checks.rs"]
mod checks;
#[path = "worker/inputs.rs"]
mod inputs;
#[path = "worker/life.rs"]
mod life;
#[path = "worker/mounted.rs"]
mod mounted;
#[path = "worker/owed.rs"]
mod owed;
#[cfg(feature = "net")]
#[path = "worker/posts.rs"]
mod posts;
#[path = "worker/refusals.rs"]
mod refusals;
#[path = "worker/reloads.rs"]
mod reloads;
#[path = "worker/splays.rs"]
mod splays;
mod support;
#[path = "worker/timing.rs"]
mod timing;
#[path = "worker/unrestored.rs"]
mod unrestored;
#[path = "worker/verify.rs"]
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::proem::{Builder, Proem, SOON, proem};
use support::{folder, procs, read, wait, write};

const SH: &str = "/bin/sh";

/// A main process that only stays.
const STAY: [&str; 2] = ["/bin/sleep", "1000"];

/// How long something that must not happen is looked for.
const A_WHILE: Duration = Duration::from_millis(500);

/// One source, a JSON file; every change is published at once.
const HEAD: &str = "throttle = \"0s\"\n[source]\napp = \"file:app.json\"\n";

/// A folder with a configuration, and what it names.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    /// The source `app` has this value; `tables` says what is made of it.
    fn new(json: &str, tables: &str) -> Fixture {
        Fixture::with(HEAD, json, tables)
    }

    fn with(head: &str, json: &str, tables: &str) -> Fixture {
        let fixture = Fixture { dir: folder() };
        fixture.write("proem.toml", &format!("{head}{tables}"));
        for name in ["a", "b"] {
            fixture.write(&format!("{name}.tera"), &format!("{{{{ app.{name} }}}}"));
        }
        fixture.set(json);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A file of the fixture, replaced by a rename: nobody sees half of it, however slow this machine is.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let new = write(self.dir.path(), &format!(".{name}.new"), content);
        std::fs::rename(new, self.path(name)).unwrap();
        self.path(name)
    }

    fn set(&self, json: &str) {
        self.write("app.json", json);
    }

    fn touch(&self, name: &str) {
        self.write(name, "");
    }

    fn command(&self, args: &[&str]) -> Builder {
        proem(["-c", "proem.toml"]).args(args.iter().copied()).dir(self.dir.path())
    }

    fn run(&self, main: &[&str]) -> Proem {
        self.command(&["run", "--"]).args(main.iter().copied()).start()
    }

    fn watch(&self) -> Proem {
        self.command(&["render", "--watch"]).start()
    }

    /// Waits until there is such a file.
    fn appears(&self, process: &Proem, name: &str) {
        process.until(&format!("`{name}` appears"), || self.exists(name).then_some(()));
    }

    /// Waits until a file has exactly this content.
    fn becomes(&self, process: &Proem, name: &str, content: &str) {
        process.file(&self.path(name), content);
    }

    /// What proem keeps for itself beside the targets.
    fn kept(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".proem")).collect()
    }

    /// Processes that were started in this folder, or for a file of it.
    fn inhabitants(&self) -> Vec<procs::Process> {
        let dir = self.dir.path();
        let lives = |pid: i32| {
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir);
            cwd || std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(support::text(dir)))
        };
        procs::all().into_iter().filter(|process| process.state != 'Z' && lives(process.pid)).collect()
    }
}

/// The main process of `proem run`, once it runs the program of this (short) name.
fn main_of(process: &Proem, name: &str) -> i32 {
    process.until("main runs", || {
        let mut children = procs::children(process.pid()).into_iter();
        children.find(|child| child.name == name && child.state != 'Z').map(|child| child.pid)
    })
}

fn is_alive(pid: i32) -> bool {
    procs::get(pid).is_some_and(|process| process.state != 'Z')
}

/// Waits until something has been true for a while.
fn stays(process: &Proem, what: &str, mut holds: impl FnMut() -> bool) {
    let mut since = Instant::now();
    process.until(what, || {
        if !holds() {
            since = Instant::now();
        }
        (since.elapsed() >= A_WHILE).then_some(())
    });
}

/// Kills a worker, and waits until it is gone.
fn kill_worker(process: &Proem) {
    let worker = process.worker();
    procs::kill(worker, libc::SIGKILL);
    procs::gone(worker, SOON);
}

/// The CPU time, user and system, that a process has used itself.
fn cpu(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name in parentheses: the state is field 3 of proc(5), utime is 14 and stime 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // SAFETY: sysconf(3) takes an integer and touches no memory of ours.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_millis(ticks * 1000 / u64::try_from(a_second).unwrap())
}

/// The CPU time of both of proem's processes.
fn cpu_of_both(process: &Proem) -> Duration {
    cpu(process.pid()) + cpu(process.worker())
}

fn file_id(path: &Path) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).unwrap();
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

/// Looks for a while, and panics as soon as `holds` says no.
fn throughout(what: &str, holds: impl FnMut() -> bool) {
    wait::throughout(A_WHILE, what, holds);
}
