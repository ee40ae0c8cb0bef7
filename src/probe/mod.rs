//! Probes: is something up? For `proem probe`, `wait_for`, and whatever else asks.
//!
//! A probe is one blocking attempt with a deadline, on plain sockets: `proem probe` is started every few seconds by a
//! HEALTHCHECK and must not pay for a runtime. Trying again is the caller's. What an answer may make us keep is bounded.

mod answer;
mod dns;
mod exec;
mod expect;
mod fcgi;
mod file;
mod headers;
mod http;
mod names;
mod options;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "net")]
mod tls;

use crate::config::expand::split_outside;
use crate::error::Complaint;
pub use exec::{Group, Surroundings};
use options::{Expand, shown};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

const SCHEMES: &str = "known are `tcp:HOST:PORT`, `http://HOST[:PORT]/PATH`, `https://…`, `unix:/PATH`, \
                       `fcgi:HOST:PORT/PATH`, `file:/PATH`, `exec:PROGRAM` and `dns:NAME`";

/// What is probed, parsed from `tcp:host:port`, `http://…`, `unix:/path`…; docs/reference/probes.md has them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// For messages: as written, but for references in its target, which are expanded, and credentials, which are left
    /// out.
    pub text: String,
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// Something accepts connections.
    Tcp { host: String, port: u16 },
    /// Something accepts connections.
    Unix(PathBuf),
    /// It is there, and new enough.
    File(file::File),
    /// A GET is answered as expected.
    Http(Box<http::Request>),
    /// The same of a FastCGI application.
    Fcgi(Box<fcgi::Request>),
    /// Program and arguments; it exits with 0.
    Exec(Vec<String>),
    /// It can be resolved.
    Dns(dns::Query),
}

impl Probe {
    /// Parses a probe; a mistake lists the known schemes, or says how this one is written.
    pub fn parse(text: &str) -> Result<Probe, Complaint> {
        Probe::parse_expanding(text, |part| Ok(part.to_owned()))
    }

    /// Splits first, then expands `${…}` in each part: what a variable holds can neither add an option nor an argument.
    /// A variable may still hold a whole probe.
    pub fn parse_expanding(text: &str, expand: impl Fn(&str) -> Result<String, Complaint>) -> Result<Probe, Complaint> {
        let scheme = split_outside(text, ':', 2)[0];
        if scheme.contains("${") {
            let whole = expand(text)?;
            return Probe::parse(&whole).map_err(|_| no_probe(text, SCHEMES));
        }
        let (refused, changed) = (Cell::new(false), Cell::new(false));
        let noted = |part: &str| {
            let expanded = expand(part).inspect_err(|_| refused.set(true))?;
            changed.set(changed.get() || expanded != part);
            Ok(expanded)
        };
        match target(text, &noted) {
            Ok(target) => Ok(Probe { text: described(text, &expand)?, target }),
            // It names the variable, and no value.
            Err((complaint, _)) if refused.get() => Err(complaint),
            Err((_, form)) if changed.get() => Err(no_probe(text, form)),
            Err((Complaint { message, hint, .. }, form)) => {
                let complaint = Complaint::new(format!("probe `{}` cannot be used: {message}", shown(text)));
                Err(complaint.hint(hint.unwrap_or_else(|| form.to_owned())))
            }
        }
    }

    /// Tries once, for at most `timeout`. The complaint is one line: ``tcp:db:5432 is down: connection refused``.
    pub fn check(&self, timeout: Duration) -> Result<(), Complaint> {
        self.check_in(timeout, &Surroundings::default())
    }

