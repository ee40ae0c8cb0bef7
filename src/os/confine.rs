//! What a process may use and become: resource limits, the capability bounding set, `no_new_privs`, and the signal that
//! tells of a parent's death. Names as users write them; and the system calls, which are async-signal-safe.

use serde::{Deserialize, Serialize};
use std::ptr;

/// A resource limit (`getrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The kernel's number, `RLIMIT_…`.
    pub resource: u32,
    /// What counts; [`UNLIMITED`] is none.
    pub soft: u64,
    /// Up to where the process itself may raise it.
    pub hard: u64,
}

/// `RLIM_INFINITY` as the kernel has it.
pub const UNLIMITED: u64 = u64::MAX;

/// What a process may use and become; nothing is changed by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Set in this order.
    pub limits: Vec<Limit>,
    /// All that it may ever have: bit n is capability n. The bounding set loses all others, the ambient set is cleared.
    pub capabilities: Option<u64>,
    /// Neither setuid programs nor file capabilities give it anything (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
}

/// Resource names: those of `docker --ulimit` and limits.conf(5), and whether they count bytes.
#[rustfmt::skip]
const RESOURCES: [(&str, u32, bool); 16] = [
    ("as", number(libc::RLIMIT_AS), true), ("core", number(libc::RLIMIT_CORE), true),
    ("cpu", number(libc::RLIMIT_CPU), false), ("data", number(libc::RLIMIT_DATA), true),
    ("fsize", number(libc::RLIMIT_FSIZE), true), ("locks", number(libc::RLIMIT_LOCKS), false),
    ("memlock", number(libc::RLIMIT_MEMLOCK), true), ("msgqueue", number(libc::RLIMIT_MSGQUEUE), true),
    ("nice", number(libc::RLIMIT_NICE), false), ("nofile", number(libc::RLIMIT_NOFILE), false),
    ("nproc", number(libc::RLIMIT_NPROC), false), ("rss", number(libc::RLIMIT_RSS), true),
    ("rtprio", number(libc::RLIMIT_RTPRIO), false), ("rttime", number(libc::RLIMIT_RTTIME), false),
    ("sigpending", number(libc::RLIMIT_SIGPENDING), false), ("stack", number(libc::RLIMIT_STACK), true),
];

/// The C libraries disagree on the type: an unsigned enum in glibc, `int` in musl.
#[cfg(target_env = "gnu")]
const fn number(resource: libc::__rlimit_resource_t) -> u32 {
    resource
}
#[cfg(not(target_env = "gnu"))]
const fn number(resource: libc::c_int) -> u32 {
    resource.unsigned_abs()
}

/// Capability names by their number, as in `linux/capability.h`; libc has no constants for them.
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of all limits.
pub fn resource_names() -> Vec<&'static str> {
    RESOURCES.iter().map(|(name, ..)| *name).collect()
}

/// A limit's number, and whether it counts bytes.
pub fn resource(name: &str) -> Option<(u32, bool)> {
    RESOURCES.iter().find(|(known, ..)| *known == name).map(|(_, number, bytes)| (*number, *bytes))
}

/// The name of a limit's number.
pub fn resource_name(number: u32) -> &'static str {
    RESOURCES.iter().find(|(_, known, _)| *known == number).map_or("?", |(name, ..)| name)
}

/// The names of all capabilities, without `CAP_`.
pub fn capability_names() -> &'static [&'static str] {
    &CAPABILITIES
}

/// The bit of a capability written as `NET_BIND_SERVICE`, `CAP_NET_BIND_SERVICE`, in any case.
pub fn capability(name: &str) -> Option<u64> {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    CAPABILITIES.iter().position(|known| *known == name).map(|number| 1 << number)
}

impl Limit {
    /// Sets it for this process; the error is an errno. Raising the hard limit needs `CAP_SYS_RESOURCE`.
    pub fn set(&self) -> Result<(), i32> {
        set_limit(self.resource, [self.soft, self.hard])
    }
}

impl Confinement {
    /// The part that needs privileges and comes before a change of user, but for the limits.
    pub fn bound_capabilities(&self) -> Result<(), i32> {
        self.capabilities.map_or(Ok(()), keep_capabilities)
    }

    /// The part that comes last: after it, nothing can be gained any more.
    pub fn seal(&self) -> Result<(), i32> {
        if self.no_new_privs { gain_nothing() } else { Ok(()) }
    }
}

fn set_limit(resource: u32, pair: [u64; 2]) -> Result<(), i32> {
    // SAFETY: two live 64-bit numbers, which is the kernel's `rlimit64`; 0 is the own process; no old value is asked for.
    // Raw, because libc's type of a resource differs between C libraries.
    outcome(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, pair.as_ptr(), ptr::null_mut::<u64>()) })
}

fn gain_nothing() -> Result<(), i32> {
    // SAFETY: takes plain numbers.
    outcome(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// Drops every capability that is not in `keep` from the bounding set, clears the ambient set and takes the dropped ones
/// out of the inheritable one. The permitted set stays until exec: the change of user still needs it.
fn keep_capabilities(keep: u64) -> Result<(), i32> {
    for number in 0..64u32 {
        // SAFETY: takes plain numbers; a capability that this kernel does not know is refused.
        let has = unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_READ, number, 0, 0, 0) };
        if has < 0 {
            break;
        }
        if has == 1 && keep & (1 << number) == 0 {
            // SAFETY: as above.
            outcome(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, number, 0, 0, 0) })?;
        }
    }
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // Kernels before 4.3 have no ambient set to clear.
    // SAFETY: takes plain numbers.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, clear, 0, 0, 0) };
    // `struct __user_cap_header_struct` of version 3 and its two data structs: effective, permitted, inheritable.
    let header = [0x2008_0522_u32, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: a live header and room for the two structs that version 3 fills.
    outcome(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of the set")]
    let halves = [keep as u32, (keep >> 32) as u32];
    for (set, half) in sets.iter_mut().zip(halves) {
        set[2] &= half;
    }
    // SAFETY: as above; the call only reads.
    outcome(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
}

/// The kernel sends this signal to the calling process when its parent ends. The parent as it was when proem started is
/// `parent`: has it ended already, the signal is sent at once, because the kernel does so only for ends to come.
pub fn tell_parents_death(signal: i32, parent: i32) {
    // SAFETY: takes plain numbers.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
    if is_orphan(parent) {
        // SAFETY: signals the own process.
        unsafe { libc::kill(libc::getpid(), signal) };
    }
}

/// Whether whoever forked this process is gone. A parent that ended before proem could look shows by its session: a child
/// is born into its parent's, so one that leads none and whose parent is in another has been given to that parent.
fn is_orphan(parent: i32) -> bool {
    // SAFETY: these calls touch no memory and cannot fail but for a session that is outside of this PID namespace.
    unsafe {
        let now = libc::getppid();
        // 0: the parent is outside of this PID namespace, and nobody is given a child across that border.
        if now != parent || now == 0 {
            return now != parent;
        }
        let session = libc::getsid(0);
        let others = libc::getsid(now);
        session > 0 && session != libc::getpid() && others >= 0 && others != session
    }
}

fn outcome(result: libc::c_long) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_their_prefix() {
        assert_eq!(capability("net_bind_service"), Some(1 << 10));
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(capability("CHOWN"), Some(1));
        assert_eq!(capability("ALL"), None);
        assert_eq!(resource("nofile").map(|(number, bytes)| (resource_name(number), bytes)), Some(("nofile", false)));
        assert_eq!(resource("core").map(|(number, bytes)| (resource_name(number), bytes)), Some(("core", true)));
        assert_eq!(resource("files"), None);
    }
}
