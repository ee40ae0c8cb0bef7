//! Connections whose every step ends at one deadline: a server that sends a byte a second is not up for ever.

use super::Down;
use super::names::Names;
use crate::os;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A socket that can be told how long a step may take.
pub(super) trait Socket: Read + Write {
    fn read_within(&self, time: Duration) -> io::Result<()>;
    fn write_within(&self, time: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

impl Socket for UnixStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

/// A connection with a deadline.
#[derive(Debug)]
pub(super) struct Timed<S> {
    socket: S,
    deadline: Instant,
}

impl<S: Socket> Timed<S> {
    pub(super) fn new(socket: S, deadline: Instant) -> Timed<S> {
        Timed { socket, deadline }
    }
}

impl<S: Socket> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read_within(left(self.deadline)?)?;
        self.socket.read(buffer)
    }
}

impl<S: Socket> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write_within(left(self.deadline)?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The time until a deadline; none left is an error, since a timeout of zero would mean none at all.
pub(super) fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        left if left.is_zero() => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Reads again when a signal interrupted it. A TLS connection that ends without a word of farewell ends all the same:
/// whether the answer was complete, its headers tell.
pub(super) fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Down> {
    loop {
        match stream.read(buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            read => return read.map_err(|e| Down::io(&e)),
        }
    }
}

/// Connects to the first address that accepts; each gets its share of the time that is left.
pub(super) fn tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Down> {
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => Names::of_system().look_up(host, deadline)?,
    };
    let mut down = Down::late();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(Down::late());
        }
        match TcpStream::connect_timeout(&SocketAddr::new(*address, port), share) {
            Ok(stream) => return Ok(stream),
            Err(e) => down = Down::io(&e),
        }
    }
    Err(down)
}

const BACKLOG: &str = "it listens, but its backlog is full";

/// Connects to a stream socket; a full backlog is waited for until the deadline.
pub(super) fn unix(path: &Path, deadline: Instant) -> Result<UnixStream, Down> {
    os::socket::connect(path, deadline).map_err(|e| match e.kind() {
        ErrorKind::WouldBlock => Down::new(BACKLOG),
        _ => Down::io(&e),
    })
}

/// Whether anything listens, of whatever type. A listening socket answers connect(2) at once, or refuses: no timeout is
/// needed, as long as a full backlog is an answer too, not a wait.
pub(super) fn unix_listens(path: &Path) -> Result<(), Down> {
    let down = |e: nix::errno::Errno| Down::io(&e.into());
    let address = UnixAddr::new(path).map_err(down)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let mut answer = Err(nix::errno::Errno::EPROTOTYPE);
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let socket = socket::socket(AddressFamily::Unix, kind, flags, None).map_err(down)?;
        answer = socket::connect(socket.as_raw_fd(), &address);
        // It is there, and of another type.
        if answer != Err(nix::errno::Errno::EPROTOTYPE) {
            break;
        }
    }
    match answer {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EAGAIN) => Err(Down::new(BACKLOG)),
        Err(e) => Err(down(e)),
    }
}
