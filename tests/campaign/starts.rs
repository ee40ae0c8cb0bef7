//! A start with five processes, and a TERM at a random moment of it: it ends in its bound, with 143 or with main's code,
//! and nobody is left.

use crate::actors;
use crate::chance::{Random, Summary};
use crate::support::namespace::{self, Place};
use crate::support::{self, folder, procs, read, text, wait, write};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// What a busy machine may add to anything.
const SLACK: Duration = Duration::from_secs(10);

/// In which way proem is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but processes.
    Plain,
    /// Templates, a check, and a process that is told of changes.
    Templates,
    /// One of the processes is deaf to TERM, and is killed after a tenth of a second.
    Deaf,
    /// PID 1 of a namespace, with templates and a drain.
    First,
}

/// One lane of each.
pub const KINDS: [Kind; 4] = [Kind::Plain, Kind::Templates, Kind::Deaf, Kind::First];

const DRAIN: Duration = Duration::from_millis(50);
const DEAF: Duration = Duration::from_millis(100);

impl Kind {
    fn configuration(self, dir: &Path) -> String {
        let helper = std::env::current_exe().unwrap();
        let (helper, dir) = (text(&helper), text(dir));
        let process = |name: &str, after: &str, ready: bool, keys: &str| {
            let deaf = self == Kind::Deaf && name == "php";
            let (fd, hears) = (if ready { "9" } else { "-" }, if deaf { "deaf" } else { "hears" });
            let ready = if ready { "ready = { fd = 9 }\n" } else { "" };
            let patience = if deaf { DEAF } else { SLACK };
            let command = format!("command = [{helper:?}, \"@part\", {dir:?}, {name:?}, {fd:?}, {hears:?}]");
            format!("[process.{name}]\n{command}\nafter = [{after}]\n{ready}stop_timeout = \"{patience:?}\"\n{keys}\n")
        };
        let drain = if self == Kind::First { format!("drain = \"{DRAIN:?}\"") } else { String::new() };
        let mut all = [
            "control = \"none\"\n".to_owned(),
            format!("[process.migrate]\nkind = \"setup\"\ncommand = [{helper:?}, \"@setup\", {dir:?}]\n"),
            process("db", "\"migrate\"", true, ""),
            process("php", "\"db\"", true, ""),
            process("log", "", true, "log = \"prefix\""),
            process("main", "\"php\", \"log\"", false, &drain),
        ]
        .concat();
        if matches!(self, Kind::Templates | Kind::First) {
            let _ = write!(
                all,
                "[template.t]\nfrom = \"{dir}/t.tera\"\nto = \"{dir}/t\"\ncheck = [\"/bin/true\"]\nreload = \"db:HUP\"\n\
                 [source]\napp = \"file:{dir}/app.toml\"\n"
            );
        }
        all
    }

    /// How long the way to the end may take when nothing is slow.
    fn bound(self) -> Duration {
        match self {
            Kind::Plain | Kind::Templates => Duration::ZERO,
            Kind::Deaf => DEAF,
            Kind::First => DRAIN,
        }
    }
}

/// `count` starts. Panics at the first that goes wrong. How long each took from TERM to its end is in `took`.
pub fn run(kind: Kind, seed: u64, count: u64, took: &mut Vec<Duration>) -> Summary {
    let mut random = Random(seed);
    let mut summary = Summary::default();
    // How long a whole start takes here and now, with as many others beside it as below.
    let mut whole = (0..3).map(|_| whole(kind)).max().unwrap_or_default();
    for round in 0..count {
        let mut start = Start::new(kind);
        let begun = Instant::now();
        // As long as a start takes, and a tenth of that. Some come when main runs for sure; they tell how long that is by now.
        if random.one_in(10) {
            start.until("main is up", |notes| notes.contains("main is up"));
            whole = (whole + begun.elapsed()) / 2;
        } else {
            let most = u64::try_from(whole.as_micros()).unwrap() * 11 / 10;
            spin(begun, Duration::from_micros(random.below(most)));
        }
        let moment = start.notes();
        let told = Instant::now();
        procs::kill(start.init, libc::SIGTERM);
        let code = start.ended(kind.bound() + SLACK);
        took.push(told.elapsed());
        let notes = start.notes();
        let main = i32::from(actors::MAIN);
        let context = || format!("{kind:?}, seed {seed}, round {round}: {code}\n{notes}{}", start.log());
        assert_eq!(code, if notes.contains("main stops") { main } else { 143 }, "{}", context());
        // Who runs already is stopped in reverse.
        let stop = |name: &str| notes.find(&format!("{name} stops"));
        for (name, before) in [("main", "php"), ("main", "log"), ("main", "db"), ("php", "db")] {
            let reversed = stop(name).zip(stop(before)).is_none_or(|(name, before)| name < before);
            assert!(reversed, "{before} was stopped before {name}: {}", context());
        }
        assert_eq!(left(start.dir.path()), None, "somebody was left: {}", context());
        summary.add("TERM", 1);
        summary.add(phase(&moment), 1);
    }
    summary
}

