//! An init with nothing to run: it holds a pod's namespaces open and reaps.

use super::wait::{self, Signals};
use super::{last_word, sweep};
use crate::exit::Exit;
use crate::os::fds;
use crate::os::inherited::{self, Inherited};
use std::os::fd::AsRawFd;

/// Reaps until TERM or INT, then ends with 0. Must be called with every signal blocked ([`Inherited::take`]).
pub fn pause(inherited: &Inherited) -> Exit {
    inherited::own_children(inherited);
    sweep::adopt_orphans();
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            last_word(Exit::INTERNAL, &format!("failed to set up init: {}", crate::error::reason(&error)));
            return Exit::INTERNAL;
        }
    };
    fds::close_from_3(&[signals.as_raw_fd()]);
    // SAFETY: a NUL-terminated path; where `/` is refused, it stays where it is.
    unsafe { libc::chdir(c"/".as_ptr()) };
    loop {
        wait::wait(&signals, None, std::iter::empty(), None);
        let (arrived, count) = signals.read::<8>();
        if arrived[..count].iter().any(|signal| matches!(signal.number, libc::SIGTERM | libc::SIGINT)) {
            return Exit::OK;
        }
        while wait::reap().is_ok() {}
    }
}
