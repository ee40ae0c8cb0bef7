//! What init and worker say to each other: typed messages over one stream socketpair.
//!
//! A frame is a little-endian u32 length and a postcard body. Both ends are the same binary, forked, so there is no
//! version. init trusts nothing here: a frame that is too long or does not decode means that the worker is broken, and
//! it is ended like one that died.
//!
//! init never blocks on the link: it reads what is there ([`Inbox`]) and a worker that does not read its (few, small)
//! messages is a broken worker.

use crate::os::confine::Confinement;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

/// The longest frame, bytes: room for the largest argv and environment that `execve(2)` takes (2 MiB by default).
pub const MAX_FRAME: usize = 4 << 20;

/// From the worker to init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// What a process is, complete. Sent for each process before [`ToInit::Start`], and again by a new worker; a
    /// process that runs keeps what it was started with until its next start.
    Process(Box<ProcessSpec>),
    /// The first publish is done and checked: processes may run now. Repeated by a new worker; then it changes nothing.
    Start,
    /// What these processes need is published and checked: they may run now, whatever else is still awaited. main, where
    /// there is one, is described before.
    Allow(Vec<String>),
    /// From before the first rename of a group until [`ToInit::Release`]: start and restart none of these processes.
    /// It outlives the worker: the next one recovers, then releases.
    Hold(Vec<String>),
    /// The files are checked or undone.
    Release(Vec<String>),
    /// Reload a process. Answered by [`ToWorker::Reloaded`] with the same id.
    Reload {
        /// Chosen by the worker.
        id: u64,
        /// Process name.
        process: String,
        /// How.
        action: ReloadAction,
    },
    /// An operator's order. Answered by [`ToWorker::Reloaded`] with the same id.
    Operate {
        /// Chosen by the worker.
        id: u64,
        /// Process name.
        process: String,
        /// What to do.
        order: Order,
    },
    /// The group's reload is owed from now on: told before its rename, so that it outlives the worker.
    Owe(String),
    /// That reload is done, or there is nothing to reload after all.
    Paid(String),
    /// What of the group's content is not to be tried again until an input changes: all of it, whatever was said before.
    /// It outlives the worker.
    Refused(String, Refused),
    /// A command (check, reload) was forked: its process group, told before it execs. init ends it when the worker dies.
    Command(i32),
    /// That process group has ended.
    CommandEnded(i32),
    /// Nothing can change any more and every process that is probed is ready: the worker is about to exit 0. When one of
    /// these is started again, the next worker is forked, which only probes.
    Finished,
    /// This worker is about to exit 0, and the next one is to read the configuration anew.
    Renew,
    /// Of all processes but main, only these are declared now: the others are stopped.
    Only(Vec<String>),
    /// Tell me of every process what it is in, now and whenever that changes ([`ToWorker::Process`]).
    Watch,
    /// The probe of a process that runs with this pid says that it is ready.
    Ready {
        /// Process name.
        process: String,
        /// Which of its lives was probed.
        pid: i32,
    },
    /// The probe of a process that runs with this pid says that it is not alive any more: it is to be restarted.
    Unhealthy {
        /// Process name.
        process: String,
        /// Which of its lives was probed.
        pid: i32,
        /// Why, for the log.
        reason: String,
    },
    /// End proem with this code. Before main's first start: at once; later (`reload = "exit"`): as after a TERM, in order.
    Exit {
        /// The exit code.
        code: u8,
        /// What is said after `proem: exit N: `; the details were already logged.
        reason: String,
    },
}

/// Content of a group that was refused. Digests, for both ends of the same link only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// By its check.
    pub by_check: Option<u64>,
    /// By its verify.
    pub by_verify: Option<u64>,
    /// Groups that were in place unverified when the verify refused: the fault may be theirs. A few names.
    pub beside: Vec<String>,
}

/// How a running process is told that its files changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadAction {
    /// This signal number, if the process takes it.
    Signal(i32),
    /// Stop it, start it.
    Restart,
}

/// What an operator asks of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// This signal number is sent, whatever it does to the process.
    Send(i32),
    /// Stop it, start it; start it, if it does not run.
    Restart,
    /// Stop it, and leave it stopped. Not for main, whose end is the container's.
    Stop,
    /// Start it, if it does not run.
    Start,
}

