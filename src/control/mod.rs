//! The control socket: what `proem status`, `health`, `reload`, `restart`, `stop`, `start` and `signal` say to the proem that
//! runs, and what it answers.
//!
//! One connection, one line of JSON each way, then it is closed. The worker serves it ([`server`]), so that no client can
//! reach init: a slow one costs a thread of the worker for a moment, and there are few of them ([`clients`]). Only proem's
//! own user and root are served. It is never required: where it cannot be made (a read-only root) everything else works.

pub mod client;
pub mod clients;
pub mod http;
mod places;
pub mod server;

use serde::{Deserialize, Serialize};

/// Of the messages. A server answers a client of another version with [`Response::Refused`].
pub const VERSION: u32 = 1;
/// Where it is unless something else is said.
pub const DEFAULT: &str = "/run/proem.sock";
/// The longest request, bytes.
const MAX_REQUEST: usize = 16 << 10;
/// The longest response, bytes: a status of 10,000 targets.
const MAX_RESPONSE: u64 = 16 << 20;

/// A request with the version that it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// What it asks.
    pub request: Request,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Everything that is known.
    Status,
    /// Is all well?
    Health {
        /// A source whose last proof is older than this, milliseconds, is not.
        max_stale_ms: Option<u64>,
        /// Names of sources and processes; empty: all of them.
        require: Vec<String>,
    },
    /// Is the start over, and does every process run and answer?
    Ready,
    /// Counters and gauges, in Prometheus' text format or in `OpenMetrics`.
    Metrics {
        /// `OpenMetrics`.
        open: bool,
    },
    /// Read the configuration and the templates anew.
    Reload,
    /// An operator's order to a process.
    Operate {
        /// Its name.
        process: String,
        /// What it is to do.
        order: Order,
    },
}

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Stop it, start it.
    Restart,
    /// Stop it and leave it stopped.
    Stop,
    /// Start it, if it does not run.
    Start,
    /// Send it this signal number.
    Signal(i32),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Health`] and [`Request::Ready`]: what is not well; nothing: healthy.
    Health(Vec<String>),
    /// To [`Request::Metrics`].
    Metrics(String),
    /// It was done.
    Done(String),
    /// It was not.
    Refused {
        /// Why.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
}

/// What a running proem is doing. Never a value of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// proem's version.
    pub version: String,
    /// The pid of init, or of `render --watch`.
    pub pid: u32,
    /// Seconds since proem started.
    pub uptime: f64,
    /// The first publish is done.
    pub started: bool,
    /// The end was asked for.
    pub draining: bool,
    /// Every process.
    pub processes: Vec<ProcessStatus>,
    /// Every source that is used.
    pub sources: Vec<SourceStatus>,
    /// Every target.
    pub targets: Vec<TargetStatus>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// `waiting`, `running` (not ready yet), `ready`, `stopping`, `pausing`, `ended` or `stopped`.
    pub state: String,
    /// Its pid, while it has one.
    pub pid: Option<i32>,
    /// Seconds that it has been in this state.
    pub since: f64,
    /// How often it was started again because it ended or was not alive.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_exit: Option<u8>,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The name that templates use.
    pub name: String,
    /// Its URIs, the lowest layer first.
    pub uris: Vec<String>,
    /// It has a value.
    pub ready: bool,
    /// It can change.
    pub watched: bool,
    /// Seconds since it was last proved that the value is what is there; none where it cannot change, or was never proved.
    pub age: Option<f64>,
    /// What is wrong with it now.
    pub error: Option<String>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The template's name.
    pub template: String,
    /// The group that it is published with.
    pub group: String,
    /// Its path; `-`: standard output.
    pub target: String,
    /// Seconds since this worker last published its group; none: it was in place, or is not yet.
    pub published: Option<f64>,
    /// Its content is what was rendered last.
    pub in_place: bool,
    /// 128-bit FNV-1a of the file as it is, in hex; none of one that holds secrets, or is not there.
    pub hash: Option<String>,
    /// A reload is owed to somebody.
    pub reload_owed: bool,
    /// Why what was rendered last is not in place: a check's refusal, a missing value, a full disk.
    pub error: Option<String>,
}
