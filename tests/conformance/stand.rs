//! An init that is being looked at: where it stands, how it is started, what comes of it.

use crate::support::inits::{Init, Want};
use crate::support::namespace::{self, Place};
use crate::support::proem::Output;
use crate::support::{folder, procs, read, wait};
use std::borrow::BorrowMut;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// This program, which also is what the inits start.
pub fn helper() -> String {
    std::env::current_exe().unwrap().into_os_string().into_string().unwrap()
}

/// What a case is given.
pub struct Stand {
    /// Who.
    pub init: Init,
    /// Where.
    pub place: Place,
    /// All runs of the races, not a sample.
    pub long: bool,
}

/// The case does not apply: this init has no such option.
pub struct NotApplicable;

impl Stand {
    /// How long something that should happen at once may take. Others may hang: that is what is measured.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(if self.init.is_proem() { 20 } else { 8 })
    }

    /// The init's own command line with this main process; ends the case where the init has no such option.
    pub fn argv(&self, wants: &[Want], argv: &[&str]) -> Vec<String> {
        let mut all = self.init.prefix(wants).unwrap_or_else(|| resume_unwind(Box::new(NotApplicable)));
        all.extend(argv.iter().map(|item| (*item).to_owned()));
        all
    }

    /// That, where it is to stand.
    pub fn with(&self, wants: &[Want], argv: &[&str]) -> Command {
        namespace::at(self.place, &self.argv(wants, argv))
    }

    /// The same without options.
    pub fn command(&self, argv: &[&str]) -> Command {
        self.with(&[], argv)
    }

    /// Runs it to its end; the exit code, or the negative number of the signal that ended it.
    pub fn code(&self, argv: &[&str]) -> i32 {
        self.end_of(self.command(argv))
    }

    /// The same for a prepared command.
    pub fn end_of(&self, mut command: Command) -> i32 {
        Guard::new(self, command.spawn().unwrap()).ended()
    }

    /// Runs a prepared command to its end; what it wrote.
    pub fn output_of(&self, mut command: Command) -> Output {
        let folder = folder();
        let file = |name| folder.path().join(name);
        command.stdout(File::create(file("stdout")).unwrap()).stderr(File::create(file("stderr")).unwrap());
        let code = self.end_of(command);
        Output { code, stdout: read(&file("stdout")), stderr: read(&file("stderr")) }
    }

    /// Starts a shell script and reads its lines.
    pub fn script(&self, script: &str) -> Running {
        self.start(self.command(&["bash", "-c", script]))
    }

    /// Starts a prepared command and reads its lines.
    pub fn start(&self, mut command: impl BorrowMut<Command>) -> Running {
        let command: &mut Command = command.borrow_mut();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Running { guard: Guard::new(self, child), lines, place: self.place }
    }

    /// Waits until this becomes something.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::until(self.limit(), what, String::new, look)
    }
}

/// The exit code, or the negative number of the signal that ended it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A child that does not outlive its case.
pub struct Guard {
    /// unshare, or the init itself.
    pub child: Child,
    limit: Duration,
}

impl Guard {
    /// Takes care of a child.
    pub fn new(stand: &Stand, child: Child) -> Guard {
        Guard { child, limit: stand.limit() }
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for its end; the exit code, or the negative number of the signal that ended it.
    pub fn ended(&mut self) -> i32 {
        let limit = self.limit;
        code(wait::until(limit, "it ends", String::new, || self.child.try_wait().unwrap()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        for pid in descendants(self.pid()).into_iter().chain([self.pid()]) {
            // SAFETY: kill(2) touches no memory; the ids were just seen below our own child, and may be gone already.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

/// Everybody below a process, parents first.
pub fn descendants(pid: i32) -> Vec<i32> {
    let all = procs::all();
    let (mut found, mut at) = (vec![pid], 0);
    while let Some(&parent) = found.get(at) {
        found.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// An init that runs, and what its main process prints.
pub struct Running {
    /// The process that was started.
    pub guard: Guard,
    lines: Receiver<String>,
    place: Place,
}

impl Running {
    /// The next line; panics when there is none in time.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(self.guard.limit).expect("a line of the main process in time")
    }

    /// The next line within this time, if there is one.
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// All lines until its output is closed.
    pub fn rest(&self) -> Vec<String> {
        let until = Instant::now() + self.guard.limit;
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("its output stays open; so far: {rest:?}"),
            }
        }
    }

    /// Reads lines until this one.
    pub fn wait_for(&self, wanted: &str) {
        while self.line() != wanted {}
    }

    /// The init's pid, as this process sees it.
    pub fn init(&self) -> i32 {
        match self.place {
            Place::Pid1 => {
                let own = self.guard.pid();
                wait::until(self.guard.limit, "PID 1 runs", String::new, || children(own).first().copied())
            }
            _ => self.guard.pid(),
        }
    }

    /// The main process's pid: the init's eldest child.
    pub fn main(&self) -> i32 {
        let init = self.init();
        wait::until(self.guard.limit, "main runs", String::new, || children(init).first().copied())
    }

    /// Sends a signal to the init.
    pub fn signal(&self, signal: i32) {
        procs::kill(self.init(), signal);
    }

    /// Waits for its end; the exit code, or the negative number of the signal that ended it.
    pub fn ended(&mut self) -> i32 {
        self.guard.ended()
    }
}

/// The direct children of a process, eldest first: from the kernel's list, which costs nothing beside ten thousand.
pub fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A line of /proc/PID/status; empty when the process is gone.
pub fn status(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// The CPU time that a process has used, in clock ticks (10 ms).
pub fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
