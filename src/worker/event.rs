//! What reaches the worker's loop: typed messages from small threads that feed it.

use super::health::Health;
use crate::control::server::Asked;
use crate::error::Complaint;
use crate::link::ToWorker;
use crate::publish::command::CommandResult;
use crate::source::driver::Update;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// init said something.
    Init(ToWorker),
    /// init is gone: the worker ends, restarting nothing.
    InitGone,
    /// A source was read, or may have changed.
    Source(Update),
    /// A probe of the start gate (its index) is up, or why it is not.
    Probe(usize, Result<(), Complaint>),
    /// A probe of a process, by name and pid, found something.
    Health(String, i32, Health),
    /// Somebody asked at the control socket.
    Asked(Asked),
    /// A check, reload or verify command ended.
    Command(u64, CommandResult),
    /// A try of a verify's probe ended.
    Verified(u64, Result<(), Complaint>),
    /// A reload that concerns others (a request, a neighbour, a trigger file) is done, or why not.
    Told(u64, Result<(), Complaint>),
    /// Without init: a signal that ends proem.
    Signal(i32),
}
