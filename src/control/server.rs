//! The serving side of the control socket.

use super::clients::{self, Served};
use super::{Envelope, MAX_REQUEST, Request, Response, VERSION};
use crate::os::socket;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long the answer may take: a restart takes as long as the process's stop.
const ANSWER: Duration = Duration::from_mins(2);
/// How long a predecessor may take to have room for one more client.
const ROOM: Duration = Duration::from_secs(1);

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// One answer.
    pub answer: Sender<Response>,
    /// Ends when who asked has got it, or is gone.
    pub given: Receiver<()>,
}

/// The socket, removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Leaves the socket to a successor: until that one answers, clients find somebody who is about to.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever is there in its place belongs to somebody who came later.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the socket and serves it; each request is given to `feed`, which says whether anybody still listens.
///
/// Errors: another proem answers there, or the socket cannot be made.
pub fn serve(path: &Path, feed: impl Fn(Asked) -> bool + Send + Sync + 'static) -> io::Result<Server> {
    // So busy that it has no room for one more is an answer, too.
    let asked = socket::connect(path, Instant::now() + ROOM);
    if asked.is_ok() || asked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another proem answers there"));
    }
    // One that nobody answers at was left by a predecessor; anything else than a socket is not ours to remove.
    let is_socket = |meta: &std::fs::Metadata| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type());
    if std::fs::symlink_metadata(path).is_ok_and(|meta| is_socket(&meta)) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Connecting needs the right to write, which the usual umask gives to nobody else in the meantime.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    crate::worker::thread("control", move || {
        clients::serve(|| listener.accept().map(|(client, _)| client), move |served| answer(served, &feed));
    });
    Ok(Server { path: path.to_owned() })
}

/// Puts a request to the loop; nothing: it is over.
pub fn put(request: Request, feed: &dyn Fn(Asked) -> bool) -> Option<Response> {
    put_and_hold(request, feed).0
}

/// The same; what comes with the answer is dropped when that was given.
fn put_and_hold(request: Request, feed: &dyn Fn(Asked) -> bool) -> (Option<Response>, Sender<()>) {
    let ((answer, receiver), (held, given)) = (channel(), channel());
    if !feed(Asked { request, answer, given }) {
        return (None, held);
    }
    let response = match receiver.recv_timeout(ANSWER) {
        Ok(response) => Some(response),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => Some(Response::Refused {
            message: "it takes more than two minutes".into(),
            hint: Some("it goes on; `proem status` shows what each process is in".into()),
        }),
    };
    (response, held)
}

fn answer(served: &Served<UnixStream>, feed: &dyn Fn(Asked) -> bool) -> io::Result<()> {
    let mut held = None;
    let response = match peer(served.client())? {
        uid if uid != 0 && uid != nix::unistd::geteuid().as_raw() => Response::Refused {
            message: format!("user {uid} may not ask"),
            hint: Some("ask as root, or as the user that proem runs as".into()),
        },
        _ => match parse(&served.read_until(b"\n", MAX_REQUEST)?) {
            Ok(request) => {
                let (response, until_given) = put_and_hold(request, feed);
                held = Some(until_given);
                response.unwrap_or_else(|| Response::Refused { message: "proem is ending".into(), hint: None })
            }
            Err(refused) => refused,
        },
    };
    let mut bytes = serde_json::to_vec(&response).map_err(io::Error::other)?;
    bytes.push(b'\n');
    let written = served.write_all(&bytes);
    drop(held);
    written
}

/// What every version of the protocol begins with.
#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

fn parse(line: &[u8]) -> Result<Request, Response> {
    let refused = |message: String, hint: &str| Response::Refused { message, hint: Some(hint.to_owned()) };
    // The version first: what another one asks need not be understood.
    match serde_json::from_slice::<Version>(line) {
        Ok(Version { version: VERSION }) => {}
        Ok(Version { version }) => {
            let message = format!("the running proem speaks version {VERSION} of the control protocol, not {version}");
            return Err(refused(message, "ask with the binary that runs as PID 1"));
        }
        Err(_) => {
            return Err(refused(
                "this is no request".into(),
                "a request is a line of JSON with `version` and `request`",
            ));
        }
    }
    let envelope = serde_json::from_slice::<Envelope>(line);
    envelope
        .map(|envelope| envelope.request)
        .map_err(|_| refused("this is no request that is known".into(), "see docs/reference/control.md"))
}

/// The user of the other side, as the kernel says it (`SO_PEERCRED`, unix(7)).
fn peer(client: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: a live ucred, and its size.
    let failed = unsafe {
        libc::getsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}
