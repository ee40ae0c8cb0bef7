//! A reload by a signal to a process that proem did not start: one try, on a thread of its own.

use crate::config::plan::NeighbourPlan;
use crate::error::{Complaint, reason};
use crate::os::peer::{self, Peer};
use crate::os::ready::{Would, would};
use crate::os::signals;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Enough for a walk through /proc.
pub const STACK: usize = 256 << 10;
/// How long a shell that forks has everything blocked, with room to spare.
const A_MOMENT: Duration = Duration::from_millis(100);
/// How many processes a message lists.
const LISTED: usize = 10;

/// As it is named in messages: `/usr/sbin/nginx by HUP`.
pub fn shown(plan: &NeighbourPlan) -> String {
    let who = plan.exe.as_ref().or(plan.pid_file.as_ref()).map_or_else(String::new, |path| path.display().to_string());
    format!("`{who}` by {}", signals::name(plan.signal))
}

/// Who is never signalled, whatever a file or a name says.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// This process.
    pub pid: i32,
    /// Its init, if it has one.
    pub init: Option<i32>,
}

impl Own {
    fn has(self, pid: i32) -> bool {
        pid == self.pid || Some(pid) == self.init
    }
}

/// Looks for the process and signals it, once. Blocks for a moment at most where the signal is blocked.
pub fn tell(plan: &NeighbourPlan, own: Own) -> Result<(), Complaint> {
    let failed = |why: String| Complaint::new(format!("reload of {} failed: {why}", shown(plan)));
    let peer = find(plan, own).map_err(failed)?;
    let pid = peer.pid();
    let mut state = would(pid, plan.signal);
    if state == Would::Wait {
        std::thread::sleep(A_MOMENT);
        state = would(pid, plan.signal);
    }
    if state == Would::End {
        let name = signals::name(plan.signal);
        return Err(failed(format!("process {pid} has no handler for {name} (yet), which would end it")));
    }
    peer.signal(plan.signal).map_err(|error| failed(format!("process {pid}: {}", reason(&error))))
}

fn find(plan: &NeighbourPlan, own: Own) -> Result<Peer, String> {
    let pid = match (&plan.pid_file, &plan.exe) {
        (Some(file), _) => read(file)?,
        (None, Some(exe)) => only(exe, own)?,
        (None, None) => return Err("it names nobody".to_owned()),
    };
    let opened = Peer::open(pid);
    let peer = opened.map_err(|error| match (error.raw_os_error(), &plan.pid_file) {
        (Some(libc::ESRCH), Some(file)) => format!("there is no process {pid}, which `{}` names", file.display()),
        _ => format!("process {pid}: {}", reason(&error)),
    })?;
    if own.has(pid) {
        return Err(format!("process {pid} is proem itself"));
    }
    // PID 1 is the neighbour's main where its PID namespace was joined; else it is what runs our own container.
    if pid == 1 && peer::is_housemate(pid) != Some(false) {
        return Err("process 1 is this container's own: the PID namespace is not shared with the neighbour".to_owned());
    }
    // Looked at again: the handle is of whoever has the number now.
    if let Some(exe) = &plan.exe {
        let runs = peer::program(pid).map_err(|error| format!("process {pid}: {}", reason(&error)))?;
        if runs != *exe {
            return Err(format!("process {pid} runs `{}`, not `{}`", runs.display(), exe.display()));
        }
    }
    Ok(peer)
}

/// The number in a pid file.
fn read(path: &Path) -> Result<i32, String> {
    let mut text = String::new();
    // Without waiting: a FIFO in its place would hold this thread for ever.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    // A number has ten digits at most; some programs pad it.
    let read = file.and_then(|file| file.take(64).read_to_string(&mut text));
    read.map_err(|error| format!("`{}`: {}", path.display(), reason(&error)))?;
    let digits = text.trim();
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let pid = number.and_then(|digits| digits.parse().ok()).filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("`{}` does not hold the number of a process", path.display()))
}

/// The one topmost process of a program.
fn only(exe: &Path, own: Own) -> Result<i32, String> {
    let (mut pids, hidden) = peer::topmost(exe).map_err(|error| format!("/proc: {}", reason(&error)))?;
    pids.retain(|pid| !own.has(*pid));
    match (pids.as_slice(), hidden) {
        ([pid], _) => Ok(*pid),
        ([], 0) => Err("no process runs it".to_owned()),
        ([], _) => Err("no process runs it (another user's are only seen with `CAP_SYS_PTRACE`)".to_owned()),
        (many, _) => {
            let listed: Vec<String> = many.iter().take(LISTED).map(i32::to_string).collect();
            let more = if many.len() > LISTED { ", …" } else { "" };
            Err(format!("{} topmost processes run it: {}{more}", many.len(), listed.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_holds_one_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for (content, wanted) in [
            ("7\n", Some(7)),
            ("  12  \n", Some(12)),
            ("1", Some(1)),
            ("0\n", None),
            ("-7\n", None),
            ("+7\n", None),
            ("7 8\n", None),
            ("7\n8\n", None),
            ("", None),
            ("99999999999\n", None),
            ("nginx\n", None),
            ("\u{0}7", None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).ok(), wanted, "{content:?}");
        }
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&dir.path().join("fifo")).is_err());
        assert!(read(dir.path()).is_err());
    }

    #[test]
    fn proem_itself_is_never_signalled() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        std::fs::write(&file, pid.to_string()).unwrap();
        let exe = std::env::current_exe().unwrap();
        for own in [Own { pid, init: None }, Own { pid: i32::MAX, init: Some(pid) }] {
            for (pid_file, exe) in [(Some(file.clone()), None), (None, Some(exe.clone()))] {
                let plan = NeighbourPlan { signal: libc::SIGURG, pid_file, exe };
                tell(&plan, own).unwrap_err();
            }
        }
    }
}
