//! The few small threads of the worker: none of them takes a signal, and none has more stack than it needs.

use std::io;
use std::thread::JoinHandle;

/// Enough for an event loop and for a TLS handshake, with room to spare.
#[cfg(feature = "net")]
const STACK: usize = 512 << 10;

/// One heap for all threads, to be said before the first of them: they are few and mostly asleep, and glibc would give
/// each an arena of its own, which costs four system calls and memory that no other thread uses.
pub fn share_the_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes plain numbers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Runs `start` with every signal blocked: the threads that it starts inherit that, so that signals reach the worker's
/// loop only.
pub(super) fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are live for the calls; pthread_sigmask(3) writes the whole of `old` before it is read back, and
    // fails only for an unknown `how`.
    let blocked = unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) == 0
    };
    let result = start();
    if blocked {
        // SAFETY: `old` was written by the call that succeeded.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    }
    result
}

/// Starts a thread of ours.
#[cfg(feature = "net")]
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    without_signals(|| std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run))
}

/// Whether a thread can be started at all (the container's limit of pids may be reached): for libraries that panic then.
pub(super) fn can_start() -> bool {
    let start: fn() -> io::Result<JoinHandle<()>> = || std::thread::Builder::new().stack_size(16 << 10).spawn(|| ());
    without_signals(start).is_ok_and(|thread| thread.join().is_ok())
}
