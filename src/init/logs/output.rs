//! Where a logger writes: proem's own standard output or error.
//!
//! To a pipe whole lines are written in pieces of at most `PIPE_BUF`, which nobody's writes get into (pipe(7)). Longer lines,
//! and all that goes elsewhere, are kept whole among the loggers by a lock, which ends with its holder.

use std::io;
use std::os::fd::RawFd;

/// `PIPE_BUF` of Linux, on every architecture.
const ATOMIC: usize = 4096;

/// One of the two.
#[derive(Debug)]
pub struct Output {
    fd: RawFd,
    is_pipe: bool,
    /// The file that is locked, and which byte of it.
    lock: Option<(RawFd, i64)>,
}

/// Standard output and error. `lock`: a file that all loggers have.
pub fn both(lock: Option<RawFd>) -> [Output; 2] {
    let (output, error) = (stat(1), stat(2));
    let same = matches!((&output, &error), (Some(a), Some(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
    let make = |fd, stat: Option<libc::stat>, byte| Output {
        fd,
        is_pipe: stat.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO),
        lock: lock.map(|lock| (lock, byte)),
    };
    [make(1, output, 0), make(2, error, i64::from(!same))]
}

impl Output {
    /// Writes whole lines, as long as that takes. What nobody takes any more (the reader is gone, the disk is full) is lost:
    /// that is no reason to hold the process up.
    pub fn write(&self, lines: &[u8]) {
        self.set_lock(libc::F_WRLCK);
        let mut rest = lines;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(if self.is_pipe { piece(rest) } else { rest.len() });
            if self.write_all(piece).is_err() {
                break;
            }
            rest = after;
        }
        self.set_lock(libc::F_UNLCK);
    }

    fn write_all(&self, mut bytes: &[u8]) -> Result<(), ()> {
        while !bytes.is_empty() {
            // SAFETY: reads `bytes` only.
            let written = unsafe { libc::write(self.fd, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(written) {
                Ok(count) => bytes = &bytes[count.min(bytes.len())..],
                Err(_) => match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => {}
                    // Somebody who shares it has made it non-blocking.
                    Some(libc::EAGAIN) => {
                        let mut fd = libc::pollfd { fd: self.fd, events: libc::POLLOUT, revents: 0 };
                        // SAFETY: one live pollfd.
                        unsafe { libc::poll(&raw mut fd, 1, -1) };
                    }
                    _ => return Err(()),
                },
            }
        }
        Ok(())
    }

    /// By fcntl(2): it belongs to the process, though the descriptor came from init, and the kernel ends it with the process.
    /// Where locks are refused, long lines may mix.
    fn set_lock(&self, kind: i32) {
        let Some((fd, byte)) = self.lock else { return };
        // SAFETY: plain numbers; all-zero is a valid value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind.try_into().unwrap_or_default();
        lock.l_whence = libc::SEEK_SET.try_into().unwrap_or_default();
        lock.l_start = byte;
        lock.l_len = 1;
        // SAFETY: a live lock that the call reads.
        unsafe { libc::fcntl(fd, libc::F_SETLKW, &raw const lock) };
    }
}

/// As many whole lines as are written at once, or one that is longer.
fn piece(lines: &[u8]) -> usize {
    if lines.len() <= ATOMIC {
        return lines.len();
    }
    match lines[..ATOMIC].iter().rposition(|byte| *byte == b'\n') {
        Some(at) => at + 1,
        None => super::line::find_newline(lines).map_or(lines.len(), |at| at + 1),
    }
}

fn stat(fd: RawFd) -> Option<libc::stat> {
    // SAFETY: all-zero is a valid value for the call to fill.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is live; a closed descriptor is refused.
    (unsafe { libc::fstat(fd, &raw mut stat) } == 0).then_some(stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_that_a_pipe_takes_at_once() {
        assert_eq!(piece(b"a\nb\n"), 4);
        let mut lines = vec![b'x'; 3000];
        lines.push(b'\n');
        lines.extend(vec![b'y'; 3000]);
        lines.push(b'\n');
        assert_eq!(piece(&lines), 3001);
        assert_eq!(piece(&lines[3001..]), 3001);
        let mut long = vec![b'z'; 5000];
        long.extend(b"\nnext\n");
        long.extend(vec![b'\n'; ATOMIC]);
        assert_eq!(piece(&long), 5001);
    }
}
