//! Probes: is something up? For `proem probe`, `wait_for`, and (later) readiness, liveness and verify.
//!
//! A probe is one blocking attempt with a deadline, on plain sockets: `proem probe` is started every few seconds by a
//! HEALTHCHECK and must not pay for a runtime. Trying again is the caller's.

mod http;
mod names;
#[cfg(test)]
mod tests;
#[cfg(feature = "net")]
mod tls;

use crate::error::Complaint;
use http::Request;
use names::Names;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SCHEMES: &str =
    "known are `tcp:HOST:PORT`, `http://HOST[:PORT]/PATH`, `https://…`, `unix:/PATH` and `file:/PATH`";

/// What is probed, parsed from `tcp:host:port`, `http://…`, `unix:/path`, `file:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// As written, for messages.
    pub text: String,
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// Something accepts connections.
    Tcp { host: String, port: u16 },
    /// Something accepts connections.
    Unix(PathBuf),
    /// It exists, whatever it is.
    File(PathBuf),
    /// A GET is answered with 200 to 399.
    Http(Request),
}

impl Probe {
    /// Parses a probe; a mistake lists the known schemes.
    pub fn parse(text: &str) -> Result<Probe, Complaint> {
        let target = match text.split_once(':') {
            Some(("tcp", rest)) => tcp(rest.strip_prefix("//").unwrap_or(rest)),
            Some(("unix", path)) => absolute(path).map(Target::Unix),
            Some(("file", path)) => absolute(path).map(Target::File),
            Some((scheme @ ("http" | "https"), rest)) => Request::parse(scheme == "https", rest).map(Target::Http),
            _ => Err("its scheme is missing or unknown".to_owned()),
        };
        match target {
            Ok(target) => Ok(Probe { text: text.to_owned(), target }),
            Err(why) => Err(Complaint::new(format!("probe `{}` cannot be used: {why}", shown(text))).hint(SCHEMES)),
        }
    }

    /// Tries once, for at most `timeout`. The complaint is one line: ``tcp:db:5432 is down: connection refused``.
    pub fn check(&self, timeout: Duration) -> Result<(), Complaint> {
        let deadline = Instant::now() + timeout;
        let up = match &self.target {
            Target::Tcp { host, port } => connect(host, *port, deadline).map(drop),
            Target::Unix(path) => unix(path),
            Target::File(path) => std::fs::metadata(path).map(drop).map_err(|e| Down::io(&e)),
            Target::Http(request) => http::get(request, deadline),
        };
        up.map_err(|down| {
            let complaint = Complaint::new(format!("{} is down: {}", self.text, down.why));
            Complaint { hint: down.hint, ..complaint }
        })
    }

    /// The line that says that it is up: `tcp:127.0.0.1:80 is up`.
    pub fn up(&self) -> String {
        format!("{} is up", self.text)
    }
}

/// Why something is down.
#[derive(Debug)]
struct Down {
    why: String,
    hint: Option<String>,
}

impl Down {
    fn new(why: impl Into<String>) -> Down {
        Down { why: why.into(), hint: None }
    }

    fn io(error: &std::io::Error) -> Down {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match error.kind() {
            TimedOut | WouldBlock => Down::late(),
            _ => Down::new(crate::error::reason(error)),
        }
    }

    fn late() -> Down {
        Down::new("no answer in time")
    }
}

/// A URL's user part is a credential: it is not shown, not even in a mistake.
fn shown(text: &str) -> String {
    match (text.find("//"), text.rfind('@')) {
        (Some(start), Some(at)) if start < at => format!("{}…{}", &text[..start + 2], &text[at..]),
        _ => text.to_owned(),
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    // `unix:///path` is written as often as `unix:/path`.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err("an absolute path is expected".to_owned()) }
}

fn tcp(text: &str) -> Result<Target, String> {
    let (host, port) = host_and_port(text)?;
    Ok(Target::Tcp { host, port: port.ok_or("a port is expected after the host")? })
}

/// `host`, `host:port`, `[::1]:port`; the port is 1 to 65535.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("`]` is missing after the IPv6 address")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
            match port.strip_prefix(':') {
                None if port.is_empty() => (host, None),
                None => return Err("a `:` is expected after `]`".to_owned()),
                port => (host, port),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address goes into brackets".to_owned()),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("a host is expected".to_owned());
    }
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{port}` is not a port")),
    };
    Ok((host.to_owned(), port.map(number).transpose()?))
}

/// Connects to the first address that accepts; each gets its share of the time that is left.
fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Down> {
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

/// A listening socket answers connect(2) at once, or refuses: no timeout is needed, as long as a full backlog is an
/// answer too, not a wait.
fn unix(path: &std::path::Path) -> Result<(), Down> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let down = |e: nix::errno::Errno| Down::io(&e.into());
    let address = UnixAddr::new(path).map_err(down)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let mut answer = Err(nix::errno::Errno::EPROTOTYPE);
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let socket = socket(AddressFamily::Unix, kind, flags, None).map_err(down)?;
        answer = connect(socket.as_raw_fd(), &address);
        // It is there, and of another type.
        if answer != Err(nix::errno::Errno::EPROTOTYPE) {
            break;
        }
    }
    match answer {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EAGAIN) => Err(Down::new("it listens, but its backlog is full")),
        Err(e) => Err(down(e)),
    }
}
