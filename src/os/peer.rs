//! Processes that are not our children, seen through /proc and held by a pidfd: what is decided about one is done to that
//! one, or to none.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A process that somebody else started.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    /// `None`: the kernel or a sandbox has no pidfd; then there is a moment between looking and signalling.
    handle: Option<OwnedFd>,
}

impl Peer {
    /// The process of this number. What is learnt of it afterwards is of the process that [`Peer::signal`] reaches: another
    /// one gets the number only when this one has ended, and then nothing is signalled.
    ///
    /// Errors: `ESRCH` where there is no such process (a thread's number is none).
    pub fn open(pid: i32) -> io::Result<Peer> {
        // SAFETY: two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) {
            // SAFETY: a new descriptor that nobody else has; the kernel made it close-on-exec.
            return Ok(Peer { pid, handle: Some(unsafe { OwnedFd::from_raw_fd(fd) }) });
        }
        match io::Error::last_os_error().raw_os_error() {
            // Before Linux 5.3, or a sandbox that does not know the call.
            Some(libc::ENOSYS | libc::EPERM) => send(pid, 0).map(|()| Peer { pid, handle: None }),
            // What the number of a thread is answered with, by older and newer kernels, is the same to us.
            None | Some(libc::EINVAL | libc::ENOENT) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            Some(error) => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal. `ESRCH`: it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let Some(handle) = &self.handle else { return send(self.pid, signal) };
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a live descriptor; no siginfo is passed.
        if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, none, 0) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // A sandbox that knows one call and not the other; kill(2) says the same again where it is the kernel's answer.
        if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            return send(self.pid, signal);
        }
        Err(error)
    }
}

fn send(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers; the number is one process's, never a group's.
    if pid > 0 && unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program that a process runs: the path as it stands in the process's own mount namespace, also when the file was
/// removed or replaced since (proc(5), /proc/PID/exe).
///
/// Errors: `EACCES` for another user's process, `ENOENT` for kernel threads and what has ended.
pub fn program(pid: i32) -> io::Result<PathBuf> {
    let link = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let bytes = link.as_os_str().as_bytes();
    Ok(match bytes.strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => link,
    })
}

/// A process's parent; 0 where it is outside of this PID namespace, `None` where there is no such process.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may itself hold spaces, parentheses and anything else; then state and parent.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    std::str::from_utf8(stat.get(after..)?).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// The topmost processes of a program: those whose parent does not run it. (The master of nginx or php-fpm, not its
/// workers.) And how many processes could not be looked at.
pub fn topmost(wanted: &Path) -> io::Result<(Vec<i32>, usize)> {
    let (mut running, mut hidden) = (Vec::new(), 0);
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        match program(pid) {
            Ok(path) if path == wanted => running.push(pid),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            _ => {}
        }
    }
    running.sort_unstable();
    let tops = running.iter().copied().filter(|pid| parent(*pid).is_some_and(|parent| !running.contains(&parent)));
    Ok((tops.collect(), hidden))
}

/// Whether a process sees the same mounts as we do: whether it is in our own container, although the PID namespace may be
/// shared with others. `None` where that cannot be seen.
pub fn is_housemate(pid: i32) -> Option<bool> {
    let own = std::fs::read_link("/proc/self/ns/mnt").ok()?;
    Some(std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()? == own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_process_that_has_ended_is_not_signalled() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let peer = Peer::open(pid).unwrap();
        assert_eq!((peer.pid(), parent(pid)), (pid, Some(own())));
        peer.signal(libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(peer.signal(libc::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert_eq!(Peer::open(i32::MAX).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_thread_is_no_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: cannot fail and touches no memory.
            tell.send(unsafe { libc::gettid() }).unwrap();
            let _ = ended.recv();
        });
        let result = Peer::open(told.recv().unwrap());
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ESRCH));
        end.send(()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_program_is_known_by_its_path_also_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("sleeper");
        std::fs::copy("/bin/sleep", &path).unwrap();
        // A test beside this one may be forking with the copy still open for writing: ETXTBSY for a moment.
        let mut child = loop {
            match std::process::Command::new(&path).arg("60").spawn() {
                Ok(child) => break child,
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ETXTBSY), "{error}"),
            }
        };
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(topmost(&path).unwrap().0, [pid]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(program(pid).unwrap(), path);
        assert_eq!(topmost(&path).unwrap().0, [pid]);
        assert_eq!(is_housemate(pid), Some(true));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(topmost(&path).unwrap().0, Vec::<i32>::new());
    }
}
