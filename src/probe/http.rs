//! One GET, by hand: what a HEALTHCHECK needs of HTTP is a status line, and at most the beginning of a body.

use super::answer::Answer;
use super::expect::Expect;
use super::headers::Headers;
use super::options::{self, Expand};
use super::stream::{self, Timed};
#[cfg(feature = "net")]
use super::tls::Trust;
use super::{Down, absolute, host_and_port};
use crate::error::Complaint;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

pub(super) const FORM: &str =
    "it is written `http://HOST[:PORT]/PATH`, its own options behind `#`: `#status=200&body=ok`";
const OPTIONS: [&str; 4] = ["status", "body", "header", "host"];
const OPTIONS_OF_TLS: [&str; 6] = ["status", "body", "header", "host", "ca", "insecure"];

#[cfg(feature = "net")]
const CERTIFICATE: &str =
    "`#ca=/PATH` trusts another CA, `#host=NAME` asks for another name, `#insecure` believes anybody";

/// Never used: without the feature no `https:` probe can be parsed.
#[cfg(not(feature = "net"))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trust {
    ca: Option<std::path::PathBuf>,
    insecure: bool,
}

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// `None`: no TLS.
    tls: Option<Trust>,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
    headers: Headers,
    expect: Expect,
}

impl Request {
    /// Parses what follows `http:` or `https:`.
    pub(super) fn parse(tls: bool, rest: &str, expand: Expand<'_>) -> Result<Request, Complaint> {
        let (url, given) = options::split(rest, '#');
        let url = expand(url)?;
        let url = url.strip_prefix("//").ok_or_else(|| Complaint::new("`//` is expected after the scheme"))?;
        let (authority, path) = url.split_at(url.find(['/', '?']).unwrap_or(url.len()));
        if authority.contains('@') {
            return Err(Complaint::new("a user and password in it are not sent; probe a path that needs none")
                .hint("or send a header: `#header=Authorization:Basic …`"));
        }
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            return Err(Complaint::new("its path must be percent-encoded"));
        }
        if tls && cfg!(not(feature = "net")) {
            return Err(Complaint::new("this proem was built without TLS (feature `net`)"));
        }
        let (host, port) = host_and_port(authority)?;
        let mut request = Request {
            tls: tls.then(Trust::default),
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers: Headers::new(authority),
            expect: Expect::default(),
        };
        for (name, value) in options::read(given, expand)? {
            let taken = request.expect.option(&name, &value).or_else(|| request.headers.option(&name, &value));
            match taken {
                Some(taken) => taken?,
                None => request.trust(&name, &value)?,
            }
        }
        Ok(request)
    }

    /// The options of `https:`.
    fn trust(&mut self, name: &str, value: &str) -> Result<(), Complaint> {
        let Some(trust) = &mut self.tls else { return Err(options::unknown(name, &OPTIONS)) };
        match name {
            "ca" => trust.ca = Some(absolute(value)?),
            "insecure" if value.is_empty() => trust.insecure = true,
            "insecure" => return Err(Complaint::new("`insecure` takes no value")),
            _ => return Err(options::unknown(name, &OPTIONS_OF_TLS)),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!("GET {} HTTP/1.1\r\n", self.path);
        for (name, value) in self.headers.all() {
            // Writing into a string cannot fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        // What a header of one's own says in their place counts.
        for (name, value) in [("User-Agent", concat!("proem/", env!("CARGO_PKG_VERSION"))), ("Accept", "*/*")] {
            if !self.headers.all().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        text.push_str("Connection: close\r\n\r\n");
        text
    }
}

/// Up is an answer as expected; redirections are not followed.
pub(super) fn get(request: &Request, deadline: Instant) -> Result<(), Down> {
    let stream = Timed::new(stream::tcp(&request.host, request.port, deadline)?, deadline);
    match &request.tls {
        Some(trust) => over_tls(request, trust, stream),
        None => exchange(request, stream),
    }
}

#[cfg(feature = "net")]
fn over_tls(request: &Request, trust: &Trust, stream: Timed<TcpStream>) -> Result<(), Down> {
    // The name that was asked for is the certificate's, too, so that a server can be probed by its address.
    let name = host_and_port(request.headers.host()).map_or_else(|_| request.host.clone(), |(host, _)| host);
    exchange(request, super::tls::client(&name, trust, stream)?).map_err(|down| {
        let certificate = down.why.starts_with("invalid peer certificate");
        if certificate { down.hint(CERTIFICATE) } else { down }
    })
}

#[cfg(not(feature = "net"))]
fn over_tls(_: &Request, _: &Trust, _: Timed<TcpStream>) -> Result<(), Down> {
    Err(Down::new("this proem was built without TLS (feature `net`)"))
}

fn exchange(request: &Request, mut stream: impl Read + Write) -> Result<(), Down> {
    stream.write_all(request.text().as_bytes()).and_then(|()| stream.flush()).map_err(|e| Down::io(&e))?;
    let mut answer = Answer::of_http();
    let mut buffer = [0; 4096];
    loop {
        if request.expect.decided(&answer) {
            return request.expect.verdict(&answer);
        }
        match stream::read(&mut stream, &mut buffer)? {
            0 => answer.end()?,
            n => answer.take(&buffer[..n])?,
        }
    }
}