/// From init to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message of a worker's life.
    Welcome {
        /// Everything was published once: this worker replaces one that died.
        started: bool,
        /// Before that: the processes that may run already.
        allowed: Vec<String>,
        /// Groups whose reload a dead worker still owed.
        owed: Vec<String>,
        /// Processes that a dead worker held.
        held: Vec<String>,
        /// What each process's next start uses ([`ProcessSpec::fingerprint`]), by name.
        specs: Vec<(String, u64)>,
        /// What dead workers were told of the content of groups, by their names.
        refused: Vec<(String, Refused)>,
        /// Those before this worker have published and left. It is only to see when processes are ready.
        probes: bool,
    },
    /// The answer to [`ToInit::Reload`] and [`ToInit::Operate`].
    Reloaded {
        /// The request's id.
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// What a process is in ([`ToInit::Watch`]).
    Process(ProcessState),
    /// The end was asked for, by a signal or by [`ToInit::Exit`]; the stop signals follow after `drain`.
    Draining,
}

/// What a process is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    /// Its name.
    pub name: String,
    /// What it is in.
    pub phase: Phase,
    /// How long it has been in that.
    pub age: Duration,
    /// How often it was started again because it had ended, or was not alive.
    pub restarts: u32,
    /// How it ended the last time, as an exit code.
    pub last_exit: Option<u8>,
    /// It becomes ready by [`ToInit::Ready`].
    pub probed: bool,
}

/// The phases of a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// For its turn: what it comes after is not ready, or its files are being changed.
    Waiting,
    /// It runs, and is not ready yet.
    Running {
        /// Its pid.
        pid: i32,
    },
    /// It runs and is ready.
    Ready {
        /// Its pid.
        pid: i32,
    },
    /// It was told to stop.
    Stopping {
        /// Its pid.
        pid: i32,
    },
    /// It ended and is started again after a pause.
    Pausing,
    /// It ended, and nobody starts it again.
    Ended,
    /// An operator stopped it.
    Stopped,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Told (a signal was sent), or running anew (a restart).
    Done,
    /// The process does not run, or is about to be started: it will read the new files anyway.
    NotRunning,
    /// It failed; the reload is still owed.
    Failed(String),
}

/// Everything that init needs to run a process: nothing is left to look up, so that starting cannot fail for a reason
/// that the worker could have reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// `main`.
    pub name: String,
    /// Program and arguments, no NUL inside; the program is looked up in the PATH of `env`.
    pub argv: Vec<Vec<u8>>,
    /// The complete environment, `NAME=value`, no NUL inside.
    pub env: Vec<Vec<u8>>,
    /// Whom it runs as; `None`: whoever proem is.
    pub user: Option<Credentials>,
    /// Working directory; `None`: the one proem was started in.
    pub workdir: Option<Vec<u8>>,
    /// umask; `None`: inherited.
    pub umask: Option<u32>,
    /// Sent instead of TERM to stop it.
    pub stop_signal: Option<i32>,
    /// For restarts.
    pub stop_timeout: Duration,
    /// Bound of the shutdown; `None`: the orchestrator's patience.
    pub shutdown_timeout: Option<Duration>,
    /// Signals go to its process group.
    pub group: bool,
    /// Signal → the one sent instead; 0 drops it.
    pub rewrite: BTreeMap<i32, i32>,
    /// Exit code → the one reported instead.
    pub exit_codes: BTreeMap<u8, u8>,
    /// How long what is left over after its exit may take to end before KILL.
    pub linger: Duration,
    /// Its limits and capabilities.
    pub confinement: Confinement,
    /// What proem gets when its own parent ends (`PR_SET_PDEATHSIG`); with `exec`, what the program gets.
    pub parent_death_signal: Option<i32>,
    /// In a session of its own instead of a process group, as dumb-init does; the terminal goes with it.
    pub session: bool,
    /// Where what it writes goes.
    pub log: Log,
    /// When it starts, and what its end means.
    pub care: Care,
}

/// Where a process's standard output and error go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// They are proem's own: nobody is in between.
    #[default]
    Inherit,
    /// To proem's own, each line after the process's name.
    Prefix,
    /// To proem's own, each line as a JSON object.
    Json,
}

