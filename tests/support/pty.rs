//! A terminal with a session of its own, and somebody who types.

use super::wait;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pseudo-terminal.
pub struct Pty {
    master: File,
    slave: OwnedFd,
    output: Arc<Mutex<String>>,
    /// What was waited for already, bytes.
    read: usize,
}

impl Pty {
    /// A new one, without echo: what is read from it was written by a program.
    pub fn open() -> Pty {
        let pair = nix::pty::openpty(None, None).unwrap();
        let mut modes = nix::sys::termios::tcgetattr(&pair.slave).unwrap();
        modes.local_flags.remove(nix::sys::termios::LocalFlags::ECHO);
        nix::sys::termios::tcsetattr(&pair.slave, nix::sys::termios::SetArg::TCSANOW, &modes).unwrap();
        for fd in [&pair.master, &pair.slave] {
            // SAFETY: marks descriptors that are ours as closed on exec: no other test's child keeps them open.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        let master = File::from(pair.master);
        let output = Arc::new(Mutex::new(String::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count) = reader.read(&mut chunk) {
                if count == 0 {
                    return;
                }
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Pty { master, slave: pair.slave, output, read: 0 }
    }

    /// The program's side, for a process that is to have it without owning it.
    pub fn stdio(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Starts a command as the leader of a new session whose controlling terminal this is, in its foreground.
    pub fn lead(&self, command: &mut Command) -> Child {
        command.stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio());
        // SAFETY: system calls only; standard input is the terminal by now.
        unsafe { command.pre_exec(become_leader) };
        command.spawn().unwrap()
    }

    /// Types.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// All that was written to it so far.
    pub fn text(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits for this text after the last that was waited for; returns what was written before it.
    pub fn says(&mut self, limit: Duration, text: &str) -> String {
        let from = self.read;
        let (before, end) = wait::until(
            limit,
            &format!("the terminal says {text:?}"),
            || format!("after {:?}: {:?}", self.text().get(..from), self.text().get(from..)),
            || {
                let all = self.text();
                let at = all.get(from..)?.find(text)?;
                Some((all[from..from + at].to_owned(), from + at + text.len()))
            },
        );
        self.read = end;
        before
    }

    /// The process group in its foreground.
    pub fn foreground(&self) -> i32 {
        // SAFETY: asks the kernel about an open descriptor.
        unsafe { libc::tcgetpgrp(self.master.as_raw_fd()) }
    }
}

/// To be called in a child before it is executed: it leads a new session, and its standard input is that session's
/// terminal. System calls only.
pub fn become_leader() -> std::io::Result<()> {
    // SAFETY: plain numbers; both fail without touching memory.
    if unsafe { libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 } {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
