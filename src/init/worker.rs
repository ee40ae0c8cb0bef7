//! Forking the worker, and init's end of the link to it.

use super::WorkerMain;
use crate::exit::Exit;
use crate::link::{Broken, Inbox, ToInit, ToWorker, encode};
use crate::os::{fds, inherited};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// init's end of the link.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    inbox: Inbox,
}

/// What a read of the link brought.
pub enum Received {
    /// Nothing more is there now.
    Nothing,
    /// A message; there may be more.
    Message(ToInit),
    /// The worker closed its end.
    Closed,
    /// The worker does not keep to the protocol.
    Broken,
}

impl Link {
    pub fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// The next message, without waiting.
    pub fn receive(&mut self) -> Received {
        loop {
            match self.inbox.message() {
                Ok(Some(message)) => return Received::Message(message),
                Ok(None) => {}
                Err(Broken) => return Received::Broken,
            }
            let mut chunk = [0u8; 4096];
            // SAFETY: the buffer is live and as long as said.
            let got = unsafe { libc::recv(self.fd(), chunk.as_mut_ptr().cast(), chunk.len(), libc::MSG_DONTWAIT) };
            match usize::try_from(got) {
                Ok(0) => return Received::Closed,
                Ok(count) => self.inbox.push(&chunk[..count]),
                Err(_) => match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Received::Nothing,
                    _ => return Received::Closed,
                },
            }
        }
    }

    /// Sends without waiting: a worker whose buffer is full of our few, small messages is broken.
    pub fn send(&self, message: &ToWorker) -> Result<(), Broken> {
        let frame = encode(message);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the frame is live and as long as said.
        let sent = unsafe { libc::send(self.fd(), frame.as_ptr().cast(), frame.len(), flags) };
        match usize::try_from(sent) {
            Ok(count) if count == frame.len() => Ok(()),
            // It is gone, or going: the end of the link and its status tell.
            Err(_) if matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Ok(())
            }
            Ok(_) | Err(_) => Err(Broken),
        }
    }
}

/// Forks a worker: its pid and the link to it. Returns in init only.
pub fn fork(main: &mut WorkerMain<'_>) -> io::Result<(i32, Link)> {
    let (ours, theirs) = fds::link_pair()?;
    // SAFETY: init has one thread, so the child is a complete copy of it: no lock is held by a thread that is not there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => be_worker(main, ours, theirs),
        pid => {
            // On both sides, so that it is true for whoever comes first.
            // SAFETY: takes plain numbers.
            unsafe { libc::setpgid(pid, pid) };
            Ok((pid, Link { socket: ours, inbox: Inbox::default() }))
        }
    }
}

fn be_worker(main: &mut WorkerMain<'_>, ours: OwnedFd, theirs: OwnedFd) -> ! {
    // Out of init's group: what a terminal sends to that group is not the worker's.
    // SAFETY: takes plain numbers.
    unsafe { libc::setpgid(0, 0) };
    drop(ours);
    fds::null_stdin();
    fds::close_from_3(&[theirs.as_raw_fd()]);
    inherited::ordinary_signals();
    // At the end TERM goes to everybody; the worker's is the end of the link.
    inherited::ignore(libc::SIGTERM);
    // Where panics unwind (debug builds, tests), one must not unwind into a second init.
    let exit = catch_unwind(AssertUnwindSafe(|| main(theirs))).unwrap_or(Exit::INTERNAL);
    // Nobody reads what cannot be written any more.
    let _ = io::stdout().flush();
    // SAFETY: ends the worker without the exit handlers that init will run in its own time.
    unsafe { libc::_exit(exit.0.into()) }
}
