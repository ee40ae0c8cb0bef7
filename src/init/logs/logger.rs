//! The logger: a process between one process and proem's own output. It reads two pipes to their ends and writes whole
//! lines. Its memory is fixed, and what it has read is in [`Shared`], so that its successor can go on if it is killed.
//!
//! Every signal is blocked in it, as in init: a TERM to all does not end it before what was written is out, a reader that is
//! gone is an error and no death, and a terminal does not stop it.

use super::line::{Writer, cut};
use super::memory::{CAPACITY, Mark, Shared};
use super::output::Output;
use crate::link::Log;
use crate::log::rfc3339;
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is moved from a pipe at once: all that it holds by default (pipe(7)).
const MOVED: usize = 64 << 10;
/// Lines are written when so much of them is there, bytes.
const WRITTEN: usize = 64 << 10;

/// One of the process's streams, seen from the logger.
///
/// What the process wrote is first moved to a pipe that only loggers touch. That is one step for the kernel; and how much
/// of the second pipe was read can be asked for afterwards, by whoever comes after a logger that was killed while reading.
#[derive(Debug, Clone, Copy)]
pub struct Pipes {
    /// The end that the process's pipe is read at.
    pub from: RawFd,
    /// The second pipe, to read and to write.
    pub between: [RawFd; 2],
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Some,
    Nothing,
    End,
}

/// A running logger.
pub struct Logger<'a> {
    pub shared: &'a mut Shared,
    pub pipes: [Pipes; 2],
    /// Readable when the process has ended: what it left unfinished is a line, too.
    pub poke: RawFd,
    pub outputs: [Output; 2],
    pub writer: Writer,
    /// Lines on their way.
    pub lines: Vec<u8>,
    /// Of what is left in each stream, as many bytes hold no newline.
    pub searched: [usize; 2],
}

/// How the number in [`Shared::flag`] says in which way lines are written.
pub fn flag_of(log: Log) -> u32 {
    u32::from(log == Log::Json)
}

