//! Where an init stands: PID 1 of a namespace of its own, a subreaper, or neither; with a clean signal state, whatever
//! the test harness has.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Where an init stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// PID 1 of a new PID namespace with its own /proc.
    Pid1,
    /// An ordinary process, which may become a subreaper.
    Subreaper,
    /// An ordinary process to which the kernel refuses `PR_SET_CHILD_SUBREAPER`.
    Neither,
}

impl Place {
    /// For test names.
    pub fn name(self) -> &'static str {
        match self {
            Place::Pid1 => "PID 1",
            Place::Subreaper => "subreaper",
            Place::Neither => "neither",
        }
    }
}

/// A command that starts `argv` there: with no signal blocked or ignored, standard input /dev/null, and no descriptor but
/// the standard ones, whatever this process was started with.
pub fn at(place: Place, argv: &[String]) -> Command {
    let mut words: Vec<&str> = Vec::new();
    if place == Place::Pid1 {
        words.push("unshare");
        // SAFETY: cannot fail and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            words.push("--map-root-user");
        }
        words.extend(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    }
    words.extend(argv.iter().map(String::as_str));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        })
    };
    if place == Place::Neither {
        let subreaper = u32::try_from(libc::PR_SET_CHILD_SUBREAPER).unwrap();
        refuse(&mut command, &[Refused { call: libc::SYS_prctl, first: Some(subreaper), errno: libc::EPERM }]);
    }
    command
}

/// Every signal at its default and none blocked; system calls only.
pub fn reset_signals() {
    for signal in 1..=64 {
        set_ignored(signal, false);
    }
    set_mask(0);
}

/// Ignores a signal, or puts it back to its default; a raw call, which libc's 32 and 33 need.
pub fn set_ignored(signal: i32, ignored: bool) {
    let new = [usize::from(ignored), 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: a live, large enough `struct sigaction`: SIG_IGN is 1, SIG_DFL 0.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new.as_ptr(), 0usize, 8usize) };
}

/// Sets the thread's signal mask; signal n is bit n - 1.
pub fn set_mask(mask: u64) {
    // SAFETY: a live 8-byte set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0usize, 8usize) };
}

/// A system call that a sandbox refuses.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Its number.
    pub call: libc::c_long,
    /// Only with this first argument.
    pub first: Option<u32>,
    /// With this error.
    pub errno: i32,
}

/// Installs a seccomp filter in the command before it is executed: its descendants are under it, too.
pub fn refuse(command: &mut Command, refused: &[Refused]) {
    let instruction =
        |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let load = |offset: u32| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value: u32, no: u8| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, value);
    let answer = |value: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let mut filter = Vec::new();
    for Refused { call, first, errno } in refused {
        // `struct seccomp_data`: the number at 0, the first argument (its lower half on little endian) at 16.
        filter.push(load(0));
        filter.push(equal(u32::try_from(*call).unwrap(), if first.is_some() { 3 } else { 1 }));
        if let Some(first) = first {
            filter.push(load(16));
            filter.push(equal(*first, 1));
        }
        filter.push(answer(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()));
    }
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    // SAFETY: system calls only; `filter` lives in the closure, and the kernel copies it.
    unsafe {
        command.pre_exec(move || {
            let program =
                libc::sock_fprog { len: u16::try_from(filter.len()).unwrap_or(0), filter: filter.as_ptr().cast_mut() };
            // Without privileges a filter needs this; with them it would change what is tested.
            if libc::geteuid() != 0 {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            }
            match libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    };
}
