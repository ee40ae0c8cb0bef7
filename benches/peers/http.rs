//! The smallest HTTP client that can serve as the raw reference: one connection, no parsing of bodies.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A kept-alive connection to 127.0.0.1.
pub struct Client {
    reader: BufReader<TcpStream>,
}

/// An answer.
pub struct Answer {
    /// `X-Consul-Index`, 0 where there is none.
    pub index: u64,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(2)))?;
        Ok(Client { reader: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Asks and reads the whole answer.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        if body.is_empty() && method == "GET" {
            head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.reader.get_mut().write_all(&bytes)?;
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status line")?;
        let mut answer = Answer { index: 0, status, body: Vec::new() };
        let mut length = None;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.trim().parse::<usize>()?),
                "x-consul-index" => answer.index = value.trim().parse()?,
                _ => {}
            }
        }
        if let Some(length) = length {
            self.take(length, &mut answer.body)?;
            return Ok(answer);
        }
        loop {
            let length = usize::from_str_radix(self.line()?.trim(), 16)?;
            self.take(length, &mut answer.body)?;
            self.line()?;
            if length == 0 {
                return Ok(answer);
            }
        }
    }

    /// The same, and anything but 200 is an error.
    pub fn ok(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let answer = self.request(method, path, body)?;
        if answer.status != 200 {
            bail!("{method} {path}: {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }

    fn take(&mut self, length: usize, body: &mut Vec<u8>) -> Result<()> {
        let start = body.len();
        body.resize(start + length, 0);
        self.reader.read_exact(&mut body[start..])?;
        Ok(())
    }
}
