//! The check command and the process that is reloaded: this program again, called with `@check` and `@service`. They run
//! as whoever proem runs as, write down what they saw, and what must never be seen as a violation.

use crate::content::{self, Group};
use crate::support::namespace::set_mask;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the service answers: the number of its looks so far is in `told`.
pub const FENCE: i32 = libc::SIGUSR1;

/// How long a service that may be told in the middle of the next publish looks for a whole group.
const NEXT_PUBLISH: Duration = Duration::from_secs(5);

/// How long a worker that has lost its init may take to end a check.
const DYING_WORKER: Duration = Duration::from_secs(3);

/// Becomes the helper that the arguments name, if they do.
pub fn run() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["@check", records, files @ ..] => {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            Some(check(Path::new(records), &files))
        }
        ["@service", records, targets] => Some(service(&Records::at(records), &content::files(Path::new(targets)))),
        _ => None,
    }
}

/// Files in which the helpers say what they saw.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Those in this directory.
    pub fn at(dir: impl Into<PathBuf>) -> Records {
        Records { dir: dir.into() }
    }

    /// The generations that a check accepted.
    pub fn accepted(&self) -> Vec<u64> {
        self.lines("accepted").iter().filter_map(|line| line.parse().ok()).collect()
    }

    /// The generations that a check was given, and by which worker: its process id in its own namespace.
    pub fn began(&self) -> Vec<(u64, i32)> {
        let lines = self.lines("began");
        let parse = |line: &String| line.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        lines.iter().filter_map(parse).collect()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        // A last line that a KILL cut off ends without a newline.
        let text = std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| Some(line.strip_suffix('\n')?.to_owned())).collect()
    }

    /// The last generation that the service was started or told with, and how often it answered a fence.
    pub fn told(&self) -> Option<(u64, u64)> {
        let text = std::fs::read_to_string(self.dir.join("told")).ok()?;
        let (generation, fences) = text.trim().split_once(' ')?;
        Some((generation.parse().ok()?, fences.parse().ok()?))
    }

    /// Before another life, whose service has to look for itself.
    pub fn forget_told(&self) {
        let _ = std::fs::remove_file(self.dir.join("told"));
    }

    /// What must never have been seen.
    pub fn violations(&self) -> String {
        std::fs::read_to_string(self.dir.join("violations")).unwrap_or_default()
    }

    /// Notes something that must never be seen.
    pub fn violation(&self, what: &str) {
        self.add("violations", what);
    }

    /// Whether a whole group may be asked for: no publish can be under way when a signal arrives.
    pub fn set_strict(&self, strict: bool) {
        let flag = self.dir.join("strict");
        let done = if strict { std::fs::write(flag, "") } else { std::fs::remove_file(flag) };
        done.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }).unwrap();
    }

    fn is_strict(&self) -> bool {
        self.dir.join("strict").exists()
    }

    /// The files are out of reach for proem's user, and so for the helpers: nothing is seen at all.
    fn is_locked(&self) -> bool {
        self.dir.join("locked").exists()
    }

    fn add(&self, name: &str, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.dir.join(name));
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).unwrap();
    }

    fn tell(&self, generation: u64, fences: u64) {
        std::fs::write(self.dir.join("told.new"), format!("{generation} {fences}\n")).unwrap();
        std::fs::rename(self.dir.join("told.new"), self.dir.join("told")).unwrap();
    }
}

/// Accepts a group of one generation that is not marked bad. It takes a moment, in which it can be killed.
fn check(records: &Path, files: &[PathBuf]) -> ExitCode {
    let records = Records::at(records);
    let mut group = content::group(files);
    while group == Group::Unreadable && records.is_locked() {
        std::thread::sleep(Duration::from_millis(1));
        group = content::group(files);
    }
    if let Group::Of(stamp) = group {
        // SAFETY: cannot fail and touches no memory.
        let worker = unsafe { libc::getppid() };
        records.add("began", &format!("{} {worker}", stamp.generation));
        std::thread::sleep(Duration::from_millis(stamp.generation % 8));
        if stamp.bad {
            eprintln!("generation {} is bad", stamp.generation);
            return ExitCode::FAILURE;
        }
        // The last thing that it does: whoever is killed has accepted nothing.
        records.add("accepted", &stamp.generation.to_string());
        return ExitCode::SUCCESS;
    }
    // A worker without init takes the files back before it ends the check, whose word counts for nothing any more.
    std::thread::sleep(DYING_WORKER);
    records.violation(&format!("the check was given a group that is {group:?}"));
    ExitCode::FAILURE
}

/// Looks at its start and at each HUP.
fn service(records: &Records, targets: &[PathBuf]) -> ExitCode {
    set_mask(u64::MAX);
    // proem tells nobody whom the signal would end; one that is only waited for looks so in /proc.
    let never: extern "C" fn(i32) = handled;
    // SAFETY: a live function that touches nothing. It never runs: the signal is blocked.
    unsafe { libc::signal(libc::SIGHUP, never as libc::sighandler_t) };
    let mut fences = 0;
    let mut generation = look(records, targets, "started");
    loop {
        records.tell(generation, fences);
        let all = u64::MAX;
        // SAFETY: a live 8-byte set; neither siginfo nor a timeout is asked for.
        let signal = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, 0usize, 0usize, 8usize) };
        match i32::try_from(signal).unwrap_or(0) {
            libc::SIGHUP => generation = look(records, targets, "told"),
            // Of several pending signals the lowest number comes first: what was sent before has been seen.
            FENCE => fences += 1,
            libc::SIGTERM => return ExitCode::SUCCESS,
            _ => {}
        }
    }
}

extern "C" fn handled(_: i32) {}

fn look(records: &Records, targets: &[PathBuf], when: &str) -> u64 {
    let begun = Instant::now();
    loop {
        let group = content::group(targets);
        let accepted = |generation: &u64| records.accepted().contains(generation);
        match group {
            Group::Of(stamp) if !stamp.bad && accepted(&stamp.generation) => return stamp.generation,
            Group::Unreadable if records.is_locked() => {}
            _ if !records.is_strict() && begun.elapsed() < NEXT_PUBLISH => {}
            _ => {
                records
                    .violation(&format!("the process was {when} with a group that is {group:?} or was not accepted"));
                return 0;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
