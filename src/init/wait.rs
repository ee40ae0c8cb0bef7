//! The one place where init sleeps: signals, the link and the nearest timer.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

/// Reads signals as data. All are blocked, so none can interrupt or end init, and none is lost: standard ones are kept
/// once each, real-time ones are queued.
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// One signal.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// 1..=64.
    pub number: i32,
    /// Who sent it, 0 for the kernel.
    pub pid: i32,
}

impl Signals {
    /// Raw, because libc's functions leave signals 32 and 33 out.
    pub fn new() -> io::Result<Signals> {
        let mask = u64::MAX;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the mask is a live 8-byte set, which is the size that is passed.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, 8usize, flags) };
        let fd = RawFd::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, nobody else's.
        Ok(Signals(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// What has arrived, at most `N`; fewer than `N` means that no more is there.
    pub fn read<const N: usize>(&self) -> ([Arrived; N], usize) {
        let mut arrived = [Arrived { number: 0, pid: 0 }; N];
        // SAFETY: plain numbers; all-zero is a valid value.
        let mut infos: [libc::signalfd_siginfo; N] = unsafe { mem::zeroed() };
        // SAFETY: the buffer is live and as long as said; the kernel writes whole entries.
        let got = unsafe { libc::read(self.0.as_raw_fd(), infos.as_mut_ptr().cast(), mem::size_of_val(&infos)) };
        let count = usize::try_from(got).unwrap_or(0) / mem::size_of::<libc::signalfd_siginfo>();
        for (to, info) in arrived.iter_mut().zip(&infos[..count]) {
            *to = Arrived {
                number: i32::try_from(info.ssi_signo).unwrap_or(0),
                pid: i32::try_from(info.ssi_pid).unwrap_or(0),
            };
        }
        (arrived, count)
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What woke init up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ready {
    /// There are signals.
    pub signals: bool,
    /// The link has data or is at its end.
    pub link: bool,
    /// Which of the others have data or are at their end; bit by bit.
    pub others: u64,
}

/// As many other descriptors are waited for; as many as there are processes.
pub const MAX_OTHERS: usize = 64;

/// Sleeps until something happens or the deadline has come. Without a deadline there is no timer: no wakeup while idle.
pub fn wait(
    signals: &Signals,
    link: Option<RawFd>,
    others: impl Iterator<Item = RawFd>,
    deadline: Option<Instant>,
) -> Ready {
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 2 + MAX_OTHERS];
    let mut count: libc::nfds_t = 0;
    for (slot, fd) in fds.iter_mut().zip([signals.as_raw_fd(), link.unwrap_or(-1)].into_iter().chain(others)) {
        slot.fd = fd;
        count += 1;
    }
    let timeout = deadline.map(|at| {
        // Rounded up: waking a moment too early would mean a round for nothing.
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
        // SAFETY: plain numbers; all-zero is a valid value.
        let mut spec: libc::timespec = unsafe { mem::zeroed() };
        spec.tv_sec = left.as_secs().try_into().unwrap_or(libc::time_t::MAX);
        spec.tv_nsec = left.subsec_nanos().into();
        spec
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: no more pollfds than are live (a negative descriptor is skipped), a live timespec or null, and no mask.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, timeout, ptr::null()) };
    if ready <= 0 {
        return Ready::default();
    }
    let others = fds[2..].iter().enumerate().fold(0, |set, (bit, fd)| set | u64::from(fd.revents != 0) << bit);
    Ready { signals: fds[0].revents != 0, link: fds[1].revents != 0, others }
}

/// Reaps one child: its pid and raw status. `Err(true)`: none has ended, but some run; `Err(false)`: there is none.
pub fn reap() -> Result<(i32, i32), bool> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is live; no rusage is asked for.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, ptr::null_mut()) };
        match pid {
            0 => return Err(true),
            pid if pid > 0 => return Ok((pid, status)),
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            _ => return Err(false),
        }
    }
}
