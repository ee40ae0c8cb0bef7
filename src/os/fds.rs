//! Descriptors: which ones proem keeps, and closing all others where the kernel or a sandbox lacks `close_range`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Without /proc and `close_range`, descriptors are closed one by one; a limit of 10⁹ open files (Docker's old default)
/// would take two minutes.
const BRUTE_FORCE: RawFd = 65_536;

/// Makes sure that descriptors 0, 1 and 2 are taken, so that nothing that proem opens becomes somebody's stdout.
///
/// A closed one is taken by an `O_PATH` descriptor of `/`: reading and writing it fail with EBADF, as they would
/// have, and it is closed on exec, so that a child finds it closed, as proem did. Needs no /dev/null.
pub fn occupy_stdio() {
    let mut fds = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three live pollfds; a timeout of 0 returns at once.
    if unsafe { libc::poll(fds.as_mut_ptr(), 3, 0) } <= 0 {
        return;
    }
    for fd in fds {
        if fd.revents & libc::POLLNVAL != 0 {
            // The lowest free descriptor is taken, and all below this one are taken.
            // SAFETY: a NUL-terminated path.
            unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
        }
    }
}

/// Puts /dev/null over standard input; without one, standard input is closed for reading by [`occupy_stdio`]'s means.
pub fn null_stdin() {
    // SAFETY: NUL-terminated paths; the result is checked, duplicated over 0 and closed here.
    unsafe {
        let mut fd = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd < 0 {
            fd = libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        }
        if fd > 0 {
            libc::dup2(fd, 0);
            libc::close(fd);
        }
    }
}

/// Closes every descriptor from 3 up, but for `keep` (any order).
pub fn close_from_3(keep: &[RawFd]) {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= 3).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = 3;
    for fd in keep {
        if fd > from {
            close_range(from, Some(fd - 1));
        }
        from = fd + 1;
    }
    close_range(from, None);
}

/// Closes `from..=to`; `None`: to the last.
fn close_range(from: RawFd, to: Option<RawFd>) {
    let (first, last) = (from.unsigned_abs(), to.map_or(u32::MAX, i32::unsigned_abs));
    // SAFETY: whoever calls owns no `OwnedFd` in this range.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) } == 0 {
        return;
    }
    // Older kernels, and sandboxes that refuse it.
    for fd in all_fds(from).into_iter().filter(|fd| *fd >= from && to.is_none_or(|to| *fd <= to)) {
        // SAFETY: as above; closing a descriptor that is not open does nothing.
        unsafe { libc::close(fd) };
    }
}

/// Descriptors that may be open, all that are among them.
fn all_fds(from: RawFd) -> Vec<RawFd> {
    open_fds().unwrap_or_else(|_| (from..limit()).collect())
}

/// Every open descriptor from 3 up.
pub fn open_from_3() -> Vec<RawFd> {
    all_fds(3).into_iter().filter(|fd| *fd >= 3 && is_open(*fd)).collect()
}

fn open_fds() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn limit() -> RawFd {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live rlimit that the call fills.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    RawFd::try_from(limit.rlim_cur).unwrap_or(BRUTE_FORCE).min(BRUTE_FORCE)
}

/// Whether this descriptor is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks for a flag of a descriptor; on one that is not open it fails with EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Whether this descriptor is closed on exec.
pub fn is_cloexec(fd: RawFd) -> bool {
    // SAFETY: asks for a flag of a descriptor; on one that is not open it fails with EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC != 0 }
}

/// Marks a descriptor to be closed on exec, or not.
/// Async-signal-safe.
pub fn set_cloexec(fd: RawFd, on: bool) {
    // SAFETY: changes a flag of a descriptor; on one that is not open it fails with EBADF.
    unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) };
}

/// Puts `ours` in the place of `number`, open after exec. Async-signal-safe.
pub fn become_fd(ours: RawFd, number: RawFd) {
    if ours == number {
        return set_cloexec(ours, false);
    }
    // SAFETY: takes plain numbers; what `number` was is a child's, which is about to exec.
    unsafe { libc::dup2(ours, number) };
}

/// A connected pair of stream sockets, both closed on exec; the first never blocks.
pub fn link_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open and nobody else's.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    // SAFETY: changes a flag of an open description that is ours.
    if unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((ours, theirs))
}