    /// The same; a program that it runs (`exec:`) gets these surroundings.
    pub fn check_in(&self, timeout: Duration, surroundings: &Surroundings) -> Result<(), Complaint> {
        let deadline = Instant::now() + timeout;
        let up = match &self.target {
            Target::Tcp { host, port } => stream::tcp(host, *port, deadline).map(drop),
            Target::Unix(path) => stream::unix_listens(path),
            Target::File(file) => file.check(SystemTime::now()),
            Target::Http(request) => http::get(request, deadline),
            Target::Fcgi(request) => fcgi::get(request, deadline),
            Target::Exec(argv) => exec::run(argv, timeout, surroundings),
            Target::Dns(query) => query.check(deadline),
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

    /// How long one of many tries may take: what does not answer a connection for so long is asked anew. A program has to
    /// start first; a JVM may.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(if matches!(self.target, Target::Exec(_)) { 10 } else { 2 })
    }
}

/// What is probed; a mistake comes with the form of this kind of probe.
fn target(text: &str, expand: Expand<'_>) -> Result<Target, (Complaint, &'static str)> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    match scheme {
        "tcp" => tcp(rest, expand).map_err(|why| (why, "it is written `tcp:HOST:PORT`")),
        "unix" => expand(rest)
            .and_then(|path| absolute(&path))
            .map(Target::Unix)
            .map_err(|why| (why, "it is written `unix:/PATH`")),
        "file" => file::File::parse(rest, expand).map(Target::File).map_err(|why| (why, file::FORM)),
        "http" | "https" => http::Request::parse(scheme == "https", rest, expand)
            .map(|request| Target::Http(Box::new(request)))
            .map_err(|why| (why, http::FORM)),
        "fcgi" => fcgi::Request::parse(rest, expand)
            .map(|request| Target::Fcgi(Box::new(request)))
            .map_err(|why| (why, fcgi::FORM)),
        "exec" => exec::parse(rest, expand).map(Target::Exec).map_err(|why| (why, exec::FORM)),
        "dns" => dns::Query::parse(rest, expand).map(Target::Dns).map_err(|why| (why, dns::FORM)),
        _ => Err((Complaint::new("its scheme is missing or unknown"), SCHEMES)),
    }
}

/// What is said of a text whose references were expanded: their values may be secrets.
fn no_probe(text: &str, form: &str) -> Complaint {
    Complaint::new(format!("`{}` does not expand to a probe", shown(text))).hint(form)
}

/// [`Probe::text`].
fn described(text: &str, expand: Expand<'_>) -> Result<String, Complaint> {
    if text.starts_with("exec:") {
        return Ok(text.to_owned());
    }
    // What follows is shown as written: a query's or a header's value may be a secret.
    let target = options::split(options::split(text, '#').0, '?').0;
    let rest = &text[target.len()..];
    Ok(shown(&format!("{}{rest}", expand(target)?)))
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

    fn hint(self, hint: impl Into<String>) -> Down {
        Down { hint: Some(hint.into()), ..self }
    }
}

/// The last line that says something, of whom it may come from: without control characters, 200 characters at most.
fn last_line(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn absolute(path: &str) -> Result<PathBuf, Complaint> {
    // `unix:///path` is written as often as `unix:/path`.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err(Complaint::new("an absolute path is expected")) }
}

fn tcp(rest: &str, expand: Expand<'_>) -> Result<Target, Complaint> {
    let text = expand(rest)?;
    let (host, port) = host_and_port(text.strip_prefix("//").unwrap_or(&text))?;
    let port = port.ok_or_else(|| Complaint::new("a port is expected after the host"))?;
    Ok(Target::Tcp { host, port })
}

/// `host`, `host:port`, `[::1]:port`; the port is 1 to 65535.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), Complaint> {
    let wrong = |why: &str| Err(Complaint::new(why));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return wrong("`]` is missing after the IPv6 address");
            };
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return wrong(&format!("`{host}` is not an IPv6 address"));
            }
            match port.strip_prefix(':') {
                None if port.is_empty() => (host, None),
                None => return wrong("a `:` is expected after `]`"),
                port => (host, port),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return wrong("an IPv6 address goes into brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return wrong("a host is expected");
    }
    let number = |port: &str| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(Complaint::new(format!("`{port}` is not a port"))),
    };
    Ok((host.to_owned(), port.map(number).transpose()?))
}
