//! The worker's end of the link to init. Without init (`exec`, `render`) nobody is told.

use crate::error::Failure;
use crate::link::{self, Refused, ToInit, ToWorker};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells init things. Cheap to clone; all clones share the socket.
#[derive(Debug, Clone, Default)]
pub struct Control {
    socket: Option<Arc<UnixStream>>,
    /// Held while a message is written: probes tell of their programs from threads of their own, and a long message
    /// may be written in pieces. What is in it goes first.
    writing: Arc<Mutex<Vec<u8>>>,
}

/// What a new worker has to know of the ones before it; see [`ToWorker::Welcome`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Everything was published once, and every process may run.
    pub started: bool,
    /// Before that: the processes that may run already.
    pub allowed: Vec<String>,
    /// Groups whose reload is still owed.
    pub owed: Vec<String>,
    /// Processes that are held.
    pub held: Vec<String>,
    /// Fingerprints of what init knows of the processes.
    pub specs: std::collections::BTreeMap<String, u64>,
    /// What of the groups' content was refused.
    pub refused: Vec<(String, Refused)>,
    /// Everything was published by those before; only probes are wanted.
    pub probes: bool,
}

/// Finds out whether the configuration, read anew, has mistakes.
pub type Renewal<'a> = dyn Fn() -> Result<(), Failure> + 'a;

/// The link, taken up: what a worker beside init starts with.
pub struct Init<'a> {
    /// Tells init things.
    pub control: Control,
    /// What init said first.
    pub welcome: Welcome,
    /// What init says from now on.
    pub reader: Reader,
    /// Before a new worker takes over.
    pub renewal: &'a Renewal<'a>,
}

impl Control {
    /// No init: `exec`, `render`.
    pub fn none() -> Control {
        Control::default()
    }

    /// Takes the worker's end of the socketpair.
    pub fn new(link: OwnedFd) -> Control {
        Control { socket: Some(Arc::new(UnixStream::from(link))), ..Control::default() }
    }

    /// Whether there is an init that runs processes.
    pub fn has_init(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells init. It blocks until init has taken it; when init is gone the reader learns of it, so an error here is
    /// not looked at.
    pub fn tell(&self, message: &ToInit) {
        if let Some(socket) = &self.socket {
            let mut bytes = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend(link::encode(message));
            let _ = (&**socket).write_all(&bytes);
            *bytes = Vec::new();
        }
    }

    /// Tells init together with what is told next, which has to follow at once.
    pub fn tell_with_next(&self, message: &ToInit) {
        if self.has_init() {
            self.writing.lock().unwrap_or_else(PoisonError::into_inner).extend(link::encode(message));
        }
    }

    /// Waits for the first message of a worker's life.
    pub fn welcome(&self) -> Option<(Welcome, Reader)> {
        let mut reader = Reader { socket: self.socket.clone()?, inbox: link::Inbox::default() };
        match reader.message()? {
            ToWorker::Welcome { started, allowed, owed, held, specs, refused, probes } => {
                let specs = specs.into_iter().collect();
                Some((Welcome { started, allowed, owed, held, specs, refused, probes }, reader))
            }
            ToWorker::Reloaded { .. } | ToWorker::Process(_) | ToWorker::Draining => None,
        }
    }
}

/// Receives what init says.
#[derive(Debug)]
pub struct Reader {
    socket: Arc<UnixStream>,
    inbox: link::Inbox,
}

impl Reader {
    /// Blocks until the next message; `None` when init is gone (or speaks nonsense, which is the same to us).
    pub fn message(&mut self) -> Option<ToWorker> {
        let mut buffer = [0; 4096];
        loop {
            match self.inbox.message() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(link::Broken) => return None,
            }
            match (&*self.socket).read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.inbox.push(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}
