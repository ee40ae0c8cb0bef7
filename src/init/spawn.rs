//! Starting a process.
//!
//! The child shares init's memory, and init sleeps in the kernel until the child has become its program or has failed
//! (`CLONE_VM | CLONE_VFORK`, as `posix_spawn` does). So the outcome of exec is known when the call returns, without a
//! pipe; there is no window between fork and bookkeeping; and no page table is copied, which is most of what fork costs.
//! A signal that arrives meanwhile waits, blocked, and is read once the program runs.

use super::terminal::Terminal;
use crate::error::Failure;
use crate::exit::Exit;
use crate::os::exec::{Image, Refusal};
use crate::os::inherited::Inherited;
use std::ffi::{c_int, c_void};

/// For the child: its deepest call is execve. Debug builds keep larger frames.
const STACK: usize = 64 << 10;

struct Child<'a, 'b> {
    image: &'a mut Image<'b>,
    terminal: Option<Terminal>,
    session: bool,
    inherited: &'a Inherited,
    /// Set by the child: it did not become its program.
    refusal: Option<Refusal>,
}

/// Starts the program in a process group of its own, with the foreground of `terminal`; or in a `session` of its own,
/// with the terminal itself, where proem can give that away. Its pid, or why not.
pub fn spawn(
    image: &mut Image<'_>,
    terminal: Option<Terminal>,
    session: bool,
    inherited: &Inherited,
) -> Result<i32, Failure> {
    // A session without its terminal would leave a shell without job control.
    let session = session && terminal.is_none_or(Terminal::release);
    let mut child = Child { image, terminal, session, inherited, refusal: None };
    let mut stack: Vec<u8> = Vec::with_capacity(STACK);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack's upper end, aligned down to 16 bytes as the ABIs want it, is inside its allocation; `child`
    // outlives the child's use of it, because this thread sleeps until the child has its own memory or is gone.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(STACK);
        let top = top.sub(top as usize % 16);
        libc::clone(in_child, top.cast(), flags, (&raw mut child).cast())
    };
    if pid < 0 {
        let error = crate::error::reason(&std::io::Error::last_os_error());
        let message = format!("failed to create a process: {error}");
        return Err(crate::error::Complaint::new(message)
            .hint("is the limit of processes reached? (`pids` of the cgroup)")
            .exit(Exit::INTERNAL));
    }
    // Read anew: the compiler cannot know that the child wrote it.
    // SAFETY: `child` is live and the child does not use it any more.
    let refusal = unsafe { (&raw const child.refusal).read_volatile() };
    if let Some(refusal) = refusal {
        let mut status = 0;
        // SAFETY: reaps the child that has just ended by `_exit`.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        return Err(child.image.explain(refusal));
    }
    // On both sides, for emulators that run this as a plain fork.
    // SAFETY: takes plain numbers; after the child's exec, and of the leader of a session, it is refused, and then the
    // child has done it.
    unsafe { libc::setpgid(pid, pid) };
    Ok(pid)
}

/// Async-signal-safe from here on: it runs on memory that is init's.
extern "C" fn in_child(child: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a live `Child`, and sleeps as long as this runs.
    let child = unsafe { &mut *child.cast::<Child<'_, '_>>() };
    if child.session {
        // SAFETY: takes nothing; it fails only for the leader of a group, which a new child is not.
        unsafe { libc::setsid() };
        if let Some(terminal) = child.terminal {
            terminal.acquire();
        }
    } else {
        // SAFETY: plain numbers; of the own process it cannot fail, but for a session leader, which a new child is not.
        unsafe { libc::setpgid(0, 0) };
        if let Some(terminal) = child.terminal {
            // SAFETY: cannot fail and touches no memory.
            terminal.give_to(unsafe { libc::getpid() });
        }
    }
    let inherited = child.inherited;
    let refusal = child.image.become_it(|| inherited.restore_in_child_of_init());
    child.refusal = Some(refusal);
    // SAFETY: ends the child only: no exit handler of init runs.
    unsafe { libc::_exit(Exit::NOT_FOUND.0.into()) }
}
