//! Processes as /proc shows them. The tests run in the root PID namespace, so those in containers are seen, too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// What /proc/PID/stat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// In the root PID namespace.
    pub pid: i32,
    /// The parent's.
    pub parent: i32,
    /// `R`, `S`, `Z`…
    pub state: char,
    /// The program's short name.
    pub name: String,
}

/// One process; `None` when there is none of this id.
pub fn get(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may itself hold spaces and parentheses.
    let (name, fields) = (stat.find('(')?, stat.rfind(')')?);
    let mut rest = stat.get(fields + 2..)?.split(' ');
    Some(Process {
        pid,
        state: rest.next()?.chars().next()?,
        parent: rest.next()?.parse().ok()?,
        name: stat.get(name + 1..fields)?.to_owned(),
    })
}

/// All processes.
pub fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(get)
        .collect()
}

/// The direct children of a process.
pub fn children(pid: i32) -> Vec<Process> {
    all().into_iter().filter(|process| process.parent == pid).collect()
}

/// Everything in the PID namespace of `pid`, zombies included.
pub fn namespace(pid: i32) -> Vec<Process> {
    let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = of(pid) else { return Vec::new() };
    all().into_iter().filter(|process| of(process.pid).as_ref() == Some(&wanted)).collect()
}

/// The proem worker among the children of the proem init `pid`: it runs the same program and has not exec'ed.
pub fn worker(init: i32) -> Option<i32> {
    let program = |pid: i32| fs::metadata(format!("/proc/{pid}/exe")).ok().map(|exe| (exe.dev(), exe.ino()));
    let own = program(init)?;
    children(init)
        .into_iter()
        .find(|child| child.state != 'Z' && program(child.pid) == Some(own))
        .map(|child| child.pid)
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "never a broad kill");
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "kill({pid}, {signal}): {}", std::io::Error::last_os_error());
}

/// Waits until a process is gone (or only a zombie).
pub fn gone(pid: i32, limit: Duration) {
    super::wait::until(
        limit,
        "the process ends",
        || format!("{:?}", get(pid)),
        || get(pid).is_none_or(|process| process.state == 'Z').then_some(()),
    );
}
