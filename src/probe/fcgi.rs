//! One FastCGI request, by hand: php-fpm's ping and status pages, or a script, over TCP or a unix socket.

mod record;

use super::answer::Answer;
use super::expect::Expect;
use super::headers::Headers;
use super::options::{self, Expand};
use super::stream::{self, Timed};
use super::{Down, absolute, host_and_port};
use crate::error::Complaint;
use record::{Ended, Records, Said};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Instant;

pub(super) const FORM: &str = "it is written `fcgi:HOST:PORT/PATH` or `fcgi:/SOCKET:/PATH`, such as \
                               `fcgi:127.0.0.1:9000/ping` and `fcgi:/run/php-fpm.sock:/ping`";
const OPTIONS: [&str; 5] = ["status", "body", "header", "host", "script"];
/// Of what the application writes to its stderr.
const MAX_STDERR: usize = 1 << 10;

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    server: Server,
    /// `SCRIPT_NAME`.
    path: String,
    query: String,
    /// `SCRIPT_FILENAME`; php-fpm's own pages have none and ask for none, so the path stands for it.
    script: Option<String>,
    headers: Headers,
    expect: Expect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Request {
    /// Parses what follows `fcgi:`.
    pub(super) fn parse(rest: &str, expand: Expand<'_>) -> Result<Request, Complaint> {
        let (rest, given) = options::split(rest, '#');
        let (target, query) = options::split(rest, '?');
        let (server, path) = server(&expand(target)?)?;
        let query = expand(query.unwrap_or_default())?;
        if path.contains(char::is_control) || query.contains(char::is_control) {
            return Err(Complaint::new("there is a control character in its path"));
        }
        let mut request = Request {
            server,
            path,
            query,
            script: None,
            headers: Headers::new("localhost"),
            expect: Expect::default(),
        };
        for (name, value) in options::read(given, expand)? {
            let taken = request.expect.option(&name, &value).or_else(|| request.headers.option(&name, &value));
            match taken {
                Some(taken) => taken?,
                None if name == "script" && value.starts_with('/') => request.script = Some(value),
                None if name == "script" => return Err(Complaint::new("`script` is an absolute path")),
                None => return Err(options::unknown(&name, &OPTIONS)),
            }
        }
        Ok(request)
    }

    /// What a web server would pass (RFC 3875 §4.1, and what PHP adds).
    fn params(&self) -> Vec<(String, String)> {
        let port = match &self.server {
            Server::Tcp { port, .. } => *port,
            Server::Unix(_) => 80,
        };
        let separator = if self.query.is_empty() { "" } else { "?" };
        let uri = format!("{}{separator}{}", self.path, self.query);
        let mut params: Vec<(String, String)> = [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", concat!("proem/", env!("CARGO_PKG_VERSION"))),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_SCHEME", "http"),
            ("REQUEST_URI", &uri),
            ("DOCUMENT_URI", &self.path),
            ("SCRIPT_NAME", &self.path),
            ("SCRIPT_FILENAME", self.script.as_deref().unwrap_or(&self.path)),
            ("QUERY_STRING", &self.query),
            ("CONTENT_TYPE", ""),
            ("CONTENT_LENGTH", ""),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_PORT", "0"),
            ("SERVER_ADDR", "127.0.0.1"),
            ("SERVER_PORT", &port.to_string()),
            ("SERVER_NAME", self.headers.host()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        params.extend(
            self.headers.all().map(|(name, value)| {
                (format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")), value.to_owned())
            }),
        );
        params
    }
}

fn server(text: &str) -> Result<(Server, String), Complaint> {
    // nginx writes `unix:/run/php-fpm.sock`, and a path behind a second colon.
    let unix = text.strip_prefix("unix:").unwrap_or(text);
    if unix.starts_with('/') && !unix.starts_with("//") {
        let Some((socket, path)) = unix.split_once(":/") else {
            return Err(Complaint::new("a path is expected after the socket"));
        };
        return Ok((Server::Unix(absolute(socket)?), format!("/{path}")));
    }
    let text = text.strip_prefix("//").unwrap_or(text);
    let Some((address, path)) = text.split_once('/') else {
        return Err(Complaint::new("a path is expected after the address"));
    };
    let (host, port) = host_and_port(address)?;
    let port = port.ok_or_else(|| Complaint::new("a port is expected after the host"))?;
    Ok((Server::Tcp { host, port }, format!("/{path}")))
}

/// Up is an answer as expected, to its end.
pub(super) fn get(request: &Request, deadline: Instant) -> Result<(), Down> {
    match &request.server {
        Server::Tcp { host, port } => exchange(request, Timed::new(stream::tcp(host, *port, deadline)?, deadline)),
        Server::Unix(path) => exchange(request, Timed::new(stream::unix(path, deadline)?, deadline)),
    }
}

fn exchange(request: &Request, mut stream: impl Read + Write) -> Result<(), Down> {
    stream.write_all(&record::request(&request.params())).and_then(|()| stream.flush()).map_err(|e| Down::io(&e))?;
    let mut records = Records::default();
    let mut answer = Answer::of_cgi();
    let mut stderr = Vec::new();
    let mut silent = true;
    let mut buffer = [0; 16 << 10];
    loop {
        while let Some(said) = records.next().map_err(|_| Down::new("its answer is not FastCGI"))? {
            match said {
                Said::Stdout(bytes) => answer.take(&bytes)?,
                Said::Stderr(bytes) => {
                    let room = MAX_STDERR - stderr.len();
                    stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Said::End(ended) => return verdict(request, ended, &answer, &stderr),
            }
        }
        match stream::read(&mut stream, &mut buffer)? {
            0 if silent => {
                return Err(Down::new("it closed the connection without an answer")
                    .hint("php-fpm does so where `listen.allowed_clients` does not have this address"));
            }
            0 => return Err(Down::new("it closed the connection in the middle of its answer")),
            n => records.push(&buffer[..n]),
        }
        silent = false;
    }
}

fn verdict(request: &Request, ended: Ended, answer: &Answer, stderr: &[u8]) -> Result<(), Down> {
    match ended {
        Ended::Complete => {}
        Ended::Overloaded => return Err(Down::new("it is overloaded")),
        Ended::NoMultiplexing => return Err(Down::new("it refuses the request: it is busy with another one")),
        Ended::UnknownRole => return Err(Down::new("it is no responder")),
    }
    // php-fpm says there what a status alone does not: `Primary script unknown`.
    let words = super::last_line(&String::from_utf8_lossy(stderr));
    request.expect.verdict(answer).map_err(|down| match words {
        words if words.is_empty() => down,
        words => Down { why: format!("{}: {words}", down.why), ..down },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, String> {
        Request::parse(text, &|part| Ok(part.to_owned())).map_err(|complaint| complaint.message)
    }

    #[test]
    fn an_address_or_a_socket_and_a_path() {
        let tcp = parse("127.0.0.1:9000/status?json&full").unwrap();
        assert_eq!(tcp.server, Server::Tcp { host: "127.0.0.1".into(), port: 9000 });
        assert_eq!((tcp.path.as_str(), tcp.query.as_str()), ("/status", "json&full"));
        assert_eq!(parse("//127.0.0.1:9000/status?json&full").unwrap(), tcp);
        let unix = parse("/run/php-fpm.sock:/ping").unwrap();
        assert_eq!((&unix.server, unix.path.as_str()), (&Server::Unix("/run/php-fpm.sock".into()), "/ping"));
        assert_eq!(parse("unix:/run/php-fpm.sock:/ping").unwrap(), unix);
        for (text, why) in [
            ("127.0.0.1:9000", "a path is expected after the address"),
            ("php/ping", "a port is expected after the host"),
            ("/run/php-fpm.sock", "a path is expected after the socket"),
            ("php:9000/ping#script=x.php", "`script` is an absolute path"),
            ("php:9000/ping#scripts=x", "it has no option `scripts`"),
            ("php:9000/pi\nng", "there is a control character in its path"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_script_gets_what_a_web_server_would_say() {
        let request = parse("php:9000/up.php?deep=1#script=/srv/up.php&host=shop.example&header=X-Probe: yes").unwrap();
        let params = request.params();
        let value = |name: &str| params.iter().find(|(n, _)| n == name).map_or("?", |(_, value)| value.as_str());
        for (name, expected) in [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/up.php"),
            ("SCRIPT_FILENAME", "/srv/up.php"),
            ("REQUEST_URI", "/up.php?deep=1"),
            ("QUERY_STRING", "deep=1"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", "9000"),
            ("HTTP_HOST", "shop.example"),
            ("HTTP_X_PROBE", "yes"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }
}
