//! The window at the start: from exec to the moment that signals are blocked or caught. What arrives in it has the
//! kernel's default: death by it for an ordinary process, nothing at all for PID 1.

use crate::support::inits::Init;
use crate::support::{folder, read, text};
use std::process::{Command, Stdio};

/// Starts that are measured.
const STARTS: usize = 51;

/// What is known of an init's window.
pub struct Window {
    /// Microseconds, the median; the tracer's own two stops are in it.
    pub micros: f64,
    /// System calls between exec and the one that blocks or catches signals.
    pub calls: usize,
}

/// Measures it, with strace stopping at exec and at the calls that end the window only.
pub fn measure(init: &Init) -> Option<Window> {
    let mut times: Vec<f64> = (0..STARTS).filter_map(|_| once(init)).collect();
    times.sort_by(f64::total_cmp);
    let calls = trace(init, &["-f", "-qqq"])?;
    let calls = calls.lines().skip(1).take_while(|line| !ends(line)).count();
    Some(Window { micros: times.get(times.len() / 2)? * 1e6, calls })
}

fn ends(line: &str) -> bool {
    line.contains("rt_sigprocmask(") || line.contains("rt_sigaction(SIGTERM")
}

fn once(init: &Init) -> Option<f64> {
    let options = ["-f", "-qqq", "--seccomp-bpf", "-ttt", "-T", "-e", "trace=execve,rt_sigprocmask,rt_sigaction"];
    let log = trace(init, &options)?;
    let mut lines = log.lines();
    // `PID TIME execve(…) = 0 <DURATION>`
    let exec = lines.next()?;
    let duration = exec.rsplit_once('<')?.1.trim_end_matches('>').parse::<f64>().ok()?;
    let at = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    Some(at(lines.find(|line| ends(line))?)? - at(exec)? - duration)
}

fn trace(init: &Init, options: &[&str]) -> Option<String> {
    let folder = folder();
    let log = folder.path().join("log");
    let argv = init.prefix(&[])?;
    let mut command = Command::new("strace");
    command.args(options).arg("-o").arg(text(&log)).args(argv).arg("true").stdin(Stdio::null());
    // cargo sets it for the tests, and a dynamic init would look there for its libraries.
    command.env_remove("LD_LIBRARY_PATH").stderr(Stdio::null()).status().ok()?;
    Some(read(&log))
}
