//! fork and exec, by hand: only async-signal-safe calls between the two.

use super::{CommandPlan, Ending};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

/// As of `execvp(3)` where PATH is not set, and the directories that official images install to.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A forked child that executes, or has executed, a command.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    /// Reads an errno when the exec failed, end of file when it succeeded.
    failure: File,
    /// Its exit was seen; it is not reaped yet, so its number is still its own.
    pub(super) ended: bool,
    /// Its output is still open.
    pub(super) listening: bool,
}

/// How a child ended.
#[derive(Debug)]
pub(super) enum Ended {
    Exited(i32),
    Signaled(i32),
    /// The exec failed, or its status is lost (SIGCHLD ignored, a second reaper): never taken for a success.
    Failed(io::Error),
}

/// Everything that the child needs, made before the fork: nothing may be allocated after it.
struct Prepared {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    dir: Option<CString>,
    data_limit: Option<u64>,
    ending: Ending,
}

/// Forks, tells the group, lets the child execute. The file reads its output, without blocking.
pub(super) fn start(plan: &CommandPlan, on_group: &mut dyn FnMut(i32)) -> io::Result<(Child, File)> {
    let prepared = Prepared::new(plan)?;
    let pointers = |items: &[CString]| -> Vec<*const libc::c_char> {
        items.iter().map(|item| item.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&prepared.argv), pointers(&prepared.env));
    let null = File::open("/dev/null").ok().map(|null| high(null.into())).transpose()?;
    let (gate_read, gate_write) = pipe()?;
    let (failure_read, failure_write) = pipe()?;
    let (output_read, output_write) = pipe()?;
    let fds = Fds {
        null: null.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        gate: gate_read.as_raw_fd(),
        gate_write: gate_write.as_raw_fd(),
        failure: failure_write.as_raw_fd(),
        output: output_write.as_raw_fd(),
    };

    let mask = block_all();
    // SAFETY: the child calls only async-signal-safe functions on memory prepared above, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the forked child; the arrays are NULL-terminated and live, their strings too.
        unsafe { run(&prepared, &argv, &env, &fds) }
    }
    let forked = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    set_mask(mask);
    forked?;

    // In both, so that the group exists whoever is first. Already executed or gone: the child did it.
    // SAFETY: plain system call on numbers.
    unsafe { libc::setpgid(pid, pid) };
    on_group(pid);
    drop((gate_read, failure_write, output_write));
    // A child that is gone already is reaped like any other.
    let _ = File::from(gate_write).write_all(&[1]);
    let output = File::from(output_read);
    // SAFETY: fcntl on a descriptor that is open; it becomes non-blocking, which only this process's end is.
    unsafe { libc::fcntl(output.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let failure = File::from(failure_read);
    Ok((Child { pid, failure, ended: false, listening: true }, output))
}

/// A pipe, close-on-exec.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    Ok((high(read.into())?, high(write.into())?))
}

/// Not one of 0, 1, 2, which are free when proem was started without them: the child's own would overwrite it.
fn high(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: fcntl on a descriptor that is open.
    let raised = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    if raised < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us; it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(raised) })
}

impl Prepared {
    fn new(plan: &CommandPlan) -> io::Result<Prepared> {
        let no_nul = |_| io::Error::from_raw_os_error(libc::EINVAL);
        let Some(program) = plan.argv.first().filter(|program| !program.is_empty()) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        let argv: Result<Vec<_>, _> = plan.argv.iter().map(|item| CString::new(item.as_str())).collect();
        let replaced =
            |name: &OsStr| plan.env.iter().any(|(n, _)| n == name) || plan.env_remove.iter().any(|n| n == name);
        let inherited = std::env::vars_os().filter(|(name, _)| !replaced(name));
        let vars: Vec<(OsString, OsString)> = inherited.chain(plan.env.iter().cloned()).collect();
        let path = vars.iter().find(|(name, _)| name == "PATH").map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
        let candidates: Result<Vec<_>, _> = if program.contains('/') {
            CString::new(program.as_str()).map(|program| vec![program])
        } else {
            std::env::split_paths(path).map(|dir| CString::new(dir.join(program).into_os_string().into_vec())).collect()
        };
        let env: Result<Vec<_>, _> =
            vars.iter().map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())).collect();
        let dir = plan.dir.as_ref().map(|dir| CString::new(dir.as_os_str().as_bytes())).transpose();
        Ok(Prepared {
            candidates: candidates.map_err(no_nul)?,
            argv: argv.map_err(no_nul)?,
            env: env.map_err(no_nul)?,
            dir: dir.map_err(no_nul)?,
            data_limit: plan.data_limit,
            ending: plan.ending,
        })
    }
}

struct Fds {
    null: i32,
    gate: i32,
    gate_write: i32,
    failure: i32,
    output: i32,
}

