//! Starting, timing, ending and inspecting processes.

use crate::stats::ms;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command with nothing inherited but a PATH: the same few bytes of environment for every contender.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// From before the fork to after the wait, in milliseconds. std spawns like `posix_spawn(3)`.
pub fn time(command: &mut Command) -> Result<(f64, ExitStatus)> {
    let start = Instant::now();
    let status = command.spawn().with_context(|| format!("failed to start {}", display(command)))?.wait()?;
    Ok((ms(start, Instant::now()), status))
}

/// Runs it once with its stderr kept: what is wrong with a contender is said before anything is measured.
pub fn rehearse(command: &mut Command) -> Result<()> {
    let output = command.stderr(Stdio::piped()).output();
    command.stderr(Stdio::null()).stdout(Stdio::null());
    let output = output.with_context(|| format!("failed to start {}", display(command)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", display(command), output.status, text.trim());
    }
    Ok(())
}

fn display(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

/// A process that is ended, with all its descendants, when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Running> {
        let child = command.spawn().with_context(|| format!("failed to start {}", display(command)))?;
        Ok(Running(child))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Fails when it has ended already.
    pub fn check(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("it ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let all = descendants(self.pid());
        send(self.pid(), libc::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.0.try_wait(), Ok(None)) {
            send(self.pid(), libc::SIGKILL);
            let _ = self.0.wait();
        }
        for pid in all {
            send(pid, libc::SIGKILL);
        }
    }
}

/// Sends a signal to a process of ours.
pub fn send(pid: u32, number: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: a plain syscall; the process is our child or was a descendant of it a moment ago.
        unsafe { libc::kill(pid, number) };
    }
}

/// Children of all its threads, zombies too.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in tasks(pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|n| n.parse::<u32>().ok()));
    }
    found
}

/// All that descends from it now.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// The process and its children that run the same binary: init and worker.
pub fn halves(pid: u32) -> Vec<u32> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let same = |child: &u32| exe.is_some() && fs::read_link(format!("/proc/{child}/exe")).ok() == exe;
    std::iter::once(pid).chain(children(pid).into_iter().filter(same)).collect()
}

fn tasks(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// What a process takes, or several together.
#[derive(Debug, Default, Clone, Copy)]
pub struct Usage {
    /// Resident, kB. Pages that two processes share count twice in a sum.
    pub rss: u64,
    /// Resident and not backed by a file, kB.
    pub anonymous: u64,
    /// Resident, shared pages divided by their users, kB.
    pub pss: u64,
    /// Threads.
    pub threads: usize,
    /// Times that a thread went to sleep by itself: each is a wakeup.
    pub wakeups: u64,
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
    /// Processes.
    pub processes: usize,
}

impl Usage {
    /// The sum over these processes.
    pub fn of(pids: &[u32]) -> Usage {
        let mut sum = Usage { processes: pids.len(), ..Usage::default() };
        for pid in pids {
            let memory = table(&format!("/proc/{pid}/smaps_rollup"));
            sum.rss += memory.get("Rss").copied().unwrap_or(0);
            sum.anonymous += memory.get("Anonymous").copied().unwrap_or(0);
            sum.pss += memory.get("Pss").copied().unwrap_or(0);
            let tasks = tasks(*pid);
            sum.threads += tasks.len();
            for task in tasks {
                let status = table(&format!("/proc/{pid}/task/{task}/status"));
                sum.wakeups += status.get("voluntary_ctxt_switches").copied().unwrap_or(0);
                let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).unwrap_or_default();
                sum.cpu_ns += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        sum
    }
}

/// `Name: 12 kB` lines.
fn table(path: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pair = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        Some((name.to_owned(), rest.split_ascii_whitespace().next()?.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Polls until `ready` says so.
pub fn until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !ready() {
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
