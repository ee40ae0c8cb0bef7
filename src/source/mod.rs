//! Where values come from. One trait, one file per kind; what all kinds need (retry, backoff with jitter, freshness,
//! logging once per distinct error) is in [`driver`], once. Layers are merged and typed in [`layers`], without I/O.
//!
//! A kind knows nothing of templates, targets or processes.

pub mod backoff;
#[cfg(feature = "consul")]
pub mod consul;
mod container;
pub mod driver;
mod env;
mod file;
pub mod format;
pub mod kind;
pub mod layers;
mod lines;
mod merge;
mod places;
#[cfg(feature = "net")]
mod runtime;
pub(crate) mod sampler;
pub mod secrets;
mod steady;
#[cfg(any(feature = "consul", feature = "vault"))]
mod store;
pub mod threads;
mod tree;
pub mod uri;
#[cfg(feature = "vault")]
pub mod vault;
mod watcher;
mod writers;

use crate::value::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use steady::Trace;

/// One complete answer of one layer.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What is there.
    pub found: Found,
    /// Whether its values are secrets: targets default to 0600.
    pub secret: bool,
    /// What the user should know, logged once per distinct text (a key that is both value and directory…).
    pub warnings: Vec<String>,
}

/// Whether a layer's thing is there.
#[derive(Debug, Clone)]
pub enum Found {
    /// It is: a tree that keeps the rules of [`crate::value`]; nulls are still in it, merging removes them.
    Value(Value),
    /// It is not there (yet): says what, after "source `app`: " (``no key under `config/app` in consul``).
    Missing(String),
}

/// Why a layer could not be read. It is retried for ever unless `retry` says that this cannot help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// A lowercase fragment that follows "failed to " (`reach consul at http://127.0.0.1:8500: connection refused`).
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
    /// Whether trying again can help.
    pub retry: Retry,
}

impl SourceError {
    /// What another try may mend.
    pub fn later(message: impl Into<String>) -> SourceError {
        SourceError { message: message.into(), hint: None, retry: Retry::Later }
    }

    /// What only a change of the content mends.
    pub fn on_change(message: impl Into<String>) -> SourceError {
        SourceError { message: message.into(), hint: None, retry: Retry::OnChange }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> SourceError {
        self.hint = Some(hint.into());
        self
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// An outage, a refused token (it may be granted later), a file that is not there yet.
    Later,
    /// The content itself is wrong (a file that does not parse): only a change of it helps.
    OnChange,
}

/// What tells that a local source may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// It never changes while proem runs.
    Never,
    /// Read it again at this interval.
    Every(Duration),
    /// Read it again when something happens in one of these directories.
    Directories(Vec<PathBuf>),
}

/// A source that this process reads by itself, at once, without a network.
pub trait Local: Send {
    /// Reads it whole.
    fn read(&mut self) -> Result<Reading, SourceError>;
    /// What tells of a change. Asked after each `read`, because links may lead elsewhere now.
    fn watch(&self) -> Watch;
    /// What the files of the last `read` were; `None`: it read none, or cannot meet one that is being written.
    fn trace(&self) -> Option<&Trace> {
        None
    }
    /// Whether a reading would depend on this file, which is in a watched directory.
    fn depends_on(&self, _file: &Path) -> bool {
        true
    }
}

/// What one round of a remote source's watch brought.
#[derive(Debug)]
pub enum Next {
    /// The value, complete; the first answer always is this.
    Changed(Reading),
    /// Asked, and proved to be what it was: it is fresh now.
    Same,
}

/// A source behind a network: a future per round, run by the driver on the runtime thread.
#[cfg(feature = "net")]
pub trait Remote: Send {
    /// The next round: at once the first time, later when the value changed or was proved fresh. After an error the
    /// driver waits (backoff) and calls again; the source must then re-read, never wait for a change only.
    fn next(&mut self) -> std::pin::Pin<Box<dyn std::future::Future<Output = Result<Next, SourceError>> + '_>>;

    /// How long to wait before the next round, after one that succeeded: for what is asked at intervals. A watch, whose
    /// rounds wait by themselves, has none.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}
