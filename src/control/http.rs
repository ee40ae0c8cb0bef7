//! `/metrics`, `/health` and `/ready` over HTTP: for Prometheus, and for probes that speak nothing else. Off unless
//! `listen` is set. No keep-alive, no body is read: what asks here asks seldom.

use super::clients::{self, Served};
use super::server::{Asked, put};
use super::{Request, Response};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The longest head of a request, bytes.
const MAX_HEAD: usize = 8 << 10;
/// What is read, to be forgotten, behind the head, bytes.
const MAX_REST: usize = 64 << 10;
/// Until an address that is in use, or not there yet, is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// That of `OpenMetrics`.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the address; each request is given to `feed`, which says whether anybody still listens.
pub fn serve(address: SocketAddr, feed: impl Fn(Asked) -> bool + Send + Sync + 'static) {
    crate::worker::thread("http", move || {
        let mut said = false;
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) if said => crate::debug!("`listen`: {address}: {error}"),
                Err(error) => {
                    said = true;
                    let reason = crate::error::reason(&error);
                    crate::warn!("failed to listen on {address}: {reason}; it is tried again every {AGAIN:?}");
                }
            }
            std::thread::sleep(AGAIN);
        };
        clients::serve(|| listener.accept().map(|(client, _)| client), move |served| answer(served, &feed));
    });
}

fn answer(served: &Served<TcpStream>, feed: &dyn Fn(Asked) -> bool) -> io::Result<()> {
    let head = served.read_until(b"\r\n\r\n", MAX_HEAD)?;
    let reply = reply(&String::from_utf8_lossy(&head), feed);
    served.write_all(&reply)?;
    // Whoever sent more than was read would otherwise lose the answer to a reset.
    served.client().shutdown(std::net::Shutdown::Write)?;
    served.drain(MAX_REST)
}

fn reply(head: &str, feed: &dyn Fn(Asked) -> bool) -> Vec<u8> {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, target.split('?').next().unwrap_or_default()) {
        ("GET" | "HEAD", "/metrics") => {
            let open = accepts_open(head);
            match put(Request::Metrics { open }, feed) {
                Some(Response::Metrics(text)) => ("200 OK", if open { OPEN } else { TEXT }, text),
                _ => ("503 Service Unavailable", plain, "proem is ending\n".to_owned()),
            }
        }
        ("GET" | "HEAD", path @ ("/health" | "/ready")) => {
            let (max_stale_ms, require) = (None, Vec::new());
            let asked = if path == "/health" { Request::Health { max_stale_ms, require } } else { Request::Ready };
            match put(asked, feed) {
                Some(Response::Health(ails)) if ails.is_empty() => ("200 OK", plain, "all is well\n".to_owned()),
                Some(Response::Health(ails)) => ("503 Service Unavailable", plain, format!("{}\n", ails.join("\n"))),
                _ => ("503 Service Unavailable", plain, "proem is ending\n".to_owned()),
            }
        }
        ("GET" | "HEAD", _) => ("404 Not Found", plain, "there are /metrics, /health and /ready\n".to_owned()),
        _ => ("405 Method Not Allowed", plain, "GET and HEAD only\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { String::new() } else { body };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    (head + &body).into_bytes()
}

/// Whether the client asks for `OpenMetrics`; what it prefers among several is not weighed, as both say the same.
fn accepts_open(head: &str) -> bool {
    head.lines().skip(1).filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(head: &str) -> String {
        let feed = |asked: Asked| {
            let response = match asked.request {
                Request::Metrics { open } => Response::Metrics(format!("open {open}\n")),
                Request::Ready => Response::Health(vec!["process `php` is waiting".into()]),
                _ => Response::Health(Vec::new()),
            };
            asked.answer.send(response).is_ok()
        };
        String::from_utf8(reply(head, &feed)).unwrap()
    }

    #[test]
    fn paths_and_methods() {
        let well = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\nConnection: close\r\n\r\n";
        assert_eq!(ask("GET /health HTTP/1.1\r\nHost: x"), format!("{well}all is well\n"));
        assert_eq!(ask("HEAD /health?x HTTP/1.0"), well);
        assert!(ask("GET /ready HTTP/1.1").starts_with("HTTP/1.1 503 "));
        assert!(ask("GET /ready HTTP/1.1").ends_with("\r\n\r\nprocess `php` is waiting\n"));
        for (head, code) in [("GET / HTTP/1.1", "404"), ("POST /health HTTP/1.1", "405"), ("", "405"), ("\u{1}", "405")]
        {
            assert!(ask(head).starts_with(&format!("HTTP/1.1 {code} ")), "{head:?}");
        }
    }

    #[test]
    fn openmetrics_for_who_asks_for_it() {
        let asked = ask("GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(asked.contains(OPEN) && asked.ends_with("open true\n"), "{asked}");
        let asked = ask("GET /metrics HTTP/1.1\r\nAccept: */*");
        assert!(asked.contains(TEXT) && asked.ends_with("open false\n"), "{asked}");
    }
}
