//! Clients of a small server: few at a time, not for long, and none of them can make the worker end.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients that are served at the same time; more are turned away at once.
const MAX_CLIENTS: usize = 16;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection with time-outs.
pub trait Client: Read + Write + Send + 'static {
    /// Of each read.
    fn read_within(&self, time: Duration) -> io::Result<()>;
    /// Of each write.
    fn write_within(&self, time: Duration) -> io::Result<()>;
}

macro_rules! client {
    ($stream:ty) => {
        impl Client for $stream {
            fn read_within(&self, time: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(time))
            }
            fn write_within(&self, time: Duration) -> io::Result<()> {
                self.set_write_timeout(Some(time))
            }
        }
    };
}
client!(std::os::unix::net::UnixStream);
client!(std::net::TcpStream);

/// Serves each client in a thread of its own, for ever; meant to be the body of a thread.
pub fn serve<C: Client>(
    mut accept: impl FnMut() -> io::Result<C>,
    answer: impl Fn(C) -> io::Result<()> + Send + Sync + 'static,
) {
    let clients = Arc::new(AtomicUsize::new(0));
    let answer = Arc::new(answer);
    loop {
        let Ok(client) = accept() else {
            // Out of descriptors, mostly: at once would be again and again.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (served, answer) = (clients.clone(), answer.clone());
        let thread = crate::worker::builder("client").spawn(move || {
            // A client that goes away is its own affair.
            let _ = answer(client);
            served.fetch_sub(1, Ordering::Relaxed);
        });
        if thread.is_err() {
            // The limit of processes is reached: this client is turned away, and nothing else.
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a client says up to `end` or its end, in all within the patience: one that sends a byte a second does not have it
/// renewed by each. More than `most` bytes are an error.
pub fn read_until(client: &mut impl Client, end: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        client.read_within(left(deadline)?)?;
        match client.read(&mut buffer) {
            Ok(0) => return Ok(said),
            Ok(count) => {
                said.extend_from_slice(&buffer[..count]);
                if let Some(at) = said.windows(end.len()).position(|part| part == end) {
                    said.truncate(at);
                    return Ok(said);
                }
                if said.len() > most {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The whole answer, in all within the patience: a client that takes a byte a second does not have it renewed by each.
pub fn write_all(client: &mut impl Client, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        client.write_within(left(deadline)?)?;
        match client.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what a client still sends until it closes, to forget it: `most` bytes of it, in all within the patience.
pub fn drain(client: &mut impl Client, most: usize) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 1024];
    let mut forgotten = 0;
    while forgotten < most {
        client.read_within(left(deadline)?)?;
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => forgotten += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is left until then; an error when nothing is. Never zero, which would mean no limit to the socket.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