/// The child's life until exec.
///
/// # Safety
/// Only in a forked child; `argv` and `env` are NULL-terminated arrays of C strings.
unsafe fn run(prepared: &Prepared, argv: &[*const libc::c_char], env: &[*const libc::c_char], fds: &Fds) -> ! {
    // SAFETY: system calls on descriptors that are open and on memory that outlives them; errno is this thread's own.
    unsafe {
        libc::setpgid(0, 0);
        default_dispositions();
        // Its own copy would keep the gate from ever reading as closed.
        libc::close(fds.gate_write);
        if prepared.ending == Ending::Kill {
            // Before the gate: a death that came earlier closed it.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        let mut byte = 0u8;
        if libc::read(fds.gate, ptr::from_mut(&mut byte).cast(), 1) != 1 {
            // The worker died before init knew of this group.
            libc::_exit(127);
        }
        if fds.null >= 0 {
            libc::dup2(fds.null, 0);
        } else {
            // No /dev at all: a closed stdin reads as an error, not as somebody else's input.
            libc::close(0);
        }
        let prepared_stdio = libc::dup2(fds.output, 1) >= 0 && libc::dup2(fds.output, 2) >= 0;
        if let Some(bytes) = prepared.data_limit {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_DATA, &raw mut limit);
            limit.rlim_cur = bytes.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_DATA, &raw const limit);
        }
        // Ours are close-on-exec already; this is for what others left open (Linux 5.11; else nothing happens).
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let in_dir = prepared.dir.as_ref().is_none_or(|dir| libc::chdir(dir.as_ptr()) == 0);
        if prepared_stdio && in_dir {
            set_mask(0);
            execute(prepared, argv, env);
        }
        let errno = *libc::__errno_location();
        libc::write(fds.failure, ptr::from_ref(&errno).cast(), size_of::<i32>());
        libc::_exit(127)
    }
}

/// Tries each candidate as execvp(3) does: what is not there is passed by, what may not be executed is remembered.
///
/// # Safety
/// As of [`run`].
unsafe fn execute(prepared: &Prepared, argv: &[*const libc::c_char], env: &[*const libc::c_char]) {
    let mut denied = false;
    for candidate in &prepared.candidates {
        // SAFETY: all three are NULL-terminated and live; errno is this thread's own.
        let errno = unsafe {
            libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr());
            *libc::__errno_location()
        };
        match errno {
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ENOTDIR => {}
            // It was found, and cannot be executed: errno says why.
            _ => return,
        }
    }
    let errno = if denied { libc::EACCES } else { libc::ENOENT };
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = errno };
}

/// All 64 signals to their defaults. By the system call: libc's refuses the two that it keeps for itself.
///
/// # Safety
/// Only in a forked child.
unsafe fn default_dispositions() {
    // The kernel's sigaction differs between architectures; all zero is "default" in each.
    let zero = [0u64; 16];
    for signal in 1..=64 {
        // SAFETY: the kernel reads less than these 128 bytes; KILL and STOP are refused, which is right.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, zero.as_ptr(), ptr::null_mut::<u64>(), 8usize) };
    }
}

/// Blocks every signal in this thread: none of our handlers may run in the forked child. Returns the former mask.
fn block_all() -> u64 {
    let (all, mut former) = (u64::MAX, 0u64);
    // SAFETY: the kernel's sigset is 8 bytes; both are live. By the system call, because libc's leaves two out.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, &raw mut former, 8usize) };
    former
}

/// Sets this thread's mask; async-signal-safe.
fn set_mask(mask: u64) {
    // SAFETY: as in `block_all`.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, ptr::null_mut::<u64>(), 8usize)
    };
}

impl Child {
    /// A descriptor that reads when it has ended; `None` where the kernel has none.
    pub(super) fn pidfd(&self) -> Option<OwnedFd> {
        // SAFETY: plain system call on numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the kernel just gave it to us; it is nobody else's. It is close-on-exec by itself.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Whether it has ended; it stays a zombie, so that its group's number cannot become another's.
    pub(super) fn has_ended(&mut self) -> bool {
        // SAFETY: all zero is a valid siginfo_t; waitid fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` is live; a pid is never negative.
        let waited = unsafe { libc::waitid(libc::P_PID, self.pid.unsigned_abs(), &raw mut info, flags) };
        // SAFETY: waitid filled it, or left it zero when the child still runs. ECHILD: somebody else reaped it.
        self.ended = waited != 0 || unsafe { info.si_pid() } != 0;
        self.ended
    }

    /// Signals all of its group; none left is not an error.
    pub(super) fn signal_group(&self, signal: i32) {
        // SAFETY: plain system call on numbers; the group is the child's own, which is not reaped yet.
        unsafe { libc::kill(-self.pid, signal) };
    }

    /// Takes its status. One that cannot be killed is left to init.
    pub(super) fn reap(mut self) -> Ended {
        let mut status = 0;
        // SAFETY: `status` is live.
        if unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } != self.pid {
            return Ended::Failed(io::Error::from_raw_os_error(libc::ECHILD));
        }
        let mut errno = [0; size_of::<i32>()];
        // All writers are gone: exec closed them, or the exit did.
        if self.failure.read_exact(&mut errno).is_ok() {
            return Ended::Failed(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)));
        }
        // Raw: nix refuses to decode a death by a real-time signal.
        if libc::WIFSIGNALED(status) {
            Ended::Signaled(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }
}
