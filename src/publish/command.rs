//! Runs a check or reload command: no shell, its own process group, a bounded output, a timeout.
//!
//! std's `Command` cannot be used: init must know the process group before anything is executed in it, and std passes
//! the blocked signals on and leaves the two real-time signals that libc keeps for itself ignored.

mod fork;
mod output;

use crate::error::Complaint;
use crate::exit::Exit;
use crate::os::signals;
use fork::{Child, Ended};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use output::Output;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long the output is read after the command's exit: what it wrote is there, and a daemon that it left behind may
/// hold the pipe open for ever.
const LINGER: Duration = Duration::from_millis(100);
/// How often an exit is looked for where the kernel has no pidfd (before 5.3, gVisor).
const LOOK: Duration = Duration::from_millis(10);

/// A command to run.
#[derive(Debug, Clone, Default)]
pub struct CommandPlan {
    /// Program and arguments; the program is looked up in PATH.
    pub argv: Vec<String>,
    /// Variables beside those of this process (`PROEM_CHANGED`).
    pub env: Vec<(OsString, OsString)>,
    /// Variables of this process that are not passed on (credentials, proem's options).
    pub env_remove: Vec<OsString>,
    /// `None`: this process's directory.
    pub dir: Option<PathBuf>,
    /// The soft `RLIMIT_DATA` to give back, bytes, where this process lowered its own.
    pub data_limit: Option<u64>,
    /// Then its group is ended.
    pub timeout: Duration,
    /// How.
    pub ending: Ending,
}

/// How a command whose time is over is ended, with its whole process group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// TERM, 5 s later KILL.
    #[default]
    TermThenKill,
    /// KILL at once. It does not outlive the thread that started it, either: whoever started a probe may be killed.
    Kill,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It was ended after this time.
    TimedOut(Duration),
    /// It never ran.
    NotStarted {
        /// The errno's text.
        reason: String,
        /// 127: not found; 126: found, and cannot be executed; 70: there was no process to be had, or its status is lost.
        exit: Exit,
    },
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// How it ended.
    pub status: CommandStatus,
    /// What it wrote to standard output and error: the first and the last 32 KiB, no control characters but newlines.
    pub output: String,
}

/// A command that runs. [`Running::wait`] is to be called on a thread of its own.
#[derive(Debug)]
#[must_use = "a command that nobody waits for stays a zombie"]
pub struct Running {
    started: Result<Started, CommandStatus>,
    timeout: Duration,
    deadline: Instant,
    ending: Ending,
}

#[derive(Debug)]
struct Started {
    child: Child,
    output: File,
    pidfd: Option<OwnedFd>,
}

/// Starts a command. `on_group` is told its process group before the program is executed; when this process dies
/// before that, the program never is.
pub fn spawn(plan: &CommandPlan, on_group: &mut dyn FnMut(i32)) -> Running {
    let started = fork::start(plan, on_group).map(|(child, output)| {
        let pidfd = child.pidfd();
        Started { child, output, pidfd }
    });
    let started =
        started.map_err(|e| CommandStatus::NotStarted { reason: crate::error::reason(&e), exit: code_of(&e) });
    Running { started, timeout: plan.timeout, deadline: Instant::now() + plan.timeout, ending: plan.ending }
}

fn code_of(error: &io::Error) -> Exit {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Exit::NOT_FOUND,
        Some(libc::ECHILD | libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => Exit::INTERNAL,
        _ => Exit::NOT_EXECUTABLE,
    }
}

impl Running {
    /// The process group; `None` when there is none.
    pub fn group(&self) -> Option<i32> {
        self.started.as_ref().ok().map(|started| started.child.pid)
    }

    /// Waits until it ended, and ends it when its time is over. Never longer than the timeout plus some ten seconds.
    pub fn wait(self) -> CommandResult {
        match self.started {
            Ok(started) => started.wait(self.timeout, self.deadline, self.ending),
            Err(status) => CommandResult { status, output: String::new() },
        }
    }
}

/// Which signal the deadline stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Term,
    Kill,
    GiveUp,
}

