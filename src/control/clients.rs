//! Clients of a small server: few at a time, not for long, and none of them can make the worker end or keep others out.

use super::places::{Places, Seat, Turn};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a socket takes at once when nothing was written to it yet, bytes; the answers to orders are shorter.
const AT_ONCE: usize = 2048;

/// A connection with time-outs, which another thread can end.
pub trait Client: Send + Sync + 'static {
    /// Reads once; 0 is the end.
    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes once.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Of each read.
    fn read_within(&self, time: Duration) -> io::Result<()>;
    /// Of each write.
    fn write_within(&self, time: Duration) -> io::Result<()>;
    /// Ends it: who reads or writes it returns at once.
    fn end(&self);
}

macro_rules! client {
    ($stream:ty) => {
        impl Client for $stream {
            fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }
            fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
                (&*self).write(bytes)
            }
            fn read_within(&self, time: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(time))
            }
            fn write_within(&self, time: Duration) -> io::Result<()> {
                self.set_write_timeout(Some(time))
            }
            fn end(&self) {
                // One that has gone already needs no end.
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    };
}
client!(std::os::unix::net::UnixStream);
client!(std::net::TcpStream);

/// Serves each client in a thread of its own, for ever; meant to be the body of a thread.
pub fn serve<C: Client>(
    mut accept: impl FnMut() -> io::Result<C>,
    answer: impl Fn(&Served<C>) -> io::Result<()> + Send + Sync + 'static,
) {
    let places = Places::new();
    let answer = std::sync::Arc::new(answer);
    loop {
        let Ok(client) = accept() else {
            // Out of descriptors, mostly: at once would be again and again.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Some(seat) = places.seat(client) else { continue };
        let (served, answer) = (Served { seat }, answer.clone());
        // A client that goes away is its own affair. Where the limit of processes is reached it is turned away: its place
        // goes with the closure.
        let _ = crate::worker::builder("client").spawn(move || drop(answer(&served)));
    }
}

/// A client that is being served.
#[derive(Debug)]
pub struct Served<C: Client> {
    seat: Seat<C>,
}

impl<C: Client> Served<C> {
    /// The connection.
    pub fn client(&self) -> &C {
        self.seat.client()
    }

    /// What it says up to `end` or its end, in all within the patience: one that sends a byte a second does not have it
    /// renewed by each. More than `most` bytes are an error. From here on it waits for proem, and nobody gets its place.
    pub fn read_until(&self, end: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let said = read_until(self.client(), end, most)?;
        self.seat.turn(Turn::Waiting)?;
        Ok(said)
    }

    /// The whole answer, in all within the patience: one that takes a byte a second does not have it renewed by each. While
    /// it takes a long one it may have to leave.
    pub fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > AT_ONCE {
            self.seat.turn(Turn::Taking)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            self.client().write_within(left(deadline)?)?;
            match self.client().write_some(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what it still sends until it closes, to forget it: `most` bytes of it, in all within the patience.
    pub fn drain(&self, most: usize) -> io::Result<()> {
        self.seat.turn(Turn::Answered)?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 1024];
        let mut forgotten = 0;
        while forgotten < most {
            self.client().read_within(left(deadline)?)?;
            match self.client().read_some(&mut buffer) {
                Ok(0) => break,
                Ok(count) => forgotten += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn read_until(client: &impl Client, end: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        client.read_within(left(deadline)?)?;
        match client.read_some(&mut buffer) {
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

/// What is left until then; an error when nothing is. Never zero, which would mean no limit to the socket.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