impl ProcessSpec {
    /// Whether two describe a process that is started with the same arguments and environment. For both ends of the same
    /// link only: it is no promise over versions, and it gives away what is short.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (&self.argv, &self.env).hash(&mut hasher);
        hasher.finish()
    }
}

/// When a process starts, and what its end means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Care {
    /// What it is.
    pub kind: Kind,
    /// Names of the processes that must be ready before it starts; at the end it is stopped before these.
    pub after: Vec<String>,
    /// When it counts as ready.
    pub ready: Readiness,
    /// Whether it is started again when it has ended.
    pub restart: Restart,
    /// Started again more often than this, it is given up.
    pub limit: Option<RestartLimit>,
    /// What follows when it is given up.
    pub when_exhausted: Exhausted,
    /// After it ran this long, the pauses before its restarts begin anew.
    pub stable: Duration,
    /// Of main: from the request to end until the stop signals, so that balancers look away.
    pub drain: Duration,
}

impl Default for Care {
    /// main alone.
    fn default() -> Care {
        Care {
            kind: Kind::Main,
            after: Vec::new(),
            ready: Readiness::AtOnce,
            restart: Restart::Never,
            limit: None,
            when_exhausted: Exhausted::Exit,
            stable: Duration::from_secs(10),
            drain: Duration::ZERO,
        }
    }
}

/// What a process is to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Its end is the container's end, and signals are its.
    Main,
    /// Long-running; its end ends the container, too.
    Essential,
    /// Long-running beside main.
    Sidecar,
    /// Runs once, to completion, before what comes after it; its failure ends the container.
    Setup,
}

/// When a process counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// When its program was executed; a setup step when it has ended with 0.
    AtOnce,
    /// When it has written a newline to this descriptor (s6's notification).
    Fd(i32),
    /// When it has sent `READY=1` to `NOTIFY_SOCKET` (`sd_notify(3)`).
    Notify,
    /// When the worker says so ([`ToInit::Ready`]).
    Probe,
}

/// Whether a process that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// However it ended.
    Always,
    /// When its exit code was not 0.
    OnFailure,
    /// No.
    Never,
}

/// So many restarts in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartLimit {
    /// As many are allowed.
    pub restarts: u32,
    /// In this time.
    pub within: Duration,
}

/// What follows when a process was started again too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exhausted {
    /// The container ends with the process's last code, 70 if that was 0.
    Exit,
    /// The process stays ended.
    Ignore,
}

/// Whom a process runs as, looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, without `gid`.
    pub groups: Vec<u32>,
}

/// A message as the bytes of a frame.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut frame = vec![0; 4];
    // Our own types: no maps with unknown length, no trait objects; writing to a Vec cannot fail.
    if let Ok(body) = postcard::to_stdvec(message) {
        frame.extend_from_slice(&body);
    }
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Frames being received. It never holds more than one longest frame beyond what was decoded.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

/// The other side does not keep to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl Inbox {
    /// Adds what was read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message, if there is one.
    pub fn message<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, Broken> {
        let Some(header) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(Broken);
        }
        let Some(body) = self.bytes.get(4..4 + length) else { return Ok(None) };
        let message = postcard::from_bytes(body).map_err(|_| Broken)?;
        self.bytes.drain(..4 + length);
        if self.bytes.is_empty() {
            // A rare large message (an environment) must not stay as memory of init.
            self.bytes = Vec::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_split() {
        let sent = [ToInit::Owe("nginx".into()), ToInit::Start, ToInit::Exit { code: 65, reason: "x".into() }];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for at in 0..bytes.len() {
            let mut inbox = Inbox::default();
            let mut got = Vec::new();
            for part in [&bytes[..at], &bytes[at..]] {
                inbox.push(part);
                while let Some(message) = inbox.message::<ToInit>().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_or_nonsense_is_broken() {
        let mut inbox = Inbox::default();
        inbox.push(&u32::MAX.to_le_bytes());
        assert_eq!(inbox.message::<ToInit>(), Err(Broken));
        let mut inbox = Inbox::default();
        inbox.push(&[1, 0, 0, 0, 0xff]);
        assert_eq!(inbox.message::<ToInit>(), Err(Broken));
    }
}
