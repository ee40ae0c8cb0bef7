//! One GET, by hand: what a HEALTHCHECK needs of HTTP is a status line.

use super::{Down, connect, host_and_port};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Of the answer's head; more is not read.
const MAX_HEAD: usize = 16 << 10;

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    tls: bool,
    host: String,
    port: u16,
    /// As the Host header says it.
    authority: String,
    /// Path and query.
    path: String,
}

impl Request {
    /// Parses what follows `http:` or `https:`.
    pub(super) fn parse(tls: bool, rest: &str) -> Result<Request, String> {
        let rest = rest.strip_prefix("//").ok_or("`//` is expected after the scheme")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a user and password in it are not sent; probe a path that needs none".to_owned());
        }
        let path = path.split('#').next().unwrap_or_default();
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            return Err("its path must be percent-encoded".to_owned());
        }
        if tls && cfg!(not(feature = "net")) {
            return Err("this proem was built without TLS (feature `net`)".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Request {
            tls,
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_owned(),
            path,
        })
    }
}

/// Up is an answer of 200 to 399; redirections are not followed.
pub(super) fn get(request: &Request, deadline: Instant) -> Result<(), Down> {
    let stream = Timed { stream: connect(&request.host, request.port, deadline)?, deadline };
    let status = if request.tls { over_tls(request, stream)? } else { exchange(request, stream)? };
    if (200..400).contains(&status) { Ok(()) } else { Err(Down::new(format!("status {status}"))) }
}

#[cfg(feature = "net")]
fn over_tls(request: &Request, stream: Timed) -> Result<u16, Down> {
    exchange(request, super::tls::client(&request.host, stream)?)
}

#[cfg(not(feature = "net"))]
fn over_tls(_: &Request, _: Timed) -> Result<u16, Down> {
    Err(Down::new("this proem was built without TLS (feature `net`)"))
}

fn exchange(request: &Request, mut stream: impl Read + Write) -> Result<u16, Down> {
    let version = env!("CARGO_PKG_VERSION");
    let Request { authority, path, .. } = request;
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: proem/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).map_err(|e| Down::io(&e))?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        if let Some(status) = final_status(&head)? {
            return Ok(status);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Down::new("it closed the connection without an answer")),
            Ok(_) if head.len() > MAX_HEAD => return Err(Down::new("its answer is not HTTP")),
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Down::io(&e)),
        }
    }
}

/// The status of the first answer that is not an interim one (1xx); `None`: more must be read.
fn final_status(mut head: &[u8]) -> Result<Option<u16>, Down> {
    loop {
        let Some(end) = head.iter().position(|b| *b == b'\n') else {
            let start = &head[..head.len().min(5)];
            return if b"HTTP/".starts_with(start) { Ok(None) } else { Err(Down::new("its answer is not HTTP")) };
        };
        let line = std::str::from_utf8(&head[..end]).unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (version, status) = (words.next().unwrap_or_default(), words.next().and_then(|word| word.parse().ok()));
        match status {
            Some(status @ 200..=999) if version.starts_with("HTTP/1.") => return Ok(Some(status)),
            Some(100..=199) if version.starts_with("HTTP/1.") => {}
            _ => return Err(Down::new("its answer is not HTTP")),
        }
        match head.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => head = &head[at + 4..],
            None => return Ok(None),
        }
    }
}

/// A stream whose every read and write ends at one deadline: a server that sends a byte a second is not up for ever.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> std::io::Result<Option<std::time::Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            left if left.is_zero() => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_status_is_found_behind_interim_ones() {
        let status = |head: &str| final_status(head.as_bytes()).map_err(|down| down.why);
        assert_eq!(status(""), Ok(None));
        assert_eq!(status("HTTP/1.1 20"), Ok(None));
        assert_eq!(status("HTTP/1.1 204 No Content\r\n"), Ok(Some(204)));
        assert_eq!(status("HTTP/1.1 103 Early Hints\r\nLink: x\r\n"), Ok(None));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 x\r\n"), Ok(Some(503)));
        assert!(status("SSH-2.0-OpenSSH").is_err());
        assert!(status("HTTP/1.1 abc\r\n").is_err());
    }
}
