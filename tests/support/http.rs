//! One HTTP/1.1 request on its own connection: all that the tests need, and no client that shares code with proem's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response: the status and the body, unchunked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200…
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Sends a request to `address` (`host:port`); `None` when the server cannot be reached or does not answer.
pub fn request(address: &str, method: &str, path: &str, body: &[u8]) -> Option<Response> {
    request_with(address, method, path, "", body)
}

/// The same with more headers, each with its `\r\n`.
pub fn request_with(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Response> {
    let address = address.parse().expect("an IP address and port");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some(Response { status, body: if chunked { unchunk(body)? } else { body.to_owned() } })
}

/// The body of a 200 answer to GET.
pub fn get(address: &str, path: &str) -> Option<String> {
    request(address, "GET", path, b"").filter(|response| response.status == 200).map(|response| response.body)
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, tail) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(tail.get(..size)?);
        rest = tail.get(size + 2..)?;
    }
}