impl Logger<'_> {
    /// Until both pipes have ended.
    pub fn run(&mut self) {
        for stream in 0..2 {
            self.recover(stream);
            self.emit(stream, false);
        }
        let mut open = [true; 2];
        while open != [false; 2] {
            let (ready, poked) = self.wait(open);
            for stream in 0..2 {
                while open[stream] && (ready[stream] || poked) {
                    match self.read(stream) {
                        Got::Some => self.emit(stream, false),
                        Got::Nothing => break,
                        Got::End => open[stream] = false,
                    }
                    if !poked {
                        break;
                    }
                }
                if poked || !open[stream] {
                    self.emit(stream, true);
                }
            }
        }
    }

    /// Sleeps until a stream has something to say, or the process has ended.
    fn wait(&self, open: [bool; 2]) -> ([bool; 2], bool) {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let stream = |stream: usize| poll(if open[stream] { self.pipes[stream].from } else { -1 });
        let mut fds = [stream(0), stream(1), poll(self.poke)];
        // A predecessor may have left something in the second pipe.
        let waiting = [0, 1].map(|stream| open[stream] && available(self.pipes[stream].between[0]) > 0);
        let timeout = if waiting == [false; 2] { -1 } else { 0 };
        // SAFETY: three live pollfds; a negative descriptor is skipped.
        unsafe { libc::poll(fds.as_mut_ptr(), 3, timeout) };
        let poked = fds[2].revents != 0;
        if poked {
            let mut count = [0u8; 8];
            // SAFETY: a live buffer of the size that an eventfd wants; it does not block.
            unsafe { libc::read(self.poke, count.as_mut_ptr().cast(), count.len()) };
        }
        ([0, 1].map(|stream| waiting[stream] || fds[stream].revents != 0), poked)
    }

    /// A predecessor was killed while it read: what is missing from the second pipe is in memory.
    fn recover(&mut self, stream: usize) {
        let mark = self.shared.mark(stream);
        let left = available(self.pipes[stream].between[0]);
        let read = mark.expected.saturating_sub(left);
        self.shared.set_mark(stream, Mark { end: mark.end + read, expected: 0, ..mark });
    }

    /// Reads once, without waiting.
    fn read(&mut self, stream: usize) -> Got {
        let Pipes { from, between: [read_end, write_end] } = self.pipes[stream];
        let mark = self.shared.mark(stream);
        let room = CAPACITY - mark.end.min(CAPACITY);
        let mut source = (read_end, available(read_end));
        if source.1 == 0 {
            match splice(from, write_end) {
                Ok(0) => return Got::End,
                Ok(count) => source.1 = count,
                Err(libc::EAGAIN | libc::EINTR) => return Got::Nothing,
                // A sandbox without splice(2): read it directly. Then a kill may cost what is read in that moment.
                Err(_) if readable(from) => source = (from, MOVED),
                Err(_) => return Got::Nothing,
            }
        }
        let direct = source.0 == from;
        let most = source.1.min(room);
        let expected = if direct { 0 } else { most };
        self.shared.set_mark(stream, Mark { expected, ..mark });
        let Some(to) = self.shared.half(stream, mark.half).get_mut(mark.end..mark.end + most) else {
            return Got::Nothing;
        };
        // SAFETY: the buffer is live and as long as said.
        let got = unsafe { libc::read(source.0, to.as_mut_ptr().cast(), most) };
        let got = usize::try_from(got).unwrap_or(0);
        self.shared.set_mark(stream, Mark { end: mark.end + got, expected: 0, ..mark });
        if got > 0 {
            Got::Some
        } else if direct {
            Got::End
        } else {
            Got::Nothing
        }
    }

    /// Writes the lines that are there; `all`: what has not ended, too.
    fn emit(&mut self, stream: usize, all: bool) {
        let log =
            if self.shared.flag().load(Ordering::Relaxed) == flag_of(Log::Json) { Log::Json } else { Log::Prefix };
        // One time for what was read at once.
        let time = match log {
            Log::Json => rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            _ => String::new(),
        };
        loop {
            let mark = self.shared.mark(stream);
            let Some(bytes) = self.shared.half(stream, mark.half).get(mark.start..mark.end) else { return };
            let mut at = 0;
            self.lines.clear();
            while self.lines.len() < WRITTEN {
                let searched = std::mem::take(&mut self.searched[stream]);
                let rest = &bytes[at..];
                let (length, taken) = match cut(rest, searched) {
                    Some(cut) => (cut.length, cut.taken),
                    None if all && !rest.is_empty() => (rest.len(), rest.len()),
                    None => {
                        self.searched[stream] = rest.len();
                        break;
                    }
                };
                self.writer.line(&mut self.lines, log, stream, time.as_bytes(), &rest[..length]);
                at += taken;
            }
            if at == 0 {
                break;
            }
            self.outputs[stream].write(&self.lines);
            self.shared.set_mark(stream, Mark { start: mark.start + at, ..mark });
        }
        // One long line of control characters is six times as long in JSON.
        if self.lines.capacity() > 2 * WRITTEN {
            self.lines = Vec::with_capacity(WRITTEN);
        }
        self.shared.compact(stream);
    }
}

/// As many bytes wait in a pipe.
fn available(fd: RawFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: a live number that the call fills.
    let failed = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) } != 0;
    if failed { 0 } else { usize::try_from(count).unwrap_or(0) }
}

/// Moves what one pipe holds to another, without waiting; 0 is the end.
fn splice(from: RawFd, to: RawFd) -> Result<usize, i32> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: takes plain numbers; pipes have no offsets.
    let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), MOVED, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn readable(fd: RawFd) -> bool {
    let mut fd = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd; a timeout of 0 returns at once.
    unsafe { libc::poll(&raw mut fd, 1, 0) > 0 }
}