/// How far the start was, for the record.
fn phase(notes: &str) -> &'static str {
    match notes {
        notes if notes.contains("main is up") => "after readiness",
        notes if notes.contains("main\n") => "main between its start and its readiness",
        notes if notes.contains("php is up") => "php is ready",
        notes if notes.contains("db is up") => "db is ready",
        notes if notes.contains("db\n") => "the setup step is over",
        notes if !notes.is_empty() => "the setup step runs",
        _ => "before the first process",
    }
}

fn whole(kind: Kind) -> Duration {
    let begun = Instant::now();
    let mut start = Start::new(kind);
    start.until("main is up", |notes| notes.contains("main is up"));
    let took = begun.elapsed();
    procs::kill(start.init, libc::SIGTERM);
    assert_eq!(start.ended(SLACK), i32::from(actors::MAIN), "{}", start.log());
    took
}

fn spin(since: Instant, until: Duration) {
    let coarse = until.saturating_sub(Duration::from_millis(1));
    std::thread::sleep(coarse.saturating_sub(since.elapsed()));
    while since.elapsed() < until {
        std::hint::spin_loop();
    }
}

/// Somebody whose command line or environment names the folder, and who is none of ours.
fn left(dir: &Path) -> Option<procs::Process> {
    let needle = text(dir).as_bytes();
    let names = |path: String| fs::read(path).is_ok_and(|all| all.windows(needle.len()).any(|part| part == needle));
    procs::all().into_iter().find(|process| {
        let pid = process.pid;
        names(format!("/proc/{pid}/cmdline")) || names(format!("/proc/{pid}/environ"))
    })
}

/// A proem that is starting.
struct Start {
    dir: tempfile::TempDir,
    child: Child,
    init: i32,
}

impl Start {
    fn new(kind: Kind) -> Start {
        let dir = folder();
        write(dir.path(), "t.tera", "{{ app.name }}\n");
        write(dir.path(), "app.toml", "name = \"one\"\n");
        let config = write(dir.path(), "proem.toml", &kind.configuration(dir.path()));
        let place = if kind == Kind::First { Place::Pid1 } else { Place::Subreaper };
        let argv = [support::proem::BINARY, "-c", text(&config)].map(str::to_owned);
        let mut command = namespace::at(place, &argv);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("D", dir.path());
        let log = fs::File::create(dir.path().join("stderr")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let init = i32::try_from(child.id()).unwrap();
        let mut start = Start { dir, child, init };
        if place == Place::Pid1 {
            start.init = wait::until(SLACK, "PID 1 listens", || start.log(), || listening(start.init));
        }
        start
    }

    fn notes(&self) -> String {
        read(&self.dir.path().join("notes"))
    }

    fn log(&self) -> String {
        read(&self.dir.path().join("stderr"))
    }

    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        wait::until(SLACK, what, || self.log(), || holds(&self.notes()).then_some(()));
    }

    fn ended(&mut self, limit: Duration) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Before its first instruction the kernel's default ends it, by the same signal.
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            assert!(begun.elapsed() < limit, "no end within {limit:?}\n{}{}", self.notes(), self.log());
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let children = procs::children(self.init);
            for pid in children.iter().map(|child| child.pid).chain([self.init]) {
                // SAFETY: kill(2) takes two integers; the ids were just seen below our own child.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            let _ = self.child.wait();
        }
    }
}

/// The PID 1 below `unshare`, once it is proem and cannot lose a TERM any more: docs/conformance.md says how long that takes.
fn listening(unshare: i32) -> Option<i32> {
    let init = procs::children(unshare).first()?.pid;
    let is_proem = fs::read_link(format!("/proc/{init}/exe")).ok()? == Path::new(support::proem::BINARY);
    let status = read(Path::new(&format!("/proc/{init}/status")));
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"))?;
    let blocks = u64::from_str_radix(blocked.trim(), 16).ok()? & (1 << (libc::SIGTERM - 1)) != 0;
    (is_proem && blocks).then_some(init)
}
