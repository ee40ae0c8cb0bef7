//! The worker's commands: checks, reloads and verifies. Each waits on a thread of its own; init knows their process groups.

use super::{Event, Worker};
use crate::link::ToInit;
use crate::publish::command::{self, CommandPlan, Ending};
use std::time::{Duration, Instant};

impl Worker<'_> {
    /// Starts a command; its end comes as [`Event::Command`].
    pub(super) fn spawn(&mut self, id: u64, argv: Vec<String>, changed: Option<String>, timeout: Duration) {
        let plan = CommandPlan {
            argv,
            env: changed.map(|changed| ("PROEM_CHANGED".into(), changed.into())).into_iter().collect(),
            env_remove: self.hidden.clone(),
            dir: self.surroundings.directory.clone(),
            data_limit: self.surroundings.data_limit,
            timeout,
            ending: Ending::TermThenKill,
        };
        let control = self.control.clone();
        let running = command::spawn(&plan, &mut |pgid| control.tell(&ToInit::Command(pgid)));
        if let Some(pgid) = running.group() {
            self.commands.insert(id, pgid);
        }
        let feed = self.sender.clone();
        super::thread("command", move || {
            // The loop is gone: so is the process, in a moment.
            let _ = feed.send(Event::Command(id, running.wait()));
        });
    }

    /// Ends commands that still run: TERM, a moment (half of what `linger` leaves us by default), KILL. Nothing is left
    /// behind.
    pub(super) fn end_commands(&mut self) {
        for pgid in self.commands.values() {
            signal_group(*pgid, libc::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.commands.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Command(id, _)) => {
                    self.commands.remove(&id);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for pgid in self.commands.values() {
            signal_group(*pgid, libc::SIGKILL);
        }
    }
}

fn signal_group(pgid: i32, signal: i32) {
    // SAFETY: no memory is involved. The group is a command's of ours that was not reaped yet; one that is gone already
    // is what was wanted.
    unsafe { libc::kill(-pgid, signal) };
}
