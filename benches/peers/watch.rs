//! When a target was renamed into place: inotify, stamped on a thread of its own.

use anyhow::{Result, bail};
use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Read};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A file of the folder got new content; or, from a raw reference, its answer was complete.
pub struct Event {
    /// When.
    pub at: Instant,
    /// The file's name.
    pub name: String,
}

/// Reports every rename into the folder and every file closed after writing. The thread ends with its receiver.
pub fn folder(path: &Path) -> Result<Receiver<Event>> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a plain syscall.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    if fd < 0 {
        bail!("failed to start inotify: {}", Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let mut queue = unsafe { File::from_raw_fd(fd) };
    // SAFETY: the path is NUL-terminated and outlives the call.
    let added = unsafe { libc::inotify_add_watch(fd, c_path.as_ptr(), libc::IN_MOVED_TO | libc::IN_CLOSE_WRITE) };
    if added < 0 {
        bail!("failed to watch {}: {}", path.display(), Error::last_os_error());
    }
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = queue.read(&mut buffer) {
            let at = Instant::now();
            for name in names(&buffer[..length]) {
                if sender.send(Event { at, name }).is_err() {
                    return;
                }
            }
        }
    });
    Ok(receiver)
}

/// The names in a buffer of `struct inotify_event`: 16 bytes, the last four the length of the NUL-padded name behind.
fn names(mut buffer: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((header, rest)) = buffer.split_first_chunk::<16>() {
        let [.., a, b, c, d] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some((name, rest)) = rest.split_at_checked(length) else { break };
        let end = name.iter().position(|b| *b == 0).unwrap_or(length);
        found.push(String::from_utf8_lossy(&name[..end]).into_owned());
        buffer = rest;
    }
    found
}
