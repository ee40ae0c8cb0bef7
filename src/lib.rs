//! proem: what runs first in a container.
//!
//! One static binary, two processes: *init* (PID 1: signals, reaping, starting and stopping processes) and its
//! forked child, the *worker* (sources → templates → publish). Data flows one way: source → template → publish →
//! reload → process. The words used everywhere are fixed in `docs/design/words.md`.

pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod error;
pub mod exit;
pub mod init;
pub mod link;
pub mod log;
pub mod nearest;
#[cfg(feature = "net")]
pub mod net;
pub mod os;
pub mod probe;
pub mod publish;
pub mod source;
pub mod template;
pub mod value;
pub mod worker;