impl Started {
    fn wait(mut self, timeout: Duration, mut deadline: Instant, ending: Ending) -> CommandResult {
        let mut output = Output::default();
        let mut next = Next::Term;
        while !self.child.has_ended() {
            let now = Instant::now();
            if now < deadline {
                self.listen(&mut output, deadline - now);
                continue;
            }
            next = match next {
                Next::Term if ending == Ending::Kill => {
                    self.child.signal_group(libc::SIGKILL);
                    Next::GiveUp
                }
                Next::Term => {
                    // A stopped process would only see TERM when it continues.
                    self.child.signal_group(libc::SIGTERM);
                    self.child.signal_group(libc::SIGCONT);
                    Next::Kill
                }
                Next::Kill => {
                    self.child.signal_group(libc::SIGKILL);
                    Next::GiveUp
                }
                // In the kernel, on a dead disk or mount: nothing can be done from here.
                Next::GiveUp => break,
            };
            deadline = now + GRACE;
        }
        if next != Next::Term {
            // Its leader may have obeyed where the rest did not. The group's number is taken until it is reaped.
            self.child.signal_group(libc::SIGKILL);
        }
        let until = Instant::now() + LINGER;
        while self.output_open() && Instant::now() < until {
            self.listen(&mut output, until - Instant::now());
        }
        let ended = self.child.reap();
        let status = match (next, ended) {
            (Next::Term, Ended::Failed(error)) => {
                CommandStatus::NotStarted { reason: crate::error::reason(&error), exit: code_of(&error) }
            }
            (Next::Term, Ended::Exited(code)) => CommandStatus::Exited(code),
            (Next::Term, Ended::Signaled(signal)) => CommandStatus::Signaled(signal),
            (Next::Kill | Next::GiveUp, _) => CommandStatus::TimedOut(timeout),
        };
        CommandResult { status, output: output.into_text() }
    }

    fn output_open(&self) -> bool {
        self.child.listening
    }

    /// Waits for output, the exit or the time, whichever is first, and takes the output that is there.
    fn listen(&mut self, output: &mut Output, time: Duration) {
        let mut fds = Vec::with_capacity(2);
        if self.child.listening {
            fds.push(PollFd::new(self.output.as_fd(), PollFlags::POLLIN));
        }
        let ended = self.child.ended;
        match &self.pidfd {
            Some(pidfd) if !ended => fds.push(PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)),
            _ => {}
        }
        let time = if self.pidfd.is_none() && !ended { time.min(LOOK) } else { time };
        // Rounded up, so that the end of a wait does not spin.
        let milliseconds = i32::try_from(time.as_millis() + 1).unwrap_or(i32::MAX);
        // EINTR is a wakeup like any other.
        let _ = nix::poll::poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX));
        let mut buffer = [0; 16 << 10];
        // Bounded, so that a command that writes without end cannot keep its timeout from being looked at.
        for _ in 0..64 {
            if !self.child.listening {
                break;
            }
            match self.output.read(&mut buffer) {
                Ok(0) => self.child.listening = false,
                Ok(n) => output.add(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.child.listening = false,
            }
        }
    }
}

impl CommandResult {
    /// Whether it exited with 0.
    pub fn accepted(&self) -> bool {
        self.status == CommandStatus::Exited(0)
    }

    /// What to say when it was not accepted: ``check `nginx -t` refused (exit 1): …`` with the last lines of its output.
    /// `what` is `check` or `reload`, `argv` the command as configured.
    pub fn complaint(&self, what: &str, argv: &[String]) -> Complaint {
        let command = argv.join(" ");
        let complaint = match &self.status {
            CommandStatus::Exited(code) => {
                let verb = if what == "check" { "refused" } else { "failed" };
                Complaint::new(format!("{what} `{command}` {verb} (exit {code})"))
            }
            CommandStatus::Signaled(signal) => {
                Complaint::new(format!("{what} `{command}` was ended by {}", signals::name(*signal)))
            }
            CommandStatus::TimedOut(after) => {
                Complaint::new(format!("{what} `{command}` did not end within {after:?}"))
                    .hint("it was ended; raise its `timeout` if it needs longer")
            }
            CommandStatus::NotStarted { reason, .. } => {
                let program = argv.first().map_or("", String::as_str);
                Complaint::new(format!("{what} `{command}` could not be started: {reason}"))
                    .hint(format!("`{program}` must be an executable in this image, found in PATH; there is no shell"))
            }
        };
        match output::last_words(&self.output) {
            words if words.is_empty() => complaint,
            words => Complaint { message: format!("{}: {words}", complaint.message), ..complaint },
        }
    }
}

#[cfg(test)]
mod tests;
