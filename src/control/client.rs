//! The asking side.

use super::{Envelope, MAX_RESPONSE, Request, Response, VERSION};
use crate::error::{Complaint, reason};
use crate::os::socket;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it may take until a worker is replaced by another.
const REPLACED: Duration = Duration::from_millis(1500);
const AGAIN: Duration = Duration::from_millis(20);
/// How long it may take until a worker has room for one more client.
const ROOM: Duration = Duration::from_secs(2);

/// Asks the proem that serves this socket. `patience`: for the answer.
pub fn ask(path: &Path, request: &Request, patience: Duration) -> Result<Response, Complaint> {
    let start = Instant::now();
    let asked = loop {
        match exchange(path, request, patience) {
            // The worker was replaced a moment ago, or it is busy.
            Err(error) if is_passing(&error) && start.elapsed() < REPLACED => std::thread::sleep(AGAIN),
            asked => break asked,
        }
    };
    asked.map_err(|error| {
        let why = match error.kind() {
            // What a time-out of a socket is called by the kernel.
            io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
            _ => reason(&error),
        };
        let message = format!("no proem answers at {}: {why}", path.display());
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "ask as root, or as the user that proem runs as",
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "it is there while proem watches something; `control = \"PATH\"` in the configuration keeps it, and \
                 `--control PATH` names another one"
            }
            _ => "ask again; `--control PATH` names another socket",
        };
        Complaint::new(message).hint(hint)
    })
}

/// A socket that nobody answers at, or who answers turned us away.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

fn exchange(path: &Path, request: &Request, patience: Duration) -> io::Result<Response> {
    let mut server = socket::connect(path, Instant::now() + patience.min(ROOM))?;
    server.set_read_timeout(Some(patience))?;
    server.set_write_timeout(Some(patience))?;
    let mut line =
        serde_json::to_vec(&Envelope { version: VERSION, request: request.clone() }).map_err(io::Error::other)?;
    line.push(b'\n');
    // One that turned us away at once has closed already; what it said, or that it said nothing, is read below.
    let _ = server.write_all(&line);
    let mut answer = Vec::new();
    server.take(MAX_RESPONSE).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::ConnectionReset, "it is busy"));
    }
    serde_json::from_slice(&answer)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it speaks another language"))
}
